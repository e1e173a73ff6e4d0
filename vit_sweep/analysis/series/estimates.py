"""Numbers with intervals: when two cannot be told apart, and how a sentence says one. Pure."""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, hypot, inf, log, sqrt
from statistics import fmean
from typing import NamedTuple

from launchers.checked import varied
from launchers.text import plural
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.repeats import LEAST_FREEDOM, USUAL, t_quantile

SIGNIFICANT = 0.05
"""An adjusted p value below this is a verdict."""


class Difference(NamedTuple):
    """What two of several positive numbers let one say of their difference."""

    clear: bool
    """Whether they can be told apart at 5 %, over all pairs that were looked at."""
    doubt: str = ""
    """What hides a difference that would be clear if runs differed as they usually do; empty of a smaller one."""


def difference(first: Estimate, second: Estimate, looked_at: Sequence[Estimate] = ()) -> Difference:
    """Compare two of the numbers that are `looked_at` (only these two, where it is empty).

    Student's t on logarithms, with the standard errors of their intervals and the fewer degrees of freedom. All pairs
    count (Bonferroni), since which is first is chosen by the very numbers. A single run is taken to have
    `single_spread`.
    """
    numbers = looked_at or (first, second)
    probability = 1 - 0.025 / (len(numbers) * (len(numbers) - 1) / 2)
    single = single_spread(numbers)
    (centre, error, freedom), (other, other_error, other_freedom) = (_logarithm(n, single) for n in (first, second))
    gap, total_error = abs(other - centre), hypot(error, other_error)
    if gap > t_quantile(min(freedom, other_freedom), probability) * total_error:
        return Difference(clear=True)
    share = sqrt(1 / first.n + 1 / second.n)
    if gap <= t_quantile(inf, probability) * USUAL * share:
        return Difference(clear=False)
    fewest = min(number.freedom or inf for number in numbers)
    return Difference(clear=False, doubt=_doubt(total_error / share, fewest, fmean(number.n for number in numbers)))


def doubt_of(ratio: Estimate, bound: float) -> str:
    """What makes the interval of a ratio reach `bound`, if it would not where runs differ as usual; else empty."""
    if not ratio.known:
        return ""
    centre, error, freedom = _logarithm(ratio, USUAL)
    share = sqrt(2 / ratio.n)
    if abs(log(bound) - centre) <= t_quantile(inf) * USUAL * share:
        return ""
    return _doubt(error / share, freedom, ratio.n)


def _doubt(deviation: float, freedom: float, runs: float) -> str:
    """That runs differ by so much, or that this rests on too few degrees of freedom, and how many runs give enough.

    `runs`: of each cell so far, above 1. Degrees of freedom grow with the runs beyond the first of each cell.
    """
    if freedom >= LEAST_FREEDOM:
        return f"runs differ too much ({deviation:.0%})"
    repeats = 1 + ceil(LEAST_FREEDOM * (runs - 1) / freedom - 1e-9)
    known = plural(round(freedom), "degree")
    return (
        f"too few runs (they differ by {deviation:.0%}, with {known} of freedom; repeats={repeats} would give "
        f"{LEAST_FREEDOM} or more)"
    )


def single_spread(numbers: Iterable[Estimate]) -> float:
    """How far single runs are taken to differ, as a part: what is usual, and no less than the noisiest repeats do."""
    repeated = [number for number in numbers if number.known and number.freedom]
    return max([USUAL, *(_logarithm(number, USUAL)[1] * sqrt(number.n) for number in repeated)])


def scaled(value: Estimate, factor: float) -> Estimate:
    """The same number in another unit (`factor` above 0)."""
    low, high = (None if end is None else factor * end for end in (value.low, value.high))
    return varied(value, value=factor * value.value, low=low, high=high)


def _logarithm(value: Estimate, single: float) -> tuple[float, float, float]:
    """Of a number's logarithm: the middle of its interval, which is that of the runs' mean where the number is their
    median; its standard error; the degrees of freedom of that. `single`: the error of one run."""
    if value.low is None or value.high is None:
        return log(value.value), single, inf
    freedom = value.freedom or inf
    return log(value.low * value.high) / 2, log(value.high / value.low) / 2 / t_quantile(freedom, 0.975), freedom


def place(point: SeriesPoint, series: ScalingSeries) -> str:
    """`8 GPUs`, with its nodes where another point has as many GPUs."""
    gpus = plural(point.gpus, "GPU")
    twins = [other for other in series.points if other.gpus == point.gpus]
    return f"{gpus} on {plural(point.nodes, 'node')}" if len(twins) > 1 and point.nodes is not None else gpus


def number(value: float) -> str:
    """Three digits, without an exponent for large ones."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def percent(value: float) -> str:
    """A part as whole per cent."""
    return f"{value:.0%}"


def interval(value: Estimate, form: Callable[[float], str]) -> str:
    """The 95 % interval in the given form, or that there is none."""
    if value.low is None or value.high is None:
        return f"n={value.n}, no interval"
    low, high = _alike(form(value.low), form(value.high))
    return f"95% interval {low} to {high}"


def _alike(*ends: str) -> list[str]:
    """Numbers with as many decimals as the one that has most; other texts as they are.

    >>> _alike("9", "9.09"), _alike("8.4", "9.82"), _alike("69%", "70%")
    (['9.00', '9.09'], ['8.40', '9.82'], ['69%', '70%'])
    """
    if not all(end.replace(".", "", 1).isdigit() for end in ends):
        return list(ends)
    decimals = max(len(end.partition(".")[2]) for end in ends)
    return [f"{float(end):.{decimals}f}" for end in ends]
