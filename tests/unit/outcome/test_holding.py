"""Every attempt that held GPUs is counted, whoever says that it ended, and none for longer than its job could last."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vit_sweep.outcome.ending import Cause, Exit, Progress, RankFile
from vit_sweep.outcome.holding import held_s
from vit_sweep.outcome.verdict import Attempt

LIMIT_S = 3600.0


def at(seconds):
    return (datetime(2026, 11, 30, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat()


def attempt(name="1", *, began=0.0, ended=None, judged_by="job", cause=Cause.BUG, ranks=2):
    """Its second rank begins ten seconds after the first."""
    files = tuple(
        RankFile(rank=r, world_size=ranks, host="n1", pid=1, job_id="7", started_at=at(began + 10 * r))
        for r in range(ranks)
    )
    verdict = None if ended is None else Exit(cause=cause, message="", at=at(ended), judged_by=judged_by)
    return Attempt(name=name, exit=verdict, ranks=files)


def test_an_attempt_that_its_job_judged_held_its_gpus_from_its_first_rank_until_then():
    assert held_s([attempt(began=5, ended=65)], limit_s=LIMIT_S) == [60]


def test_a_killed_one_counts_until_it_was_found_and_at_most_its_time_limit():
    assert held_s([attempt(ended=300, judged_by="client")], limit_s=LIMIT_S) == [300]
    days = attempt(ended=200_000, judged_by="client", cause=Cause.TIME_LIMIT)
    assert held_s([days], limit_s=LIMIT_S) == [LIMIT_S]


def test_one_whose_job_was_started_again_ended_before_the_next_began():
    killed = attempt(ended=5000, judged_by="client", cause=Cause.NODE_FAILURE)
    assert held_s([killed, attempt("1.1", began=700, ended=760)], limit_s=LIMIT_S) == [700, 60]


def test_what_runs_or_never_began_costs_nothing_yet():
    never = Attempt(name="2", exit=Exit(cause=Cause.LOST, message="", at=at(9), judged_by="client"))
    assert held_s([attempt(), never], limit_s=LIMIT_S) == [0, 0]


def test_where_no_rank_left_a_file_the_progress_says_when_it_began():
    progress = Progress(phase="training", epoch=1, epochs=3, host="n1", started_at=at(20))
    one = Attempt(name="1", exit=Exit(cause=Cause.BUG, message="", at=at(50)), progress=progress)
    assert held_s([one], limit_s=LIMIT_S) == [30]


def test_an_end_that_says_no_time_counts_as_its_limit():
    silent = Attempt(name="1", exit=Exit(cause=Cause.BUG, message="", at=""), ranks=attempt().ranks)
    assert held_s([silent], limit_s=LIMIT_S) == [LIMIT_S]


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(-10, 1e5), st.sampled_from(["job", "client"])), max_size=5),
    st.floats(60, 1e5),
)
def test_none_is_negative_and_none_that_nobody_saw_end_is_longer_than_its_limit(drawn, limit_s):
    attempts = [
        attempt(str(n), began=began, ended=began + more, judged_by=by) for n, (began, more, by) in enumerate(drawn, 1)
    ]
    for one, seconds in zip(attempts, held_s(attempts, limit_s=limit_s), strict=True):
        assert seconds >= 0
        if one.exit.judged_by == "client":
            assert seconds <= limit_s + 1e-3
