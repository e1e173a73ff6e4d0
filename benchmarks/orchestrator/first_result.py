"""How long until a rank's first step could begin, and until a sweep's first table, against `import torch` in one run.

    python benchmarks/orchestrator/first_result.py [--rounds 5] [--sweeps 1] [--ways NAME ...] [--json FILE]

In turns, each as a process of its own: `torch` alone; `rank` imports all that a rank does that compiles nothing;
`rank, DeepSpeed` what those do whose engine is DeepSpeed's; `rank, compiler` one that compiles, which is what every
rank imported before 2026-11-30. The goals are CPU time over torch's: half of what each was, 2.2 and 2.4. Then, so many
times, a sweep of three tiny cells on this machine, from its command to its first table (after two cells) and to its
end, both over what `torch` took; that is wall time, so of a quiet machine only.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.provenance import ROOT, Table, options, report
from benchmarks.rounds import Turn, compared, interleaved, ran, summary, verb, with_control

RANK, DEEPSPEED, COMPILER = "vit_sweep.job.train.preload", "vit_sweep.job.train.with_deepspeed", "torch._dynamo"
WAYS = {
    "torch": ["torch"],
    "rank": [RANK],
    "rank, DeepSpeed": [RANK, DEEPSPEED],
    "rank, compiler": [COMPILER, RANK],
}
GOALS = {"rank": 1.1, "rank, DeepSpeed": 1.2}
SWEEP = ["-m", "gpus=1", "batch=64,128,256", "scaling=weak", "epochs=1", "partition=local", "data=digits", "study=s"]
FIRST_TABLE = "scaling so far"


def turn_of(modules: list[str], folder: Path) -> Turn:
    """A process that imports these and ends."""
    words = [sys.executable, "-c", f"import {', '.join(modules)}"]
    return lambda: ran(words, cwd=folder, DS_ACCELERATOR="cpu")


def sweep(folder: Path) -> tuple[float, float]:
    """Seconds from a sweep's command to its first table, and to its end."""
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    begun, first = time.perf_counter(), float("nan")
    with subprocess.Popen(
        verb(*SWEEP), cwd=folder, env=here, stdout=subprocess.PIPE, text=True, process_group=0
    ) as client:
        assert client.stdout is not None
        try:
            for line in client.stdout:
                if FIRST_TABLE in line:
                    first = min(first, time.perf_counter() - begun)
        except BaseException:
            os.killpg(client.pid, signal.SIGINT)
            raise
    if client.returncode:
        raise RuntimeError(f"the sweep ended with exit code {client.returncode}")
    return first, time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--sweeps", type=int, default=1)
    words.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="torch is always among them")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ways = {name: turn_of(WAYS[name], folder) for name in dict.fromkeys(["torch", *given.ways])}
        for turn in ways.values() if given.rounds > 1 else ():
            turn()  # files come from the disk once
        found = interleaved(with_control(ways, "torch"), rounds=given.rounds)
        (folder / "sweeps").mkdir()
        looked = []
        for number in range(given.sweeps):
            place = folder / "sweeps" / str(number)
            place.mkdir()
            looked.append(sweep(place))
    torch_s = median(turn.wall for turn in found["torch"])
    tables = [compared("Imports of a process", found, "torch", by="cpu", goals=GOALS)]
    figures = {"imports": summary(found, "torch")}
    if looked:
        first, whole = (median(seconds) / torch_s for seconds in zip(*looked, strict=True))
        figures["sweep"] = {"first_table_over_torch": first, "end_over_torch": whole}
        rows = [("first table, after two cells", f"{first:.1f}"), ("end, figures drawn", f"{whole:.1f}")]
        tables.append(Table("A sweep of three tiny cells", ("from its command to", "times import torch"), rows))
    report(figures, given, *tables)


if __name__ == "__main__":
    main()
