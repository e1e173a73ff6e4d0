"""From the start of a rank's process to the end of its first step, against `import torch`, all in turns.

    python benchmarks/trainer/start.py [--rounds 5] [--ways rank ...] [--against CHECKOUT ...] [--uncompiled]

`torch` imports torch and ends without taking anything apart. `rank` is the process that Slurm starts for a rank, of a
tiny cell on one core without the measurements before a training; `rank, DeepSpeed` is one whose engine is DeepSpeed's.
With `--against` the same of other checkouts, by their commits. With `--uncompiled` also one that finds no bytecode and
may keep none, as where an installer left an environment without it and jobs cannot write there. The goals are processor
time over torch's: half of what each was before 2026-11-30 (2.2 and 2.4), when every rank imported torch's compiler. The
second table says which part of a start takes what.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.provenance import ROOT, Table, commit_of, options, report
from benchmarks.rounds import AGAIN, Took, Turn, compared, interleaved, ran, summary, with_control

GOALS = {"rank": 1.1, "rank, DeepSpeed": 1.2}
ENGINES = {"rank": "kind='ddp', zero_stage=None", "rank, DeepSpeed": "zero_stage=0"}
UNCOMPILED = "rank, no bytecode"
PLACE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "VIT_SWEEP_TASK_INDEX": "0",
    "VIT_SWEEP_JOB_ID": "local-1-1",
    "OMP_NUM_THREADS": "1",
    "DS_ACCELERATOR": "cpu",
}
STUDY = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.e2e.train.ranks import Job, small_cell
cell = small_cell(epochs=1)
Job(Path(sys.argv[1]), replace(cell, engine=replace(cell.engine, ENGINE))).batch(1)
"""
"""Makes a study of one cell with its own checkout's builders."""
UNTIL_A_STEP = """
import json, os, sys, time
from vit_sweep.job import guardian, task
said = [["our own", 0.0]]
beat = guardian.Guardian.beat
def told(self, phase, epoch, step):
    done = phase == "training" and step > 0
    said.append([phase, time.process_time()])
    if done:
        with open(sys.argv[2], "w") as file:
            json.dump(said, file)
        os._exit(0)
    beat(self, phase, epoch, step)
guardian.Guardian.beat = told
sys.exit(f"a rank ended before its second step: {task.main(sys.argv[1:2])}")
"""
"""A rank's first line, and its end where the loop says that a step is done; writes what it said until then."""
PARTS = {"our own": "Python and our own modules", "importing": "what it imports, torch among it"}


class Starts:
    """A way's turns, and what took its time in each."""

    def __init__(self, folder: Path, engine: str, *, code: Path = ROOT, **environment: str) -> None:
        self._folder, self._engine, self._code = folder, engine, code
        self._environment: Any = PLACE | environment
        self._turns = 0
        self.parts: list[dict[str, float]] = []

    def __call__(self) -> Took:
        """Start a rank of a study of its own."""
        self._turns += 1
        study, phases_file = self._folder / str(self._turns), self._folder / f"{self._turns}.json"
        self._folder.mkdir(exist_ok=True)
        # In a folder without code: `-c` imports from where it is first.
        ran([sys.executable, "-c", STUDY.replace("ENGINE", self._engine), study], code=self._code, cwd=self._folder)
        (batch,) = (study / "jobs").iterdir()
        command: list[str | Path] = [sys.executable, "-c", UNTIL_A_STEP, batch, phases_file]
        took = ran(command, code=self._code, cwd=self._folder, **self._environment)
        self.parts.append(parts_of(json.loads(phases_file.read_text())))
        return took


def parts_of(phases: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Seconds of the processor by what the rank said that it does; how it meets the others is one part."""
    parts: dict[str, float] = {}
    for (phase, begun), (_, end) in itertools.pairwise(phases):
        name = "meeting the others" if phase.startswith("waiting for ") else PARTS.get(phase, phase)
        parts[name] = parts.get(name, 0.0) + end - begun
    return parts


def ways_of(folder: Path, names: Sequence[str], against: Sequence[Path], *, uncompiled: bool) -> dict[str, Turn]:
    """Each way's turn; the folder holds their studies."""
    bare = [sys.executable, "-c", "import os, torch; os._exit(0)"]
    ways: dict[str, Turn] = {"torch": lambda: ran(bare, cwd=folder)}
    for name in names:
        ways[name] = Starts(folder / name, ENGINES[name])
        for code in against:
            name_at_commit = f"{name}, at {commit_of(code)[:7]}"
            ways[name_at_commit] = Starts(folder / name_at_commit, ENGINES[name], code=code)
    if uncompiled:
        nowhere: Any = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "none")}
        ways[UNCOMPILED] = Starts(folder / UNCOMPILED, ENGINES["rank"], **nowhere)
    return ways


def table_of(parts: Mapping[str, Mapping[str, float]]) -> Table:
    """The parts of a start, those of a hundredth of a second or more."""
    names = dict.fromkeys(name for of in parts.values() for name, s in of.items() if s >= 0.01)
    rows = [(name, *(f"{of[name]:.2f}" if name in of else "" for of in parts.values())) for name in names]
    return Table("Where a start goes, s of the processor", ("", *parts), rows)


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--ways", nargs="*", default=list(ENGINES), choices=list(ENGINES), help="torch is always there")
    words.add_argument("--against", type=Path, nargs="*", default=[], help="other checkouts, whose ranks start too")
    words.add_argument("--uncompiled", action="store_true", help="also a rank that finds no bytecode")
    args = words.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        against = [checkout.resolve() for checkout in args.against]
        turns = ways_of(Path(temporary), args.ways, against, uncompiled=args.uncompiled)
        for turn in turns.values() if args.rounds > 1 else ():
            turn()  # files come from the disk once
        measured = interleaved(with_control(turns, "torch"), rounds=args.rounds)
    parts = {
        name: {part: round(median(one[part] for one in way.parts), 3) for part in way.parts[0]}
        for name, way in turns.items()
        if isinstance(way, Starts) and name != AGAIN
    }
    tables = [compared("From a process's start to its first step", measured, "torch", by="cpu", goals=GOALS)]
    report(
        {"starts": summary(measured, "torch"), "parts": parts},
        args,
        *tables,
        *([table_of(parts)] if parts else []),
    )


if __name__ == "__main__":
    main()
