"""What becomes of one task in a queue of ours: told to end, killed, closed, started again. No process, no waiting."""

import signal
from pathlib import Path

import pytest

from launchers.backend import Ended, TaskState
from launchers.batch import RUN_AGAIN
from launchers.queue.task import CLOSING_LIMIT_S, Cell, attend, begin, cancel
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

    def how(self):
        return self.words

    def send(self, number):
        self.sent.append(number.name)

    def sentinels(self):
        return []

    def give_back(self):
        self.free = True


class Closing:
    """A closing module's process."""

    def __init__(self, words, **how):
        self.words, self.how, self.ended, self.killed = words, how, None, False

    def poll(self):
        return self.ended

    def kill(self):
        self.killed = True

    def wait(self):
        pass


@pytest.fixture
def started(monkeypatch):
    """A cell of an hour, begun at 0, its ranks, and the closing modules that it starts."""
    closings = []
    monkeypatch.setattr(
        "launchers.queue.task.subprocess.Popen", lambda *words, **how: closings.append(Closing(*words, **how)) or
        closings[-1],
    )  # fmt: skip
    made = Cell(batch=batch(closing="some.closing"), folder=Path("/s/jobs/b"), index=1, limit_s=3600.0)
    ranks = Ranks()
    assert begin(made, lambda _cell, _place: ranks, "local-7-1", 0.0)
    return made, ranks, closings


def test_a_task_waits_while_there_is_no_room_and_says_why():
    cell = Cell(batch=batch(), folder=Path("/s/jobs/b"), index=0, limit_s=60.0)

    def no_room(cell, _place):
        cell.detail = "its hosts are taken"

    assert begin(cell, no_room, "j", 0.0)
    assert not begin(cell, no_room, "j", 1.0), "the same words again are no news"
    assert cell.queued
    assert (cell.status.state, cell.status.detail) == (TaskState.QUEUED, "its hosts are taken")


def test_a_task_that_cannot_be_started_has_ended_and_says_why():
    cell = Cell(batch=batch(), folder=Path("/s/jobs/b"), index=0, limit_s=60.0)

    def full(_cell, _place):
        raise OSError("No space left on device")

    assert begin(cell, full, "j", 0.0)
    assert cell.status.ended is Ended.FAILED
    assert "No space left" in cell.status.detail


def test_a_good_end_is_not_closed(started):
    cell, ranks, closings = started
    ranks.ended = 0
    assert attend(cell, 1.0)
    assert (cell.status.state, cell.status.ended, cell.status.detail) == (TaskState.ENDED, Ended.COMPLETED, "")
    assert ranks.free
    assert not closings


def test_the_closing_module_is_told_folder_code_and_which_start_it_was(started):
    cell, ranks, closings = started
    ranks.ended = 137
    assert attend(cell, 1.0)
    (closing,) = closings
    assert closing.words[1:] == ["-m", "some.closing", "/s/jobs/b", "137"]
    given = closing.how["env"]
    assert (given["VIT_SWEEP_TASK_INDEX"], given["VIT_SWEEP_JOB_ID"], given["VIT_SWEEP_RESTART"]) == (
        "1", "local-7-1", "0",
    )  # fmt: skip
    assert given["VIT_SWEEP_JOB_ENDS"].isdecimal()
    assert given["OMP_NUM_THREADS"] == "1"
    assert "RANK" not in given
    assert cell.status.state is TaskState.RUNNING, "it is not over before its closing module has decided"
    assert not ranks.free, "its neighbours must not be disturbed, nor its place be lost"


def test_a_task_that_shall_run_again_is_queued_with_its_restart_counted(started):
    cell, ranks, closings = started
    ranks.ended = 3
    attend(cell, 1.0)
    closings[0].ended = RUN_AGAIN
    assert attend(cell, 2.0)
    assert cell.queued
    assert cell.restart == 1
    assert ranks.free
    assert (cell.status.state, cell.status.ended) == (TaskState.QUEUED, None)
    places = []
    begin(cell, lambda _cell, place: places.append(place) or Ranks(), "local-7-1", 3.0)
    assert places[0]["VIT_SWEEP_RESTART"] == "1"
    assert cell.start.moments.begun == 3.0, "its time limit begins anew"


