"""Numbers as people read them, on the page, in Markdown, LaTeX and on the terminal. Pure.

A number has as many digits as its interval supports, else four; a percentage without an interval has one decimal.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vit_sweep.report.tables.form.table import HIGH, LOW, Column, Table

if TYPE_CHECKING:
    from vit_sweep.analysis.series.series import Estimate

EMPTY = "–"
_DIGITS = 4
"""Significant digits of a number whose uncertainty is not known."""
_COUNTS = ("n", "reference_n", "gpus", "baseline_gpus")
"""Columns that say why a number has no interval."""
_SMALL, _LARGE = -4, 9
"""Decimal exponents: from the first on and below the second, a number is written without a power of ten."""


def fields(table: Table, column: Column) -> list[str]:
    """A column as text, with its intervals if it has some: `12.34 [12.11, 12.56]`, `98.2% [n=1]`."""
    if column.name + LOW not in table.values:
        values = [(type(value), value) for value in table.values[column.name]]
        texts = {each: field(column, {column.name: each[1]}) for each in set(values)}
        return [texts[each] for each in values]
    candidates = (column.name, column.name + LOW, column.name + HIGH, *_COUNTS)
    names = [name for name in candidates if name in table.values]
    rows = zip(*(table.values[name] for name in names), strict=True)
    return [_bounded(column, names, row) for row in rows]


def _bounded(column: Column, names: list[str], row: tuple[Any, ...]) -> str:
    """A value, its bounds and counts, of these names: most have bounds, for which nothing else is looked at."""
    value, low, high = row[:3]
    if low is None or high is None or type(value) is not float:
        return field(column, dict(zip(names, row, strict=True)))
    return _joined(*with_interval(value, low, high, percent=column.percent), percent=column.percent)


def field(column: Column, row: Mapping[str, Any]) -> str:
    """One value as text; of `row` its own bounds and `_COUNTS` are looked at too."""
    value = row.get(column.name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    low, high = row.get(column.name + LOW), row.get(column.name + HIGH)
    number, interval = with_interval(value, low, high, percent=column.percent)
    if not interval and column.name + LOW in row and _single(column, row):
        interval = "[n=1]"
    return _joined(number, interval, percent=column.percent)


def _joined(number: str, interval: str, *, percent: bool) -> str:
    """What `with_interval` gives, in one text."""
    text = f"{number}%" if percent else number
    return f"{text} {interval}" if interval else text


def plain(value: object, *, percent: bool = False) -> str:
    """One value without an interval; `percent`: a part of 1, as per cent without the sign."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if percent:
        return _signed(f"{100 * value:.1f}")
    size = abs(value)
    if isinstance(value, int) or 9_999.5 <= size < 10**_LARGE:
        # A year or a port is not grouped; from five digits on, groups help.
        return _signed(f"{value:,.0f}" if size >= 9_999.5 else str(value))
    return _signed(f"{value:.{_DIGITS}g}") if not size or 10**_SMALL <= size < 10**_LARGE else _power(f"{value:.2e}")


@lru_cache(maxsize=2**15, typed=True)
def with_interval(value: float, low: float | None, high: float | None, *, percent: bool = False) -> tuple[str, str]:
    """A number and its interval in brackets, with the two leading digits of its width; no brackets where it has none.

    The ends of an interval of any width print differently. Several tables have the same numbers.
    """
    if low is None or high is None:
        return plain(value, percent=percent), ""
    if not all(map(math.isfinite, (value, low, high))):
        return plain(value, percent=percent), f"[{plain(low, percent=percent)}, {plain(high, percent=percent)}]"
    # Decimals: times 100, floats that differ in their last bit may become equal.
    numbers = [Decimal(number) * (100 if percent else 1) for number in (value, low, high)]
    width, largest = numbers[2] - numbers[1], max(map(abs, numbers))
    decimals = 1 - width.adjusted() if width > 0 else _DIGITS - 1 - (numbers[0].adjusted() if numbers[0] else 0)
    tiny = bool(largest) and largest.adjusted() < _SMALL
    texts = [_to_decimals(number, decimals, tiny=tiny) for number in numbers]
    return texts[0], f"[{texts[1]}, {texts[2]}]"


def estimate_text(estimate: "Estimate", *, percent: bool = False) -> str:
    """A number of the analysis with its interval, if it has one: `15.2 [15.0, 15.4]`, `82.6% [81.5, 83.8]`."""
    return _joined(*with_interval(estimate.value, estimate.low, estimate.high, percent=percent), percent=percent)


def is_number(value: object) -> bool:
    """Whether it stands on the right and is sorted by its size."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_decimals(number: Decimal, decimals: int, *, tiny: bool) -> str:
    exponent = number.adjusted() if number else 0
    if number and (tiny or exponent >= _LARGE):
        return _power(f"{number:.{max(0, exponent + decimals)}e}")
    return _signed(f"{number:{',' if exponent > 3 else ''}.{max(0, decimals)}f}")


def _power(text: str) -> str:
    """`1.20e-05` as `1.20 × 10⁻⁵`."""
    digits, exponent = text.split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{_signed(digits)} × 10{raised}"


def _signed(text: str) -> str:
    """A minus sign as wide as a plus."""
    return text.replace("-", "−")


def _single(column: Column, row: Mapping[str, Any]) -> bool:
    """Whether one run is why there is no interval; of a baseline, speedup 1 is exact."""
    exact = column.name in ("speedup", "efficiency") and row.get("gpus") == row.get("baseline_gpus")
    count = row.get("reference_n" if column.name.startswith("reference_") else "n")
    return count == 1 and not exact
