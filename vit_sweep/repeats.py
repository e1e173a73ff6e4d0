"""How many repeats a measurement needs: until the interval on its median is narrow enough. Pure.

The interval is a two-level bootstrap (Davison & Hinkley 1997, section 3.8): runs are drawn with replacement, then the
epochs inside each drawn run, and the median of all of them is taken; 2.5 % and 97.5 % of 1,000 such medians, seeded.
Runs are the upper level because epochs of one run share their nodes, clocks and luck.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from launchers.checked import checked
from launchers.profile import Count, Positive
from vit_sweep.cell import Cell
from vit_sweep.record import Record
from vit_sweep.scaling import Result

LEAST_RUNS = 3
"""Fewer runs say nothing of their spread."""
_DRAWS = 1000
_TAIL = 0.025


@checked
class RepeatRule:
    """When a cell has been repeated enough."""

    half_width: Positive
    """Relative half-width of the interval on the median epoch time: 0.02 is +- 2 %."""
    most: Count
    """Runs of one cell at most."""


@checked
class Interval:
    """A 95 % interval on a median."""

    low: float
    median: float
    high: float
    runs: int

    @property
    def half_width(self) -> float:
        """Half of its width, as a part of the median."""
        return (self.high - self.low) / 2 / self.median


def interval(runs: Sequence[Sequence[float]], *, seed: int = 0) -> Interval:
    """The interval on the median of `runs` (each: positive epoch times). Raises `ValueError` without a number."""
    if not runs or not all(runs):
        raise ValueError("an interval needs at least one run, and every run at least one number")
    draw = random.Random(seed)
    medians = sorted(
        median([draw.choice(run) for run in draw.choices(runs, k=len(runs)) for _ in run]) for _ in range(_DRAWS)
    )
    cut = int(_TAIL * _DRAWS)
    every = [seconds for run in runs for seconds in run]
    return Interval(low=medians[cut], median=median(every), high=medians[-1 - cut], runs=len(runs))


def more(runs: Sequence[Sequence[float]], rule: RepeatRule) -> int:
    """How many further runs to make now: 0 once the interval is narrow enough or the rule's most is reached.

    A half-width shrinks with the square root of the runs, which says how many are missing.
    """
    room = rule.most - len(runs)
    if room <= 0:
        return 0
    if len(runs) < LEAST_RUNS:
        return min(room, LEAST_RUNS - len(runs))
    width = interval(runs).half_width
    if width <= rule.half_width:
        return 0
    wanted = math.ceil(len(runs) * (width / rule.half_width) ** 2)
    return max(1, min(room, wanted - len(runs)))


def epoch_seconds(record: Record) -> tuple[float, ...]:
    """The epoch times of a run that count: whole and warm ones, or all if there are no others."""
    steady = [e.seconds for e in record.epochs[1:] if not (e.cold or e.interrupted)]
    return tuple(steady or [e.seconds for e in record.epochs])


def further(results: Iterable[Result], rule: RepeatRule, *, active: Iterable[str]) -> Mapping[str, tuple[Cell, ...]]:
    """The cells to add, by the id of the cell that they repeat: the same with seeds that nobody has used.

    Cells that differ only in their seed are repeats of each other. While one of them is under way, or one has failed
    for good, nothing is added: the first may suffice, and the second would only fail again. `active`: states of cells
    that may still get a record.
    """
    groups: dict[Cell, list[Result]] = {}
    for result in results:
        groups.setdefault(replace(result.file.cell, seed=0), []).append(result)
    active = frozenset(active)
    added: dict[str, tuple[Cell, ...]] = {}
    for members in groups.values():
        if any(member.status in active or member.record is None for member in members):
            continue
        count = more([epoch_seconds(m.record) for m in members if m.record is not None], rule)
        cells = [member.file.cell for member in members]
        last = max(cell.seed for cell in cells)
        if count:
            first = min(members, key=lambda member: member.file.cell.seed)
            added[first.file.cell_id] = tuple(
                replace(first.file.cell, seed=seed) for seed in range(last + 1, last + 1 + count)
            )
    return added
