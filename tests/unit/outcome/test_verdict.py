"""The verdict on an attempt: the cause, not its echoes, whatever the order in which ranks wrote."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.backend import Ended, TaskState, TaskStatus
from vit_sweep.outcome.ending import Cause, Exit, HostMemory, RankEnd, RankFile
from vit_sweep.outcome.verdict import Attempt, judge, of_scheduler, refine, verdicts

ECHOES = (Cause.TERMINATED, Cause.COMMUNICATION, Cause.HANG)


def rank(number, cause=None, *, at="2025-01-01T00:00:00Z", near=None, world=4, **end):
    """A rank's file; without a cause it fell silent."""
    ended = None if cause is None else RankEnd(at=at, cause=cause, message=end.pop("message", f"said {number}"), **end)
    return RankFile(
        rank=number,
        world_size=world,
        host=f"node{number // 2}",
        pid=1,
        job_id="7_0",
        started_at=at,
        end=ended,
        near_limit=near,
    )


@pytest.mark.parametrize("cause", [c for c in Cause if c not in (*ECHOES, Cause.DONE)])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_named_cause_wins_over_every_echo_in_any_order(cause, echo):
    ranks = [rank(0, echo), rank(1, cause), rank(2, echo), rank(3)]
    for order in itertools.permutations(ranks):
        verdict = judge(order)
        assert (verdict.cause, verdict.rank, verdict.host) == (cause, 1, "node0")


def test_of_two_named_causes_the_earlier_one_counts():
    early, late = rank(3, Cause.STORAGE, at="2025-01-01T00:00:01Z"), rank(0, Cause.BUG, at="2025-01-01T00:00:02Z")
    assert judge([late, early]).rank == 3


@pytest.mark.parametrize("echo", [Cause.TERMINATED, Cause.COMMUNICATION])
def test_a_silent_rank_among_echoes_died_and_is_named_with_its_host(echo):
    verdict = judge([rank(0, echo, epoch=2, step=5), rank(1, echo), rank(2), rank(3, echo)], code=137)
    assert (verdict.cause, verdict.rank, verdict.host) == (Cause.RANK_DIED, 2, "node1")
    assert "died of signal 9" in verdict.message
    assert (verdict.epoch, verdict.step) == (2, 5)


def test_a_silent_rank_while_the_others_waited_in_vain_hangs():
    verdict = judge([rank(0, Cause.HANG, message="no progress for 10 min"), rank(1)], code=1)
    assert (verdict.cause, verdict.rank) == (Cause.HANG, 1)
    assert "no progress for 10 min" in verdict.message


def test_a_rank_that_was_full_when_it_fell_silent_ran_out_of_host_memory():
    full = rank(1, near=HostMemory(resident_mib=990.0, limit_mib=1000.0))
    verdict = judge([rank(0, Cause.COMMUNICATION), full], code=137)
    assert verdict.cause is Cause.HOST_OUT_OF_MEMORY
    assert "990" in verdict.message
    assert verdict.peak_host_mib == 990.0


def test_the_echo_that_says_most_is_taken_when_nobody_fell_silent():
    assert judge([rank(0, Cause.TERMINATED), rank(1, Cause.COMMUNICATION)]).cause is Cause.COMMUNICATION


def test_all_done_is_done_and_no_rank_at_all_is_no_verdict():
    assert judge([rank(0, Cause.DONE), rank(1, Cause.DONE)]).cause is Cause.DONE
    with pytest.raises(ValueError):
        judge([])


WORDS = {
    Ended.CANCELLED: Cause.CANCELLED,
    Ended.TIME_LIMIT: Cause.TIME_LIMIT,
    Ended.PREEMPTED: Cause.PREEMPTED,
    Ended.NODE_FAILURE: Cause.NODE_FAILURE,
    Ended.OUT_OF_MEMORY: Cause.HOST_OUT_OF_MEMORY,
}


@pytest.mark.parametrize(("ended", "cause"), WORDS.items())
def test_the_scheduler_says_why_a_job_was_told_to_end(ended, cause):
    verdict = judge([rank(0, Cause.TERMINATED)])
    assert refine(verdict, how=ended, detail="Slurm says so").cause is cause
    assert of_scheduler(ended, "Slurm says so").cause is cause


@given(
    cause=st.sampled_from([c for c in Cause if c not in (*ECHOES, Cause.RANK_DIED, Cause.LOST)]),
    ended=st.sampled_from(Ended),
)
def test_the_scheduler_never_overrules_what_a_rank_knows(cause, ended):
    verdict = judge([rank(0, cause)])
    assert refine(verdict, how=ended) == verdict
    assert refine(verdict, how=ended, restarted=True) == verdict


@given(cause=st.sampled_from(Cause))
def test_plain_failure_or_silence_of_the_scheduler_changes_nothing(cause):
    verdict = judge([rank(0, cause)])
    for ended in (Ended.FAILED, Ended.COMPLETED, Ended.UNREPORTED, None):
        assert refine(verdict, how=ended) == verdict


