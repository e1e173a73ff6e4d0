"""Nothing inside a study is written, made or deleted through a symbolic link: what it leads to stays as it was."""

import contextlib
import os
import shutil

import pytest

from launchers.atomic import ThroughLinkError, guard, make_folder, opened, remove, rename, write
from launchers.backend import Rendered
from launchers.checked import to_json
from launchers.queue.files import ask_to_cancel, forget, note_start, write_handle
from launchers.queue.loop import read_batches
from launchers.submission_lock import under_way
from tests.unit.builders import batch, cell
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.outcome.policy import Stop
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study

CELL = cell().cell_id


def work(folder):
    """All that clients and queues write and delete in a study."""
    study = Study(folder)
    sent = batch(study_dir=str(folder))
    jobs = folder / "jobs" / sent.name
    stop = Stop(cell_id=CELL, cell=cell(), cause=Cause.BUG, message="x", code="x")
    steps = [
        lambda: Study.create_or_resume(folder),
        lambda: take(folder),
        lambda: study.write_command(["x"], ["x"], code="x"),
        lambda: study.write_rendered(Rendered(batch=sent, files={"job.sh": "x", "batch.json": "{}"}, script="job.sh")),
        lambda: study.journal_batch(Event.SUBMITTING, sent),
        lambda: study.write_exit(CELL, "1", Exit(cause=Cause.BUG, message="x")),
        lambda: study.write_stop(stop),
        lambda: study.clear_stops([CELL]),
        lambda: ask_to_cancel(jobs, [0, 1]),
        lambda: note_start(jobs, 0, 1),
        lambda: write_handle([jobs]),
        lambda: under_way(jobs).__enter__(),
        lambda: forget(jobs),
        lambda: study.changing().__enter__(),
    ]
    for step in steps:
        with contextlib.suppress(ThroughLinkError):
            step()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def places(folder):
    """Every folder and file that working leaves in a study, of the copied code only its top."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return [name for name in names if name.count("/") < (3 if name.startswith(".code") else 9)]


def test_whatever_of_a_study_is_a_link_its_target_is_left_alone(tmp_path):
    work(tmp_path / "plain")
    names = places(tmp_path / "plain")
    assert {"cells", "jobs", "stops", ".code", "jobs.jsonl", f"cells/{CELL}/attempts/1/exit.json"} <= set(names)
    for number, name in enumerate(names):
        folder, foreign = tmp_path / str(number), tmp_path / f"foreign{number}"
        shutil.copytree(tmp_path / "plain", folder)
        if (folder / name).is_dir():
            (folder / name).rename(foreign)
            (foreign / "diary.txt").write_text("not ours")
        else:
            foreign.mkdir()
            (folder / name).rename(foreign / "file")
        (folder / name).symlink_to(foreign if (foreign / "diary.txt").exists() else foreign / "file")
        before = contents(foreign)
        work(folder)
        assert contents(foreign) == before, name
        shutil.rmtree(folder)


def test_a_link_that_leads_to_the_study_is_its_users_choice(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "study").symlink_to(tmp_path / "scratch")
    work(tmp_path / "study")
    assert (tmp_path / "scratch" / "study.json").is_file()


def test_a_queue_writes_through_no_link_either(tmp_path):
    """It has no `Study`: it knows the folders of its batches."""
    jobs = tmp_path / "study" / "jobs" / "b"
    jobs.mkdir(parents=True)
    (jobs / "batch.json").write_text(to_json(batch()))
    (jobs / "starts").symlink_to(tmp_path)
    read_batches([str(jobs)])
    with pytest.raises(ThroughLinkError):
        note_start(jobs, 0, 1)
    assert not (tmp_path / "0").exists()


def test_what_lies_behind_a_link_is_neither_made_nor_deleted(tmp_path):
    guard(tmp_path / "study")
    make_folder(tmp_path / "study" / "in")
    (tmp_path / "study" / "in" / "link").symlink_to(tmp_path)
    behind = tmp_path / "study" / "in" / "link"
    for action in (
        lambda: write(behind / "x", "x"),
        lambda: make_folder(behind / "x"),
        lambda: remove(behind / "study", pattern="study"),
        lambda: rename(behind / "study", "x"),
    ):
        with pytest.raises(ThroughLinkError, match="symbolic link"):
            action()
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_only_what_has_a_name_of_ours_is_deleted(tmp_path):
    guard(tmp_path)
    for name in ("e0001-s000002", "thesis"):
        (tmp_path / name).mkdir()
        remove(tmp_path / name, pattern=r"e\d+-s\d+")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo])
@pytest.mark.usefixtures("bounded")
def test_a_log_or_a_lock_that_is_no_regular_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "log")
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDWR):  # a pipe that is opened to read and write waits for nobody
        with pytest.raises(OSError, match="log"):
            opened(tmp_path / "log", flags | os.O_CREAT)


def test_what_is_written_in_place_is_written_into_no_file_of_another_name(tmp_path):
    (tmp_path / "diary").write_text("not ours")
    os.link(tmp_path / "diary", tmp_path / "log")
    with pytest.raises(OSError, match=r"has 2 names \(hard links\).*log"):
        opened(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    assert (tmp_path / "diary").read_text() == "not ours"
