"""Numbers as people read them: as many digits as an interval supports, else four; shares in percent. Pure.

The page keeps every number in full beside the short one, for sorting and for the CSV file.
"""

import math

from vit_sweep.report.page.content import Interval, Value
from vit_sweep.report.tables.rounding import decimals_of

EMPTY = "–"


def short(value: Value, unit: str = "") -> str:
    """One field; the unit itself stands in the column's head, except for the percent sign's factor."""
    if isinstance(value, Interval):
        return f"{middle(value, unit)} {bracket(value, unit)}".rstrip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return EMPTY
    if isinstance(value, str):
        return value
    return _short(value * 100 if unit == "%" else value, decimals=1 if unit == "%" else None)


def bracket(value: Interval, unit: str = "") -> str:
    """Its interval alone; empty without one."""
    if value.low is None or value.high is None:
        return ""
    return f"[{_as_wide(value.low, value, unit)}, {_as_wide(value.high, value, unit)}]"


def middle(value: Interval, unit: str = "") -> str:
    """Its number alone."""
    return _as_wide(value.value, value, unit) if value.known else short(value.value, unit)


def exact(value: Value) -> str:
    """The whole number, for machines; what has none is empty."""
    if isinstance(value, Interval):
        value = value.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def is_numeric(value: Value) -> bool:
    """Whether it is a number: it then stands on the right and is sorted by its size."""
    return isinstance(value, int | float | Interval) and not isinstance(value, bool)


def _as_wide(number: float, value: Interval, unit: str) -> str:
    """With the decimals that the interval's width supports."""
    factor = 100 if unit == "%" else 1
    width = factor * ((value.high or 0.0) - (value.low or 0.0))
    if width <= 0 or not math.isfinite(width) or (width < 1e-5 and factor == 1):
        return short(number, unit)
    return _signed(
        f"{factor * number:,.{decimals_of(width)}f}" if width >= 1000 else f"{factor * number:.{decimals_of(width)}f}"
    )


def _short(value: float, *, decimals: int | None) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if decimals is not None:
        return _signed(f"{value:.{decimals}f}")
    if isinstance(value, int):
        # A year or a port is not grouped; from five digits on, groups help.
        return _signed(f"{value:,}" if abs(value) >= 10_000 else str(value))
    size = abs(value)
    if size >= 9_999.5:
        return _signed(f"{value:,.0f}") if size < 1e9 else _power(value)
    return _power(value) if 0 < size < 1e-3 else _signed(f"{value:.4g}")


def _power(value: float) -> str:
    digits, exponent = f"{value:.2e}".split("e")
    return f"{_signed(digits)} × 10{_raised(int(exponent))}"


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _signed(text: str) -> str:
    """A minus sign as wide as a plus."""
    return text.replace("-", "−")
