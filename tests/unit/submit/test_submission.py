"""Submission: the journal speaks first, a lost answer is looked up, limits are waited for, nothing is sent twice."""

import math
from dataclasses import replace

import pytest

from launchers.backend import Rendered, Submission, SubmitError, SubmitProblem
from launchers.batch import Task
from launchers.errors import UserError
from launchers.submission_lock import under_way
from tests.unit.builders import batch
from vit_sweep.study.journal import Event, latest_attempts
from vit_sweep.study.store import Study
from vit_sweep.submit import submission
from vit_sweep.submit.submission import Submitter, resolve


class Slurm:
    """A scheduler with a limit on jobs, which can lose its answers."""

    def __init__(self, study):
        self.study, self.jobs, self.limit, self.finds = study, {}, 1000, True
        self.rendered = []
        self.back_at = math.inf
        """When its look-ups answer again."""
        self.mute = []
        """For each coming submission: (whether it gets the job, what it answers)."""

    def render(self, requested):
        self.rendered.append(requested)
        return Rendered(batch=requested, files={"job.sbatch": "#!/bin/sh\n"}, script="job.sbatch")

    def submit(self, rendered):
        for item in rendered:
            lines = self.study.jobs()
            assert lines[-1].event is Event.SUBMITTING and lines[-1].batch == item.batch.name
            takes, answer = self.mute.pop(0) if self.mute else (True, None)
            room = self.limit - sum(len(tasks) for tasks in self.jobs.values())
            if answer is None and len(item.batch.tasks) > room:
                raise SubmitError("job submit limit", SubmitProblem.LIMIT)
            if takes:
                assert item.batch.name not in self.jobs, "submitted twice"
                self.jobs[item.batch.name] = item.batch.tasks
            if answer is not None:
                raise SubmitError("no answer", answer)
            yield self._submission(item.batch.name)

    def find(self, doubts):
        if not self.finds:
            return {}
        return {d.batch_name: self._submission(d.batch_name) if d.batch_name in self.jobs else None for d in doubts}

    def _submission(self, name):
        number = str(100 + list(self.jobs).index(name))
        return Submission(batch_name=name, folder="", handle=number, tasks=len(self.jobs[name]))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    (tmp_path / "s" / "cells").mkdir(parents=True)
    fake = Slurm(Study(tmp_path / "s"))
    monkeypatch.setattr(submission, "launcher_of", lambda scheduler: fake)
    fake.clock = 0.0
    monkeypatch.setattr(submission.time, "monotonic", lambda: fake.clock)

    def pause(seconds):
        fake.clock += seconds
        if fake.clock >= fake.back_at:
            fake.finds = True

    monkeypatch.setattr(submission.interrupt, "pause", pause)
    return fake


def items(slurm, *counts):
    cells = iter(range(1000))
    rendered = []
    for count in counts:
        tasks = tuple(Task(name=f"c{next(cells)}", attempt=1) for _ in range(count))
        rendered.append(slurm.render(replace(batch(tasks=tasks), study_dir=str(slurm.study.folder))))
    return rendered


def submitter(slurm, *counts):
    return Submitter(slurm.study, items(slurm, *counts), say=lambda text: None)


def sent(slurm):
    """Cells with a handle, by the journal; every one must be in exactly one job."""
    task_names = [task.name for tasks in slurm.jobs.values() for task in tasks]
    assert len(task_names) == len(set(task_names))
    return {cell for cell, attempt in latest_attempts(slurm.study.jobs()).items() if attempt.handle}


def test_everything_is_submitted_once_and_found_in_the_journal(slurm):
    submitter(slurm, 3, 2).submit(idle=True)
    assert len(sent(slurm)) == 5


@pytest.mark.parametrize("takes", [True, False])
def test_a_lost_answer_is_looked_up_and_never_submitted_twice(slurm, takes):
    slurm.mute = [(takes, SubmitProblem.BUSY)]
    sending = submitter(slurm, 3, 2)
    sending.submit(idle=True)
    assert len(sent(slurm)) == 5
    assert sending.waiting == ()


def test_where_nobody_can_say_nothing_more_is_submitted(slurm, monkeypatch):
    monkeypatch.setattr(submission, "_AWAY_S", 600.0)
    slurm.mute, slurm.finds = [(True, SubmitProblem.BUSY)], False
    with pytest.raises(UserError, match="it is not known whether"):
        submitter(slurm, 3, 2).submit(idle=True)
    assert len(slurm.jobs) == 1
    slurm.finds = True
    assert resolve(slurm.study) == []
    assert len(sent(slurm)) == 3


def test_a_scheduler_that_is_away_for_an_hour_is_waited_for_and_nothing_is_decided_meanwhile(slurm):
    slurm.mute, slurm.finds, slurm.back_at = [(True, SubmitProblem.BUSY)], False, 3600.0
    sending = submitter(slurm, 3, 2)
    sending.submit(idle=True)
    assert slurm.clock >= 3600
    assert (len(sent(slurm)), sending.waiting) == (5, ())


