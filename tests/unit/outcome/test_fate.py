"""What became of each attempt: restarts that the scheduler made on its own are told from those that we asked for."""

from launchers.backend import Ended, TaskState, TaskStatus
from tests.unit.outcome.test_verdict import rank
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.outcome.fate import Attempt, fates


def ended(how, detail="", hosts=""):
    return TaskStatus(state=TaskState.ENDED, ended=how, detail=detail, hosts=hosts)


def attempt(name, *ranks, **fields):
    return Attempt(name=name, ranks=ranks, **fields)


def causes(*args, **words):
    return [exit.cause for exit in fates(*args, **words)]


def test_the_last_attempt_has_no_verdict_while_it_runs():
    running = TaskStatus(state=TaskState.RUNNING)
    assert causes([attempt("1", rank(0))], word=running) == []
    told = Exit(cause=Cause.TERMINATED, message="SIGTERM")
    assert causes([attempt("1", exit=told), attempt("1.1", rank(0))], word=running) == [Cause.PREEMPTED]


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
    found = causes(
        [attempt("1", rank(0, Cause.BUG)), attempt("2", rank(0, Cause.TERMINATED))], word=ended(Ended.NODE_FAILURE)
    )
    assert found == [Cause.BUG, Cause.NODE_FAILURE]


def test_an_attempt_that_left_nothing_is_what_the_scheduler_says():
    (gone,) = fates([attempt("1")], word=ended(Ended.UNSAID, "no longer known to squeue"))
    assert gone.cause is Cause.CANCELLED
    assert "never began" in gone.message
    (dead,) = fates([attempt("1")], word=ended(Ended.FAILED, "Slurm says FAILED"))
    assert (dead.cause, dead.message) == (Cause.LOST, "Slurm says FAILED")
    (failed,) = fates([attempt("1")], word=ended(Ended.NODE_FAILURE, "Slurm says NODE_FAIL", "vector03"))
    assert (failed.cause, failed.host) == (Cause.NODE_FAILURE, "vector03")


def test_what_its_user_ended_is_cancelled_however_it_looks():
    for ranks in ([], [rank(0, Cause.TERMINATED)], [rank(0)], [rank(0, Cause.COMMUNICATION)]):
        assert causes([attempt("1", *ranks)], word=ended(Ended.FAILED), cancelled=True) == [Cause.CANCELLED]
    assert causes([attempt("1", rank(0, Cause.BUG))], word=ended(Ended.FAILED), cancelled=True) == [Cause.BUG]


def test_the_signal_that_a_queue_saw_is_said():
    (died,) = fates([attempt("1", rank(0), rank(1))], word=ended(Ended.FAILED, "rank 1 died of signal SIGKILL"))
    assert died.message == "rank 1 died of signal SIGKILL"
