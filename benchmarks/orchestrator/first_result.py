"""How long until a sweep's first table, against `import torch` in one run.

    python benchmarks/orchestrator/first_result.py [--sweeps 1] [--json FILE]

So many times, a sweep of three tiny cells on this machine, from its command to its first table (after two cells) and to
its end, both over what importing torch takes, once before each sweep. It is wall time, so of a quiet machine only.
What a rank does until its first step: `benchmarks/trainer/start.py`.
"""

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.provenance import ROOT, Table, options, report
from benchmarks.rounds import ran, verb

SWEEP = ["-m", "gpus=1", "batch=32,64,128", "scaling=weak", "epochs=1", "partition=local", "data=digits", "study=s"]
FIRST_TABLE = "weak scaling so far"


def sweep(folder: Path) -> tuple[float, float]:
    """Seconds from a sweep's command to its first table, and to its end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    begun, first_table_s = time.perf_counter(), math.inf
    with subprocess.Popen(
        verb(*SWEEP), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, process_group=0
    ) as client:
        assert client.stdout is not None
        try:
            for line in client.stdout:
                if line.startswith(FIRST_TABLE):
                    first_table_s = min(first_table_s, time.perf_counter() - begun)
        except BaseException:
            os.killpg(client.pid, signal.SIGINT)
            raise
    if client.returncode:
        raise RuntimeError(f"the sweep ended with exit code {client.returncode}")
    if first_table_s == math.inf:
        raise RuntimeError(f"no table before the sweep's end: no line begins with {FIRST_TABLE!r}")
    return first_table_s, time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--sweeps", type=int, default=1)
    args = words.parse_args()
    torch_s, ratios_by_sweep = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(max(1, args.sweeps)):
            torch_s.append(ran([sys.executable, "-c", "import torch"]).wall)
            if args.sweeps:
                sweep_folder = Path(folder, str(number))
                sweep_folder.mkdir()
                ratios_by_sweep.append([seconds / torch_s[-1] for seconds in sweep(sweep_folder)])
    figures = {"torch_s": median(torch_s)}
    tables = []
    if ratios_by_sweep:
        first_table, end = (median(ratios) for ratios in zip(*ratios_by_sweep, strict=True))
        figures |= {"first_table_over_torch": first_table, "end_over_torch": end}
        rows = [("first table, after two cells", f"{first_table:.1f}"), ("end, figures drawn", f"{end:.1f}")]
        tables.append(Table("A sweep of three tiny cells", ("from its command to", "times import torch"), rows))
    report(figures, args, *tables)


if __name__ == "__main__":
    main()
