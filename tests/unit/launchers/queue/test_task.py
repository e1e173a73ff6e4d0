"""What becomes of one task in one of our queues: told to end, killed, closed, started again. No process, no waiting."""

import signal
from pathlib import Path

import pytest

from launchers.backend import Ended, TaskState
from launchers.batch import RUN_AGAIN
from launchers.queue.task import CLOSING_LIMIT_S, QueueTask, attend, begin, cancel
from tests.unit.builders import batch


class Ranks:
    """Ranks that note what they are sent, and end when the test says so."""

    grace_s, hosts = 10.0, "here"

    def __init__(self):
        self.ended, self.words, self.is_broken = None, "rank 0 ended with code 3", False
        self.sent, self.free = [], False

    def code(self):
        return self.ended

    def broken(self):
        return self.is_broken

    def failure(self):
        return self.words

    def send(self, number):
        self.sent.append(number.name)

    def sentinels(self):
        return []

    def release(self):
        self.free = True


class Closing:
    """A closing module's process."""

    def __init__(self, words, **how):
        self.words, self.how, self.ended, self.killed = words, how, None, False

    def poll(self):
        return self.ended

    def send_signal(self, number):
        self.killed = number is signal.SIGKILL

    def wait(self):
        pass


@pytest.fixture
def started(monkeypatch):
    """A task of an hour, begun at 0, its ranks, and the closing modules that it starts."""
    closings = []
    monkeypatch.setattr(
        "launchers.queue.task.subprocess.Popen",
        lambda *words, **how: closings.append(Closing(*words, **how)) or closings[-1],
    )
    task = QueueTask(batch=batch(closing="some.closing"), folder=Path("/s/jobs/b"), index=1, limit_s=3600.0)
    ranks = Ranks()
    assert begin(task, lambda _cell, _place: ranks, "local-7-1", 0.0)
    return task, ranks, closings


def test_a_task_waits_while_there_is_no_room_and_says_why():
    task = QueueTask(batch=batch(), folder=Path("/s/jobs/b"), index=0, limit_s=60.0)

    def no_room(task, _place):
        task.detail = "its hosts are taken"

    assert begin(task, no_room, "j", 0.0)
    assert not begin(task, no_room, "j", 1.0), "the same words again are no news"
    assert task.queued
    assert (task.status.state, task.status.detail) == (TaskState.QUEUED, "its hosts are taken")


def test_a_task_that_cannot_be_started_has_ended_and_says_why():
    task = QueueTask(batch=batch(), folder=Path("/s/jobs/b"), index=0, limit_s=60.0)

    def full(_cell, _place):
        raise OSError("No space left on device")

    assert begin(task, full, "j", 0.0)
    assert task.status.ended is Ended.FAILED
    assert "No space left" in task.status.detail


def test_a_good_end_is_not_closed(started):
    task, ranks, closings = started
    ranks.ended = 0
    assert attend(task, 1.0)
    assert (task.status.state, task.status.ended, task.status.detail) == (TaskState.ENDED, Ended.COMPLETED, "")
    assert ranks.free
    assert not closings


def test_the_closing_module_is_told_folder_code_and_which_start_it_was(started):
    task, ranks, closings = started
    ranks.ended = 137
    assert attend(task, 1.0)
    (closing,) = closings
    assert closing.words[1:] == ["-m", "some.closing", "/s/jobs/b", "137"]
    environment = closing.how["env"]
    assert (environment["VIT_SWEEP_TASK_INDEX"], environment["VIT_SWEEP_JOB_ID"], environment["VIT_SWEEP_RESTART"]) == (
        "1",
        "local-7-1",
        "0",
    )
    assert environment["VIT_SWEEP_JOB_ENDS"].isdecimal()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "RANK" not in environment
    assert task.status.state is TaskState.RUNNING, "it is not over before its closing module has decided"
    assert not ranks.free, "its neighbours must not be disturbed, nor its place be lost"


