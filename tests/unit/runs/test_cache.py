"""Runs that are kept for the next time: whatever happens to a study meanwhile, its tables are those without them."""

import gc
import json
import os
import shutil
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launchers.checked import to_json
from tests.conftest import LONG
from tests.unit.builders import cell, entry, planned_study, point, put_record
from vit_sweep.report.gather import gather
from vit_sweep.runs import cache, garbage, reading
from vit_sweep.study.cache import unchanged
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study

CELLS = [cell(gpus=gpus, nodes=1, seed=seed) for gpus in (1, 2, 4) for seed in (0, 1)]
LATER = 2**62
"""On the file system's clock: nothing that a test wrote is young then."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A study with two cells to a block, of which all is kept; its name is the path of a copy that has no cache."""
    monkeypatch.setattr(reading, "KEEP_FROM", 1)
    monkeypatch.setattr(reading, "clock_ns", lambda folder: LATER)
    monkeypatch.setattr(cache, "BLOCK", 2)
    return made(tmp_path / "s")


def made(folder):
    points = (point(gpus=planned.gpus, seed=planned.seed) for planned in CELLS)
    study, _ = planned_study(folder, *points)
    for planned in CELLS:
        put_record(study, planned, 4.0 / planned.gpus + planned.seed / 10)
    (folder / "jobs.jsonl").write_text("")
    return study


def said(study, **options):
    """All that a study amounts to, but the function that gives ratios, which equals no other."""
    found = gather(Study(study.folder), **options)
    return found._replace(ratio=None)


def anew(study, **options):
    """The same without anything kept, and keeping nothing."""
    reading.KEEP_FROM = 10**9
    try:
        return said(study, **options)
    finally:
        reading.KEEP_FROM = 1


def file_of(study):
    return study.folder / f".runs-{os.geteuid()}"


