"""A study that goes away while a command waits for it."""

import shutil

from launchers.backend import TaskState, TaskStatus
from tests.unit.builders import entry, planned_study, point
from vit_sweep.__main__ import main
from vit_sweep.study import polling, status
from vit_sweep.study.journal import Event


def test_a_study_that_is_deleted_while_one_waits_for_it_is_a_sentence_and_no_success(tmp_path, monkeypatch, capsys):
    study, plan = planned_study(tmp_path / "s", point())
    (cell_id,) = plan.cells
    study.journal(entry(Event.SUBMITTED, "b", (cell_id, 1), handle="17"))

    class Slurm:
        def states(self, submissions, **_how):
            shutil.rmtree(study.folder)
            return {(s.batch_name, 0): TaskStatus(state=TaskState.RUNNING) for s in submissions}

    for module in (status, polling):
        monkeypatch.setattr(module, "launcher_of", lambda scheduler: Slurm())
    monkeypatch.setattr("vit_sweep.submit.interrupt.pause", lambda *_: None)
    assert main(["status", str(study.folder), "--watch"]) == 2
    heard = capsys.readouterr()
    assert "it was deleted or moved while this command waited" in " ".join(heard.err.split())
    assert not study.folder.exists()
