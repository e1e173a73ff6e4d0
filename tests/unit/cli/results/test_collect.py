"""`collect --json`: what a program learns of the tables."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from launchers.atomic import write
from launchers.checked import to_json
from tests.unit.builders import planned_study, point, record
from tests.unit.cli.results.test_gate import write_study
from vit_sweep.__main__ import main
from vit_sweep.cli.terminal import show

pytest.importorskip("pyarrow")


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """A study of two cells with different times, each with a record."""
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")
    study, plan = planned_study(tmp_path / "outputs" / "mine", point(gpus=1), point(gpus=2))
    for planned in plan.cells.values():
        seconds = 7.1 / planned.cell.gpus
        text = to_json(record(planned.cell, (9.0, seconds, seconds)))
        write(study.cell_dir(planned.cell.cell_id) / "record.json", text)
    return study


def collected(study, capsys):
    code = main(["collect", str(study.folder), "--json"])
    streams = capsys.readouterr()
    return code, json.loads(streams.out), streams.err


def test_every_table_has_the_numbers_of_its_csv_file(timed, capsys):
    code, told, _ = collected(timed, capsys)
    assert code == 0
    assert {path.stem for path in (timed.folder / "tables").glob("*.csv")} == {*told["tables"]}
    for name, table in told["tables"].items():
        with (timed.folder / "tables" / f"{name}.csv").open() as file:
            written = list(csv.DictReader(file))
        assert [[*row] for row in table["rows"]] == [[column["name"] for column in table["columns"]]] * len(written)
        for row, line in zip(table["rows"], written, strict=True):
            assert {key: "" if value is None else str(value).lstrip("'") for key, value in row.items()} == {
                key: text.lstrip("'") for key, text in line.items()
            }
    strong = told["tables"]["strong"]
    assert [row["epoch_s"] for row in strong["rows"]] == [7.1, 3.55]
    assert next(column["unit"] for column in strong["columns"] if column["name"] == "epoch_s") == "s"


def test_a_study_of_several_image_sizes_says_how_large_an_image_fits(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")
    monkeypatch.setenv("COLUMNS", "80")
    counts = [point(gpus=1), point(gpus=2)]
    sizes = [replace(one, model=replace(one.model, image_size=size)) for one in counts for size in (64, 96)]
    study, plan = planned_study(tmp_path / "outputs" / "mine", *sizes)
    for planned in plan.cells.values():
        write(study.cell_dir(planned.cell.cell_id) / "record.json", to_json(record(planned.cell, (9.0, 7.0, 7.0))))
    for again in (False, True):
        assert main(["collect", str(study.folder)]) == 0, again
        said = capsys.readouterr().out
        assert "The largest image that fits" in said
        assert "smallest_px=64, largest_px=96" in " ".join(said.split())
    assert main(["collect", str(study.folder), "--json"]) == 0
    columns = [column["name"] for column in json.loads(capsys.readouterr().out)["tables"]["resolutions"]["columns"]]
    assert "flags" in columns and "cell_id" in columns, "what only the terminal leaves out"


def test_it_names_the_files_that_it_wrote_and_what_became_of_the_runs(timed, capsys):
    _, told, _ = collected(timed, capsys)
    assert {str(path) for path in (timed.folder / "tables").iterdir()} == {*told["files"]}
    assert (told["name"], told["counts"], told["problems"]) == ("mine", {"done": 2}, [])


def test_what_a_person_would_read_goes_to_stderr(timed, capsys):
    _, _, err = collected(timed, capsys)
    assert "all of it on one page" in err


def test_a_file_that_is_passed_over_is_a_problem_for_programs_too(timed, capsys):
    cell = next((timed.folder / "cells").iterdir())
    write(cell / "record.json", "{")
    _, told, _ = collected(timed, capsys)
    assert [cell.name in problem for problem in told["problems"]] == [True]


def test_a_study_without_a_time_is_an_object_and_exit_code_one(tmp_path, capsys):
    study, _ = planned_study(tmp_path / "outputs" / "mine", point())
    code, told, err = collected(study, capsys)
    assert code == 1
    assert told["counts"] == {"missing": 1}
    assert "nothing can be compared" in err


def test_imported_runs_bring_their_notes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")
    lines = [f"{n},8,1,strong,64,{epoch},{9 / n + 1 / epoch}\n" for n in (1, 2) for epoch in (1, 2, 3)]
    (tmp_path / "small.csv").write_text("".join(["gpus,batch,accum,scaling,images,epoch,epoch_time_s\n", *lines]))
    assert main(["collect", "--csv", "small.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert any("2 runs of 6 rows" in note for note in told["notes"])
    assert [row["gpus"] for row in told["tables"]["strong"]["rows"]] == [1, 2]


def test_a_table_that_is_asked_for_is_printed_and_nothing_is_written(timed, capsys):
    assert main(["collect", str(timed.folder), "--table", "cost", "--table", "runs"]) == 0
    out = capsys.readouterr().out
    assert out.index("What the runs cost") < out.index("Runs: one row each")
    assert "strong scaling" not in out
    assert not (timed.folder / "tables").exists()
    above = " ".join(out.partition("Runs: one row each")[2].split()).partition(" equal in all rows")[0]
    assert "model=" in above and "lr_scaling=" not in above
    assert re.search(r"; --json and tables/runs.csv have \d\d more columns that are$", above)
    assert main(["collect", str(timed.folder), "--table", "all"]) == 0
    assert "strong scaling" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--table", "engines"], 1, "engines: mine has nothing for it; it has strong, "),
        (["--table", "engine"], 2, "--table engine: there is no such table – did you mean engines?"),
        (["--table", "Cost"], 2, "did you mean cost?"),
        (["--table", ""], 2, "there is no such table"),
        (["--table", "cost", "--json"], 2, "--table only prints"),
        (["--table", "cost", "--output", "x"], 2, "--table only prints"),
    ],
)
def test_a_table_that_cannot_be_shown_is_a_sentence(timed, capsys, words, code, said):
    assert main(["collect", str(timed.folder), *words]) == code
    streams = capsys.readouterr()
    assert said in " ".join((streams.out + streams.err).split())


def test_a_path_is_said_as_it_can_be_typed_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert show.shown_path(tmp_path / "outputs" / "mine") == "outputs/mine"
    assert show.shown_path(tmp_path) == str(tmp_path)
    assert show.shown_path(tmp_path.parent / "other") == str(tmp_path.parent / "other")


def test_names_of_files_are_not_broken_where_a_terminal_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [tmp_path / "outputs" / "mine" / "figures" / f"strong_{number}.svg" for number in range(20)]
    console = Console(width=60, force_terminal=True, color_system=None, file=io.StringIO())
    show.files(console, made)
    lines = console.file.getvalue().splitlines()
    assert lines[0].strip() == "outputs/mine/figures/:" and max(map(len, lines)) <= 60
    assert {path.stem for path in made} <= {*" ".join(lines).replace(",", " ").split()}


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "mine", "mine"],
        ["gate", "mine", "--against", "mine"],
        ["collect", "mine"],
        ["report", "mine"],
        ["next", "mine", "--until", "time(2) +- 2 %"],
    ],
    ids=lambda words: words[0],
)
def test_a_verb_that_counts_on_scipy_names_the_extra_where_it_is_not_installed(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_study("mine", seeds=1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "scipy" else object())
    assert main(words) == 2
    assert "scipy not installed here: pip install 'vit_sweep[report]'" in capsys.readouterr().err