@pytest.mark.parametrize("was_terminated", [True, False])
@pytest.mark.parametrize("ended", [Ended.PREEMPTED, Ended.REQUEUED, Ended.NODE_FAILURE])
def test_why_a_job_was_started_again_is_the_schedulers_word(was_terminated, ended):
    verdict = judge([rank(0, Cause.TERMINATED if was_terminated else None)])
    assert refine(verdict, how=ended, restarted=True, by_job=was_terminated).cause.value == ended.value


def test_a_restart_of_which_the_scheduler_remembers_nothing_is_no_preemption():
    assert refine(judge([rank(0, Cause.TERMINATED)]), how=None, restarted=True).cause is Cause.REQUEUED
    assert refine(judge([rank(0)]), how=None, restarted=True).cause is Cause.NODE_FAILURE


def test_what_the_scheduler_remembers_is_of_the_restarts_of_the_last_attempt():
    ending = Exit(cause=Cause.TERMINATED, message="SIGTERM")
    attempts = [attempt(name, exit=ending) for name in ("1", "1.1", "2", "2.1", "2.2")]
    assert causes(attempts, earlier_starts=[Ended.PREEMPTED, Ended.NODE_FAILURE]) == [
        Cause.REQUEUED,
        Cause.TERMINATED,
        Cause.PREEMPTED,
        Cause.NODE_FAILURE,
    ]


def test_only_open_ends_need_the_scheduler():
    assert refine(judge([rank(0, Cause.TERMINATED)]), how=Ended.CANCELLED).cause is not Cause.TERMINATED
    assert refine(judge([rank(0, Cause.BUG)]), how=Ended.CANCELLED).cause is Cause.BUG


# --- attempts of a cell ----------------------------------------------------------------------------------


def ended(how, detail="", hosts=""):
    return TaskStatus(state=TaskState.ENDED, ended=how, detail=detail, hosts=hosts)


def attempt(name, *ranks, **fields):
    return Attempt(name=name, ranks=ranks, **fields)


def causes(*args, **words):
    return [exit.cause for exit in verdicts(*args, **words)]


def test_the_last_attempt_has_no_verdict_while_it_runs():
    running = TaskStatus(state=TaskState.RUNNING)
    assert causes([attempt("1", rank(0))], status=running) == []
    terminated = Exit(cause=Cause.TERMINATED, message="SIGTERM")
    assert causes([attempt("1", exit=terminated), attempt("1.1", rank(0))], status=running) == [Cause.REQUEUED]


def test_a_node_that_is_taken_away_leaves_told_ranks_and_no_verdict():
    """Its ranks get a TERM, srun ends with 0, so the job's last line never runs."""
    assert causes([attempt("1", rank(0, Cause.TERMINATED)), attempt("1.1", rank(0))]) == [Cause.NODE_FAILURE]


def test_a_restart_that_the_job_asked_for_keeps_its_cause():
    died = Exit(cause=Cause.RANK_DIED, message="x", again=True)
    assert causes([attempt("1", exit=died), attempt("1.1")]) == [Cause.RANK_DIED]


def test_a_restart_after_silence_was_the_node():
    assert causes([attempt("1", rank(0)), attempt("1.1")]) == [Cause.NODE_FAILURE]


def test_a_later_attempt_is_no_restart_of_an_earlier_one():
    assert causes([attempt("1", rank(0, Cause.TERMINATED)), attempt("2")]) == [Cause.TERMINATED]


def test_the_schedulers_word_is_of_the_last_attempt_only():
    causes_found = causes(
        [attempt("1", rank(0, Cause.BUG)), attempt("2", rank(0, Cause.TERMINATED))], status=ended(Ended.NODE_FAILURE)
    )
    assert causes_found == [Cause.BUG, Cause.NODE_FAILURE]


def test_an_attempt_that_left_nothing_is_what_the_scheduler_says():
    (gone,) = verdicts([attempt("1")], status=ended(Ended.UNREPORTED, "no longer known to squeue"))
    assert gone.cause is Cause.CANCELLED
    assert "never began" in gone.message
    (dead,) = verdicts([attempt("1")], status=ended(Ended.FAILED, "Slurm says FAILED"))
    assert (dead.cause, dead.message) == (Cause.LOST, "Slurm says FAILED")
    (failed,) = verdicts([attempt("1")], status=ended(Ended.NODE_FAILURE, "Slurm says NODE_FAIL", "vector03"))
    assert (failed.cause, failed.host) == (Cause.NODE_FAILURE, "vector03")


def test_what_its_user_ended_is_cancelled_however_it_looks():
    for ranks in ([], [rank(0, Cause.TERMINATED)], [rank(0)], [rank(0, Cause.COMMUNICATION)]):
        assert causes([attempt("1", *ranks)], status=ended(Ended.FAILED), cancelled=True) == [Cause.CANCELLED]
    assert causes([attempt("1", rank(0, Cause.BUG))], status=ended(Ended.FAILED), cancelled=True) == [Cause.BUG]


def test_the_signal_that_a_queue_saw_is_said():
    (died,) = verdicts([attempt("1", rank(0), rank(1))], status=ended(Ended.FAILED, "rank 1 died of signal SIGKILL"))
    assert died.message == "rank 1 died of signal SIGKILL"