def test_an_sbatch_that_answers_in_words_is_looked_up_each_time_however_many_arrays_there_are(slurm, monkeypatch):
    monkeypatch.setattr(submission, "_AWAY_S", 10 * submission._FIRST_PAUSE_S)
    slurm.mute = [(True, SubmitProblem.BUSY)] * 30
    sending = submitter(slurm, *[1] * 30)
    sending.submit(idle=True)
    assert (len(sent(slurm)), sending.waiting) == (30, ())
    assert slurm.clock == 30 * submission._FIRST_PAUSE_S, "one array's wait made that of the next ones longer"


def test_a_scheduler_that_never_takes_anything_is_not_asked_for_ever(slurm, monkeypatch):
    monkeypatch.setattr(submission, "_AWAY_S", 600.0)
    slurm.mute = [(False, SubmitProblem.BUSY)] * 100
    with pytest.raises(UserError, match="no answer, for"):
        submitter(slurm, 1).submit(idle=True)
    assert 80 < len(slurm.mute) < 95


def test_a_refusal_is_told_in_the_schedulers_words_and_closes_its_line(slurm):
    slurm.mute = [(True, None), (False, SubmitProblem.REFUSED)]
    with pytest.raises(UserError, match="no answer; what was submitted before goes on"):
        submitter(slurm, 3, 2).submit(idle=True)
    assert len(sent(slurm)) == 3
    assert resolve(slurm.study) == []
    assert slurm.study.jobs()[-1].event is Event.REFUSED


def test_a_full_queue_is_waited_for(slurm):
    slurm.limit = 4
    sending = submitter(slurm, 3, 3)
    sending.submit(idle=True)
    assert (len(sent(slurm)), len(sending.waiting)) == (3, 3)
    sending.submit(idle=False)
    assert len(slurm.study.jobs()) == 4  # asked too soon: nothing happens
    slurm.limit, slurm.clock = 100, 1000.0
    sending.submit(idle=False)
    assert (len(sent(slurm)), sending.waiting) == (6, ())


def test_an_array_that_can_never_fit_is_cut(slurm):
    slurm.limit = 4
    sending = submitter(slurm, 10)
    sending.submit(idle=True)
    assert 0 < len(sent(slurm)) <= 4
    assert len(sent(slurm)) + len(sending.waiting) == 10


def test_a_shared_curve_is_never_cut_it_is_one_job_already(slurm):
    slurm.limit = 0
    (item,) = items(slurm, 4)
    shared = slurm.render(replace(item.batch, shared=True))
    waiting = Submitter(slurm.study, [shared], say=lambda text: None)
    waiting.submit(idle=True)
    assert waiting.waiting == tuple(task.name for task in shared.batch.tasks)
    assert slurm.rendered[-1] is shared.batch, "no smaller batch was made"


def test_a_client_that_went_away_before_the_answer_is_found_by_the_next_one(slurm):
    (first,) = items(slurm, 3)
    slurm.study.journal_batch(Event.SUBMITTING, first.batch)
    assert resolve(slurm.study) == []
    assert slurm.study.jobs()[-1].event is Event.NEVER
    slurm.study.journal_batch(Event.SUBMITTING, first.batch)
    list(slurm.submit([first]))
    assert resolve(slurm.study) == []
    assert latest_attempts(slurm.study.jobs())["c0"].handle == "100"


@pytest.mark.parametrize(("clusters", "handle"), [(None, "42"), ("west", "42;west"), ("west,north", "")])
def test_a_job_that_the_scheduler_forgot_is_remembered_by_its_own_files(slurm, clusters, handle):
    forgotten(slurm, claim="42_1", clusters=clusters)
    assert latest_attempts(slurm.study.jobs())["c0"].handle == handle


@pytest.mark.parametrize("claim", ["--me_1", "42;west_1", "4\\n2_1", "_1", "42"])
def test_a_claim_that_no_job_of_ours_wrote_names_none(slurm, claim):
    """In a study from elsewhere, where it would become a word of `scancel`."""
    forgotten(slurm, claim=claim)
    sent = latest_attempts(slurm.study.jobs())
    # One that makes no sense is somebody's claim all the same: it stays in doubt.
    assert [s.handle for s in sent.values()] == (["", ""] if claim == "4\\n2_1" else [])


def forgotten(slurm, *, claim, clusters=None):
    """Look up a submission that only a job's claim tells of."""
    (first,) = items(slurm, 2)
    slurm.study.journal_batch(Event.SUBMITTING, first.batch)
    folder = slurm.study.cell_dir("c1") / "attempts" / "1"
    folder.mkdir(parents=True)
    (folder / "claim.json").write_text(f'{{"schema_version": 1, "job_id": "{claim}"}}')
    batch_dir = slurm.study.batch_dir(first.batch.name)
    batch_dir.mkdir(parents=True)
    with under_way(batch_dir, clusters=clusters):
        pass
    resolve(slurm.study)
