"""Run every stage of the tests, say what each is and how long it took, and name the slowest tests at the end.

python tests/run.py            # all stages; goes on after a stage that failed, exit 1 if one did
python tests/run.py slurm      # some stages
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

STAGES = {
    "quick": (
        "planning, judging, drawing, queues, the report in a browser; no training, no Slurm",
        ["-m", "not train and not slurm"],
    ),
    # Most of it waits for Slurm, so that two cores carry a third worker.
    "slurm": ("sweeps on a real Slurm of virtual nodes", ["-m", "slurm", "--dist", "loadfile", "-n", "3"]),
    "train": ("sweeps that really train, on this machine", ["-m", "train and not slurm", "--dist", "loadfile"]),
}
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


def run(name: str, report: Path) -> Stage:
    """Run one stage; pytest's own output goes to the terminal."""
    what, words = STAGES[name]
    print(f"\n=== {name}: {what}", flush=True)
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}", *words]
    code = subprocess.run(command, cwd=Path(__file__).parent.parent, check=False).returncode
    seconds = time.monotonic() - begun
    counts, tests = read(report) if report.exists() else ({}, [])
    stage = Stage(name, code, seconds, counts, tests)
    print(f"=== {stage.line}", flush=True)
    return stage


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
    with tempfile.TemporaryDirectory() as folder:
        stages = [run(name, Path(folder) / f"{name}.xml") for name in names or STAGES]
    slowest = sorted((test for stage in stages for test in stage.tests), reverse=True)[:SLOWEST]
    print(f"\n=== the {len(slowest)} slowest tests")
    for seconds, name in slowest:
        print(f"{seconds:6.1f} s  {name}")
    print(f"\n=== all stages: {sum(stage.seconds for stage in stages):.0f} s")
    for stage in stages:
        print(stage.line)
    return int(any(stage.code for stage in stages))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
