"""What a study or a table amounts to, from Python: the numbers that the verbs write, and their sentences."""

import re
from pathlib import Path

import pandas as pd
import pytest

import vit_sweep as vs
from tests.unit.cli.input.test_claims import write_study
from vit_sweep.__main__ import main
from vit_sweep.report.figure import SWITCH
from vit_sweep.report.tables.runs_columns import RUN_COLUMNS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SWITCH, "svg")
    return tmp_path


@pytest.fixture(scope="module")
def published():
    return vs.published("paper_cifar100")


def test_runs_and_tables_are_those_that_collect_writes(capsys, monkeypatch):
    monkeypatch.setenv(SWITCH, "off")
    study = vs.open(write_study("mine").folder)
    assert main(["collect", "mine"]) == 0
    assert sorted(study.tables) == sorted(path.stem for path in (study.folder / "tables").glob("*.csv"))
    for name in study.tables:
        written = pd.read_csv(study.folder / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)
        made = study.table(name)
        assert list(made.columns) == list(written.columns)
        for column in made:
            if made[column].dtype == "float64":
                assert made[column].equals(pd.to_numeric(written[column])), (name, column)
            else:
                texts = ["" if pd.isna(value) else str(value) for value in made[column]]
                assert texts == written[column].tolist(), (name, column)
    pd.testing.assert_frame_equal(study.runs, study.table("runs"))


def test_what_is_not_known_does_not_make_counts_fractions(published):
    runs = published.runs
    assert (str(runs.gpus.dtype), str(runs.epoch_s.dtype), str(runs.oversubscribed.dtype)) == (
        "Int64",
        "float64",
        "boolean",
    )
    assert runs.attrs["units"]["epoch_s"] == "s"
    assert runs.attrs["meanings"] == {name: column.meaning for name, column in RUN_COLUMNS.items()}


def test_a_study_without_a_run_has_the_columns_all_the_same():
    study = write_study("empty", seeds=(0,))
    for file in study.cell_files():
        (study.cell_dir(file.cell_id) / "record.json").unlink()
    opened = vs.open("empty")
    assert list(opened.runs.columns) == list(RUN_COLUMNS)
    assert set(opened.runs.status) == {"missing"}
    assert set(opened.status().state) == {"missing"}
    with pytest.raises(vs.UserError, match="no run of empty has a time yet, so there is nothing to report"):
        opened.report()
    assert opened.wait().equals(opened.status())


def test_series_fit_and_audit_say_what_the_report_says(published):
    packed, spread = published.series
    assert [point.gpus for point in packed.points] == [1, 2, 3, 4, 5, 6, 7, 8]
    fits = published.fit()
    assert [fitted.series for fitted in fits] == [packed, spread]
    assert fits[0].best.name == "Amdahl"
    assert "a link that was not measured" in fits[0].predict(16).reason
    assert fits[1].predict(16).time_s.low < packed.points[-1].time_s.value
    assert "fixed problem" in published.audit().falls


@pytest.mark.parametrize("gpus", [0, -1, 1.5, float("nan"), float("inf"), None, "4"])
def test_a_prediction_is_about_a_count_of_gpus(published, gpus):
    with pytest.raises(vs.UserError, match="a whole number of GPUs, 1 or more"):
        published.fit()[0].predict(gpus)


def test_a_figure_is_matplotlibs_own_and_nothing_is_written(published, here):
    sheet = published.figure("strong_speedup")
    assert "GPUs" in sheet.axes[0].get_xlabel()
    assert list(here.iterdir()) == []


def test_every_figure_has_the_name_that_draws_it(published, tmp_path):
    from vit_sweep.report import figures

    made = published._gathered()
    for name, draw in figures.drawers(made.strong, made.weak, made.runs, None).items():
        with figures.theme():
            assert draw().name == name


def test_a_report_is_written_where_it_is_wanted_and_returned(here):
    write_study("mine", seeds=(0,))
    study = vs.open(Path("outputs/mine"))
    assert study.report() == study.folder / "report.html"
    assert "<h1" in study.report(here / "elsewhere.html").read_text()


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda results: results.table("strng"), "table=strng: there is no such table – did you mean strong?"),
        (lambda results: results.table("memory"), "has nothing for it yet; it has strong, placement, cost, runs"),
        (lambda results: results.figure("strong_times"), "there is no such figure – did you mean strong_time"),
        (lambda results: results.figure("weak_time"), "cannot carry it – no run was for weak scaling"),
        (lambda results: results.report(threshold=80), "threshold=80: an efficiency is above 0 and at most 1"),
        (lambda results: results.report(reference="nature"), "reference=nature: there is no such published study"),
        (lambda results: results.report(Path.cwd()), "name a file in a folder that there is"),
    ],
)
def test_a_wrong_wish_is_a_sentence_with_the_right_ones(published, ask, sentence):
    with pytest.raises(vs.UserError, match=sentence):
        ask(published)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: vs.open("nothere"), ["status", "nothere"]),
        (lambda: vs.published("paper_cifar10"), ["audit", "--reference", "paper_cifar10"]),
        (lambda: vs.read_csv("none.csv"), ["audit", "--csv", "none.csv"]),
        (lambda: vs.read_csv("bad.csv", map={"gpus": "n"}), ["audit", "--csv", "bad.csv", "--map", "gpus=n"]),
        (lambda: vs.read_csv("bad.csv", set={"gpu": 4}), ["audit", "--csv", "bad.csv", "--set", "gpu=4"]),
        (lambda: vs.read_csv("bad.csv", decimal="dot"), ["audit", "--csv", "bad.csv", "--decimal", "dot"]),
        (lambda: vs.compare("mine", "other"), ["compare", "mine", "other"]),
        (lambda: vs.sweep(gpuz=[1]), ["-m", "gpuz=1"]),
        (lambda: vs.sweep(gpus=[0]), ["-m", "gpus=0"]),
        (lambda: vs.sweep(model="vit_b_61"), ["-m", "model=vit_b_61"]),
        (lambda: vs.sweep(gpus=64), ["-m", "gpus=64"]),
        (lambda: vs.sweep(gpus=1, repeats=[1, 2]), ["-m", "gpus=1", "repeats=1,2"]),
        (lambda: vs.simulate(batch=[1, 2]), ["simulate", "batch=1,2"]),
        (lambda: vs.simulate(partition="local", overlap=3), ["simulate", "partition=local", "--overlap", "3"]),
    ],
)
def test_a_users_mistake_raises_the_sentence_of_the_command(ask, words, here, capsys):
    (here / "bad.csv").write_text("gpu,epoch,epoch_time_s\nx,1,2\n")
    write_study("mine", gpus=(1,), seeds=(0,))
    with pytest.raises(vs.UserError) as raised:
        ask()
    assert capsys.readouterr() == ("", ""), "the API prints nothing"
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.sub(r"\W", "", str(raised.value)) in re.sub(r"\W", "", said) or "--overlap" in said


