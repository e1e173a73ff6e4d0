"""Repeats are added until the interval is narrow, never beyond the limit, never beside a run that is under way."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.analysis.builders import run
from tests.unit.builders import cell, record, result
from vit_sweep.analysis.series.spreads import Spreads
from vit_sweep.plan.repeats import MOST_ADVISED, RepeatRule, SeenSpread, advise, half_width, least_runs
from vit_sweep.runs.of_study import run_of
from vit_sweep.submit.repeats import repeats_to_add, runs_wanted

TWO_PERCENT = RepeatRule(half_width=0.02, most=20)
ALONE = least_runs(1)


def wanted(cells, rule=TWO_PERCENT):
    """How many more runs each cell gets; `cells`: epoch times of their runs."""
    runs = [[run(gpus, (s,), seed=seed) for seed, s in enumerate(times)] for gpus, times in enumerate(cells, 1)]
    spread = Spreads(runs)
    return [runs_wanted(one, spread, rule) for one in runs]


def times(count, spread, seed=1):
    """Epoch times of `count` runs around 1 s whose runs differ by `spread` (one standard deviation)."""
    draw = random.Random(seed)
    return [max(0.01, draw.gauss(1.0, spread)) for _ in range(count)]


def test_equal_runs_need_no_more():
    assert wanted([[1.0] * ALONE]) == [0]


def test_too_few_runs_are_filled_up_whatever_they_say_and_many_cells_need_fewer_each():
    assert ALONE == 11
    assert wanted([times(3, 0.001)]) == [ALONE - 3]
    assert wanted([times(1, 0.001, seed) for seed in range(5)]) == [2] * 5
    assert wanted([times(3, 0.001, seed) for seed in range(5)]) == [0] * 5
    assert wanted([times(2, 0.001, seed) for seed in range(10)]) == [0] * 10


def test_runs_that_differ_need_more_and_the_more_they_differ_the_more():
    far = RepeatRule(half_width=0.02, most=1000)
    (few,), (many,) = (wanted([times(ALONE, spread)], far) for spread in (0.05, 0.2))
    assert 1 <= few < many


@given(st.lists(st.lists(st.floats(0.1, 10), min_size=1, max_size=25), min_size=1, max_size=4))
def test_the_limit_is_never_passed(cells):
    for runs, count in zip(cells, wanted(cells), strict=True):
        assert len(runs) + count <= max(TWO_PERCENT.most, len(runs))


def done(repeated, seconds):
    return result(repeated, record=record(repeated, epoch_seconds=(2.0, seconds, seconds)))


def test_seeds_that_nobody_has_used_are_added_to_a_cell_that_varies():
    results = [done(cell(seed=s), 1.0 + 0.1 * (s % 3)) for s in range(ALONE)]
    ((origin, added),) = repeats_to_add(results, TWO_PERCENT).items()
    assert origin == cell(seed=0).cell_id
    assert [added_cell.seed for added_cell in added] == list(range(ALONE, TWO_PERCENT.most))
    assert {replace(added_cell, seed=0) for added_cell in added} == {cell(seed=0)}


@pytest.mark.parametrize("status", ["running", "failed"])
def test_nothing_is_added_beside_a_run_that_is_under_way_or_failed(status):
    results = [done(cell(seed=0), 1.0), result(cell(seed=1), status=status)]
    assert repeats_to_add(results, TWO_PERCENT) == {}


def test_each_cell_is_judged_by_its_own_repeats():
    steady = [done(cell(gpus=2, seed=s), 1.0 + 0.001 * s) for s in range(ALONE)]
    single = [done(cell(gpus=1, seed=0), 1.0)]
    added = repeats_to_add(steady + single, TWO_PERCENT)
    assert set(added) == {cell(gpus=1, seed=0).cell_id}


def test_repeats_count_the_epochs_that_the_tables_count():
    """A cold whole epoch followed by an interrupted one: the tables time the whole one only."""
    results = []
    for seed in range(ALONE):
        repeat = cell(seed=seed, epochs=2)
        base_record = record(repeat, epoch_seconds=(2.0, 9.0))
        interrupted = replace(base_record.epochs[1], interrupted=True)
        results.append(result(repeat, record=replace(base_record, epochs=(base_record.epochs[0], interrupted))))
    assert {run_of(r).epoch_s for r in results} == {(2.0,)}
    assert repeats_to_add(results, TWO_PERCENT) == {}


@pytest.mark.parametrize("wanted", [0.05, 0.02, 0.01])
def test_advice_gives_the_fewest_repeats_that_reach_the_wanted_precision(wanted):
    """Eight cells whose runs differ by 2 %; t and the rest by `half_width`."""
    advice = advise(8, 1, seen=SeenSpread(deviation=0.02, freedom=20), target=wanted)
    assert half_width(advice.repeats, 8, 0.02) <= wanted or advice.repeats == MOST_ADVISED
    assert advice.repeats == 2 or half_width(advice.repeats - 1, 8, 0.02) > wanted
