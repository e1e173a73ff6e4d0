"""The spread between runs of cells, and what follows: intervals of times and ratios. Pure; `pooling` has the model.

A value stays the median over runs of their medians; its interval is that of their mean logarithm, widened to hold the
value where an outlying run pulls the two apart. Cells are pooled that share model, data set, partition and GPU. A cell
with one run has no interval and takes part in no verdict.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from statistics import median
from typing import NamedTuple

from launchers.text import plural
from vit_sweep.analysis.series.contention import contention, workload_of
from vit_sweep.analysis.series.pooling import (
    DAYS,
    EQUAL,
    Spread,
    half_width_of_one,
    layout_of,
    of_one_cell,
    p_value_of_one,
    spread_of,
)
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.analysis.series.sessions import days_of, sessions_of, together
from vit_sweep.runs.run import Run


class Logarithm(NamedTuple):
    """A ratio's logarithm: the mean over runs, its variance, the degrees of freedom of that."""

    value: float
    variance: float
    freedom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio of two times."""

    estimate: Estimate
    p_value: float
    """Two-sided, of the ratio's being what was expected; 1 where a side has one run."""
    logarithm: Logarithm | None = None
    """What interval and p value rest on; None where a side has one run, or runs are equal to the last digit."""


RatioOf = Callable[[Sequence[Run], Sequence[Run]], Ratio]
"""Epoch time of some runs over that of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Cells whose spread is pooled."""

    name: str
    """What they share; empty if there is no other pool."""
    runs: tuple[Run, ...]
    spread: Spread
    sessions: int
    jobs: int
    """Jobs that several of the runs shared."""


class _Cell(NamedTuple):
    """What is known of a cell, which many ratios ask for."""

    pool: Pool
    place: int
    """In its pool."""
    mean: float
    """Logarithm of its runs."""
    own: bool
    """Whether its spread is that of its own runs only."""
    middle: float
    """The median over its runs."""
    n: int


def epoch_s(run: Run) -> float | None:
    """What a run says of its cell's epoch time."""
    return median(run.epoch_s) if run.epoch_s else None


def step_ms(run: Run) -> float | None:
    """What a run says of its cell's step."""
    return run.step_ms