def test_compare_has_the_pairs_that_the_command_writes(here, capsys):
    write_study("before")
    write_study("after", factor=0.9)
    assert main(["compare", "before", "after", "--output", "pairs.csv"]) == 0
    capsys.readouterr()
    made = vs.compare("before", vs.open("after"))
    assert "geometric mean 0.900" in made.sentence
    written = pd.read_csv("pairs.csv")
    assert made.table.ratio.tolist() == written.ratio.tolist()
    assert made.table.verdict.tolist() == ["b is faster"] * 3
    assert any(remark.startswith("day to day") for remark in made.remarks)
    assert capsys.readouterr() == ("", "")


def test_a_table_from_elsewhere_is_read_as_the_options_say(here):
    (here / "theirs.csv").write_text("n,epoch,epoch_time_s\n1,2,10\n2,2,6\n")
    read = vs.read_csv(here / "theirs.csv", map={"gpus": "n"}, set={"data": "cifar10"})
    assert read.runs[["gpus", "epoch_s", "data"]].values.tolist() == [[1, 10.0, "cifar10"], [2, 6.0, "cifar10"]]
    page = read.report()
    assert page == here / "outputs" / "theirs" / "report.html"
    assert "--map gpus=n --set data=cifar10" in page.read_text()


def test_a_simulated_curve_is_marked_as_one():
    made = vs.simulate(gpus=[1, 8, 64], partition="h100_nvlink_ib", model="vit_b_16", data="cifar100")
    assert made.table.gpus.tolist() == [1, 8, 64]
    assert (made.table.epoch_s_low <= made.table.epoch_s).all()
    assert "SIMULATED" in made.table.attrs["title"]
    assert "SIMULATED" in [text.get_text() for text in made.figure().axes[0].texts]


def test_what_a_notebook_shows_runs_nothing_of_a_file(here):
    evil = "<script>alert(1)</script>"
    (here / "theirs.csv").write_text(f"gpus,epoch,epoch_time_s,model\n1,2,10,{evil}\n2,2,6,{evil}\n")
    for shown in (vs.read_csv("theirs.csv"), vs.compare(vs.read_csv("theirs.csv"), vs.read_csv("theirs.csv"))):
        page = shown._repr_html_()
        assert "<script" not in page
        assert "6" in page


def test_a_notebook_sees_every_cell_of_a_study_and_what_became_of_it():
    page = vs.open(write_study("mine").folder)._repr_html_()
    assert "9 done" in page
    assert page.count("<tr>") == 1 + 9


def test_series_and_fits_are_a_line_each_in_a_notebook(published):
    first, fitted = published.series[0], published.fit()[0]
    assert re.fullmatch(r"<strong series .*: gpus=[\d,]+>", repr(first))
    assert repr(fitted).startswith(f"<fit of {first!r}: ")
    assert max(map(len, map(repr, published.series))) < 200


def test_what_is_audited_compared_simulated_and_held_against_is_a_line_and_in_a_notebook_a_table(published):
    study = vs.open(write_study("mine").folder)
    for shown, line, cell in (
        (published.audit(), "<audit of paper_cifar100: throughput: falls", "<td>fixed problem"),
        (vs.compare(published, published), "<b / a over 17 cells, geometric mean 1.000", "<td>cannot tell apart"),
        (vs.simulate(gpus=[1, 8], partition="vector_t4v2"), "<SIMULATED strong curve of vit_tiny_32", "<td>8"),
        (vs.gate(study, study), "<mine against mine: ", "fine in"),
    ):
        assert repr(shown).startswith(line)
        assert len(repr(shown)) < 220
        assert "\n" not in repr(shown)
        assert cell in shown._repr_html_()


@pytest.mark.parametrize("nothing", [None, 3, ["a"]])
def test_what_is_no_name_of_a_study_is_refused_in_words(nothing):
    with pytest.raises(vs.UserError, match="a study is named by its folder, or by its name below outputs/"):
        vs.open(nothing)
