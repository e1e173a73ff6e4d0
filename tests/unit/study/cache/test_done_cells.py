"""Cells that were noted as done: whatever happens to a study meanwhile, its status is that without the note."""

import os
from pathlib import Path

import pytest

from launchers.backend import TaskState, TaskStatus
from launchers.checked import to_json
from tests.unit.builders import cell, entry, planned_study, point, put_record
from vit_sweep.__main__ import main
from vit_sweep.study import schema_file
from vit_sweep.study.cache import done_cells, unchanged
from vit_sweep.study.cache.done_cells import results_in_short
from vit_sweep.study.journal import Event
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study

CELLS = [cell(gpus=gpus, nodes=1, seed=seed) for gpus in (1, 2, 4) for seed in (0, 1)]
LATER = 2**62
"""On the file system's clock: nothing that a test wrote is young then."""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """All cells are done, and noted."""
    monkeypatch.setattr(done_cells, "NOTE_FROM", 1)
    monkeypatch.setattr(done_cells, "clock_ns", lambda folder: LATER)
    points = (point(gpus=planned.gpus, seed=planned.seed) for planned in CELLS)
    study, _ = planned_study(tmp_path / "s", *points)
    for planned in CELLS:
        put_record(study, planned, 4.0)
    (study.folder / "jobs.jsonl").write_text("")
    assert results_of(study) == anew(study)
    return study


def file_of(study):
    return study.folder / f".done-{os.geteuid()}"


def _told(results, problems):
    return [(r.file, r.status, r.detail, r.attempt, r.history, r.brief, r.cause) for r in results], problems


def results_of(study):
    """What is said of the cells, and of files that were passed over."""
    reread = Study(study.folder)
    return _told(results_in_short(reread), reread.problems)


def anew(study):
    """The same without a note."""
    reread = Study(study.folder)
    return _told(settled_results(reread), reread.problems)


def were_read(study, monkeypatch):
    """Ids of the cells whose records the next look reads."""
    ids, real = [], Study.record
    monkeypatch.setattr(Study, "record", lambda self, file: (ids.append(file.cell_id), real(self, file))[1])
    results_in_short(Study(study.folder))
    monkeypatch.setattr(Study, "record", real)
    return sorted(ids)


def test_no_record_of_a_cell_that_was_done_is_read_again(study, monkeypatch):
    assert results_of(study) == anew(study)
    assert were_read(study, monkeypatch) == []


@pytest.mark.parametrize("note_from", [1, 50])
@pytest.mark.parametrize("words", [["status"], ["status", "--all"], ["status", "--json"], ["list"]])
def test_a_damaged_plan_is_named_though_all_cells_have_ended(note_from, words, study, monkeypatch, capsys):
    monkeypatch.setattr(done_cells, "NOTE_FROM", note_from)
    (study.folder / "plan.json").write_text('{"schema_version": 1, "points": [')
    assert main([*words, str(study.folder.parent if words == ["list"] else study.folder)]) == 0
    said = capsys.readouterr().out
    assert ("1 file cannot be read" if words == ["list"] else "plan.json") in said


def test_nothing_is_read_of_a_finished_study_but_its_journal_and_the_note(study, monkeypatch):
    """Its plan is megabytes of a large one, and was read three times."""
    monkeypatch.setattr("vit_sweep.cli.terminal.show_status._FOLDED", 1)
    monkeypatch.setattr(schema_file, "_read_file", lambda path, kind: pytest.fail(f"{path} is read"))
    monkeypatch.setattr(Study, "candidates", lambda self: None)
    journals, real = [], Study.jobs
    monkeypatch.setattr(Study, "jobs", lambda self: (journals.append(self), real(self))[1])
    assert main(["status", str(study.folder)]) == 0
    assert len(journals) == 1


@pytest.mark.parametrize("words", [[], ["--all"], ["--json"]])
def test_status_prints_the_same_with_a_note_and_without(study, words, capsys):
    assert main(["status", str(study.folder), *words]) == 0
    with_note = capsys.readouterr().out
    file_of(study).unlink()
    assert main(["status", str(study.folder), *words]) == 0
    assert capsys.readouterr().out == with_note


def test_only_what_has_changed_is_read_again(study, monkeypatch):
    put_record(study, CELLS[3], 5.0, job_s=77.0)
    assert were_read(study, monkeypatch) == [CELLS[3].cell_id]
    assert were_read(study, monkeypatch) == []
    assert results_of(study) == anew(study)


