"""How a sentence says a GPU count, a number and its interval. Pure."""

from collections.abc import Callable

from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint


def place(point: SeriesPoint, series: ScalingSeries) -> str:
    """`8 GPUs`, with its nodes where another point has as many GPUs."""
    word = f"{point.gpus} GPU{'s' if point.gpus != 1 else ''}"
    twins = [other for other in series.points if other.gpus == point.gpus]
    return f"{word} on {point.nodes} node(s)" if len(twins) > 1 and point.nodes is not None else word


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
