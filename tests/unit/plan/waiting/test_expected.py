"""What is said of a start: from where, how sure, and how it learns from earlier ones of the study."""

import random
from math import exp, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plan.waiting.queues import HOUR, NOW, look, nodes, runs, waits, wants
from vit_sweep.plan.waiting.expected import (
    COVERED,
    ENOUGH_LOOKS,
    PastForecast,
    RawForecast,
    corrected,
    from_queue,
    from_slurm,
)

DAY = 24 * HOUR


def raw(wait_s, *, at=NOW, low=None, high=None):
    """A forecast, without an interval where none is given."""
    return RawForecast(at, at + wait_s, at + (wait_s if low is None else low), at + (wait_s if high is None else high))


def past(factor, *, looks=1, jobs=1, wait_s=HOUR):
    """Earlier jobs that waited so many times as long as was said."""
    return [
        PastForecast(raw(wait_s, at=NOW - (look + 1) * DAY), NOW - (look + 1) * DAY + wait_s * factor)
        for look in range(looks)
        for _ in range(jobs)
    ]


def test_an_idle_node_is_expected_to_start_a_job_at_once():
    ((one,),) = from_queue(look(), [wants(1, 1)])
    assert one == RawForecast(NOW, NOW, NOW, NOW)


def test_a_job_starts_between_now_and_the_limit_of_what_it_waits_for():
    ((one,),) = from_queue(look(runs("1", "n0", 8, 10)), [wants(1, 1)])
    assert NOW < one.earliest_s < one.start_s < one.latest_s < NOW + 10 * HOUR


def test_each_task_of_an_array_has_a_start():
    ((first, second),) = from_queue(look(), [wants(8, 1, tasks=2)])
    assert (first.start_s, second.start_s) == (NOW, NOW + HOUR)


@pytest.mark.parametrize(
    ("snapshot", "wanted", "words"),
    [
        ("no squeue on this machine", wants(1, 1), "no squeue on this machine"),
        (look(hidden="PrivateData=jobs"), wants(1, 1), "PrivateData=jobs"),
        (look(), wants(1, 1, partitions=("q",)), "the queue shows no node of partition q"),
        (look(), wants(1, 1, partitions=("p", "q")), "the queue shows no node of partition q"),
        (look(), wants(9, 1), "partition p has 0 nodes with 9 GPUs or more, and 1 are asked for"),
        (look(on=nodes(2)), wants(8, 1, nodes=3), "partition p has 2 nodes with 8 GPUs or more, and 3 are asked for"),
        (look(on=nodes(1, usable=False)), wants(1, 1), "1 of 1 node in partition p are down or drained"),
        (look(runs("1", "n0", 8, 1, limit_s=None)), wants(1, 1), "held by jobs without a time limit"),
    ],
)
def test_where_nothing_is_known_it_says_why(snapshot, wanted, words):
    (reason,) = from_queue(snapshot, [wanted])
    assert words in reason


def test_slurm_says_the_latest_time():
    assert from_slurm(NOW, NOW + HOUR) == RawForecast(NOW, NOW + HOUR, NOW, NOW + HOUR)
    assert from_slurm(NOW, NOW - 5) == RawForecast(NOW, NOW, NOW, NOW)


def test_without_earlier_jobs_nothing_is_corrected():
    expected = corrected(raw(HOUR, low=60, high=2 * HOUR), [])
    assert (expected.start_s, expected.earliest_s, expected.latest_s) == (NOW + HOUR, NOW + 60, NOW + 2 * HOUR)
    assert expected.basis("from the queue at 14:02") == (
        "from the queue at 14:02, no earlier job of this study to correct it by"
    )


def test_what_chance_explains_is_not_corrected_and_what_it_does_not_is():
    waited = [corrected(raw(HOUR), past(0.25, looks=looks)).start_s - NOW for looks in (1, 2, 40)]
    assert HOUR > waited[0] > waited[1] > waited[2] == pytest.approx(HOUR * 0.25, rel=0.1)
    assert corrected(raw(HOUR), past(0.6, looks=1)).start_s == NOW + HOUR, "one job, less than twice as fast"
    assert corrected(raw(HOUR), past(0.6, looks=20)).start_s < NOW + 0.7 * HOUR


def test_with_few_looks_no_interval_is_narrower_than_it_was_said():
    expected = corrected(raw(HOUR, low=60, high=2 * HOUR), past(0.2, looks=ENOUGH_LOOKS - 1))
    assert (expected.earliest_s, expected.latest_s) == (NOW, NOW + 2 * HOUR)


def test_jobs_that_were_expected_at_once_teach_nothing_about_waits():
    at_once = past(1, looks=20, wait_s=0)
    assert corrected(raw(HOUR), at_once) == corrected(raw(HOUR), [])
    assert corrected(raw(0), past(0.1, looks=20)) == corrected(raw(0), [])


