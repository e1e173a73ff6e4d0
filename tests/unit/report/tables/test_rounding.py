"""Numbers for people: the digits that an interval supports, the same in every table, page and text."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_sweep.report.tables.form.columns import COLUMNS
from vit_sweep.report.tables.form.rounding import field, plain, with_interval
from vit_sweep.report.tables.form.text import latex

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, min_value=-1e300, max_value=1e300)


def shown(name, value, low=None, high=None, **row):
    return field(COLUMNS[name], {name: value, f"{name}_low": low, f"{name}_high": high, "n": 3, **row})


@pytest.mark.parametrize(
    ("value", "percent", "text"),
    [
        (1813.42, False, "1813"), (0.99537, True, "99.5"), (12345, False, "12,345"), (1234567.0, False, "1,234,567"),
        (1234567.8, False, "1,234,568"), (0.000012, False, "1.20 × 10⁻⁵"), (3, False, "3"), (2026, False, "2026"),
        (None, False, "–"), (math.nan, False, "–"), (math.inf, False, "∞"), (-math.inf, False, "−∞"),
        (-0.0129, False, "−0.0129"), (True, False, "yes"), ("", False, "–"), ("a-b", False, "a-b"),
        (2.1e12, False, "2.10 × 10¹²"), (0.0, False, "0"), (6.0, False, "6"),
    ],
)  # fmt: skip
def test_a_number_without_an_interval_is_short(value, percent, text):
    assert plain(value, percent=percent) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (12.3456, 12.1, 12.6, "12.35 [12.10, 12.60]"),
        (1234.5, 1200.0, 1300.0, "1234 [1200, 1300]"),
        (0.012342, 0.0121, 0.0126, "0.01234 [0.01210, 0.01260]"),
        (2.0, 2.0, 2.0, "2.000 [2.000, 2.000]"),
        (1.5, 1.25, 2.0, "1.50 [1.25, 2.00]"),
        (81234.5, 80000.0, 83000.0, "81,234 [80,000, 83,000]"),
        (0.5, 0.499999, 0.500001, "0.5000000 [0.4999990, 0.5000010]"),
        (1.2e-9, 1.1e-9, 1.3e-9, "1.20 × 10⁻⁹ [1.10 × 10⁻⁹, 1.30 × 10⁻⁹]"),
        (3e12, -2.0, 5e12, "3.0 × 10¹² [−2, 5.0 × 10¹²]"),
        (1.0, -math.inf, math.inf, "1 [−∞, ∞]"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_supports(value, low, high, text):
    assert shown("epoch_s", value, low, high) == text


def test_percent_is_rounded_by_its_interval_too():
    assert shown("efficiency", 0.8734, 0.861, 0.879) == "87.3% [86.1, 87.9]"
    assert shown("efficiency", -0.5) == "−50.0%"


def test_one_run_says_n_1_and_the_baseline_does_not():
    assert shown("epoch_s", 12.3456, n=1) == "12.35 [n=1]"
    assert shown("speedup", 1.5, n=1, gpus=2, baseline_gpus=1) == "1.5 [n=1]"
    assert shown("speedup", 1.0, n=1, gpus=1, baseline_gpus=1) == "1"


def test_what_is_not_known_is_a_dash():
    assert shown("epoch_s", None) == "–"


def test_latex_sets_signs_and_powers_in_math():
    assert latex(plain(-1.2e-5)) == r"$-$1.20 $\times$ 10$^{-5}$"
    assert latex(plain(-math.inf)) == r"$-$$\infty$"


def read_back(text):
    """The number that a text says, and half of its last digit."""
    digits, _, power = text.replace(",", "").replace("−", "-").partition(" × 10")
    unit = Fraction(10) ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
    return Fraction(digits) * unit, unit / 10 ** len(digits.partition(".")[2]) / 2


@given(NUMBERS)
def test_a_number_without_an_interval_reads_back_to_three_digits_at_least(value):
    read, half = read_back(plain(value))
    assert abs(read - Fraction(value)) <= min(half, abs(Fraction(value)) / 200)


@given(NUMBERS)
def test_a_percentage_without_an_interval_reads_back_within_half_of_its_last_digit(value):
    read, half = read_back(plain(value, percent=True))
    assert abs(read - 100 * Fraction(value)) <= half + abs(Fraction(value)) * Fraction(1e-13)


@given(st.lists(NUMBERS, min_size=3, max_size=3).map(sorted), st.booleans())
def test_a_number_reads_back_within_half_of_its_last_digit_and_the_ends_of_its_interval_differ(numbers, percent):
    low, value, high = numbers
    number, interval = with_interval(value, low, high, percent=percent)
    ends = interval.strip("[]").split(", ")
    for text, exact in zip((number, *ends), (value, low, high), strict=True):
        read, half = read_back(text)
        assert abs(read - Fraction(exact) * (100 if percent else 1)) <= half * Fraction(1 + 1e-9)
    assert (ends[0] == ends[1]) == (low == high)


@given(NUMBERS, st.booleans())
def test_even_neighbours_among_floats_print_differently(low, percent):
    _, interval = with_interval(low, low, math.nextafter(low, math.inf), percent=percent)
    assert len(set(interval.strip("[]").split(", "))) == 2
