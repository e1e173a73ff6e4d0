"""`check`: sound studies are consistent, and every planted inconsistency is named."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.checked import to_json
from tests.conftest import OLD_STUDY, ROOT
from tests.unit.builders import cell, entry, planned_study, point, record
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.study.check import check, remove_leftovers
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.consistency import Kind, kind_of
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study


@pytest.fixture
def study(tmp_path):
    """Two cells that are done: `g1` and `g2` by their GPUs."""
    study, plan = planned_study(tmp_path / "s", point(), point(gpus=2))
    for name, planned in plan.cells.items():
        send(study, name, 1)
        study.write_exit(name, "1", Exit(cause=Cause.DONE, message=""))
        (study.cell_dir(name) / "record.json").write_text(to_json(record(planned.cell)))
    return study


def send(study, name, attempt, *, events=(Event.SUBMITTING, Event.SUBMITTED), batch=None):
    """One submission of a cell, as a client notes it."""
    batch = batch or f"b-{name}-{attempt}"
    for event in events:
        study.journal(entry(event, batch, (name, attempt), handle="17" if event is Event.SUBMITTED else ""))
    (study.batch_dir(batch)).mkdir(exist_ok=True)
    (study.batch_dir(batch) / "batch.json").write_text("{}")


def first(study):
    return study.cell_files()[0].cell_id


def test_sound_studies_are_consistent_and_checking_changes_nothing(study, tmp_path):
    old = shutil.copytree(OLD_STUDY, tmp_path / "old")
    for sound, cells in ((study, 2), (Study(old), 10)):
        before = {path: path.stat().st_mtime_ns for path in sound.folder.rglob("*")}
        findings = check(sound)
        assert (findings.wrong, findings.notes, findings.cells) == ((), (), cells)
        assert {path: path.stat().st_mtime_ns for path in sound.folder.rglob("*")} == before


def stranger(study):
    (study.cell_dir(first(study)) / "core").touch()
    return "core is nothing that vit_sweep writes"


def leftover(study):
    (study.cell_dir(first(study)) / ".record.json.0a1b.tmp").touch()
    return ".record.json.0a1b.tmp was left by a writer that was killed"


def reserve(study):
    (study.cell_dir(first(study)) / "attempts/1/.reserve-rank0").touch()
    return ".reserve-rank0 was left by a writer that was killed"


def gap(study):
    send(study, first(study), 3)
    return "attempt 3 of n1-g1"


def twice(study):
    send(study, first(study), 1, batch="again")
    return "was submitted before"


def unasked(study):
    send(study, first(study), 2, events=(Event.SUBMITTED,))
    return "no line before it says that this was being submitted"


def torn(study):
    with (study.folder / "jobs.jsonl").open("a") as journal:
        journal.write('{"at": "20')
    return "jobs.jsonl line 5"


def no_batch(study):
    shutil.rmtree(study.batch_dir(f"b-{first(study)}-1"))
    return "batch.json is absent"


def unknown_attempt(study):
    study.write_exit(first(study), "2", Exit(cause=Cause.LOST, message=""))
    return "jobs.jsonl knows no attempt 2"


def record_of_no_attempt(study):
    path = study.cell_dir(first(study)) / "record.json"
    path.write_text(to_json(replace(study.records()[0], attempt="1.1")))
    return "is of attempt 1.1, which has no folder"


def record_of_another(study):
    one, other = (study.cell_dir(file.cell_id) / "record.json" for file in study.cell_files())
    shutil.copy(other, one)
    return "belongs to another cell"


def other_fields(study):
    path = study.cell_dir(first(study)) / "cell.json"
    content = json.loads(path.read_text())
    content["cell"]["seed"] = 7
    path.write_text(json.dumps(content))
    return f"its fields make {cell(seed=7).cell_id}"


def lost_cell(study):
    name = first(study)
    shutil.rmtree(study.cell_dir(name))
    return f"plan.json names cell {name}"


def cut_off(study):
    """Of a file that nothing else here reads."""
    path = study.folder / "study.json"
    path.write_text(path.read_text()[:-9])
    return "study.json is not valid JSON"


def cut_off_batch(study):
    (study.batch_dir(f"b-{first(study)}-1") / "batch.json").write_text('{"name": ')
    return "batch.json is not valid JSON"


def edited_code(study):
    """That queued jobs would run."""
    snapshot = take(study.folder)
    assert check(study).wrong == ()
    file = Path(snapshot.folder, "vit_sweep/job/task.py")
    file.chmod(0o644)
    file.write_text("import os")
    return f".code/{snapshot.digest} is not the code that its name stands for"


def code_beside(study):
    snapshot = take(study.folder)
    Path(snapshot.folder, "torch.py").touch()
    return f".code/{snapshot.digest} is not the code that its name stands for"


PLANTED = (
    cut_off,
    cut_off_batch,
    edited_code,
    code_beside,
    stranger,
    leftover,
    reserve,
    gap,
    twice,
    unasked,
    torn,
    no_batch,
    unknown_attempt,
    record_of_no_attempt,
    record_of_another,
    other_fields,
    lost_cell,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_named(study, plant):
    words = plant(study)
    assert [sentence for sentence in check(study).wrong if words in sentence], check(study).wrong


def test_a_journal_that_cannot_be_read_is_named_and_nothing_contradicts_it(study):
    (study.folder / "jobs.jsonl").unlink()
    (study.folder / "jobs.jsonl").mkdir()
    (sentence,) = check(study).wrong
    assert "Is a directory" in sentence


def test_a_process_that_runs_the_studys_code_and_belongs_to_nobody_is_named(study):
    environment = os.environ | {"PYTHONPATH": f"{study.folder}/.code/0123456789ab"}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE) as process:
        (sentence,) = check(study).wrong
        process.communicate(b"\n")
    assert sentence.startswith(f"process {process.pid} ")
    assert check(study).wrong == ()


def test_check_knows_every_file_that_the_reference_names():
    page = (ROOT / "docs/reference/files.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    names = [name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    meant = {"DIGEST": "0123456789ab", "SHAPE": "n1-g1", "CELL": "n1-g1-mb8-ga1-0123abcd", "EPOCH-STEP": "1-20"}
    meant |= {"INDEX": "3", "UID": "1000", "NAME": "strong", "/N/": "/2.1/", "*": "host"}
    for example, value in meant.items():
        names = [name.replace(example, value) for name in names]
    short = {".parquet", ".md", ".tex", ".svg", ".pdf", "rank1.json", "rank1.log", "flops_profile.txt"}
    assert len(names) > 40
    assert [name for name in names if name not in short and kind_of(name) is not Kind.KNOWN] == []


def test_what_may_be_of_a_writer_at_work_is_a_note(study):
    leftover(study)
    with study.changing():
        findings = check(study)
    assert findings.wrong == ()
    assert "may be of a writer at work" in " ".join(findings.notes)


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(study):
    sound = sorted(study.folder.rglob("*"))
    leftover(study)
    reserve(study)
    remove_leftovers(study)
    assert sorted(study.folder.rglob("*")) == sound


def test_the_verb_says_what_is_wrong_and_how_many_things(sweep, study):
    good = sweep("check", str(study.folder))
    assert (good.returncode, good.stdout) == (0, "study s: 2 cells, 2 records: consistent\n")
    stranger(study)
    bad = sweep("check", str(study.folder))
    assert bad.returncode == 1
    assert "wrong: cells/" in bad.stdout
    assert sweep("check", "nowhere").returncode == 2
