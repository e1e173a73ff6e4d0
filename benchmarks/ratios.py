"""Medians, ratios within a round, and their intervals. Pure."""

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import median


def interval(values: Iterable[float]) -> tuple[float, float]:
    """95 % interval of the median by order statistics: ranks n/2 -+ 0.98 sqrt(n); of few values it is all of them."""
    ordered = sorted(values)
    half, reach = len(ordered) / 2, 0.98 * sqrt(len(ordered))
    return ordered[max(0, int(half - reach))], ordered[min(len(ordered) - 1, int(half + reach))]


def paired(values: Iterable[float], base: Iterable[float]) -> dict[str, float]:
    """Median of the ratios within a round, and its interval."""
    ratios = [a / b for a, b in zip(values, base, strict=True)]
    low, high = interval(ratios)
    return {"ratio": round(median(ratios), 4), "low": round(low, 4), "high": round(high, 4)}


def spread(values: Sequence[float], digits: int) -> dict[str, float]:
    """Median and interval, rounded."""
    low, high = interval(values)
    return {"median": round(median(values), digits), "low": round(low, digits), "high": round(high, digits)}


def text_of(ratio: dict[str, float]) -> str:
    """A ratio for a table: `1.02 (0.98 to 1.10)`."""
    return f"{ratio['ratio']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})"
