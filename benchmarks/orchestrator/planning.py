"""How fast a grid is composed, planned, rendered and written, against stock Hydra, and as a whole process, in one run.

    python benchmarks/orchestrator/planning.py [CELLS] [--rounds 3] [--json FILE] [--markdown FILE]

240 cells unless told, in twelves. A round has one turn of each, in an order drawn anew: ours, as a command does it
(what Hydra composes once is kept); stock Hydra, which composes the same cells one by one (at most 96 of them, scaled;
its multirun composes each twice); and the dry run of all cells as a process of its own, which plans, writes every
cell's files and every script, and prints the plan by its axes. Every round has seeds of its own: nothing is remembered.
CPU time is compared, since other work on the machine hurts it less. Goals: 300 times stock Hydra, and 12 s for the
process of 10,000 cells.
"""

import os
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from hydra import compose, initialize_config_dir

from benchmarks.provenance import Table, options, report
from benchmarks.ratios import paired, text_of
from benchmarks.rounds import Took, interleaved, ran, summary, timed, verb
from vit_sweep.config.compose import composed_groups
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.plain_yaml import plain
from vit_sweep.config.quick import quick
from vit_sweep.config.quick.cache import CompositionCache
from vit_sweep.config.settings import read
from vit_sweep.plan.plan import make_plan

STOCK_AT_MOST = 96
GPUS, BATCHES = (1, 2, 4, 8), (16, 64, 128)
EXAMPLE = ["gpus=1,2,4,8", "batch=16,64,128", "partition=vector_t4v2"]
OURS, STOCK, WHOLE = "composed and planned", "stock Hydra composes", "the whole dry run, a process"
GOAL, GOAL_S = 300, 12


class Turns:
    """The three ways, each turn over seeds that no other had."""

    def __init__(self, seeds: int, folder: Path) -> None:
        """`seeds` of 12 cells each; what is written goes below `folder`."""
        self._seeds, self._folder, self._turn = seeds, folder, count()

    def _words(self) -> list[str]:
        first_seed = next(self._turn) * self._seeds
        return [*EXAMPLE, f"seed=range({first_seed},{first_seed + self._seeds})"]

    def ours(self) -> Took:
        """The plan of all cells, in this process."""
        words = self._words()

        def work() -> int:
            read_quickly = quick(["-m", *words], CompositionCache([conf_dir()], os.environ), composed_groups)
            assert read_quickly is not None
            return len(make_plan(read(read_quickly.configurations)[0]).cells)

        took, cells = timed(work)
        assert cells == 12 * self._seeds
        return took

    def stock(self) -> Took:
        """Hydra's own composition of each cell, scaled to all of them."""
        seeds = min(self._seeds, STOCK_AT_MOST // 12)

        def work() -> None:
            with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
                for seed in range(seeds):
                    for gpus in GPUS:
                        for batch in BATCHES:
                            words = [f"gpus={gpus}", f"batch={batch}", f"seed={seed}", "partition=vector_t4v2"]
                            plain(compose("config", overrides=words))

        took, _ = timed(work)
        return Took(took.wall * self._seeds / seeds, took.cpu * self._seeds / seeds)

    def whole(self) -> Took:
        """The command as a user gives it, into a new study."""
        return ran(verb("-m", *self._words(), "dry_run=true", f"study=s{next(self._turn)}", f"outputs={self._folder}"))


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    parser = options(__doc__)
    parser.add_argument("cells", type=int, nargs="?", default=240)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(words)
    cells = args.cells // 12 * 12
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        turns = Turns(cells // 12, Path(folder))
        ran(verb("-m", *EXAMPLE, "dry_run=true", "study=first", f"outputs={folder}"))  # what is kept from then on
        turns_by_way = interleaved({OURS: turns.ours, STOCK: turns.stock, WHOLE: turns.whole}, rounds=args.rounds)
    results = summary(turns_by_way, OURS)
    ratio = paired([turn.cpu for turn in turns_by_way[STOCK]], [turn.cpu for turn in turns_by_way[OURS]])
    rows = [
        (
            name,
            f"{figures_of_way['cpu_s']['median']:.3g}",
            f"{figures_of_way['wall_s']['median']:.3g}",
            f"{figures_of_way['peak_mib']:.0f}",
        )
        for name, figures_of_way in results.items()
    ]
    cell_ms = 1000 * results[WHOLE]["cpu_s"]["median"] / cells
    scaled = ", scaled" if cells > STOCK_AT_MOST else ""
    report(
        {"cells": cells, "ways": results, "stock_over_ours": ratio, "whole_cpu_ms_per_cell": cell_ms},
        args,
        Table(f"Planning {cells:,} cells (stock Hydra{scaled})", ("", "CPU s", "wall s", "peak MiB"), rows),
        Table(
            "Against the goals, by CPU time",
            ("", "found", "goal"),
            [
                ("stock Hydra over ours", text_of(ratio), f"{GOAL} times"),
                ("a cell of the whole dry run", f"{cell_ms:.2f} ms", f"{1000 * GOAL_S / 10_000:.1f} ms of 10,000"),
            ],
        ),
    )


if __name__ == "__main__":
    main()
