"""How fast a grid is composed, planned and rendered, against stock Hydra, in one run.

    python benchmarks/orchestrator/planning.py [CELLS] [--rounds 3] [--json FILE]      240 cells unless told, in twelves

Prints seconds for both ways over the same cells (stock Hydra on at most 240 of them, scaled), their ratio, the
seconds to render and write the scripts, the peak memory, and the wall time of the 12-cell example's whole dry run (a
fresh process, imports included). Interleaved, the best of the rounds, so that a busy machine hurts both alike. CPU
seconds stand beside wall time, since other work on the machine hurts them less.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from benchmarks.provenance import options, report
from vit_sweep.config.compose import expand, plain
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.settings import read
from vit_sweep.plan.cell import JobOptions
from vit_sweep.plan.plan import Plan, make_plan
from vit_sweep.study.snapshot import take
from vit_sweep.study.store import Study
from vit_sweep.submit.batches import Todo, render

STOCK_AT_MOST = 240
GPUS, BATCHES = (1, 2, 4, 8), (16, 64, 128)
EXAMPLE = ["gpus=1,2,4,8", "batch=16,64,128"]

T = TypeVar("T")


class Took(NamedTuple):
    """Seconds of a piece of work; the processor's with those of its ended children."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s (CPU {self.cpu:.2f})"


def timed(work: Callable[[], T]) -> tuple[Took, T]:
    begun, cpu = time.perf_counter(), sum(os.times()[:4])
    result = work()
    return Took(time.perf_counter() - begun, sum(os.times()[:4]) - cpu), result


def composed_and_planned(seeds: int, rounds: int) -> tuple[Took, Took, Plan]:
    """The best of ours and of stock Hydra (scaled) over the same cells, and the plan."""
    overrides = [*EXAMPLE, f"seed=range({seeds})", "partition=vector_t4v2"]
    stock_seeds = range(min(seeds, STOCK_AT_MOST // 12))
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None

        def ours() -> Plan:
            master = compose("config", return_hydra_config=True)
            points, _ = read(expand(overrides, loader=hydra.config_loader, master=master))
            return make_plan(points)

        def stock() -> None:
            for seed in stock_seeds:
                for gpus in GPUS:
                    for batch in BATCHES:
                        words = [f"gpus={gpus}", f"batch={batch}", f"seed={seed}", "partition=vector_t4v2"]
                        plain(compose("config", overrides=words))

        pairs = [(timed(ours), timed(stock)) for _ in range(rounds)]
    (fast, plan), slow = min((ours for ours, _ in pairs), key=lambda t: t[0]), min(s for _, (s, _) in pairs)
    scale = seeds / len(stock_seeds)
    return fast, Took(slow.wall * scale, slow.cpu * scale), plan


def written(plan: Plan) -> tuple[Took, Took]:
    """To write the plan with every cell's files, and to render and write the scripts."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create_or_resume(Path(folder) / "s")
        files, _ = timed(lambda: study.write_plan(plan, data_root="data", options=JobOptions()))
        todo = {cell_id: Todo(planned=planned, attempt=1, since=1) for cell_id, planned in plan.cells.items()}
        code = take(study.folder)
        scripts, _ = timed(lambda: [study.write_rendered(item) for item in render(study, todo, code)])
    return files, scripts


def dry_run() -> Took:
    """The 12-cell example as a user runs it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vit_sweep", "-m", *EXAMPLE, "dry_run=true", f"outputs={folder}"]
        return timed(lambda: subprocess.run(command, check=True, capture_output=True))[0]


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("cells", type=int, nargs="?", default=240)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    fast, slow, plan = composed_and_planned(given.cells // 12, given.rounds)
    cells = len(plan.cells)
    assert cells == given.cells // 12 * 12
    files, scripts = written(plan)
    whole = min(dry_run() for _ in range(given.rounds))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    results = {
        "cells": cells,
        "composed": fast._asdict(),
        "stock": slow._asdict(),
        "ratio": {"wall": slow.wall / fast.wall, "cpu": slow.cpu / fast.cpu},
        "files": files._asdict(),
        "scripts": scripts._asdict(),
        "peak_mib": peak_mib,
        "dry_run": whole._asdict(),
    }
    scaled = " (scaled)" if cells > STOCK_AT_MOST else ""
    print(f"{cells} cells: composed and planned in {fast}; stock Hydra composes them in {slow}{scaled}")
    print(
        f"ratio {slow.wall / fast.wall:.1f} (CPU {slow.cpu / fast.cpu:.1f}); stock multirun composes every cell twice"
    )
    print(f"plan.json and every cell's files written in {files}")
    print(f"scripts rendered and written in {scripts}")
    print(f"peak memory {peak_mib:.0f} MiB")
    print(f"the 12-cell dry run as a whole process: {whole} (goal 1.5)")
    report(results, given)


if __name__ == "__main__":
    main()
