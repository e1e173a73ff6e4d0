"""Numbers with intervals: when two cannot be told apart, and how a sentence says one. Pure."""

from collections.abc import Callable
from dataclasses import replace
from math import hypot, inf, log

from launchers.text import plural
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.repeats import USUAL, t_quantile


def alike(first: Estimate, second: Estimate, *, among: int = 2) -> bool:
    """Whether two positive numbers cannot be told apart at 5 %, over all pairs of the `among` that were looked at.

    Student's t on logarithms, with the standard errors of their intervals and the fewer degrees of freedom. All pairs
    count (Bonferroni), since which is first is chosen by the very numbers. A single run is taken to have the usual
    spread.
    """
    pairs = among * (among - 1) / 2
    freedom = min(number.freedom or inf for number in (first, second))
    (centre, error), (other, other_error) = _logarithm(first), _logarithm(second)
    return abs(other - centre) <= t_quantile(freedom, 1 - 0.025 / pairs) * hypot(error, other_error)


def scaled(value: Estimate, factor: float) -> Estimate:
    """The same number in another unit (`factor` above 0)."""
    low, high = (None if end is None else factor * end for end in (value.low, value.high))
    return replace(value, value=factor * value.value, low=low, high=high)


def _logarithm(value: Estimate) -> tuple[float, float]:
    """The middle of its interval, which is that of the runs' mean where the number is their median, and its error."""
    if value.low is None or value.high is None:
        return log(value.value), USUAL
    return log(value.low * value.high) / 2, log(value.high / value.low) / 2 / t_quantile(value.freedom or inf)


def place(point: SeriesPoint, series: ScalingSeries) -> str:
    """`8 GPUs`, with its nodes where another point has as many GPUs."""
    gpus = plural(point.gpus, "GPU")
    twins = [other for other in series.points if other.gpus == point.gpus]
    return f"{gpus} on {point.nodes} node(s)" if len(twins) > 1 and point.nodes is not None else gpus


def number(value: float) -> str:
    """Three digits, without an exponent for large ones."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def percent(value: float) -> str:
    """A part as whole per cent."""
    return f"{value:.0%}"


def interval(value: Estimate, form: Callable[[float], str]) -> str:
    """The 95 % interval in the given form, or that there is none."""
    if value.low is None or value.high is None:
        return f"n={value.n}, no interval"
    return f"95% interval {form(value.low)} to {form(value.high)}"
