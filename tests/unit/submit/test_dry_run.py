"""What a dry run has only looked at never becomes part of a study: no later `resume` or sweep runs it."""

import json

import pytest

from tests.unit.builders import asked_for
from vit_sweep.__main__ import main
from vit_sweep.study.check import check
from vit_sweep.study.store import Study

POINTS = ["data=synthetic", "study=s"]


@pytest.fixture
def dry_run(tmp_path, monkeypatch):
    """Give a dry run of some gpus; returns the study."""
    monkeypatch.chdir(tmp_path)

    def run(gpus, *more):
        assert main(["-m", f"gpus={gpus}", *POINTS, "dry_run=true", *more]) == 0
        return Study(tmp_path / "outputs" / "s")

    return run


def gpus(study):
    return sorted(file.cell.gpus for file in study.cell_files())


def test_a_second_look_takes_the_place_of_the_first(dry_run):
    dry_run("1,2,4")
    study = dry_run("1,2")
    assert gpus(study) == [1, 2]
    assert {point.axes["gpus"] for point in study.points()} == {1, 2}
    assert check(study).wrong == ()


def test_a_look_adds_nothing_to_a_study_that_somebody_asked_for(dry_run, capsys):
    study = dry_run("1,2")
    asked_for(study.folder)
    content_before = {path: path.read_bytes() for path in study.folder.rglob("*.json") if "jobs" not in path.parts}
    capsys.readouterr()
    study = dry_run("1,2,4", "epochs=5")
    assert "3 cells are not in study s, and a dry run adds none" in capsys.readouterr().out.replace("\n", " ")
    assert {
        path: path.read_bytes() for path in study.folder.rglob("*.json") if "jobs" not in path.parts
    } == content_before
    assert len(list(study.folder.glob("jobs/*/job.sh"))) == 2 + 3
    assert check(study).wrong == ()


def test_a_look_at_what_a_study_has_says_nothing_of_that(dry_run, capsys):
    asked_for(dry_run("1,2").folder)
    capsys.readouterr()
    assert gpus(dry_run("2")) == [1, 2]
    assert "a dry run adds none" not in capsys.readouterr().out


def test_a_cell_in_which_something_lies_is_not_forgotten(dry_run):
    study = dry_run("1,2")
    cell = next(file.cell_id for file in study.cell_files() if file.cell.gpus == 2)
    (study.cell_dir(cell) / "attempts" / "1").mkdir()
    assert gpus(dry_run("1")) == [1, 2]


def test_where_nobody_can_say_what_was_asked_for_a_look_changes_nothing(dry_run):
    study = dry_run("1,2")
    (study.folder / "study.json").write_text("{")
    assert gpus(dry_run("1")) == [1, 2]


def test_tasks_and_batches_are_in_the_order_of_the_grid_s_words(dry_run, capsys):
    """What its user named first runs first: neither ids nor sizes decide where `order` does not say so."""
    study = dry_run("2,1", "batch=32,16", "seed=3,1,2")
    assert "2 batches: n1-g2 x 6, n1-g1 x 6" in capsys.readouterr().out
    batches = [json.loads(path.read_text()) for path in study.folder.glob("jobs/*/batch.json")]
    cells = {file.cell_id: file.cell for file in study.cell_files()}
    named = [[cells[task["name"]] for task in batch["tasks"]] for batch in batches]
    assert sorted(sorted({cell.gpus for cell in some}) for some in named) == [[1], [2]]
    for some in named:
        assert [(cell.micro_batch, cell.seed) for cell in some] == [(b, s) for b in (32, 16) for s in (3, 1, 2)]
