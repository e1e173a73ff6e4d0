"""Summaries that jobs leave beside records: tables are the same with them and without, whatever became of the files."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from launchers.checked import parse_json, to_compact_json, to_json, to_plain
from launchers.errors import UserError
from tests.unit.builders import cell, entry, planned_study, point, record
from tests.unit.plan.test_continuing import origin
from tests.unit.runs.test_cache import anew, in_place, said
from vit_sweep.job.first_record import keep
from vit_sweep.plan.cell import CellFile
from vit_sweep.record.machine import Fingerprint
from vit_sweep.runs import reading
from vit_sweep.study.cache import summaries
from vit_sweep.study.code.snapshot import running_digest
from vit_sweep.study.journal import Event
from vit_sweep.study.reading import StudyReader
from vit_sweep.study.store import Study

CELLS = [cell(gpus=gpus, nodes=1, seed=seed) for gpus in (1, 2, 4) for seed in (0, 1)]
ONE = CELLS[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A study whose jobs left summaries; all that was kept is forgotten before each reading."""
    monkeypatch.setattr(reading, "KEEP_FROM", 1)
    monkeypatch.setattr(reading, "clock_ns", lambda folder: None)  # nothing is kept between two readings
    study, _ = planned_study(tmp_path / "s", *(point(gpus=made.gpus, seed=made.seed) for made in CELLS))
    for made in CELLS:
        left(study, made, 4.0 / made.gpus + made.seed / 10)
    (study.folder / "jobs.jsonl").write_text("")
    return study


def left(study, planned, seconds, **changes):
    """What a job leaves at its end."""
    made = record(planned, (9.0, seconds, seconds), **{"code": running_digest(), **changes})
    assert keep(made, study.cell_dir(planned.cell_id), target=0.5)


@pytest.fixture
def parsed(monkeypatch):
    """Ids of the cells whose record was parsed."""
    ids, real = [], StudyReader.record
    monkeypatch.setattr(StudyReader, "record", lambda self, file: ids.append(file.cell_id) or real(self, file))
    return ids


def place_of(study, planned=ONE):
    return study.cell_dir(planned.cell_id) / summaries.SUMMARY


def record_of(study, planned=ONE):
    return study.cell_dir(planned.cell_id) / "record.json"


@pytest.mark.parametrize("target", [None, 0.5])
def test_tables_are_those_of_the_records_and_no_record_is_parsed(here, parsed, target):
    with_summaries = said(here, target=target)
    assert parsed == []
    assert with_summaries == anew(here, target=target)
    assert sorted(parsed) == sorted(made.cell_id for made in CELLS)


def test_another_target_than_the_job_knew_is_worked_out_from_the_records(here, parsed):
    assert said(here, target=0.25) == anew(here, target=0.25)
    assert len(parsed) == 2 * len(CELLS)


def test_a_loss_that_is_no_number_stays_one(here, parsed):
    made = record(ONE, code=running_digest())
    broken = replace(
        made, epochs=tuple(replace(e, train_loss=float("nan"), test_loss=float("inf")) for e in made.epochs)
    )
    record_of(here).unlink()
    assert keep(broken, here.cell_dir(ONE.cell_id))
    found = {row["cell_id"]: row for row in said(here).tables[-1].rows}
    assert parsed == []
    assert found[ONE.cell_id]["train_loss"] is None


def retold(study, body=None, *, code=None):
    """A summary that says something else, or is of other code, and whose seal fits."""
    body = body or place_of(study).read_bytes().partition(b"\n")[2]
    cell, record = (place_of(study).with_name(name).read_bytes() for name in ("cell.json", "record.json"))
    told = {"code": code or running_digest(), "cell": cell, "record": record, "place": record_of(study).lstat()}
    place_of(study).write_bytes(summaries._seal(body, ONE.cell_id, **told) + b"\n" + body)


def tampered(study):
    text = place_of(study).read_bytes()
    at = text.index(b'"epoch_s": [') + len(b'"epoch_s": [')
    place_of(study).write_bytes(text[:at] + b"1" + text[at:])