class Spreads:
    """The spread between runs, learnt from cells; asked by the runs of one of them."""

    def __init__(
        self,
        cells: Iterable[Sequence[Run]],
        measure: Callable[[Run], float | None] = epoch_s,
        *,
        alike: Callable[[Run], str] = workload_of,
        undated: Callable[[Run], str] = lambda _: "",
    ) -> None:
        """Learn from `cells`, each the runs of one, in any order and any number of times.

        `measure`: the positive number that a run gives. `alike`: what cells must share to be pooled, since how far runs
        lie apart is a trait of workload and machine. `undated`: what runs of one session share where nobody knows when
        they began.
        """
        grouped: dict[str, dict[tuple[str, ...], list[Run]]] = {}
        for cell in cells:
            known = sorted((run for run in cell if (measure(run) or 0) > 0), key=lambda run: run.run_id)
            if known:
                grouped.setdefault(alike(known[0]), {})[_ids(cell)] = known
        self._measure, self._undated = measure, undated
        self.pools: list[Pool] = []
        self._cells: dict[tuple[str, ...], _Cell] = {}
        for name in sorted(grouped):
            members = {ids: grouped[name][ids] for ids in sorted(grouped[name])}
            pool = self._pool(name if len(grouped) > 1 else "", list(members.values()))
            self.pools.append(pool)
            self._cells |= {ids: self._cell(pool, number, members[ids]) for number, ids in enumerate(members)}

    def estimate(self, cell: Sequence[Run], *, value: float | None = None) -> Estimate:
        """The median over a cell's runs (or `value`), with its interval. Raises `ValueError` without a number."""
        entry = self._find(cell)
        if value is None:
            value = entry.middle
        if entry.n < 2:
            return Estimate(value=value, n=entry.n)
        return _around(value, _contrast([entry], [1.0]), entry.n)

    def ratio(self, over: Sequence[Run], under: Sequence[Run], *, expected: float = 1.0) -> Ratio:
        """Median of one cell over that of another of the same pool; the p value is of its being `expected`."""
        top, bottom = self._find(over), self._find(under)
        value, n = top.middle / bottom.middle, min(top.n, bottom.n)
        if n < 2 or top.pool is not bottom.pool or top.place == bottom.place:
            return Ratio(estimate=Estimate(value=value, n=n), p_value=1.0)
        return _ratio(value, _contrast([top, bottom], [1.0, -1.0]), n=n, expected=expected)

    def mean_ratio(self, pairs: Sequence[tuple[Sequence[Run], Sequence[Run]]]) -> Ratio:
        """Geometric mean over pairs of cells (over, under) of the ratios of their medians; of these very cells.

        No interval unless both cells of every pair have two runs. `n`: the number of pairs.
        """
        logs = [log(self.ratio(over, under).estimate.value) for over, under in pairs]
        value, n = exp(sum(logs) / len(logs)), len(pairs)
        sides = [self._find(side) for pair in pairs for side in pair]
        pool = sides[0].pool
        single = any(len(side) < 2 for pair in pairs for side in pair)
        if single or any(side.pool is not pool for side in sides):
            return Ratio(estimate=Estimate(value=value, n=n), p_value=1.0)
        return _ratio(value, _contrast(sides, [sign / n for _ in pairs for sign in (1.0, -1.0)]), n=n)

    def of_a_run(self, cell: Sequence[Run]) -> float:
        """Variance of the logarithm of one run of a cell, without what sessions differ by; 0: not known."""
        entry = self._find(cell)
        return float(entry.pool.spread.variance[entry.place])

    def cells_beside(self, cell: Sequence[Run]) -> int:
        """Cells of the pool that this one is of."""
        return len(self._find(cell).pool.spread.layout.counts)

    def notes(self) -> tuple[str, ...]:
        """What a reader of the intervals must know: how far runs differ, over how many cells, and what of days."""
        return tuple(note for pool in self.pools for note in _notes(pool))

    def _find(self, cell: Sequence[Run]) -> _Cell:
        ids = _ids(cell)
        if ids not in self._cells:
            if not any(self._measure(run) for run in cell):
                raise ValueError("an interval needs at least one run with a number")
            known = sorted((run for run in cell if self._measure(run)), key=lambda run: run.run_id)
            self._cells[ids] = self._cell(self._pool("", [known]), 0, known)
        return self._cells[ids]

    def _cell(self, pool: Pool, place: int, runs: Iterable[Run]) -> _Cell:
        values = [number for run in runs if (number := self._measure(run)) is not None]
        mean, own = (float(of[place]) for of in (pool.spread.mean, pool.spread.own))
        return _Cell(pool, place, mean, bool(own), median(values), len(values))

    def _pool(self, name: str, cells: Sequence[Sequence[Run]]) -> Pool:
        runs = [run for cell in cells for run in cell]
        numbers = sessions_of(runs, undated=self._undated)
        which = [number for number, cell in enumerate(cells) for _ in cell]
        common = together(runs, numbers)
        layout = layout_of(which, [common[run.run_id] for run in runs])
        spread = spread_of([log(self._measure(run) or 1.0) for run in runs], layout)
        jobs = {run.shared_job for run in runs} - {""}
        return Pool(name=name, runs=tuple(runs), spread=spread, sessions=max(numbers.values()) + 1, jobs=len(jobs))


def values_interval(values: Sequence[float], widths: Sequence[float] = ()) -> Estimate:
    """The median of positive values that belong to no pool, with its interval. Raises `ValueError` without a value.

    `widths`: of each value, as a part of it, the grid to whose next line it was rounded up, as a time to accuracy is to
    the end of an epoch. A value's variance is then taken to be at least that of its rounding, width^2 / 12 (Sheppard
    1898): runs that all end in the same epoch do not know its time to the millisecond.
    """
    if not values or not all(0 < value < inf for value in values):
        raise ValueError("an interval needs at least one number, and all above 0")
    if len(values) < 2:
        return Estimate(value=values[0], n=1)
    mean, variance, freedom = of_one_cell([log(value) for value in sorted(values)])
    rounding = sum(width**2 for width in widths) / 12 / len(values) ** 2
    return _around(median(values), (mean, max(variance, rounding), freedom), len(values))