def test_jobs_of_one_look_count_once():
    many, one = (corrected(raw(HOUR), past(0.5, jobs=jobs)) for jobs in (9, 1))
    assert many.start_s == one.start_s
    assert (
        many.basis("from Slurm's plan") == "from Slurm's plan, corrected by 9 earlier jobs of this study (1 look: few)"
    )


def test_enough_looks_are_not_called_few():
    assert "few" not in corrected(raw(HOUR), past(2, looks=ENOUGH_LOOKS)).basis("")


def test_one_wild_error_moves_nothing_far():
    usual = past(1, looks=8)
    assert corrected(raw(HOUR), [*usual, *past(1000)]).start_s == pytest.approx(NOW + HOUR, rel=1e-9)


def test_a_forecast_does_not_learn_from_later_ones():
    later = PastForecast(raw(HOUR, at=NOW + DAY), NOW + 9 * DAY)
    assert corrected(raw(HOUR), [later]) == corrected(raw(HOUR), [])


def test_an_end_that_nobody_knows_stays_open():
    expected = corrected(raw(HOUR, high=inf), past(2, looks=3))
    assert expected.latest_s == inf
    assert expected.start_s < inf


def test_ends_that_were_left_open_teach_nothing():
    open_ended = [PastForecast(one.forecast._replace(latest_s=inf), one.started_s) for one in past(2, looks=20)]
    assert corrected(raw(HOUR, high=2 * HOUR), open_ended).latest_s - NOW == pytest.approx(4 * HOUR, rel=0.1)


@settings(max_examples=200)
@given(
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.floats(1, 50),
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1e6), st.floats(0, 1e6)), max_size=30),
)
def test_it_stays_in_order_and_never_in_the_past(wait, low, high, waits_of_old):
    one = raw(wait, low=wait * low, high=wait * high)
    known = [PastForecast(raw(told, at=NOW - ago - 1), NOW - ago - 1 + came) for ago, told, came in waits_of_old]
    expected = corrected(one, known)
    assert NOW <= expected.earliest_s <= expected.start_s <= expected.latest_s < inf


@pytest.mark.parametrize("looks", [ENOUGH_LOOKS, 14, 30])
@pytest.mark.parametrize("bias", [0.1, 1, 5])
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_planted_errors_are_covered_as_stated(looks, bias, spread):
    """Real waits are the expected ones, times a bias, times a lognormal error: neither is known to the forecast."""
    draw = random.Random(f"{looks} {bias} {spread}")
    covered = 0
    trials = 400
    for _ in range(trials):
        forecasts = []
        for ago in range(looks + 1):
            wait = draw.uniform(HOUR, DAY)
            at = NOW - ago * DAY * 9
            came = at + wait * bias * exp(draw.gauss(0, spread))
            forecasts.append(PastForecast(raw(wait, at=at, low=wait / 2, high=wait * 2), came))
        expected = corrected(forecasts[0].forecast, forecasts[1:])
        covered += expected.earliest_s <= forecasts[0].started_s <= expected.latest_s
    assert covered / trials >= COVERED - 0.05


def test_a_forecast_that_is_right_by_itself_is_narrowed_by_experience():
    draw = random.Random(1)
    old = [
        PastForecast(
            raw(HOUR, at=NOW - day * DAY, low=60, high=9 * HOUR), NOW - day * DAY + HOUR * exp(draw.gauss(0, 0.1))
        )
        for day in range(1, 21)
    ]
    expected = corrected(raw(HOUR, low=60, high=9 * HOUR), old)
    assert NOW + HOUR / 2 < expected.earliest_s < expected.latest_s < NOW + 2 * HOUR


def test_others_that_wait_are_waited_for():
    queue = look(runs("1", "n0", 8, 1), waits("2", 8, 10))
    ((one,),) = from_queue(queue, [wants(8, 1)])
    assert one.latest_s > NOW + 5 * HOUR


def test_a_queue_that_takes_too_long_to_simulate_is_given_up(monkeypatch):
    monkeypatch.setattr("vit_sweep.plan.waiting.backfill.EFFORT", 0)
    (reason,) = from_queue(look(runs("1", "n0", 7, 1), waits("2", 2, 1)), [wants(8, 1)])
    assert "too long a queue to follow (2 jobs)" in reason


def test_of_a_queue_that_is_drawn_a_few_times_no_interval_is_said(monkeypatch):
    monkeypatch.setattr("vit_sweep.plan.waiting.backfill.EFFORT_OF_ALL", 0)
    ((one,),) = from_queue(look(runs("1", "n0", 8, 1)), [wants(1, 1)])
    assert (one.earliest_s, one.latest_s) == (NOW, inf)
    assert NOW < one.start_s < inf
