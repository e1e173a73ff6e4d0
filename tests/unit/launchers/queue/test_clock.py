"""When a queue warns, ends and kills; and how it gives one code for the ends of several ranks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.queue.clock import Due, Moments, due, next_due, warn_after
from launchers.queue.exits import job_code, sentence, shell_code

HOUR = Moments(begun=100.0, limit_s=3600.0, grace_s=10.0)


@pytest.mark.parametrize(("limit", "after"), [(3600, 3510), (180, 90), (179, 89.5), (60, 30)])
def test_a_task_is_warned_90_s_before_its_limit_or_at_half_of_a_short_one(limit, after):
    assert warn_after(limit) == after


@given(st.floats(min_value=1, max_value=1e6))
def test_every_task_is_warned_before_its_limit_and_after_its_start(limit):
    assert 0 < warn_after(limit) < limit


@pytest.mark.parametrize(
    ("now", "owed"),
    [(100, Due.NOTHING), (3609.9, Due.NOTHING), (3610, Due.WARN), (3699.9, Due.WARN), (3700, Due.TIME_LIMIT)],
)
def test_a_running_task_is_warned_and_then_ended(now, owed):
    assert due(HOUR, now) is owed


@given(
    begun=st.floats(0, 1e6),
    limit_s=st.floats(1, 1e6),
    warned=st.none() | st.floats(0, 1e6),
    broken=st.none() | st.floats(0, 1e6),
    terminated=st.none() | st.floats(0, 1e6),
    killed=st.none() | st.floats(0, 1e6),
    early=st.floats(0.001, 1e6),
)
def test_nothing_is_due_before_the_moment_that_is_said_and_something_is_then(early, **moments):
    moments = Moments(grace_s=10.0, **moments)
    when = next_due(moments)
    if when is None:
        assert due(moments, 1e9) is Due.NOTHING
    else:
        assert due(moments, when) is not Due.NOTHING
        assert due(moments, when - early) is Due.NOTHING


def test_the_rest_of_a_broken_task_is_ended_after_10_s_and_no_time_limit_covers_that_up():
    broken = replace(HOUR, broken=3695.0)
    assert due(broken, 3701) is Due.NOTHING
    assert due(broken, 3705) is Due.END_THE_REST


@pytest.mark.parametrize(
    ("codes", "expected", "words"),
    [
        ({}, 0, ""),
        ({0: 0, 1: 0}, 0, ""),
        ({0: 1, 1: 3}, 3, "rank 0 ended with code 1; rank 1 ended with code 3"),
        ({0: 1, 2: 139, 3: 137}, 139, "rank 2 died of signal SIGSEGV; rank 3 died of signal SIGKILL"),
        ({0: 255}, 255, "rank 0 ended with code 255"),
    ],
)
def test_a_rank_that_died_of_a_signal_speaks_for_its_task_and_else_the_highest_code(codes, expected, words):
    assert job_code(codes) == expected
    assert sentence(codes) == words


@pytest.mark.parametrize(("python", "shell"), [(0, 0), (3, 3), (-9, 137)])
def test_codes_are_a_shells(python, shell):
    assert shell_code(python) == shell