@pytest.mark.parametrize(("code", "said"), [(0, ""), (1, "; its closing module ended with code 1")])
def test_a_closing_module_that_crashes_counts_as_no_restart_and_is_said(started, code, said):
    cell, ranks, closings = started
    ranks.ended = 3
    attend(cell, 1.0)
    closings[0].ended = code
    assert attend(cell, 2.0)
    assert (cell.status.ended, cell.status.detail) == (Ended.FAILED, "rank 0 ended with code 3" + said)


def test_a_closing_module_that_hangs_is_killed_after_a_minute(started):
    cell, ranks, closings = started
    ranks.ended = 3
    attend(cell, 1.0)
    assert not attend(cell, CLOSING_LIMIT_S)
    assert attend(cell, 1.0 + CLOSING_LIMIT_S)
    assert closings[0].killed
    assert cell.status.ended is Ended.FAILED
    assert "took longer than 60 s" in cell.status.detail


def test_the_time_limit_warns_ends_and_kills(started):
    cell, ranks, closings = started
    for now in (3509.0, 3510.0, 3511.0, 3600.0, 3601.0, 3610.0, 3611.0):
        attend(cell, now)
    assert ranks.sent == ["SIGUSR2", "SIGTERM", "SIGKILL"]
    ranks.ended = 137
    attend(cell, 3612.0)
    closings[0].ended = 0
    attend(cell, 3613.0)
    assert cell.status.ended is Ended.TIME_LIMIT
    assert cell.status.detail == "its time limit of 60 min was over"


def test_a_task_that_ends_well_although_it_was_told_to_end_has_completed(started):
    cell, ranks, _ = started
    attend(cell, 3600.0)
    ranks.ended = 0
    attend(cell, 3601.0)
    assert cell.status.ended is Ended.COMPLETED


def test_ranks_that_wait_for_a_failed_one_are_ended_and_the_failed_one_is_named(started):
    cell, ranks, closings = started
    ranks.is_broken = True
    attend(cell, 5.0)
    assert ranks.sent == []
    attend(cell, 15.0)
    assert ranks.sent == ["SIGTERM"]
    ranks.words, ranks.ended = "rank 1 died of signal SIGTERM", 3
    attend(cell, 16.0)
    closings[0].ended = 0
    attend(cell, 17.0)
    assert (cell.status.ended, cell.status.detail) == (Ended.FAILED, "rank 0 ended with code 3")


def test_a_cancelled_task_is_closed_for_its_verdict_but_never_started_again(started):
    cell, ranks, closings = started
    cancel(cell, 5.0)
    cancel(cell, 6.0)
    assert ranks.sent == ["SIGTERM"], "asking twice does no harm"
    attend(cell, 15.0)
    assert ranks.sent == ["SIGTERM", "SIGKILL"]
    ranks.ended = 137
    attend(cell, 16.0)
    closings[0].ended = RUN_AGAIN
    attend(cell, 17.0)
    assert (cell.status.state, cell.status.ended, cell.status.detail) == (
        TaskState.ENDED, Ended.CANCELLED, "cancelled",
    )  # fmt: skip


def test_a_task_cancelled_while_it_is_being_closed_is_not_started_again(started):
    cell, ranks, closings = started
    ranks.ended = 3
    attend(cell, 1.0)
    cancel(cell, 2.0)
    closings[0].ended = RUN_AGAIN
    attend(cell, 3.0)
    assert cell.status.ended is Ended.CANCELLED


def test_a_task_cancelled_before_it_began_never_begins(started):
    cell = Cell(batch=batch(closing="some.closing"), folder=Path("/s/jobs/b"), index=0, limit_s=60.0)
    assert cancel(cell, 0.0)
    assert not cell.queued
    assert cell.status.ended is Ended.CANCELLED
    assert signal.SIGTERM.name not in started[1].sent