def truncated(study):
    place_of(study).write_bytes(place_of(study).read_bytes()[:-40])


def emptied(study):
    place_of(study).write_bytes(b"")


def of_another_cell(study):
    shutil.copy(place_of(study, CELLS[0]), place_of(study))


def of_other_code(study):
    retold(study, code="0123456789ab")


def senseless(study):
    retold(study, b'{"machine": [], "columns": []}\t{"attempt": 7}')


def without_a_value(study):
    body = place_of(study).read_bytes().partition(b"\n")[2]
    retold(study, body.replace(b'"values": [', b'"values": [7, ', 1))


def by_a_link(study):
    elsewhere = study.folder.parent / "elsewhere"
    place_of(study).rename(elsewhere)
    place_of(study).symlink_to(elsewhere)


def a_pipe(study):
    place_of(study).unlink()
    os.mkfifo(place_of(study))


def written_by_all(study):
    place_of(study).chmod(0o666)


def record_replaced(study):
    aside = record_of(study).with_name("aside")
    aside.write_text(to_json(record(ONE, (9.0, 2.5, 2.5))))
    aside.replace(record_of(study))


def record_copied(study):
    """Byte for byte: a study that came from elsewhere has the inodes and times of its copy."""
    aside = record_of(study).with_name("aside")
    shutil.copy2(record_of(study), aside)
    aside.replace(record_of(study))


def record_edited_in_place(study):
    in_place(record_of(study), record_of(study).read_text().replace("9.0", "8.0", 1))


def record_cut_off(study):
    record_of(study).write_text(record_of(study).read_text()[:100])


def record_gone(study):
    record_of(study).unlink()


def record_by_a_link(study):
    elsewhere = study.folder.parent / "elsewhere"
    record_of(study).rename(elsewhere)
    record_of(study).symlink_to(elsewhere)


def sent_again(study):
    lines = [entry(Event.SUBMITTING, "b", (ONE.cell_id, 2)), entry(Event.SUBMITTED, "b", (ONE.cell_id, 2), handle="7")]
    (study.folder / "jobs.jsonl").write_text("".join(to_json(line).replace("\n", "") + "\n" for line in lines))


SPOILT = (
    tampered,
    truncated,
    emptied,
    of_another_cell,
    of_other_code,
    senseless,
    without_a_value,
    by_a_link,
    a_pipe,
    written_by_all,
    record_replaced,
    record_copied,
    record_edited_in_place,
    record_cut_off,
    record_gone,
    record_by_a_link,
    sent_again,
)


@pytest.mark.parametrize("how", SPOILT)
def test_what_does_not_fit_is_passed_over(how, here, parsed):
    how(here)
    assert said(here) == anew(here)
    assert parsed.count(ONE.cell_id) >= 2
    assert parsed.count(CELLS[0].cell_id) == 1  # `anew`: the summaries of the others are believed still


def test_a_record_that_changed_within_a_tick_of_the_clock_is_known_by_its_content(here, parsed, monkeypatch):
    monkeypatch.setattr(summaries, "version_of", lambda about: "the same")
    for made in CELLS:
        record_of(here, made).unlink()
        left(here, made, 2.5)
    assert said(here) == anew(here)
    assert parsed.count(ONE.cell_id) == 1
    record_edited_in_place(here)
    assert said(here) == anew(here)
    assert parsed.count(ONE.cell_id) == 3


def test_a_cell_of_which_something_else_was_asked_is_not_the_one_that_ran(here, parsed):
    path = here.cell_dir(ONE.cell_id) / "cell.json"
    path.write_text(path.read_text().replace(f'"seed": {ONE.seed},', f'"seed": {ONE.seed + 7},', 1))
    assert said(here) == anew(here)
    assert parsed.count(ONE.cell_id) >= 2