def test_a_task_that_shall_run_again_is_queued_with_its_restart_counted(started):
    task, ranks, closings = started
    ranks.ended = 3
    attend(task, 1.0)
    closings[0].ended = RUN_AGAIN
    assert attend(task, 2.0)
    assert task.queued
    assert task.restart == 1
    assert ranks.free
    assert (task.status.state, task.status.ended) == (TaskState.QUEUED, None)
    places = []
    begin(task, lambda _cell, place: places.append(place) or Ranks(), "local-7-1", 3.0)
    assert places[0]["VIT_SWEEP_RESTART"] == "1"
    assert task.start.moments.begun == 3.0, "its time limit begins anew"


@pytest.mark.parametrize(("code", "suffix"), [(0, ""), (1, "; its closing module ended with code 1")])
def test_a_closing_module_that_crashes_counts_as_no_restart_and_is_said(started, code, suffix):
    task, ranks, closings = started
    ranks.ended = 3
    attend(task, 1.0)
    closings[0].ended = code
    assert attend(task, 2.0)
    assert (task.status.ended, task.status.detail) == (Ended.FAILED, "rank 0 ended with code 3" + suffix)


def test_a_closing_module_that_hangs_is_killed_after_a_minute(started):
    task, ranks, closings = started
    ranks.ended = 3
    attend(task, 1.0)
    assert not attend(task, CLOSING_LIMIT_S)
    assert attend(task, 1.0 + CLOSING_LIMIT_S)
    assert closings[0].killed
    assert task.status.ended is Ended.FAILED
    assert "took longer than 60 s" in task.status.detail


def test_the_time_limit_warns_ends_and_kills(started):
    task, ranks, closings = started
    for now in (3509.0, 3510.0, 3511.0, 3600.0, 3601.0, 3610.0, 3611.0):
        attend(task, now)
    assert ranks.sent == ["SIGUSR2", "SIGTERM", "SIGKILL"]
    ranks.ended = 137
    attend(task, 3612.0)
    closings[0].ended = 0
    attend(task, 3613.0)
    assert task.status.ended is Ended.TIME_LIMIT
    assert task.status.detail == "its time limit of 60 min was over"


def test_a_task_that_ends_well_although_it_was_told_to_end_has_completed(started):
    task, ranks, _ = started
    attend(task, 3600.0)
    ranks.ended = 0
    attend(task, 3601.0)
    assert task.status.ended is Ended.COMPLETED


def test_ranks_that_wait_for_a_failed_one_are_ended_and_the_failed_one_is_named(started):
    task, ranks, closings = started
    ranks.is_broken = True
    attend(task, 5.0)
    assert ranks.sent == []
    attend(task, 15.0)
    assert ranks.sent == ["SIGTERM"]
    ranks.words, ranks.ended = "rank 1 died of signal SIGTERM", 3
    attend(task, 16.0)
    closings[0].ended = 0
    attend(task, 17.0)
    assert (task.status.ended, task.status.detail) == (Ended.FAILED, "rank 0 ended with code 3")


def test_a_cancelled_task_is_closed_for_its_verdict_but_never_started_again(started):
    task, ranks, closings = started
    cancel(task, 5.0)
    cancel(task, 6.0)
    assert ranks.sent == ["SIGTERM"], "asking twice does no harm"
    attend(task, 15.0)
    assert ranks.sent == ["SIGTERM", "SIGKILL"]
    ranks.ended = 137
    attend(task, 16.0)
    closings[0].ended = RUN_AGAIN
    attend(task, 17.0)
    assert (task.status.state, task.status.ended, task.status.detail) == (TaskState.ENDED, Ended.CANCELLED, "cancelled")


def test_a_task_cancelled_while_it_is_being_closed_is_not_started_again(started):
    task, ranks, closings = started
    ranks.ended = 3
    attend(task, 1.0)
    cancel(task, 2.0)
    closings[0].ended = RUN_AGAIN
    attend(task, 3.0)
    assert task.status.ended is Ended.CANCELLED


def test_a_task_cancelled_before_it_began_never_begins(started):
    task = QueueTask(batch=batch(closing="some.closing"), folder=Path("/s/jobs/b"), index=0, limit_s=60.0)
    assert cancel(task, 0.0)
    assert not task.queued
    assert task.status.ended is Ended.CANCELLED
    assert signal.SIGTERM.name not in started[1].sent