def _in_place(study, name):
    """A file is changed in place, to as many bytes, and its time is set back: only its status change says so."""
    path = study.cell_dir(CELLS[0].cell_id) / name
    before = path.stat()
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _sent_again(study):
    lines = [entry(event, "b", (CELLS[0].cell_id, 2), handle="7") for event in (Event.SUBMITTING, Event.SUBMITTED)]
    (study.folder / "jobs.jsonl").write_text("".join(f"{to_json(line)}".replace("\n", " ") + "\n" for line in lines))


CHANGES = {
    "a record changed in place": lambda study: _in_place(study, "record.json"),
    "a cell changed in place": lambda study: _in_place(study, "cell.json"),
    "another record": lambda study: put_record(study, CELLS[0], 5.0, job_s=77.0),
    "a record of a second attempt": lambda study: put_record(study, CELLS[0], 5.0, attempt="2"),
    "a record that was cut off": lambda study: (study.cell_dir(CELLS[0].cell_id) / "record.json").write_text("{"),
    "no record": lambda study: (study.cell_dir(CELLS[0].cell_id) / "record.json").unlink(),
    "no cell": lambda study: (study.cell_dir(CELLS[0].cell_id) / "cell.json").unlink(),
    "a cell that was dropped": lambda study: (study.cell_dir(CELLS[0].cell_id) / "dropped.json").write_text("{}"),
    "two cells whose records were swapped": lambda study: (
        put_record(study, CELLS[0], 5.0)
        or ((study.cell_dir(CELLS[1].cell_id) / "record.json").rename(study.cell_dir(CELLS[0].cell_id) / "record.json"))
    ),
    "a later attempt": _sent_again,
    "a note that was cut off": lambda study: file_of(study).write_bytes(file_of(study).read_bytes()[:-9]),
    "a note of another": lambda study: file_of(study).write_bytes(file_of(study).read_bytes().replace(b"9.0", b"8.0")),
    "an empty note": lambda study: file_of(study).write_bytes(b""),
    "a folder in its place": lambda study: (file_of(study).unlink(), file_of(study).mkdir()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_status_is_that_without_a_note(study, change, monkeypatch):
    monkeypatch.setattr("vit_sweep.study.status.ask", _queued)
    CHANGES[change](study)
    assert results_of(study) == anew(study)
    assert results_of(study) == anew(study)


def _queued(_study, open_cells):
    return {cell_id: TaskStatus(state=TaskState.QUEUED, detail="waits") for cell_id in open_cells}


def test_a_note_that_others_may_write_is_not_believed(study, monkeypatch):
    file_of(study).chmod(0o666)
    assert were_read(study, monkeypatch) == sorted(planned.cell_id for planned in CELLS)


def test_another_version_of_the_code_believes_no_note(study, monkeypatch):
    monkeypatch.setattr(done_cells, "code_stamp", lambda: "another")
    assert were_read(study, monkeypatch) == sorted(planned.cell_id for planned in CELLS)


def test_a_record_that_was_just_written_is_not_noted(study, monkeypatch):
    monkeypatch.setattr(done_cells, "clock_ns", unchanged.clock_ns)
    put_record(study, CELLS[2], 5.0)
    assert were_read(study, monkeypatch) == [CELLS[2].cell_id]
    assert were_read(study, monkeypatch) == [CELLS[2].cell_id]


def test_what_did_not_end_well_at_its_first_attempt_is_not_noted(study, monkeypatch):
    put_record(study, CELLS[2], 5.0, attempt="2")
    (study.cell_dir(CELLS[4].cell_id) / "record.json").unlink()
    for _ in range(2):
        assert CELLS[2].cell_id in were_read(study, monkeypatch)
    assert results_of(study) == anew(study)


def test_nothing_is_said_where_no_note_can_be_written(study, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError(13, "Permission denied", "x")

    file_of(study).unlink()
    monkeypatch.setattr(done_cells, "replacing", refused)
    assert results_of(study) == anew(study)
    assert not file_of(study).exists()


def test_the_note_is_json_for_its_owner_alone(study):
    assert file_of(study).stat().st_mode & 0o777 == 0o600
    assert Path(file_of(study)).read_bytes().splitlines()[1].startswith(b"{")
