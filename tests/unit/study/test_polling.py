"""When the scheduler is asked again, on clocks that are made up, and what is believed in between."""

from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import to_json
from launchers.profile import Scheduler
from tests.unit.builders import cell, entry, record, series
from tests.unit.study.test_status import leave, plan, submit
from vit_sweep.outcome.ending import Cause, Exit, Progress, RankEnd, RankFile
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import CellFile
from vit_sweep.study import polling
from vit_sweep.study.journal import Event, SubmittedAttempt
from vit_sweep.study.lock import now
from vit_sweep.study.polling import FIRST_S, LONGEST_AWAY_S, LONGEST_S, SOON_S, Poller, Silence, due_at
from vit_sweep.study.status import Watcher
from vit_sweep.study.store import Study

MOMENTS = st.floats(0, 1e7)


def questions(until_s, **silence):
    """When is asked of a cell of which nothing is heard from 0 on."""
    asked_at = [0.0]
    while asked_at[-1] < until_s:
        asked_at.append(due_at(asked_at[-1], [Silence(0.0, **silence)]))
    return asked_at[:-1]


def test_a_cell_that_waits_is_asked_after_seconds_and_then_every_three_minutes():
    assert questions(700) == [0, 10, 30, 90, 270, 450, 630]


def test_an_end_is_asked_for_every_two_seconds_and_less_and_less_often_while_it_does_not_come():
    question_times = questions(400, overdue=True)
    gaps = [later - before for before, later in pairwise(question_times)]
    assert gaps[:2] == [SOON_S, SOON_S]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_AWAY_S


def test_a_cell_of_which_there_is_always_news_is_not_asked_for_before_the_longest_time():
    asked_at, now = 0.0, 0.0
    while now < due_at(asked_at, [Silence(now)]):
        now += 5
    assert now == LONGEST_S


@given(st.lists(st.builds(Silence, MOMENTS, st.booleans())), MOMENTS)
def test_never_sooner_than_seconds_nor_later_than_minutes_whatever_is_open(cells, asked_at):
    assert asked_at + SOON_S <= due_at(asked_at, cells) <= asked_at + LONGEST_S


@given(st.lists(st.builds(Silence, MOMENTS, st.booleans())), st.builds(Silence, MOMENTS, st.booleans()), MOMENTS)
def test_one_more_open_cell_never_makes_it_later(cells, more, asked_at):
    assert due_at(asked_at, [*cells, more]) <= due_at(asked_at, cells)


