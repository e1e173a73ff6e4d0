"""Since when a time is another one: found where it was planted, and in one of a hundred histories where nothing was."""

import numpy as np
import pytest
from scipy.stats import binom

from tests.conftest import LONG
from vit_sweep.analysis.gate.changes import ALARM, LEAST, change_points

HISTORIES = 400 if LONG else 60


def series(draw, *levels, spread=0.01):
    return [float(level * np.exp(draw.normal() * spread)) for level in levels]


def test_a_planted_change_is_found_where_it_is_and_as_large_as_it_is():
    draw = np.random.default_rng(1)
    (change,) = change_points(series(draw, *[1.0] * 12, *[1.05] * 10))
    assert change.at == 12
    assert change.ratio == pytest.approx(1.05, abs=0.01)


def test_several_changes_are_found_each_against_the_part_before_it():
    draw = np.random.default_rng(2)
    found = change_points(series(draw, *[1.0] * 10, *[1.1] * 10, *[0.9] * 10))
    assert [change.at for change in found] == [10, 20]
    assert [change.ratio for change in found] == [pytest.approx(1.1, abs=0.02), pytest.approx(0.818, abs=0.02)]


@pytest.mark.parametrize("heavy", [False, True])
def test_histories_without_a_change_have_one_in_at_most_one_of_a_hundred(heavy):
    """Also where one value in ten is far too long, as of a contended runner."""
    draw = np.random.default_rng(3)
    alarms = 0
    for _ in range(HISTORIES):
        values = series(draw, *[1.0] * 25, spread=0.02)
        if heavy:
            values = [value * (1.5 if draw.random() < 0.1 else 1.0) for value in values]
        alarms += bool(change_points(values))
    assert alarms / HISTORIES <= binom.ppf(1 - 1e-4, HISTORIES, ALARM) / HISTORIES


def test_many_series_share_one_rate_of_false_alarms():
    draw = np.random.default_rng(4)
    alarms = sum(
        any(change_points(series(draw, *[1.0] * 20), series=8) for _ in range(8)) for _ in range(HISTORIES // 4)
    )
    assert alarms <= binom.ppf(1 - 1e-4, HISTORIES // 4, ALARM)


def test_what_is_too_short_or_equal_has_no_change_and_the_same_values_have_the_same_ones():
    assert change_points([1.0] * 30) == []
    assert change_points([1.0] * (LEAST - 1) + [2.0] * (LEAST - 1)) == []
    assert change_points([]) == []
    values = series(np.random.default_rng(5), *[1.0] * 8, *[1.2] * 8)
    assert change_points(values) == change_points(values)
