"""Run every stage of the tests, say what each is and how long it took, and name the slowest tests at the end.

python tests/run.py            # all stages; goes on after a stage that failed, exit 1 if one did
python tests/run.py slurm      # some stages
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

FILES = ("--dist", "loadfile", "--no-loadscope-reorder")
"""Whole files, so that what the tests of one share is made once, in their order: xdist's own keeps those of few tests
for the end, and these are the longest.
"""
STAGES = {
    "quick": (
        "planning, judging, drawing, queues, the report in a browser; no training, no Slurm",
        ["-m", "not train and not slurm", *FILES],
    ),
    "slurm": ("sweeps on a real Slurm of virtual nodes", ["-m", "slurm", *FILES]),
    "train": ("sweeps that really train, on this machine", ["-m", "train and not slurm", *FILES]),
}
ASIDE = "slurm"
"""The stage that runs beside the others, since it mostly waits for Slurm; its output comes when it has ended."""
SLOWEST = 20


class Stage(NamedTuple):
    """What became of one stage."""

    name: str
    code: int
    seconds: float
    counts: dict[str, int]
    """Tests by how they ended: passed, failed, skipped."""
    tests: list[tuple[float, str]]
    """Seconds of each test, set-up and clean-up included, and its name."""

    @property
    def line(self) -> str:
        """The stage in one line for people."""
        counts = ", ".join(f"{count} {how}" for how, count in self.counts.items() if count)
        return f"{self.name:6} {'ok' if self.code == 0 else 'FAILED':6} {self.seconds:5.0f} s  {counts or 'no tests'}"


class Started(NamedTuple):
    """A stage under way."""

    name: str
    process: subprocess.Popen[bytes]
    report: Path
    output: Path | None
    """Where its output waits to be printed; None: it goes to the terminal."""
    begun: float


def start(name: str, folder: Path, *, aside: bool = False) -> Started:
    """Start one stage; `aside`: its output is kept for later."""
    _, words = STAGES[name]
    report, output = folder / f"{name}.xml", folder / f"{name}.log" if aside else None
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}", *words]
    if not aside:
        _announce(name)
    # Hundreds of processes import the same modules: whoever compiles one first does it for all.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with output.open("wb") if output is not None else nullcontext() as file:
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=environment, stdout=file, stderr=file)
    return Started(name, process, report, output, time.monotonic())


def finish(started: Started) -> Stage:
    """Wait for a stage, and say how it ended."""
    code = started.process.wait()
    counts, tests = read(started.report) if started.report.exists() else ({}, [])
    # Of a stage aside the time is that until its last test ended, not until somebody looked.
    ended = started.report.stat().st_mtime - time.time() + time.monotonic() if tests else time.monotonic()
    stage = Stage(started.name, code, ended - started.begun, counts, tests)
    if started.output is not None:
        _announce(started.name)
        print(started.output.read_text(errors="replace"), end="")
    print(f"=== {stage.line}", flush=True)
    return stage


def _announce(name: str) -> None:
    print(f"\n=== {name}: {STAGES[name][0]}", flush=True)


def read(report: Path) -> tuple[dict[str, int], list[tuple[float, str]]]:
    """Counts and times of a JUnit file."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    tests = []
    for case in ElementTree.parse(report).iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        counts["failed" if bad else "skipped" if case.find("skipped") is not None else "passed"] += 1
        tests.append((float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}"))
    return counts, tests


def main(names: list[str]) -> int:
    """Run the named stages, or all; returns 1 if one failed."""
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"{', '.join(unknown)}: no such stage; there are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    names = names or list(STAGES)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        beside = [start(name, folder, aside=True) for name in names if name == ASIDE and len(names) > 1]
        try:
            stages = [finish(start(name, folder)) for name in names if name != ASIDE or not beside]
            stages += [finish(started) for started in beside]
        except KeyboardInterrupt:
            for started in beside:
                started.process.send_signal(signal.SIGINT)  # its fixtures end the clusters
                started.process.wait()
            raise
    slowest = sorted((test for stage in stages for test in stage.tests), reverse=True)[:SLOWEST]
    print(f"\n=== the {len(slowest)} slowest tests")
    for seconds, name in slowest:
        print(f"{seconds:6.1f} s  {name}")
    print(f"\n=== all stages: {time.monotonic() - begun:.0f} s")
    for stage in stages:
        print(stage.line)
    return int(any(stage.code for stage in stages))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
