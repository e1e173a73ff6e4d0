"""How many repeats a measurement needs: until the interval on its median is narrow enough. Pure.

The interval is that of the tables, `analysis.bootstrap`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vit_sweep.outcome.result import Result
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.repeats import LEAST_RUNS, RepeatRule
from vit_sweep.record.stats import epoch_time


def more(runs: Sequence[Sequence[float]], rule: RepeatRule) -> int:
    """How many further runs to make now: 0 once the interval is narrow enough or the rule's most is reached.

    A half-width shrinks with the square root of the runs, which says how many are missing.
    """
    room = rule.most - len(runs)
    if room <= 0:
        return 0
    if len(runs) < LEAST_RUNS:
        return min(room, LEAST_RUNS - len(runs))
    width = half_width(runs)
    if width <= rule.half_width:
        return 0
    wanted = math.ceil(len(runs) * (width / rule.half_width) ** 2)
    return max(1, min(room, wanted - len(runs)))


def half_width(runs: Sequence[Sequence[float]], *, seed: int = 0) -> float:
    """Half of the interval on the median epoch time, as a part of it; each of `runs`: positive epoch times.

    Raises `ValueError` without a number, and for one run, which has no interval.
    """
    from vit_sweep.analysis.series.bootstrap import median_of

    estimate = median_of(runs, seed=seed)
    if estimate.low is None or estimate.high is None:
        raise ValueError("one run says nothing of its own spread")
    return (estimate.high - estimate.low) / 2 / estimate.value


def further(results: Iterable[Result], rule: RepeatRule) -> Mapping[str, tuple[Cell, ...]]:
    """The cells to add, by the id of the cell that they repeat: the same with seeds that nobody has used.

    Cells that differ only in their seed are repeats of each other. While one of them is under way, or one has failed
    for good, nothing is added: the first may suffice, and the second would only fail again.
    """
    groups: dict[Cell, list[Result]] = {}
    for result in results:
        groups.setdefault(replace(result.file.cell, seed=0), []).append(result)
    added: dict[str, tuple[Cell, ...]] = {}
    for members in groups.values():
        if any(member.status.under_way or member.record is None for member in members):
            continue
        count = more([epoch_time(m.record).values_s for m in members if m.record is not None], rule)
        cells = [member.file.cell for member in members]
        last = max(cell.seed for cell in cells)
        if count:
            first = min(members, key=lambda member: member.file.cell.seed)
            added[first.file.cell_id] = tuple(
                replace(first.file.cell, seed=seed) for seed in range(last + 1, last + 1 + count)
            )
    return added
