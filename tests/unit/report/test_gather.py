"""From a study's files to its tables: what is foreign is named, copies change nothing, nothing made is exit 1."""

import csv
import io
import json
import os
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from launchers.checked import to_json
from launchers.errors import UserError
from tests.unit.analysis.builders import run
from tests.unit.builders import cell, planned_study, point, record, series
from vit_sweep.__main__ import main
from vit_sweep.analysis.series.spreads import Spreads
from vit_sweep.cli.terminal.collected import collect_runs, collect_study
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.plan.cell import CellFile
from vit_sweep.report import figures
from vit_sweep.report.assemble import content_of_tables
from vit_sweep.report.gather import gather
from vit_sweep.runs import reading
from vit_sweep.runs.sources import Source
from vit_sweep.study.store import Study

CELLS = [cell(gpus=gpus, nodes=1, seed=seed) for gpus in (1, 2) for seed in (0, 1)]
"""On one node each, so that `planned` gives the same."""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """They have tests of their own."""
    monkeypatch.setattr(figures, "draw_all", lambda *_, **__: [])


@pytest.fixture
def study(tmp_path):
    """Four planned cells, all with a record."""
    points = (point(gpus=planned.gpus, seed=planned.seed) for planned in CELLS)
    study, _ = planned_study(tmp_path / "s", *points, target_accuracy=0.1)
    for planned in CELLS:
        finish(study, planned, (9.0, 4.0 / planned.gpus + planned.seed / 10, 4.0 / planned.gpus))
    return study


def finish(study, planned, seconds=(9.0, 4.0, 4.0), **changes):
    text = to_json(record(planned, seconds, **changes))
    (study.cell_dir(planned.cell_id) / "record.json").write_text(text)


def made_of(study):
    """All but the function that gives ratios, which equals no other."""
    return gather(Study(study.folder))._replace(ratio=None)


def report_text(study, **options):
    console = Console(file=io.StringIO(), width=250, markup=False)
    done = collect_study(Study(study.folder), console, **options)
    return done.written, console.file.getvalue()


def rows(study, name):
    with (study.folder / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_figures_are_left_out_where_nobody_wants_them(study, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures, "draw_all", lambda *_, **__: drawn.append(1) or [])
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")
    assert report_text(study)[0]
    assert not drawn
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "on")
    report_text(study)
    assert drawn
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "some")
    with pytest.raises(UserError, match="VIT_SWEEP_FIGURES=some: on"):
        report_text(study)


def test_a_study_becomes_tables_and_both_are_printed(study):
    paths, text = report_text(study)
    assert {path.name for path in paths} >= {"strong.csv", "strong.md", "strong.tex", "strong.parquet", "runs.csv"}
    assert not (study.folder / "tables/weak.csv").exists()
    strong = rows(study, "strong")
    assert [(row["gpus"], row["n"], row["cell_id"].count("-ga1-")) for row in strong] == [("1", "2", 2), ("2", "2", 2)]
    assert float(strong[1]["speedup"]) == pytest.approx((4.0 + 4.05) / (2.0 + 2.05))
    assert "strong scaling" in text
    assert f"[{float(strong[1]['speedup_low']):.2f}"[:4] in text
    assert rows(study, "accuracy")[0]["target_accuracy"] == "0.1"


def test_a_target_given_to_collect_replaces_the_study_s_own(study):
    report_text(study, target=0.9)
    assert {row["target_accuracy"] for row in rows(study, "accuracy")} == {"0.9"}
    assert all("never reached 0.9" in row["accuracy_note"] for row in rows(study, "runs"))


def test_collect_draws_the_times_to_accuracy_of_its_table_as_the_report_does(study, monkeypatch):
    """Else it would take away the figure that a report has drawn."""
    given = []
    monkeypatch.setattr(figures, "draw_all", lambda *_, accuracies=(), **__: given.append(accuracies) or [])
    done = collect_study(study, Console(file=io.StringIO()))
    assert [row["target_accuracy"] for row in given[0]] == [0.1, 0.1]
    assert given == [done.gathered.accuracies]


def test_a_seed_that_diverged_counts_among_those_that_never_reached_the_target(study, monkeypatch):
    (study.cell_dir(CELLS[1].cell_id) / "record.json").unlink()
    ended = Exit(cause=Cause.DIVERGED, message="the training loss is nan")
    settled = reading.settled_results
    monkeypatch.setattr(reading, "settled_results", lambda *a: [replace(r, history=(ended,)) for r in settled(*a)])
    report_text(study)
    row = next(row for row in rows(study, "accuracy") if row["gpus"] == "1")
    assert (row["reached"], row["n"], row["time_to_accuracy_s"]) == ("1", "2", "")
    assert row["note"].startswith("1 of 2 never reach it: no median, no interval; diverged")