def in_place(path, text):
    """Change a file in place and set its time back: only its status change says so."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def worked_out(monkeypatch):
    """Ids of the cells whose records are worked out from now on."""
    ids, real = [], reading.summarised
    monkeypatch.setattr(
        reading, "summarised", lambda result, *given: ids.append(result.file.cell_id) or real(result, *given)
    )
    return ids


def other_record(study, planned, draw):
    put_record(study, planned, draw)


def as_second_attempt(study, planned, draw):
    put_record(study, planned, draw, attempt="2")


def edited_in_place(study, planned, draw):
    path = study.cell_dir(planned.cell_id) / "record.json"
    if path.exists():
        text = path.read_text()
        in_place(path, text.replace('"9.0"', f'"{draw}"') if draw < 2 else text.replace("9.0", "8.0", 1))


def cut_off(study, planned, draw):
    path = study.cell_dir(planned.cell_id) / "record.json"
    if path.exists():
        path.write_text(path.read_text()[: int(draw * 100)])


def gone(study, planned, draw):
    (study.cell_dir(planned.cell_id) / "record.json").unlink(missing_ok=True)


def cell_gone(study, planned, draw):
    shutil.rmtree(study.cell_dir(planned.cell_id), ignore_errors=True)


def dropped(study, planned, draw):
    if study.cell_dir(planned.cell_id).exists():
        (study.cell_dir(planned.cell_id) / "dropped.json").write_text("{}")


def of_another(study, planned, draw):
    other = study.cell_dir(CELLS[0].cell_id) / "record.json"
    if other.exists() and study.cell_dir(planned.cell_id).exists():
        shutil.copy(other, study.cell_dir(planned.cell_id) / "record.json.aside")
        (study.cell_dir(planned.cell_id) / "record.json.aside").replace(study.cell_dir(planned.cell_id) / "record.json")


def submitted(study, planned, draw):
    lines = [
        entry(Event.SUBMITTING, "b", (planned.cell_id, 1)),
        entry(Event.SUBMITTED, "b", (planned.cell_id, 1), handle="7", at=f"2025-01-01T00:00:0{int(draw)}Z"),
    ]
    with (study.folder / "jobs.jsonl").open("a") as file:
        file.writelines(json.dumps(json.loads(to_json(line))) + "\n" for line in lines)


def profile_changed(study, planned, draw):
    path = study.folder / "plan.json"
    plan = json.loads(path.read_text())
    for profile in plan["profiles"]:
        profile["gpus_per_node"] = int(draw) + 4
    path.write_text(json.dumps(plan))


CHANGES = (
    other_record,
    as_second_attempt,
    edited_in_place,
    cut_off,
    gone,
    cell_gone,
    dropped,
    of_another,
    submitted,
    profile_changed,
)
STEP = st.tuples(st.sampled_from(CHANGES), st.sampled_from(CELLS), st.sampled_from([1.0, 2.5, 3.25]))


@settings(deadline=None, max_examples=40 if LONG else 20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(STEP, max_size=3), min_size=1, max_size=4), numbers=st.just(count()))
def test_tables_are_the_same_with_what_was_kept_and_without_whatever_changed_in_between(
    steps, numbers, here, tmp_path_factory
):
    study = Study(tmp_path_factory.mktemp("kept") / "s")
    shutil.copytree(here.folder, study.folder)
    for changes in steps:
        said(study)
        for change, planned, draw in changes:
            if study.cell_dir(planned.cell_id).exists():
                change(study, planned, draw)
        assert said(study) == anew(study)


def test_a_second_reading_works_nothing_out_and_a_changed_record_alone_is_read(here, monkeypatch):
    first = said(here)
    ids = worked_out(monkeypatch)
    assert said(here) == first
    assert ids == []
    put_record(here, CELLS[3], 2.5)
    assert said(here) == anew(here)
    assert ids[0] == CELLS[3].cell_id
    assert len(ids) == 1 + len(CELLS)


def test_what_is_kept_is_exact(here):
    said(here)
    again = {read.run.run_id: read for read in reading.Reader(Study(here.folder), here.plan_file()).read()}
    reading.KEEP_FROM = 10**9
    for read in reading.Reader(Study(here.folder), here.plan_file()).read():
        assert again[read.run.run_id] == read


def test_another_target_is_another_reading(here):
    assert said(here, target=0.5) == anew(here, target=0.5)
    assert said(here, target=0.1) == anew(here, target=0.1)


def test_a_record_that_is_still_young_is_not_kept(here, monkeypatch):
    """It may change once more within the tick of a clock: its size and times would be those that were seen."""
    monkeypatch.setattr(reading, "clock_ns", unchanged.clock_ns)
    said(here)
    assert not file_of(here).exists()
    monkeypatch.setattr(reading, "clock_ns", lambda folder: LATER)
    said(here)
    assert file_of(here).exists()


def test_other_code_keeps_nothing(here, monkeypatch):
    first = said(here)
    monkeypatch.setattr(cache, "code_stamp", lambda: "another version")
    ids = worked_out(monkeypatch)
    assert said(here) == first
    assert len(ids) == len(CELLS)


def flipped(data):
    """One digit in the middle of the last block is another."""
    at = data.rindex(b"0.2")
    return data[:at] + b"0.3" + data[at + 3 :]


SPOILT = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "cut off in its index": lambda data: data[:200],
    "one digit": flipped,
    "no JSON": lambda data: b"\x80\x04not a pickle" + data,
    "another's JSON": lambda data: b"[]\n" + data,
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_is_passed_over_and_made_anew(how, here, monkeypatch):
    first = said(here)
    whole = file_of(here).read_bytes()
    file_of(here).write_bytes(SPOILT[how](whole))
    ids = worked_out(monkeypatch)
    assert said(here) == first
    assert ids
    ids.clear()
    assert said(here) == first
    assert ids == []


def test_a_file_that_others_may_write_is_not_believed(here, monkeypatch):
    first = said(here)
    file_of(here).chmod(0o666)
    ids = worked_out(monkeypatch)
    assert said(here) == first
    assert len(ids) == len(CELLS)


def test_a_link_in_its_place_is_neither_followed_nor_written_through(here, tmp_path):
    said(here)
    elsewhere = tmp_path / "elsewhere"
    file_of(here).rename(elsewhere)
    before = elsewhere.read_bytes()
    file_of(here).symlink_to(elsewhere)
    put_record(here, CELLS[0], 3.5)
    assert said(here) == anew(here)
    assert elsewhere.read_bytes() == before


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_said(here, monkeypatch):
    monkeypatch.setattr(reading, "clock_ns", unchanged.clock_ns)
    monkeypatch.setattr(cache.os, "open", refused)
    assert said(here).problems == anew(here).problems
    assert not file_of(here).exists()
    assert [path for path in here.folder.iterdir() if path.name.endswith(".tmp")] == []


def refused(path, *given, **options):
    raise PermissionError(13, "Permission denied", str(path))


def test_the_clock_of_a_file_system_leaves_no_file(tmp_path):
    assert unchanged.clock_ns(tmp_path) == pytest.approx(Path(tmp_path).stat().st_mtime_ns, abs=10**9)
    assert list(tmp_path.iterdir()) == []


def test_columns_stand_in_the_order_of_the_cells_and_are_empty_where_a_cell_has_none():
    reads = [
        reading.Read(run=None, columns=columns, values=values, reached=None)
        for columns, values in ((("a", "b"), (1, 2)), (("b", "c"), (3, 4)), (("a", "b"), (5, None)))
    ]
    assert reading.extra_columns_of(reads) == {"a": [1, None, 5], "b": [2, 3, None], "c": [None, 4, None]}
    assert reading.extra_columns_of([]) == {}


def test_what_a_pause_of_garbage_collection_made_is_not_looked_through_after_it(monkeypatch):
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 0)  # or what the tests froze stays so
    with garbage.gc_paused():
        assert not gc.isenabled()
        held = [[] for _ in range(10)]
    assert gc.isenabled()
    assert not {id(young) for young in gc.get_objects(generation=0)} & set(map(id, held))
    gc.freeze()
