"""Cancelling: some cells or all, in the journal first, by index, and never what has ended."""

import pytest

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.errors import UserError
from tests.unit.builders import cell, entry
from tests.unit.study.test_status import plan
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.study import polling, status
from vit_sweep.study.journal import Event, latest_attempts
from vit_sweep.study.store import Study
from vit_sweep.submit import cancel as cancelling
from vit_sweep.submit import submission
from vit_sweep.submit.cancel import cancel

CELLS = [cell(seed=seed) for seed in range(3)]


class Launcher:
    """Three tasks: two run, the third has ended by a bug."""

    def __init__(self):
        self.cancelled, self.refusal = [], None

    def require_ours(self, submissions):
        if self.refusal:
            raise UserError(self.refusal)

    def states(self, submissions, **_how):
        running, failed = TaskStatus(state=TaskState.RUNNING), TaskStatus(state=TaskState.ENDED, ended=Ended.FAILED)
        return {(s.batch_name, i): running if i < 2 else failed for s in submissions for i in range(s.tasks)}

    def cancel(self, targets):
        self.cancelled += [(submission.handle, indices) for submission, indices in targets]


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    fake = Launcher()
    fake.study = Study(tmp_path / "s")
    (tmp_path / "s" / "cells").mkdir(parents=True)
    for planned in CELLS:
        plan(fake.study, planned)
    tasks = tuple((planned.cell_id, 1) for planned in CELLS)
    for event, handle in ((Event.SUBMITTING, ""), (Event.SUBMITTED, "17")):
        fake.study.journal(entry(event, "b", *tasks, handle=handle))
    bug = Exit(cause=Cause.BUG, message="boom")
    fake.study.write_exit(CELLS[2].cell_id, "1", bug)
    for module in (status, polling, cancelling, submission):
        monkeypatch.setattr(module, "launcher_of", lambda scheduler: fake)
    return fake


def test_all_that_is_active_is_cancelled_and_the_journal_says_so(launcher):
    assert cancel(launcher.study) == 2
    assert launcher.cancelled == [("17", [0, 1])]
    sent = latest_attempts(launcher.study.jobs())
    assert [sent[planned.cell_id].cancelled for planned in CELLS] == [True, True, False]


def test_what_is_another_users_stays_as_it_is_in_the_journal_too(launcher):
    launcher.refusal = "job 17 is ada's"
    before = launcher.study.jobs()
    with pytest.raises(UserError, match="ada's"):
        cancel(launcher.study)
    assert (launcher.study.jobs(), launcher.cancelled) == (before, [])


def test_one_cell_is_cancelled_by_its_name_or_a_pattern(launcher):
    assert cancel(launcher.study, [CELLS[1].cell_id[:-4] + "*"]) == 1
    assert launcher.cancelled == [("17", [1])]


def test_what_has_ended_is_left_alone(launcher):
    assert cancel(launcher.study, [CELLS[2].cell_id]) == 0
    assert launcher.cancelled == []


def test_a_pattern_that_fits_nothing_shows_the_menu(launcher):
    with pytest.raises(UserError, match="n1-g1-mb16"):
        cancel(launcher.study, ["n1-g2-*"])


def test_a_cell_that_waits_for_a_retry_is_cancelled_too(launcher):
    launcher.study.write_exit(CELLS[2].cell_id, "1", Exit(cause=Cause.NODE_FAILURE, message="down", host="n1"))
    assert cancel(launcher.study) == 3
    (third,) = [r for r in status.settled_results(launcher.study) if r.file.cell_id == CELLS[2].cell_id]
    assert third.status == "cancelled"