def test_no_finished_run_is_a_sentence_and_exit_1(study, capsys):
    for path in study.folder.glob("cells/*/record.json"):
        path.unlink()
    console = Console(file=io.StringIO(), width=250, markup=False)
    assert not collect_study(Study(study.folder), console).timed
    text = console.file.getvalue()
    assert "no run of study s has a time (4 missing), so nothing can be compared" in text
    assert len(rows(study, "failures")) == 4
    assert main(["collect", str(study.folder)]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_tables_that_have_become_empty_are_removed(study):
    report_text(study)
    assert (study.folder / "tables/accuracy.csv").exists()
    for path in study.folder.glob("cells/*/record.json"):
        path.unlink()
    report_text(study)
    assert not (study.folder / "tables/accuracy.csv").exists()
    assert (study.folder / "tables/runs.csv").exists()


@pytest.mark.parametrize("changes", [{"schema_version": 7}, {"schema_version": 2, "telepathy": 1}])
def test_a_record_of_another_schema_version_is_named_and_passed_over(study, changes):
    path = study.cell_dir(CELLS[0].cell_id) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    _, text = report_text(study)
    wrong = f"record.json has schema_version={changes['schema_version']} and this vit_sweep reads 1"
    assert f"{wrong}: another version of vit_sweep wrote it" in text
    assert rows(study, "strong")[0]["n"] == "1"


def test_records_of_two_studies_mixed_are_named(study):
    other = cell(gpus=1, micro_batch=32)
    (study.cell_dir(CELLS[0].cell_id) / "record.json").write_text(to_json(record(other)))
    _, text = report_text(study)
    assert f"belongs to another cell, {other.cell_id}: two studies are mixed" in text
    assert rows(study, "strong")[0]["n"] == "1"


def test_a_cell_that_no_plan_knows_is_named_and_counted(study):
    stranger = cell(gpus=4)
    study.cell_dir(stranger.cell_id).mkdir()
    file = CellFile(cell_id=stranger.cell_id, cell=stranger, series=(series(),), data_root="/data")
    (study.cell_dir(stranger.cell_id) / "cell.json").write_text(to_json(file))
    finish(study, stranger)
    _, text = report_text(study)
    assert f"{stranger.cell_id} is in no plan of this study" in text
    assert stranger.cell_id in {row["cell_id"] for row in rows(study, "runs")}


def test_a_copied_folder_is_named_and_changes_no_table(study):
    report_text(study)
    before = (study.folder / "tables/strong.csv").read_text()
    shutil.copytree(study.cell_dir(CELLS[0].cell_id), study.cell_dir("copy"))
    _, text = report_text(study)
    assert f"cell.json is of another cell, {CELLS[0].cell_id}" in text
    assert (study.folder / "tables/strong.csv").read_text() == before


def test_helpers_read_the_same_as_one_process(study, monkeypatch):
    alone = made_of(study)
    (study.cell_dir(CELLS[3].cell_id) / "record.json").write_text("{")
    partly = made_of(study)
    monkeypatch.setattr(reading, "_SHARE_FROM", 1)
    monkeypatch.setattr(reading, "_CHUNK", 1)
    monkeypatch.setattr(reading.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert made_of(study) == partly
    finish(study, CELLS[3], (9.0, 2.1, 2.0))
    assert made_of(study) == alone


def die(start):
    """A helper that is ended from outside at its second piece of work."""
    if start:
        os._exit(9)
    return reading._helper_reader[0].chunk(start)


def test_a_helper_that_dies_costs_no_record(study, monkeypatch):
    alone = made_of(study)
    monkeypatch.setattr(reading, "_SHARE_FROM", 1)
    monkeypatch.setattr(reading, "_CHUNK", 1)
    monkeypatch.setattr(reading, "_chunk", die)
    monkeypatch.setattr(reading.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert made_of(study) == alone


def test_tables_and_figures_learn_the_spread_between_runs_once(study, monkeypatch):
    learnt, given = [], []
    learn = Spreads.__init__
    monkeypatch.setattr(Spreads, "__init__", lambda self, *a, **k: (learnt.append(self), learn(self, *a, **k))[1])
    monkeypatch.setattr(figures, "draw_all", lambda *_, ratio, **__: given.append(ratio) or [])
    report_text(study)
    assert len(learnt) == 2, "of times and of steps"
    assert given[0].__self__ is learnt[0]


def test_runs_from_elsewhere_become_the_same_tables(tmp_path):
    console = Console(file=io.StringIO(), width=250, markup=False)
    done = collect_runs([run(1, (10.0,)), run(2, (5.0,))], tmp_path / "out", console)
    assert done.timed
    assert (tmp_path / "out/tables/strong.csv") in done.written
    assert not collect_runs([], tmp_path / "none", console).timed


def test_a_report_of_any_runs_names_those_of_contended_hosts(tmp_path):
    flag = "host contended: rank 0 on node0 (no core for 23% of the time, load 13.0 on 8 cores)"
    source = Source(name="theirs", runs=(run(1), run(2, (6.0,), flags=(flag,))))
    (note,) = content_of_tables(source, tmp_path, command="report").contended
    assert note.startswith("host contended: g2-s0 waited") and "with 1 run without" in note
