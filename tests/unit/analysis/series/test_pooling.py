"""The statistics below the intervals, against textbooks and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vit_sweep.analysis.series.pooling import (
    half_width,
    holm,
    layout_of,
    of_one_cell,
    p_value,
    partly_pooled,
    spread_of,
)
from vit_sweep.plan.repeats import t_quantile

LOGS = np.random.default_rng(7).normal(size=12) * 0.02


def test_one_cell_is_students_t_on_its_own_runs():
    mean, variance, freedom = spread_of(LOGS, layout_of([0] * 12, [0] * 12)).contrast([0], [1.0])
    width = float(half_width(variance, freedom))
    assert (mean - width, mean + width) == pytest.approx(stats.t.interval(0.95, 11, LOGS.mean(), stats.sem(LOGS)))


def test_two_cells_that_agree_are_compared_as_by_the_pooled_t_test():
    spread = spread_of(LOGS, layout_of([0] * 6 + [1] * 6, [0] * 12))
    assert not spread.own.any()
    assert float(p_value(*spread.contrast([0, 1], [1.0, -1.0]))) == pytest.approx(
        stats.ttest_ind(LOGS[:6], LOGS[6:]).pvalue
    )


def test_a_cell_that_differs_beyond_doubt_is_compared_as_by_welchs_test():
    logs = np.concatenate([LOGS[:6], 50 * LOGS[6:]])
    spread = spread_of(logs, layout_of([0] * 6 + [1] * 6, [0] * 12))
    assert spread.own.tolist() == [False, True]
    assert float(p_value(*spread.contrast([0, 1], [1.0, -1.0]))) == pytest.approx(
        stats.ttest_ind(logs[:6], logs[6:], equal_var=False).pvalue
    )


def test_sessions_are_the_analysis_of_variance_of_a_textbook():
    """2 cells in 3 sessions, twice each: mean squares of the additive two-way layout."""
    cells, sessions = np.repeat([0, 1], 6), np.tile([0, 0, 1, 1, 2, 2], 2)
    spread = spread_of(LOGS, layout_of(cells.tolist(), sessions.tolist()))
    table = LOGS.reshape(2, 3, 2)
    by_session, by_cell = table.mean(axis=(0, 2)), table.mean(axis=(1, 2))
    between = 4 * ((by_session - LOGS.mean()) ** 2).sum() / 2
    fitted = by_cell[:, None, None] + by_session[None, :, None] - LOGS.mean()
    within = ((table - fitted) ** 2).sum() / (12 - 2 - 2)
    assert (float(spread.session_square), float(spread.pool_variance)) == pytest.approx((between, within))
    assert (spread.layout.runs_per_session, spread.layout.session_freedom) == (pytest.approx(4), 2)


def test_what_sessions_differ_by_cancels_between_cells_that_share_them_and_not_between_others():
    shared = spread_of(LOGS, layout_of([0] * 6 + [1] * 6, [0, 0, 0, 1, 1, 1] * 2))
    shifted = spread_of(LOGS + 0.5 * np.tile([0, 0, 0, 1, 1, 1], 2), shared.layout)
    for before, after in zip(shared.contrast([0, 1], [1, -1]), shifted.contrast([0, 1], [1, -1]), strict=True):
        assert after == pytest.approx(before)
    assert shifted.contrast([0], [1])[1] > 100 * shared.contrast([0], [1])[1]


def test_runs_that_are_equal_say_nothing():
    spread = spread_of(np.zeros(4), layout_of([0, 0, 1, 1], [0] * 4))
    _, variance, freedom = spread.contrast([0], [1.0])
    assert (float(variance), float(freedom), float(p_value(0.1, variance, freedom))) == (0, 0, 1)
    assert np.isinf(half_width(1.0, 0.0))


def test_a_cell_without_a_repeat_takes_the_spread_of_the_others():
    variance, freedom, own, pool, pool_freedom = partly_pooled(np.array([0.0, 2.0]), np.array([0.0, 2.0]))
    assert variance.tolist() == [1, 1]
    assert (freedom.tolist(), own.tolist(), float(pool), float(pool_freedom)) == ([2, 2], [False, False], 1, 2)


def test_many_studies_at_once_are_each_as_alone():
    layout = layout_of([0, 0, 1, 1], [0, 1, 0, 1])
    logs = np.random.default_rng(1).normal(size=(5, 4))
    together = spread_of(logs, layout).contrast([0, 1], [1.0, -1.0])
    for number, alone in enumerate(logs):
        assert [float(part[number]) for part in together] == pytest.approx(
            [float(part) for part in spread_of(alone, layout).contrast([0, 1], [1.0, -1.0])]
        )


def test_holm_adjusts_as_in_a_textbook():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_adjustment_and_bonferroni(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= min(1, len(p_values) * p) + 1e-12 for p, a in zip(p_values, adjusted, strict=True))


@given(st.floats(1, 500), st.sampled_from([0.9, 0.975, 0.999]))
def test_the_planners_t_needs_no_scipy(freedom, probability):
    assert t_quantile(freedom, probability) == pytest.approx(stats.t.ppf(probability, freedom), rel=0.04)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
@settings(deadline=None)
def test_one_cell_alone_says_the_same_without_matrices_to_the_last_bit(logs):
    spread = spread_of(logs, layout_of([0] * len(logs), [0] * len(logs)))
    mean, variance, _ = spread.contrast([0], [1.0])
    assert of_one_cell(logs) == (float(mean), float(variance), float(spread.pool_freedom))
