"""A real Slurm with two partitions, clients of ours and of the peer on it, and what they ask it. For `slurm.py`."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.provenance import ROOT
from tests.slurm.conftest import RANKS, Cluster

PEER = Path(__file__).parent / "peer"
TEST_CONF = ROOT / "tests" / "conf"
PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr")
GPUS, PARTITIONS = (1, 2), {"lab_trivial": "vector", "lab_narrow": "nebula"}
SHAPES = [(gpus, profile) for gpus in GPUS for profile in PARTITIONS]
TYPES = {"vector": "t4", "nebula": "rtx3090"}
PATIENCE_S = 3600.0


@dataclass
class Site:
    """The cluster, the peer's interpreter, and a folder in which each command has its own."""

    cluster: Cluster
    peer: Path | None
    """An interpreter; None: there is no peer."""
    folder: Path
    conf: Path
    programs: Path

    def ask(self, *words: str) -> str:
        """What one of Slurm's own programs says."""
        return str(self.cluster.ask(*words))  # type: ignore[no-untyped-call]

    def environment(self, log: Path, code: Path = ROOT) -> dict[str, str]:
        """A client's environment, whose questions to Slurm go to `log`; `code`: the checkout that it runs."""
        path = f"{self.programs}:{RANKS}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        # Who has switched bytecode off would compile our code, but not the peer's, at each start.
        left_out = ("SLURM", "SBATCH", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return inherited | self.cluster.environment | {"PATH": path, "ASKED": str(log), "PYTHONPATH": str(code)}


class Call(NamedTuple):
    """A program of Slurm that a client has run."""

    begun: float
    ended: float
    program: str


def stand_ins(folder: Path) -> Path:
    """A folder for PATH: Slurm's programs, each of which notes when it was run outside a job."""
    folder.mkdir()
    for name in PROGRAMS:
        real = shutil.which(name)
        note = f'echo "$begun $(date +%s.%N) {name}" >> "$ASKED"'
        # Jobs inherit the environment of sbatch, and what they ask is no client's question.
        lines = ["#!/bin/bash", f'[ -n "$ASKED" ] || exec {real} "$@"', "begun=$(date +%s.%N)"]
        lines += [f'env -u ASKED {real} "$@"', "ended=$?", note, "exit $ended"]
        path = folder / name
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o755)
    return folder


def calls(log: Path) -> list[Call]:
    """What was asked, in the order of its end."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Call(float(begun), float(ended), name) for begun, ended, name in map(str.split, lines)]


def make_peer(folder: Path) -> Path:
    """The peer's environment; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--requirement",
        PEER / "requirements.txt",
    ]
    subprocess.run([*pip, "--requirement", PEER / "requirements.txt"], check=True)
    return folder / "bin" / "python"


def make_conf(folder: Path) -> Path:
    """The tests' profiles, and one for their other partition."""
    shutil.copytree(TEST_CONF, folder)
    text = (folder / "partition" / "lab_trivial.yaml").read_text()
    for old, new in (("lab_trivial", "lab_narrow"), ("partition: vector", "partition: nebula"), ("t4", "rtx3090")):
        text = text.replace(old, new)
    text = re.sub(r"nodes: 4\ngpus_per_node: 8", "nodes: 1\ngpus_per_node: 2", text)
    (folder / "partition" / "lab_narrow.yaml").write_text(text)
    return folder


def ours(site: Site, name: str, cells: int, *words: str, axis: str = "seed=range(1,{})") -> list[str]:
    """The command that runs the cells of all shapes, of which each has as many as `axis` has values."""
    last = axis.format(cells // len(SHAPES) + 1)
    grid = [f"gpus={','.join(map(str, GPUS))}", f"partition={','.join(PARTITIONS)}", last]
    work = ["model=vit_test", "data=quick", "epochs=2", "batch=8", f"study={name}"]
    return [sys.executable, "-m", "vit_sweep", "-m", f"--config-dir={site.conf}", *work, *grid, *words]


def theirs(site: Site, name: str, cells: int, shape: tuple[int, str]) -> list[str]:
    """The peer's command for the cells of one shape."""
    gpus, partition = shape[0], PARTITIONS[shape[1]]
    launcher = {
        "partition": partition,
        "nodes": 1,
        "tasks_per_node": gpus,
        "cpus_per_task": 1,
        "mem_gb": gpus,
        "timeout_min": 60,
        "+additional_parameters.gres": f"'gpu:{TYPES[partition]}:{gpus}'",
    }
    values = [
        f"+seed=range({cells // 4})",
        f"+gpus={gpus}",
        f"+partition={partition}",
        f"+ran={site.folder / name}.ran",
    ]
    folders = [f"hydra.sweep.dir={site.folder / name}-{gpus}-{partition}", "hydra.sweep.subdir=${hydra.job.num}"]
    words = ["hydra/launcher=submitit_slurm", *(_launcher(key, value) for key, value in launcher.items())]
    return [str(site.peer), str(PEER / "app.py"), "-m", *words, *values, *folders]


def _launcher(key: str, value: object) -> str:
    return f"{'+' if key.startswith('+') else ''}hydra.launcher.{key.removeprefix('+')}={value}"


def ours_packed(site: Site, name: str, cells: int) -> tuple[list[str], int]:
    """The same with each shape in two jobs, and how many jobs that are.

    Repeats of a cell share no job, so the cells differ in something else.
    """
    of_shape = cells // len(SHAPES)
    half = math.ceil(of_shape / 2)
    command = ours(site, name, cells, f"pack={half}", axis="optimizer.weight_decay=range(1,{})")
    return command, len(SHAPES) * math.ceil(of_shape / half)


def last_record_at(folder: Path) -> float:
    """When the last cell of one of our studies had ended (unix seconds)."""
    return max(record.stat().st_mtime for record in folder.glob("cells/*/record.json"))


def empty_jobs(cells: int) -> list[str]:
    """The command that has Slurm run as many jobs of these shapes, whose steps do nothing: what it takes by itself."""
    commands = []
    for gpus, profile in SHAPES:
        partition = PARTITIONS[profile]
        resources = f"--partition={partition} --gres=gpu:{TYPES[partition]}:{gpus} --ntasks={gpus} --mem-per-cpu=1G"
        commands.append(f"sbatch --wait --output=/dev/null {resources} --array=0-{cells // 4 - 1} --wrap='srun true' &")
    return ["bash", "-c", "\n".join([*commands, "wait"])]


@contextmanager
def client(site: Site, command: Sequence[str], log: Path, code: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """A client with a folder and an output of its own; whatever happens, it ends."""
    with log.with_suffix(".out").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=site.folder,
            env=site.environment(log, code),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_sbatches(log: Path, count: int, process: subprocess.Popen[bytes]) -> float:
    """Wait until so many sbatches have returned; returns when the last one did (unix seconds)."""
    deadline = time.monotonic() + PATIENCE_S
    while len(sbatches := [call for call in calls(log) if call.program == "sbatch"]) < count:
        has_failed = process.poll() is not None and len(calls(log)) < count
        if has_failed or time.monotonic() > deadline:
            raise SystemExit(f"it never submitted: see {log.with_suffix('.out')}")
        time.sleep(0.02)
    return sbatches[count - 1].ended
