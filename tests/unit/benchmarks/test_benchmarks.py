"""Every program of benchmarks/ runs, at its smallest size."""

import json
import math
import subprocess
import sys

import pytest

from benchmarks.orchestrator.start import COMMANDS
from benchmarks.run import SHORT
from tests.conftest import ROOT
from tests.e2e.train.ranks import Program
from tests.warm import clean_environment
from vit_sweep.cli.verbs import VERBS
from vit_sweep.report.figure import SWITCH

SMALLEST = {
    "judging/accuracy_coverage": ["--studies=20"],
    "judging/audit_calibration": ["1"],
    "judging/gating": ["--studies=3"],
    "orchestrator/planning": ["12", "--rounds=1"],
    "orchestrator/start": ["--rounds=1", "--only", "list"],
    "judging/coverage": ["--studies=3"],
    "judging/predictions": ["--seeds=1"],
    "judging/deciding": ["--laws=1", "--seeds=1", "--spreads=1"],
    "judging/waiting": ["--queues=1"],
    "orchestrator/collecting": ["--records=20", "--rounds=1"],
    "orchestrator/waiting": ["--seconds=0.1", "--tasks=4"],
    "orchestrator/figures": ["--cells=1", "--rounds=1"],
    "orchestrator/first_result": ["--sweeps=0"],
    "orchestrator/growth": ["--sizes=2,4", "--steps=status", "--rounds=1"],
    "trainer/input": ["--seconds=0", "--rounds=1", "--cases=1"],
    "trainer/reading": ["--images=72", "--rounds=1", "--steps=2"],
    "trainer/instrumentation": ["--rounds=1", "--steps=1"],
    "trainer/start": ["--rounds=1", "--ways", "rank"],
    "trainer/cpu_step": ["--rounds=1", "--steps=1", "--layers=1", "--width=64", "--switches", "bf16_amp"],
    "trainer/engines": ["--engines=ddp", "--rounds=1", "--steps=1"],
}
WITH_TORCH = {
    "orchestrator/first_result",
    "trainer/input",
    "trainer/reading",
    "trainer/instrumentation",
    "trainer/start",
    "trainer/cpu_step",
    "trainer/engines",
}
RUN_ELSEWHERE = {"trainer/gpu_step", "trainer/gpu_memory", "run"}  # test_gpu_step.py, on a GPU alone, test_run.py
ON_SLURM = {"orchestrator/slurm", "orchestrator/peer/app"}  # tests/slurm/test_benchmark.py; the peer by hand


def numbers(tree):
    """Every number in plain data."""
    if isinstance(tree, dict | list):
        return [number for part in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(part)]
    return [tree] if isinstance(tree, int | float) else []


def test_no_program_is_without_a_run_at_its_smallest_size():
    folder = ROOT / "benchmarks"
    programs = {
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.py")
        if "__main__" in path.read_text()
    }
    assert programs == SMALLEST.keys() | RUN_ELSEWHERE | ON_SLURM


def test_make_bench_runs_every_program_of_the_orchestrator_and_the_trainer():
    assert SHORT.keys() == {name for name in SMALLEST if not name.startswith("judging/")}


def test_the_start_of_every_verb_is_measured():
    assert set(VERBS) <= {word for words, _ in COMMANDS.values() for word in words}


def started(command, folder):
    """Exit code, output and errors of a program in an interpreter of its own."""
    completed = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=clean_environment() | {"CUDA_VISIBLE_DEVICES": "", SWITCH: "svg"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return completed.returncode, completed.stdout, completed.stderr


MAIN = """
import os, runpy, sys
os.chdir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def forked(command, folder):
    """The same in a process that has imported torch, which takes an interpreter most of its time."""
    program = Program(folder, MAIN, folder, *command, CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(ROOT))
    return program.wait(), program.out, program.err


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.train] if name in WITH_TORCH else []) for name in SMALLEST]
)
def test_figures_are_finite_and_say_what_made_them(name, tmp_path):
    file, tables = tmp_path / "found.json", tmp_path / "found.md"
    command = [ROOT / "benchmarks" / f"{name}.py", *SMALLEST[name], "--json", file, "--markdown", tables]
    run = forked if name.startswith("trainer/") else started
    code, out, err = run(command, tmp_path)
    assert code == 0, out + err
    report = json.loads(file.read_text())
    made_by = report.pop("made_by")
    assert made_by["command"] == f"python benchmarks/{name}.py {' '.join(SMALLEST[name])}"
    provenance = f"{made_by['date']}, commit {made_by['commit']}, `{made_by['command']}`"
    assert provenance in out
    assert provenance in tables.read_text()
    assert numbers(report)
    assert all(math.isfinite(number) for number in numbers(report)), report


def test_memory_of_a_large_collect_is_that_of_its_process(tmp_path):
    file, tables = tmp_path / "found.json", tmp_path / "found.md"
    program = ROOT / "benchmarks" / "orchestrator" / "collecting.py"
    words = ["--largest", "--records=20", "--json", file, "--markdown", tables]
    subprocess.run([sys.executable, program, *words], cwd=tmp_path, env=clean_environment(), check=True, timeout=300)
    peak_mib = json.loads(file.read_text())["collect"]["peak_mib"]
    assert peak_mib > 20
    assert f"| {peak_mib * 2**20 / 1e9:.2f} |" in tables.read_text()
    assert "2 GB, met" in tables.read_text()
