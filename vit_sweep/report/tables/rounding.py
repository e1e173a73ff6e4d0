"""Numbers as people read them: as many digits as the interval supports. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from vit_sweep.report.tables.table import HIGH, LOW, Column

EMPTY = "–"
_MOST_DECIMALS = 6
_DIGITS = 4
"""Significant digits of a number whose uncertainty is not known."""


def decimals_of(width: float) -> int:
    """Decimals that show the two leading digits of an interval's width: 0.31 has 2, 13 has 0."""
    return min(_MOST_DECIMALS, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else _DIGITS - 1


def field(column: Column, row: Mapping[str, Any]) -> str:
    """One value as text, with its interval where the column has one: `12.34 [12.11, 12.56]`, `12.34 [n=1]`."""
    value = row.get(column.name)
    if value is None or value == "":
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    low, high = row.get(column.name + LOW), row.get(column.name + HIGH)
    scale, sign = (100, " %") if column.percent else (1, "")
    if low is None or high is None:
        alone = f"{value * scale:.1f}{sign}" if column.percent else plain(value)
        return f"{alone} [n=1]" if column.name + LOW in row and _single(column, row) else alone
    decimals = decimals_of((high - low) * scale)
    said = [f"{number * scale:.{decimals}f}" for number in (value, low, high)]
    return f"{said[0]}{sign} [{said[1]}, {said[2]}]"


def plain(value: float) -> str:
    """A number without an interval: four significant digits, no power of ten below a million."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{_DIGITS - 1}e}"
    decimals = 0 if value == 0 else max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _single(column: Column, row: Mapping[str, Any]) -> bool:
    """Whether one run is why there is no interval; of a baseline, speedup 1 is exact."""
    exact = column.name in ("speedup", "efficiency") and row.get("gpus") == row.get("baseline_gpus")
    count = row.get("reached" if column.name == "time_to_accuracy_s" else "n")
    if column.name.startswith("reference_"):
        count = row.get("reference_n")
    return count == 1 and not exact
