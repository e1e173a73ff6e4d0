"""How many repeats a measurement needs: until the interval on its median is narrow enough. Pure.

The interval is that of the tables, `analysis.series.spreads`: its spread is pooled over the cells of a workload and
machine, so that these stop sooner together than each would by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launchers.text import grouped
from vit_sweep.outcome.result import Result
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.repeats import RepeatRule, runs_to_add
from vit_sweep.runs.of_study import run_of
from vit_sweep.runs.run import Run

if TYPE_CHECKING:
    # It imports numpy and scipy, which whoever watches a study without a rule does not need.
    from vit_sweep.analysis.series.spreads import Spreads


def runs_wanted(runs: Sequence[Run], spreads: "Spreads", rule: RepeatRule) -> int:
    """How many further runs of a cell to make now (`plan.repeats.runs_to_add`)."""
    time = spreads.estimate(runs)
    width = None if time.low is None or time.high is None else (time.high - time.low) / 2 / time.value
    return runs_to_add(len(runs), width, spreads.cells_beside(runs), rule)


def repeats_to_add(results: Iterable[Result], rule: RepeatRule) -> Mapping[str, tuple[Cell, ...]]:
    """The cells to add, by the id of the cell that they repeat: the same with seeds that nobody has used.

    Cells that differ only in their seed are repeats of each other. While one of them is under way, or one has failed
    for good, nothing is added: the first may suffice, and the second would only fail again.
    """
    from vit_sweep.analysis.series.spreads import Spreads

    own = [result for result in results if result.file.cell.origin is None]  # others finish for their own sake
    groups = grouped((result.file.cell.configuration, result) for result in own)
    complete = {
        cell: [run_of(member) for member in members]
        for cell, members in groups.items()
        if not any(member.status.under_way or member.record is None for member in members)
    }
    spreads = Spreads(complete.values())
    added: dict[str, tuple[Cell, ...]] = {}
    for cell, runs in complete.items():
        count = runs_wanted(runs, spreads, rule)
        seeds = [member.file.cell.seed for member in groups[cell]]
        if count:
            lowest_seed = min(groups[cell], key=lambda member: member.file.cell.seed)
            added[lowest_seed.file.cell_id] = tuple(
                replace(cell, seed=seed) for seed in range(max(seeds) + 1, max(seeds) + 1 + count)
            )
    return added
