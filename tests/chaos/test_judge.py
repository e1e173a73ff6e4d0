"""What holds a tormented study against its promises finds a breach of each."""

import pytest

from launchers.checked import to_json
from tests.chaos import test_chaos
from tests.chaos.monkey import CELLS, Monkey
from tests.unit.builders import entry, planned_study, point, record
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.study.journal import Event


@pytest.fixture
def monkey(tmp_path, monkeypatch):
    """One that has done nothing to a study whose cells are all done."""
    (tmp_path / "beside").mkdir()
    idle = Monkey(1, tmp_path, tmp_path / "beside", small_disk=False)
    idle.log.touch()
    monkeypatch.setattr(idle, "left", list)
    monkeypatch.setattr(test_chaos, "wait_for", lambda condition, what: condition() or pytest.fail(what()))
    study, plan = planned_study(idle.study, *(point(seed=seed) for seed in range(CELLS)))
    for cell, planned in plan.cells.items():
        send(study, cell, 1)
        study.write_exit(cell, "1", Exit(cause=Cause.DONE, message=""))
        (study.cell_dir(cell) / "record.json").write_text(to_json(record(planned.cell)))
    idle.look()
    return idle, study, next(iter(plan.cells))


def send(study, cell, attempt):
    batch = f"b-{cell}-{attempt}"
    study.batch_dir(batch).mkdir()
    (study.batch_dir(batch) / "batch.json").write_text("{}")
    for event, handle in ((Event.SUBMITTING, ""), (Event.SUBMITTED, "17")):
        study.journal(entry(event, batch, (cell, attempt), handle=handle))


def judge(monkey, codes=(1, 0)):
    monkey.look()
    test_chaos.judge(monkey, codes, "what it did")


def test_a_study_whose_cells_were_done_once_keeps_all_promises(monkey):
    judge(monkey[0])


def sent_again(_, study, cell):
    send(study, cell, 2)
    return "a finished cell was submitted again"


def run_twice(idle, _, cell):
    (idle.locks / "twice").write_text(f"{cell}: attempt 1 began while another one ran\n")
    return "began while another one ran"


def record_changed(_, study, cell):
    path = study.cell_dir(cell) / "record.json"
    path.write_text(path.read_text() + "\n")
    return "record.json has changed from attempt 1 to attempt 1"


def record_lost(_, study, cell):
    (study.cell_dir(cell) / "record.json").unlink()
    return "assert"


def traceback(idle, *_):
    idle.log.write_text("Traceback (most recent call last):\n")
    return "what it did"


def something_left(idle, *_):
    idle.left = lambda: ["process 17"]
    return "left: .'process 17'"


def file_left(_, study, cell):
    (study.cell_dir(cell) / ".record.json.0a1b.tmp").touch()
    return "was left by a writer that was killed"


@pytest.mark.parametrize(
    "plant",
    [sent_again, run_twice, record_changed, record_lost, traceback, something_left, file_left],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_breach_is_found(monkey, plant):
    words = plant(*monkey)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=words):
        judge(monkey[0])


def test_a_study_that_does_not_end_well_is_found(monkey):
    with pytest.raises(AssertionError, match="what it did"):
        judge(monkey[0], codes=(0, 1))
