"""Numbers with intervals: when two cannot be told apart, and how a sentence says one. Pure."""

from collections.abc import Callable
from dataclasses import replace

from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint

SINGLE_RUN = 0.04
"""Half-width given to a time that has no interval. An assumption, not a finding: like runs commonly differ by a few
per cent, and only repeats say by how much here."""


def alike(first: Estimate, second: Estimate) -> bool:
    """Whether their 95 % intervals overlap.

    Of two numbers that are equally sure this is stricter than a test of their difference at 5 %: it calls equal ones
    unlike in 0.6 %, which leaves room for picking the best of eight (Bonferroni).
    """
    (low, high), (other_low, other_high) = _ends(first), _ends(second)
    return low <= other_high and other_low <= high


def scaled(value: Estimate, factor: float) -> Estimate:
    """The same number in another unit (`factor` above 0)."""
    low, high = (None if end is None else factor * end for end in (value.low, value.high))
    return replace(value, value=factor * value.value, low=low, high=high)


def _ends(value: Estimate) -> tuple[float, float]:
    if value.low is None or value.high is None:
        return value.value * (1 - SINGLE_RUN), value.value * (1 + SINGLE_RUN)
    return value.low, value.high


def place(point: SeriesPoint, series: ScalingSeries) -> str:
    """`8 GPUs`, with its nodes where another point has as many GPUs."""
    gpus = f"{point.gpus} GPU{'s' if point.gpus != 1 else ''}"
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
