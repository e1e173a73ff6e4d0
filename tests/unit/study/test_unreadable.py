"""A file that is there and cannot be read is never taken for one that is absent: nothing runs twice for it."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from launchers.atomic import LARGEST
from launchers.errors import UserError
from tests.unit.builders import batch, entry, point
from tests.unit.study.test_truncated import fill
from vit_sweep.job.task import _is_done
from vit_sweep.outcome.failure import JobError
from vit_sweep.outcome.selection import Retry, select
from vit_sweep.plan.cell import JobOptions
from vit_sweep.plan.plan import make_plan
from vit_sweep.study.journal import Event
from vit_sweep.study.reading import A_JOB
from vit_sweep.study.status import Watcher, settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit.cancel import cancel
from vit_sweep.submit.submission import resolve

CELL = ("cells/{}/record.json", "cells/{}/attempts/2/exit.json", "cells/{}/attempts/2/rank0.json")


def too_large(path):
    os.truncate(path, LARGEST + 1)


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_socket(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as end:  # its name may have 107 bytes
        end.bind(str(path.relative_to(Path.cwd())))


pytestmark = pytest.mark.usefixtures("bounded")
WAYS = pytest.mark.parametrize("spoil", [too_large, a_folder, a_pipe, a_socket])


@pytest.fixture
def filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path / "s", monkeypatch)


def task_of(cell):
    return batch(tasks=tuple(type(task)(name=cell, attempt=3) for task in batch().tasks[:1]))


def require_left_alone(study, cell):
    """Neither chosen, whatever is asked for again, nor submitted by whoever chose it before."""
    results = settled_results(study)
    assert [r.status for r in results if r.file.cell_id == cell] == ["unreadable"]
    for retry in (None, *Retry):
        assert cell not in select(results, code="other", stops=(), retry=retry).run
    before = study.jobs()
    with pytest.raises(UserError, match="nothing is submitted"):
        study.journal_batch(Event.SUBMITTING, task_of(cell))
    assert study.jobs() == before


@WAYS
@pytest.mark.parametrize("name", CELL)
def test_a_cell_of_which_something_cannot_be_read_does_not_run_again(filled, name, spoil):
    study, done, failed = filled
    path = study.folder / name.format(failed)
    if path.name == "rank0.json":
        (path.parent / "exit.json").unlink()
    if path.name == "record.json":
        path.touch()
    content_before = path.read_bytes()
    spoil(path)
    watcher = Watcher(study)
    watcher.results()
    require_left_alone(study, failed)
    assert {r.file.cell_id: r.status for r in watcher.results()} == {done: "done", failed: "unreadable"}
    assert not path.is_file() or path.stat().st_size > LARGEST, "what was there stays"
    # Once it can be read again, its cell has its state back.
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.write_bytes(content_before)
    assert {r.file.cell_id: r.status for r in watcher.results()} != {done: "done", failed: "unreadable"}
    study.journal_batch(Event.SUBMITTING, task_of(failed))


def test_attempts_that_may_not_be_listed_do_not_count_as_none(filled, monkeypatch):
    study, _, failed = filled
    closed = study.cell_dir(failed) / "attempts"

    def scandir(path, scan=os.scandir):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    require_left_alone(study, failed)


@WAYS
def test_a_journal_that_cannot_be_read_is_not_an_empty_one(filled, spoil):
    study, _, failed = filled
    spoil(study.folder / "jobs.jsonl")
    require_nothing_submitted(study, failed)


@pytest.mark.parametrize("damage", [lambda text: text.decode().encode("utf-16"), lambda text: b"x" + text])
def test_nor_is_one_whose_lines_make_no_sense(filled, damage):
    """They may have been any submission; a line that was cut off was none yet."""
    study, _, failed = filled
    journal = study.folder / "jobs.jsonl"
    journal.write_bytes(damage(journal.read_bytes()))
    require_nothing_submitted(study, failed)


def require_nothing_submitted(study, cell):
    require_left_alone(study, cell)
    for verb in (resolve, cancel):
        with pytest.raises(UserError, match=r"jobs\.jsonl.*nothing is submitted or ended"):
            verb(study)


def test_a_line_that_was_cut_off_holds_nobody_up(filled):
    study, _, failed = filled
    with (study.folder / "jobs.jsonl").open("ab") as journal:
        journal.write(b'{"at": "2025-01-01T00:00:00+00:00", "event": "subm')
    study.journal(entry(Event.CANCELLED, "b2", (failed, 2), handle="17"))
    study = Study(study.folder)
    study.require_journal()
    assert [result.status for result in settled_results(study)] == ["done", "failed"]
    assert len(study.problems) == 1


@WAYS
@pytest.mark.parametrize("name", ["plan.json", "cells/{}/cell.json"])
def test_a_plan_that_cannot_be_read_is_not_written_anew(filled, name, spoil):
    study, done, _ = filled
    path = study.folder / name.format(done)
    spoil(path)
    about = path.stat()
    with pytest.raises(UserError, match="not written anew"):
        study.write_plan(make_plan((point(),)), data_root="data", options=JobOptions())
    assert path.stat().st_ino == about.st_ino


@WAYS
def test_a_claim_that_cannot_be_read_is_somebodys(filled, spoil):
    study, _, failed = filled
    spoil(study.cell_dir(failed) / "attempts" / "2" / "claim.json")
    assert study.claim(failed, "2") == A_JOB
    assert study.claim(failed, "3") is None


@WAYS
def test_a_job_that_is_started_again_does_not_run_over_a_record_that_it_cannot_read(filled, spoil):
    study, done, _ = filled
    file = next(file for file in study.cell_files() if file.cell_id == done)
    assert _is_done(study, file, 2)
    spoil(study.cell_dir(done) / "record.json")
    with pytest.raises(JobError, match="cannot be read"):
        _is_done(study, file, 2)
