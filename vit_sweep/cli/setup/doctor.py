"""The verb `doctor`: what this machine lacks for a sweep, and what to do about it. An edge."""

import importlib.util
import locale
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich import box

from launchers.errors import UserError
from launchers.invocation import called
from launchers.slurm import programs
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role, columns_of
from vit_sweep.study.code.provenance import require_extra


class Finding(NamedTuple):
    """One thing that was checked."""

    state: str
    """ok, note (a sweep runs without it), or wrong (a sweep would fail)."""
    subject: str
    observed: str
    advice: str = ""


_EXTRAS = {"train": ("torch", "torchvision", "deepspeed"), "report": ("pandas", "seaborn", "matplotlib")}
_ROOM_GIB, _LITTLE_GIB = 1.0, 10.0
_FILES = 1024
"""Open files that a client of a large sweep and its queue need at most."""
_CLOCK_S = 5.0
"""Difference of the clocks of this machine and of a file server that confuses nobody yet."""


def doctor(
    outputs: Annotated[Path, typer.Option(help="Where studies shall lie.")] = Path("outputs"),
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data; default: VIT_SWEEP_DATA, or data.")
    ] = None,
) -> None:
    """Look at Python, packages, Slurm, GPUs, data, disk, permissions and clocks: exit 1 when a sweep would fail."""
    root = data_root or Path(os.environ.get("VIT_SWEEP_DATA", "data"))
    findings = [*_software(), *_scheduler(), *_devices(), *_places(outputs, root), *_limits()]
    styles = tuple({"wrong": "red", "note": "yellow"}.get(finding.state, "") for finding in findings)
    table = Fitted(columns_of(_COLUMNS, findings), styles=styles, frame=box.SIMPLE_HEAD, stacks=True)
    show.console().print(table)
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


_COLUMNS = (
    Column("", role=Role.KEY, is_text=True),
    Column("what", role=Role.KEY, is_text=True),
    Column("seen", role=Role.REMARK),
    Column("what to do", role=Role.REMARK),
)


def _software() -> Iterator[Finding]:
    yield Finding("ok", "Python", f"{platform.python_version()} at {sys.executable}")
    for extra, names in _EXTRAS.items():
        subject = f"packages to {extra}"
        try:
            require_extra(extra)
        except UserError as error:
            yield Finding("wrong", subject, *map(str.strip, str(error).split(":", 1)))
        else:
            yield Finding("ok", subject, ", ".join(f"{name} {version(name)}" for name in names))
    encoding = locale.getpreferredencoding(False)
    utf8 = encoding.lower().replace("-", "") == "utf8"
    yield Finding("ok" if utf8 else "note", "letters", encoding, "" if utf8 else "set LANG=C.UTF-8")


def _scheduler() -> Iterator[Finding]:
    if shutil.which("sbatch") is None:
        yield Finding("note", "Slurm", "no sbatch here", "fine for partition=local; on a cluster use a login node")
        return
    slurm, partition_lines = _answer("sinfo", "--version"), _answer("sinfo", "--noheader", "--format=%P")
    if partition_lines is None:
        seen = f"{slurm or 'sbatch'} is here, its controller does not answer"
        yield Finding("note", "Slurm", seen, "partitions of Slurm fail until it does; partition=local needs none")
        return
    partitions = sorted({name.rstrip("*") for name in partition_lines.split()})
    yield Finding("ok", "Slurm", f"{slurm}; partitions {', '.join(partitions) or 'none'}")
    yield _forecasts()
    if _answer("sacct", "--noheader", "--starttime=now") is None:
        yield Finding("note", "accounting", "sacct does not answer", "ends of jobs are judged by their own files alone")


def _forecasts() -> Finding:
    """Whether anybody here can say when jobs will start."""
    from launchers.slurm.look.queue_snapshot import blind

    if why := blind():
        return Finding(
            "note", "expected starts", why, "none is said before a job is submitted; pack=auto packs nothing"
        )
    return Finding("ok", "expected starts", "the jobs of all users are shown, and backfill plans ahead")


def _devices() -> Iterator[Finding]:
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    yield Finding("ok", "cores", cores)
    gpus = _answer("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if gpus:
        yield Finding("ok", "GPUs", "; ".join(gpus.strip().splitlines()))
    elif shutil.which("nvidia-smi"):
        yield Finding("wrong", "GPUs", "nvidia-smi is here and does not answer", "is the driver loaded?")
    else:
        yield Finding("note", "GPUs", "none on this machine", "partition=local trains on its cores")


def _places(outputs: Path, root: Path) -> Iterator[Finding]:
    yield from _writable("studies", outputs)
    if root.is_dir():
        readable = os.access(root, os.R_OK | os.X_OK)
        advice = "" if readable else "ask its owner, or name another by VIT_SWEEP_DATA"
        yield Finding("ok" if readable else "wrong", "data", str(root.absolute()), advice)
    else:
        yield Finding("note", "data", f"{root} is not there", f"{called()} data prepare cifar10 makes it")
    yield from _writable("temporary files", Path(tempfile.gettempdir()))


def _writable(subject: str, folder: Path) -> Iterator[Finding]:
    """Whether a file can be written there, or in the folder that will hold it; how much room is left; its clock."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=place) as file:
            file.write(b"vit_sweep")
            file.flush()
            ahead_s = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError as error:
        yield Finding(
            "wrong", subject, f"{place}: {error.strerror}", "name a folder that you may write, or free some room"
        )
        return
    free = shutil.disk_usage(place).free / 2**30
    state = "wrong" if free < _ROOM_GIB else "note" if free < _LITTLE_GIB else "ok"
    yield Finding(state, subject, f"{place}: {free:.0f} GiB free", "" if state == "ok" else "free some room")
    if abs(ahead_s) > _CLOCK_S:
        where = "ahead of" if ahead_s > 0 else "behind"
        yield Finding("note", "clocks", f"{place} is {abs(ahead_s):.0f} s {where} this machine", "ask for NTP on both")


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _FILES
    advice = f"ulimit -n {_FILES}" if few else ""
    yield Finding("note" if few else "ok", "open files", f"{soft} (at most {hard})", advice)
    if importlib.util.find_spec("hydra_plugins") is None:
        yield Finding("wrong", "sweeper", "Hydra does not see ours", "install vit_sweep again: pip install vit_sweep")


def _answer(*command: str) -> str | None:
    """What a program prints; None where it is absent, fails or does not answer."""
    answer = programs.run(command)
    return answer.stdout.strip() if answer.returncode == 0 else None