def test_a_summary_of_another_user_is_not_believed(here, parsed, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    said(here)
    assert len(parsed) == len(CELLS)


def test_a_later_attempt_is_read_from_its_record(here, parsed):
    record_of(here).unlink()
    left(here, ONE, 2.5, attempt="2")
    assert said(here) == anew(here)
    assert parsed.count(ONE.cell_id) == 2


def test_what_cannot_be_said_does_not_harm_the_record(here, monkeypatch):
    monkeypatch.setattr(summaries, "summary_of", lambda *given: 1 / 0)
    record_of(here).unlink()
    left(here, ONE, 2.5)
    assert said(here) == anew(here)


def test_a_few_cells_are_read_from_their_records(here, parsed, monkeypatch):
    monkeypatch.setattr(reading, "KEEP_FROM", len(CELLS) + 1)
    said(here)
    assert len(parsed) == len(CELLS)


def test_the_same_is_worked_out_whether_the_job_said_it_or_not(here, monkeypatch):
    kept = {read.run.run_id: read for read in reading.Reader(Study(here.folder), here.plan_file()).read()}
    monkeypatch.setattr(reading, "KEEP_FROM", 10**9)
    for read in reading.Reader(Study(here.folder), here.plan_file()).read():
        assert kept[read.run.run_id] == read


def test_a_summary_is_what_it_was_and_shares_what_others_have_alike(here):
    for made in CELLS:
        record_of(here, made).unlink()
        left(here, made, 2.5, machine=(Fingerprint(rank=0, host="n1", cpu="Xeon"),))
    told = [
        summaries.summary_beside(f"{here.folder}/cells/{c.cell_id}", c.cell_id, code=running_digest()) for c in CELLS
    ]
    for stored in told:
        assert summaries.summary_in(summaries.text_of(stored.summary)) == stored.summary
    assert told[0].summary.measured.machine is told[1].summary.measured.machine


def told_of(planned):
    return CellFile(cell_id=planned.cell_id, cell=planned, series=(), data_root="/data")


def test_repeats_are_what_their_own_files_say_and_share_what_is_alike():
    first, second = (summaries.cell_in(to_json(told_of(made)).encode()) for made in CELLS[:2])
    assert [first.file, second.file] == [told_of(made) for made in CELLS[:2]]
    assert first.alike == second.alike
    assert first.file.cell.model is second.file.cell.model
    other = summaries.cell_in(to_json(told_of(CELLS[2])).encode())
    assert other.alike != first.alike


GOES_ON = replace(ONE, epochs=4, origin=origin(CELLS[0], epoch=3, step=0))


@pytest.mark.parametrize("planned", [ONE, GOES_ON])
@pytest.mark.parametrize(
    "written",
    [
        to_json,
        lambda file: to_json(file).replace("\n", ""),
        lambda file: to_compact_json(file).decode(),
        lambda file: json.dumps(to_plain(file)),
        lambda file: json.dumps(dict(reversed(to_plain(file).items()))),
        lambda file: json.dumps(to_plain(file)).replace('"seed": ', '"seed": 5, "seed": '),
        lambda file: json.dumps(to_plain(file)).replace('"cell_id": ', '"cell_id": "n9", "cell_id": '),
    ],
    ids=["as written", "one line", "compact", "own order", "reversed", "two seeds", "two names"],
)
def test_a_cell_is_what_its_file_says_however_that_is_written(planned, written):
    text = written(told_of(planned)).encode()
    assert summaries.cell_in(text).file == parse_json(CellFile, text, source="")


@pytest.mark.parametrize(
    "damage",
    [('"seed": 0', '"seed": -1'), ('"seed": 0', '"seed": 07'), ('"gpus": 2', '"gpus": 0'), ("n1-g2", "../n1-g2")],
)
def test_a_cell_that_makes_no_sense_is_none(damage):
    text = to_json(told_of(ONE)).replace(*damage).encode()
    with pytest.raises(UserError):
        summaries.cell_in(text)


def test_a_cell_of_another_version_is_none():
    with pytest.raises(ValueError, match="another version"):
        summaries.cell_in(to_json(replace(told_of(ONE), schema_version=99)).encode())
