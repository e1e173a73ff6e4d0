"""Repeats are added until the interval is narrow, never beyond the limit, never beside a run that is under way."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import cell, record, result
from vit_sweep.plan.repeats import LEAST_RUNS, RepeatRule
from vit_sweep.runs.of_study import run_of
from vit_sweep.submit.repeats import further, half_width, more

TWO_PERCENT = RepeatRule(half_width=0.02, most=10)


def runs(count, spread, seed=1):
    """Epoch times of `count` runs around 1 s whose runs differ by `spread` (one standard deviation)."""
    draw = random.Random(seed)
    return [[max(0.01, draw.gauss(1.0, spread))] * 3 for _ in range(count)]


def test_equal_runs_have_no_width_and_need_no_more():
    assert half_width([[1.0, 1.0]] * 3) == 0
    assert more([[1.0, 1.0]] * 3, TWO_PERCENT) == 0


def test_too_few_runs_are_filled_up_whatever_they_say():
    assert more([[1.0]], TWO_PERCENT) == LEAST_RUNS - 1
    assert more([], TWO_PERCENT) == LEAST_RUNS


def test_runs_that_differ_need_more_and_the_more_they_differ_the_more():
    assert (
        1
        <= more(runs(3, 0.05), RepeatRule(half_width=0.02, most=1000))
        < more(runs(3, 0.2), RepeatRule(half_width=0.02, most=1000))
    )


@given(st.lists(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), min_size=1, max_size=8))
def test_the_limit_is_never_passed(times):
    assert len(times) + more(times, TWO_PERCENT) <= max(TWO_PERCENT.most, len(times))


def test_one_run_says_nothing_of_its_own_spread():
    with pytest.raises(ValueError):
        half_width([])
    with pytest.raises(ValueError):
        half_width([[1.0, 1.1]])


def done(repeated, seconds):
    return result(repeated, record=record(repeated, epoch_seconds=(2.0, seconds, seconds)))


def test_seeds_that_nobody_has_used_are_added_to_a_cell_that_varies():
    results = [done(cell(seed=s), seconds) for s, seconds in ((0, 1.0), (1, 1.3), (2, 0.8))]
    ((origin, added),) = further(results, TWO_PERCENT).items()
    assert origin == cell(seed=0).cell_id
    assert [added_cell.seed for added_cell in added] == list(range(3, 10))
    assert {replace(added_cell, seed=0) for added_cell in added} == {cell(seed=0)}


@pytest.mark.parametrize("status", ["running", "failed"])
def test_nothing_is_added_beside_a_run_that_is_under_way_or_failed(status):
    results = [done(cell(seed=0), 1.0), result(cell(seed=1), status=status)]
    assert further(results, TWO_PERCENT) == {}


def test_each_cell_is_judged_by_its_own_repeats():
    steady = [done(cell(gpus=2, seed=s), 1.0) for s in range(3)]
    single = [done(cell(gpus=1, seed=0), 1.0)]
    added = further(steady + single, TWO_PERCENT)
    assert set(added) == {cell(gpus=1, seed=0).cell_id}


def test_repeats_count_the_epochs_that_the_tables_count():
    """A cold whole epoch followed by an interrupted one: the tables time the whole one only."""
    results = []
    for seed in range(3):
        repeat = cell(seed=seed, epochs=2)
        made = record(repeat, epoch_seconds=(2.0, 9.0))
        interrupted = replace(made.epochs[1], interrupted=True)
        results.append(result(repeat, record=replace(made, epochs=(made.epochs[0], interrupted))))
    assert {run_of(r).epoch_s for r in results} == {(2.0,)}
    assert further(results, TWO_PERCENT) == {}
