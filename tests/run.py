"""Run every stage of the tests, say what each is and how long it took, and name the slowest tests at the end.

python tests/run.py            # all stages; goes on after a stage that failed, exit 1 if one did
python tests/run.py slurm      # some stages

All of them at once: much of what they do is waiting, for Slurm, a disk, a rank or a browser, and one stage after the
other would leave cores idle.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
FILES = ("--dist", "loadfile", "--no-loadscope-reorder")
"""Whole files, so that what the tests of one share is made once, in their order: xdist's own keeps those of few tests
for the end, and these are the longest.
"""
PYTEST = (sys.executable, "-m", "pytest", "-q", *FILES)
STAGES = {
    "train": ("sweeps that really train, on this machine", [*PYTEST, "-n", "2", "-m", "train and not slurm"]),
    "slurm": ("sweeps on a real Slurm of virtual nodes", [*PYTEST, "-n", "2", "-m", "slurm"]),
    "quick": (
        "planning, judging, drawing, queues, the report in a browser; no training, no Slurm",
        [*PYTEST, "-n", "2", "-m", "not train and not slurm"],
    ),
    "lint": ("ruff, mypy --strict, import contracts", ["make", "--no-print-directory", "lint"]),
}
"""What each is, and its command. The longest is first: what it says is seen at once, of the others when they end."""
SLOWEST = 20


class Stage(NamedTuple):
    """What became of one stage."""

    name: str
    code: int
    seconds: float
    processor_s: float
    """Processor time of it and of the processes that it waited for: what does not depend on the other stages."""
    counts: dict[str, int]
    """Tests by how they ended: passed, failed, skipped."""
    tests: list[tuple[float, str]]
    """Seconds of each test, set-up and clean-up included, and its name."""
    output: str
    """What it said, if nobody has seen that yet."""

    @property
    def line(self) -> str:
        """The stage in one line for people."""
        counts = ", ".join(f"{count} {how}" for how, count in self.counts.items() if count)
        spent = f"{self.seconds:5.0f} s {self.processor_s:5.0f} s of CPU"
        return f"{self.name:6} {'ok' if self.code == 0 else 'FAILED':6} {spent}  {counts}".rstrip()


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
    what, command = STAGES[name]
    report, output = folder / f"{name}.xml", folder / f"{name}.log" if aside else None
    reporting = [f"--junitxml={report}"] if command[: len(PYTEST)] == [*PYTEST] else []
    print(f"=== {name}: {what}", flush=True)
    # Hundreds of processes import the same modules: whoever compiles one first does it for all.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with output.open("wb") if output is not None else nullcontext() as file:
        process = subprocess.Popen([*command, *reporting], cwd=ROOT, env=environment, stdout=file, stderr=file)
    return Started(name, process, report, output, time.monotonic())


def finish(started: Started) -> Stage:
    """Wait for a stage, and say what became of it."""
    _, status, usage = os.wait4(started.process.pid, 0)
    code = started.process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started.begun
    counts, tests = read(started.report) if started.report.exists() else ({}, [])
    output = started.output.read_text(errors="replace") if started.output is not None else ""
    return Stage(started.name, code, seconds, usage.ru_utime + usage.ru_stime, counts, tests, output)


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
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as waiting:
        under_way = [start(name, Path(temporary), aside=name != names[0]) for name in names]
        stages = []
        try:
            for ended in as_completed([waiting.submit(finish, started) for started in under_way]):
                stages.append(ended.result())
                print(f"\n=== {stages[-1].name}\n{stages[-1].output}=== {stages[-1].line}", flush=True)
        except KeyboardInterrupt:
            for started in under_way[1:]:
                started.process.send_signal(signal.SIGINT)  # its fixtures end the clusters
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
