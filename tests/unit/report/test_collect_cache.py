"""A `collect` of what has not changed says and leaves what the last one did, and makes nothing again."""

import io
import json
import os

import pytest
from rich.console import Console

from launchers.checked import to_json
from tests.unit.builders import cell, planned_study, point, record
from vit_sweep.cli.terminal import collected as cli
from vit_sweep.report import figures
from vit_sweep.runs import reading
from vit_sweep.study.store import Study

CELLS = [cell(gpus=gpus, nodes=1, seed=seed) for gpus in (1, 2) for seed in (0, 1)]


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "KEEP_FROM", 1)
    monkeypatch.setattr(reading, "clock_ns", lambda folder: 2**62)
    study, _ = planned_study(tmp_path / "s", *(point(gpus=planned.gpus, seed=planned.seed) for planned in CELLS))
    for planned in CELLS:
        finish(study, planned, 4.0 / planned.gpus)
    return study


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """How often figures were drawn: they have tests of their own."""
    times = []
    monkeypatch.setattr(figures, "draw_all", lambda *given, **named: times.append(1) or [])
    return times


def finish(study, planned, seconds):
    path = study.cell_dir(planned.cell_id) / "record.json"
    path.with_name("aside").write_text(to_json(record(planned, (9.0, seconds, seconds))))
    path.with_name("aside").replace(path)


def collected(study, **options):
    console = Console(file=io.StringIO(), width=200)
    cli.collect_again(Study(study.folder), console, **options)
    files = {path.name: path.read_bytes() for path in (study.folder / "tables").iterdir()}
    return console.file.getvalue(), files


def test_the_second_time_says_the_same_leaves_the_same_and_draws_nothing(study, drawn):
    first = collected(study)
    assert first[1]
    assert collected(study) == first
    assert len(drawn) == 1


def changed_record(study):
    finish(study, CELLS[0], 7.0)


def removed_table(study):
    (study.folder / "tables" / "runs.csv").unlink()


def spoilt_table(study):
    (study.folder / "tables" / "strong.md").write_text("nothing")


def changed_plan(study):
    plan = json.loads((study.folder / "plan.json").read_text())
    plan["points"] = [*plan["points"], plan["points"][0] | {"cell_id": None, "reasons": ["none"]}]
    (study.folder / "plan.json").write_text(json.dumps(plan))


def spoilt_memory(study):
    path = study.folder / f".collected-{os.geteuid()}"
    path.write_text(path.read_text()[:-100])


def opened_memory(study):
    (study.folder / f".collected-{os.geteuid()}").chmod(0o666)


@pytest.mark.parametrize(
    "change", [changed_record, removed_table, spoilt_table, changed_plan, spoilt_memory, opened_memory]
)
def test_after_any_change_all_is_made_anew_as_if_nothing_had_been_remembered(change, study, drawn):
    collected(study)
    change(study)
    again = collected(study)
    assert len(drawn) == 2
    (study.folder / f".collected-{os.geteuid()}").unlink()
    (study.folder / f".runs-{os.geteuid()}").unlink()
    assert collected(study) == again


def test_other_formats_of_figures_and_another_target_are_another_collect(study, drawn, monkeypatch):
    collected(study)
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "svg")
    collected(study)
    collected(study, target=0.5)
    assert len(drawn) == 3


def test_of_a_long_table_the_terminal_shows_the_first_rows_and_says_where_the_others_are(study, monkeypatch):
    monkeypatch.setattr(cli, "_MOST_ROWS", 1)
    text, files = collected(study)
    assert "1 more rows in the table strong" in text
    assert len(files["strong.csv"].splitlines()) == 3