def test_after_news_the_first_question_comes_after_ten_seconds():
    assert due_at(100.0, [Silence(120.0)]) == 120.0 + FIRST_S


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A submitted cell, a client that watches it, a clock, and a Slurm that says `word` and counts."""
    (tmp_path / "s" / "cells").mkdir(parents=True)
    (tmp_path / "s" / "study.json").write_text("{}")
    study = Study(tmp_path / "s")
    folder = plan(study, cell())
    submit(study, cell())
    world = SimpleNamespace(study=study, folder=folder, now=1000.0, asked=[], status=TaskStatus(state=TaskState.QUEUED))

    class Slurm:
        def states(self, submissions, *, max_age_s=None):
            world.asked.append((world.now, max_age_s))
            return {(s.batch_name, i): world.status for s in submissions for i in range(s.tasks)}

        def earlier_starts(self, submission, index):
            return ()

    monkeypatch.setattr(polling, "launcher_of", lambda _: Slurm())
    monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: world.now))
    watcher = Watcher(study, poller=Poller(study))

    def look(after_s=0.0):
        world.now += after_s
        result = next(r for r in watcher.results() if r.file.cell_id == cell().cell_id)
        return result.status

    world.look = look
    return world


def of_rank(number, cause):
    """The file of a rank that has ended."""
    end = RankEnd(at="2026-01-01T00:00:00+00:00", cause=cause, message="")
    return RankFile(rank=number, world_size=2, host="n1", pid=1, job_id="7_0", started_at=end.at, end=end)


def test_a_cell_that_begins_and_ends_well_is_seen_in_its_files_without_a_question(watched):
    assert watched.look() == "queued"
    leave(watched.folder, "1", "progress.json", Progress(phase="training", epoch=1, epochs=3, host="n1"))
    assert watched.look(after_s=2) == "running"
    (watched.folder / "record.json").write_text(to_json(record(cell())))
    assert watched.look(after_s=2) == "done"
    assert len(watched.asked) == 1


def test_what_was_handed_over_a_moment_ago_is_asked_for_after_ten_seconds(tmp_path, watched):
    submit(watched.study, cell(), attempt=2, at=now())
    assert watched.look() == "queued"
    assert watched.look(after_s=FIRST_S - 1) == "queued"
    assert not watched.asked
    watched.look(after_s=1)
    assert len(watched.asked) == 1


def test_what_another_machine_handed_over_by_a_clock_ahead_of_ours_is_asked_for_at_once(watched):
    submit(watched.study, cell(), attempt=2, at="2999-01-01T00:00:00+00:00")
    watched.look()
    assert len(watched.asked) == 1


def test_a_cell_that_is_cancelled_at_once_has_the_scheduler_asked(watched):
    submit(watched.study, cell(), attempt=2, at=now())
    watched.look()
    watched.study.journal(entry(Event.CANCELLED, "b2", (cell().cell_id, 2), handle="7"))
    watched.look(after_s=1)
    assert len(watched.asked) == 1


def test_a_record_that_comes_while_its_cell_is_looked_at_ends_it_without_a_question(watched, monkeypatch):
    """Its exit is written after its record, and read after it too."""
    watched.look()
    attempts = watched.study.attempts

    def ends_meanwhile(*words, **named):
        (watched.folder / "record.json").write_text(to_json(record(cell())))
        leave(watched.folder, "1", "exit.json", Exit(cause=Cause.DONE, message=""))
        return attempts(*words, **named)

    monkeypatch.setattr(watched.study, "attempts", ends_meanwhile)
    assert watched.look(after_s=2) == "done"
    assert len(watched.asked) == 1


def test_a_rank_that_has_ended_well_is_no_reason_to_ask_while_rank_0_writes_the_record(watched):
    watched.look()
    leave(watched.folder, "1", "rank1.json", of_rank(1, Cause.DONE))
    watched.look(after_s=2)
    watched.look(after_s=2)
    assert len(watched.asked) == 1
    leave(watched.folder, "1", "rank0.json", of_rank(0, Cause.BUG))
    watched.look(after_s=2)
    watched.look(after_s=2)
    assert len(watched.asked) == 2


@pytest.mark.parametrize(
    ("batch", "partition", "asked"), [("b1", {}, 1), ("b2", {}, 1), ("b2", {"partition": "other"}, 2)]
)
def test_what_waits_behind_others_of_its_partition_is_not_asked_for_while_they_begin_and_end(
    watched, batch, partition, asked
):
    behind = cell(seed=1, **partition)
    plan(watched.study, behind)
    ahead = [(cell().cell_id, 1)] if batch == "b1" else []
    watched.study.journal(entry(Event.SUBMITTED, batch, *ahead, (behind.cell_id, 1), handle="8"))
    for step in range(4):
        watched.look(after_s=4)
        leave(
            watched.folder, "1", "progress.json", Progress(phase="training", epoch=1, epochs=3, steps=step, host="n1")
        )
    assert len(watched.asked) == asked


class Job(NamedTuple):
    """A cell of a made-up queue; seconds since the sweep was handed over."""

    file: CellFile
    batch: str
    start: float
    end: float
    epoch_s: float = 0.0
    """None: it trains nothing."""

    def at(self, now):
        """What its files say."""
        if now >= self.end:
            return Result(file=self.file, record=None, status=Status.DONE, attempt="1")
        if now < self.start:
            return Result(file=self.file, record=None, status=Status.QUEUED, detail="submitted")
        epochs = int((now - self.start) / self.epoch_s) if self.epoch_s else 0
        progress = Progress(
            phase="training" if self.epoch_s else "starting",
            epoch=1 + epochs,
            epochs=100,
            host="n1",
            steps=epochs * self.file.cell.steps_per_epoch,
            trained_steps=epochs * self.file.cell.steps_per_epoch,
            trained_s=epochs * self.epoch_s,
        )
        return Result(file=self.file, record=None, status=Status.RUNNING, attempt="1", progress=progress)


def asked_at(monkeypatch, jobs, until_s, every_s=2.0):
    """When a client that looks at these asks the controller, which says what the files say."""
    moments, clock = [], SimpleNamespace(now=0.0)
    attempts = {
        job.file.cell_id: SubmittedAttempt(
            batch=job.batch, scheduler=Scheduler.SLURM, handle="7", index=place, tasks=9, attempt=1, since=1, at=now()
        )
        for place, job in enumerate(jobs)
    }

    def ask(study, latest, **options):
        if latest:
            moments.append(clock.now)
        states = {Status.QUEUED: TaskState.QUEUED, Status.RUNNING: TaskState.RUNNING}
        by_cell = {job.file.cell_id: job.at(clock.now) for job in jobs}
        return {cell: TaskStatus(state=states[by_cell[cell].status]) for cell in latest}

    monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(polling, "ask", ask)
    poller = Poller(None)
    while clock.now < until_s:
        results = [job.at(clock.now) for job in jobs]
        under_way = {r.file.cell_id: attempts[r.file.cell_id] for r in results if r.status.under_way}
        if not under_way:
            break
        poller.states(under_way)
        poller.note(results)
        clock.now += every_s
    return moments


def files(count):
    return [
        CellFile(cell_id=f"c{seed}", cell=cell(seed=seed), series=(series(),), data_root="data")
        for seed in range(count)
    ]


@pytest.mark.parametrize(("cells", "takes_s"), [(24, 2.0), (200, 2.0), (200, 25.0)])
def test_of_a_short_study_that_goes_well_nothing_is_asked(monkeypatch, cells, takes_s):
    """Three cells begin each second, one array after another, and say nothing before they end."""
    jobs = [
        Job(file, f"array{4 * place // cells}", start=place / 3, end=place / 3 + takes_s)
        for place, file in enumerate(files(cells))
    ]
    assert asked_at(monkeypatch, jobs, 180) == []


def test_cells_that_train_are_asked_for_once_in_three_minutes_however_many_they_are(monkeypatch):
    jobs = [Job(file, "array", start=7.0 * place, end=1e9, epoch_s=60.0) for place, file in enumerate(files(20))]
    moments = asked_at(monkeypatch, jobs, 1500, every_s=5.0)
    assert len([at for at in moments if at > 300]) <= 1200 / LONGEST_S + 1


def test_a_cell_that_trains_and_is_late_for_its_next_epoch_is_asked_for(monkeypatch):
    """Its last news is of 120 s; the next was to come at 180 s."""
    (file,) = files(1)

    class Stuck(Job):
        def at(self, now):
            return super().at(min(now, 130.0))

    moments = asked_at(monkeypatch, [Stuck(file, "array", start=0.0, end=1e9, epoch_s=60.0)], 400, every_s=1.0)
    assert [at for at in moments if 60 < at < 300] == [180 + 10, 180 + 30, 180 + 90]


def test_a_cell_that_says_it_failed_has_the_scheduler_asked_at_once_for_an_answer_of_after_that(watched):
    watched.look()
    watched.status = TaskStatus(state=TaskState.ENDED, ended=Ended.FAILED)
    leave(watched.folder, "1", "exit.json", Exit(cause=Cause.BUG, message="boom"))
    assert watched.look(after_s=2) == "running"
    assert len(watched.asked) == 1
    assert watched.look(after_s=2) == "failed"
    at, max_age_s = watched.asked[1]
    assert (at, max_age_s) == (1004.0, 2.0)


def test_a_job_that_is_gone_without_a_word_is_asked_for_twice_before_that_is_believed(watched):
    watched.look()
    watched.status = TaskStatus(state=TaskState.ENDED, ended=Ended.UNREPORTED)
    assert watched.look(after_s=FIRST_S) == "running"
    assert not watched.look(after_s=SOON_S).under_way
    assert [at for at, _ in watched.asked] == [1000, 1010, 1012]


def test_an_attempt_that_was_there_when_slurm_said_that_it_waits_is_not_taken_for_a_start(watched):
    """Slurm has put it back, without a word in its files."""
    leave(watched.folder, "1", "progress.json", Progress(phase="training", epoch=1, epochs=3, host="n1"))
    assert watched.look() == "queued"
    assert watched.look(after_s=2) == "queued"
    leave(watched.folder, "1.1", "progress.json", Progress(phase="training", epoch=1, epochs=3, host="n1"))
    assert watched.look(after_s=2) == "running"


def test_what_was_handed_over_since_the_last_question_waits_and_is_not_gone(watched):
    watched.look()
    submit(watched.study, cell(), attempt=2)
    watched.status = TaskStatus(state=TaskState.ENDED, ended=Ended.UNREPORTED)
    assert watched.look(after_s=2) == "queued"
    assert len(watched.asked) == 1


def test_a_cell_that_somebody_cancels_has_the_scheduler_asked_at_once(watched):
    watched.look()
    watched.study.journal(entry(Event.CANCELLED, "b1", (cell().cell_id, 1), handle="7"))
    watched.status = TaskStatus(state=TaskState.ENDED, ended=Ended.CANCELLED)
    assert watched.look(after_s=2) == "cancelled"
    assert len(watched.asked) == 2


def test_a_scheduler_that_does_not_answer_is_asked_again_after_seconds(watched):
    watched.status = TaskStatus(state=TaskState.UNKNOWN, detail="no controller")
    watched.look()
    watched.status = TaskStatus(state=TaskState.RUNNING)
    assert watched.look(after_s=SOON_S) == "running"