def _contrast(cells: Sequence[_Cell], weights: Sequence[float]) -> Logarithm:
    """`Spread.contrast` of cells of one pool; one or two of one session without its arrays: a study has thousands."""
    spread = cells[0].pool.spread
    if len(cells) > 2 or spread.layout.shares.shape[1] > 1 or any(cell.own for cell in cells):
        return Logarithm(*map(float, spread.contrast([cell.place for cell in cells], weights)))
    both = list(zip(cells, weights, strict=True))
    variance = sum(weight**2 / cell.n for cell, weight in both) * float(spread.pool_variance)
    known = variance > EQUAL
    value = sum(weight * cell.mean for cell, weight in both)
    return Logarithm(value, variance if known else 0.0, float(spread.pool_freedom) if known else 0.0)


def _around(value: float, contrast: tuple[float, float, float], n: int) -> Estimate:
    """A value with the interval of its logarithm, of which mean, variance and degrees of freedom are given."""
    centre, variance, freedom = contrast
    if not variance:
        return Estimate(value=value, n=n)  # runs that are equal to the last digit say nothing of the next one
    width = half_width_of_one(variance, freedom)
    # Beyond a factor of e^50 an interval says nothing more, and a float would overflow.
    low, high = (exp(max(-50.0, min(50.0, centre + end))) for end in (-width, width))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n, freedom=freedom)


def _ratio(value: float, known: Logarithm, *, n: int, expected: float = 1.0) -> Ratio:
    return Ratio(
        estimate=_around(value, known, n),
        p_value=p_value_of_one(known.value - log(expected), known.variance, known.freedom),
        logarithm=known if known.variance else None,
    )


def _ids(cell: Iterable[Run]) -> tuple[str, ...]:
    return tuple(sorted({run.run_id for run in cell}))


def _notes(pool: Pool) -> list[str]:
    """Sentences on one pool; none where no cell was repeated."""
    spread, layout = pool.spread, pool.spread.layout
    repeated = int((layout.counts > 1).sum())
    if not repeated or not float(spread.pool_variance):
        return []
    where = f" ({pool.name})" if pool.name else ""
    own = int(spread.own.sum())
    apart = f"; {own} of them, whose runs differ by more, by {'its' if own == 1 else 'their'} own runs" if own else ""
    freedom = f"{float(spread.pool_freedom):.3g}"
    busy = "; runs of contended hosts are among them" if contention(pool.runs, alike=lambda _: "") else ""
    lines = [
        f"95% intervals{where}: Student's t on logarithms of run medians; runs of a cell differ by "
        f"{100 * float(spread.pool_variance) ** 0.5:.2g}% (standard deviation, pooled over "
        f"{plural(repeated, 'cell')}, {freedom} degree{'' if freedom == '1' else 's'} of freedom){apart}{busy}"
    ]
    if pool.jobs:
        lines.append(f"job to job{where}: {_jobs(pool)}")
    return [*lines, f"day to day{where}: {_days(pool)}"]


def _jobs(pool: Pool) -> str:
    spread, freedom = pool.spread, pool.spread.layout.session_freedom
    start = f"cells shared {plural(pool.jobs, 'job')}, and so their nodes"
    if not freedom:
        return (
            f"{start}; no cell ran in two: ratios of cells of unlike jobs take these to differ by {DAYS:.1%}, an "
            "assumption; repeat cells and it will be estimated"
        )
    return (
        f"{start}, which differ by {100 * float(spread.session_variance) ** 0.5:.2g}% beyond what their runs do "
        f"({plural(freedom, 'degree')} of freedom); ratios within a job are free of it, the other intervals hold it"
    )


def _days(pool: Pool) -> str:
    spread, when, freedom = pool.spread, days_of(pool.runs), pool.spread.layout.session_freedom
    if pool.jobs and pool.sessions > 1:
        return f"{pool.sessions} sessions ({when}); what differs between them is in what differs between jobs"
    if not freedom and pool.sessions > 1:
        which = f"{pool.sessions} sessions ({when})" if when else "when the runs began is not known"
        return (
            f"{which}, and no cell ran in two: ratios of cells of unlike sessions take these to differ by {DAYS:.1%}, "
            "an assumption; repeat cells across sessions and it will be estimated"
        )
    if not when:
        return "when the runs began is not known, so what differs between days may be in no interval"
    if pool.sessions == 1:
        return (
            f"all runs are of one session ({when}), so what differs between days is in no interval; repeat cells on "
            "another day and it will be"
        )
    return (
        f"{pool.sessions} sessions ({when}) differ by {100 * float(spread.session_variance) ** 0.5:.2g}% beyond what "
        f"their runs do ({plural(freedom, 'degree')} of freedom); the intervals hold it"
    )
