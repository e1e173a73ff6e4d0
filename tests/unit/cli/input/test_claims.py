"""audit, compare and collect --csv as typed: what they print, write, and exit with."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from launchers.checked import to_json
from tests.unit.builders import planned_study, point, record
from vit_sweep.__main__ import main
from vit_sweep.plan.choices import BatchPer, Precision, Scaling
from vit_sweep.report.figure import SWITCH

TIMES = {1: 4.0, 2: 2.1, 4: 1.2}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SWITCH, "off")
    return tmp_path


def write_study(name, factor=1.0, gpus=(1, 2, 4), seeds=(0, 1, 2), **changes):
    """A study below outputs/ whose every cell has a record, without a word in its journal."""
    return write_points(name, [point(gpus=n, seed=seed, **changes) for n in gpus for seed in seeds], factor)


def write_points(name, points, factor=1.0, weak_factor=1.0):
    study, plan = planned_study(Path("outputs").absolute() / name, *points)
    for cell_id, planned in plan.cells.items():
        times = weak_factor * TIMES[1] / 10 if planned.cell.train_images < 1600 else factor * TIMES[planned.cell.gpus]
        seconds = times * (1 + 0.002 * planned.cell.seed)
        finished = record(planned.cell, epoch_seconds=(2 * seconds, seconds, seconds))
        (study.cell_dir(cell_id) / "record.json").write_text(to_json(finished))
    return study


def test_audit_of_a_study_names_claims_and_exits_1_where_one_falls(capsys):
    write_study("mine")
    assert main(["audit", "mine"]) == 1
    output = capsys.readouterr().out
    assert "what mine can carry" in output
    assert "global batch grew" in output
    assert "claims that fall: fixed problem" in output
    assert "no run on 4 GPUs with a global batch of 16" in output


def test_audit_exits_0_where_no_claim_falls(capsys):
    write_study("sound", batch_per=BatchPer.GLOBAL, batch=16)
    assert main(["audit", "outputs/sound"]) == 0
    assert "no claim falls" in capsys.readouterr().out


def test_audit_of_the_published_figures_says_where_they_come_from(capsys):
    assert main(["audit", "--reference", "paper_cifar100"]) == 1
    screen = capsys.readouterr().out
    assert "arXiv:2602.21081" in screen
    assert "from 64 to 512 images" in " ".join(screen.split())
    assert "at least 5.9x to 6.5% training accuracy" in " ".join(screen.split())


def test_audit_writes_all_that_it_found_and_shows_little_of_what_is_alike(here, capsys):
    lines = [f"{n},{batch},gpu,1,1,{9 / n}" for n in (1, 2) for batch in range(1, 70)]
    (here / "many.csv").write_text("\n".join(["gpus,batch,batch_per,accum,epoch,epoch_time_s", *lines]))
    assert main(["audit", "--csv", "many.csv", "--output", "all.json"]) == 1
    page = capsys.readouterr().out
    assert len(page.splitlines()) < 70
    page_text = " ".join(page.split())
    assert page_text.count("called strong scaling") == 1
    assert "likewise in 68 other series: batch 2; batch 3; batch 4 and 65 more" in page_text
    assert "at the largest GPU count of 12 of 69 series" in page_text
    written = json.loads((here / "all.json").read_text())
    assert len(written["speedups"]) == 69
    assert sum(finding["rule"] == "global batch grew" for finding in written["findings"]) == 69
    assert main(["audit", "--csv", "many.csv", "--output", "all.csv"]) == 2


def test_audit_of_a_file_says_what_was_left_out(here, capsys):
    lines = ["gpus,batch,epoch,epoch_time_s,nod", "1,8,1,9,1", "1,8,2,8,1", "2,8,1,nan,1", "2,8,2,4,1"]
    (here / "theirs.csv").write_text("\n".join([*lines, ""]))
    assert main(["audit", "--csv", "theirs.csv"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "2 runs of 4 rows, 1 row left out" in output
    assert "line 4: epoch_time_s=nan" in output
    assert "nod (did you mean nodes?)" in output
    assert "no column scaling: every run is judged as strong scaling" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit"], "nothing is named; name one of: a study, --csv FILE, --reference NAME"),
        (["audit", "mine", "--csv", "x.csv"], "2 things are named"),
        (["audit", "nothere"], "nothere is not a study (no study.json in it)"),
        (["audit", "--csv", "none.csv"], "cannot read none.csv"),
        (["audit", "--reference", "paper_cifar10"], "there is no such published study – did you mean paper_cifar100?"),
        (["compare", "mine"], "compare mine: with what? Name another study"),
        (["compare", "mine", "nothere"], "(no study.json in it) – Known: mine"),
        (["compare", "mine", "paper_cifar100"], "is a published study, not one of yours: write --reference paper_"),
        (["compare", "mine", "mine", "--output", "x.xls"], "output=x.xls: write FILE.csv or FILE.md"),
        (["collect"], "nothing is named; name one of: a study, --csv FILE, --reference NAME"),
        (["collect", "mine", "--csv", "x.csv"], "2 things are named"),
        (["collect", "--csv", "none.csv"], "cannot read none.csv"),
    ],
    ids=" ".join,
)
def test_a_users_mistake_is_a_sentence(words, message, capsys):
    write_study("mine", gpus=(1,), seeds=(0,))
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_records_of_another_version_and_of_another_study_are_named_and_left_out(capsys):
    study = write_study("mine", seeds=(0,))
    other = write_study("other", factor=2.0, seeds=(7,))
    first, second, _ = study.cell_files()
    path = study.cell_dir(first.cell_id) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    foreign = other.cell_files()[1]
    shutil.copy(other.cell_dir(foreign.cell_id) / "record.json", study.cell_dir(second.cell_id) / "record.json")
    shutil.copytree(other.cell_dir(other.cell_files()[2].cell_id), study.cell_dir(other.cell_files()[2].cell_id))
    main(["audit", "mine"])
    output = " ".join(capsys.readouterr().out.split())
    assert "schema_version" in output
    assert f"its record.json belongs to another cell, {foreign.cell_id}" in output
    assert f"{other.cell_files()[2].cell_id} is in no plan of this study" in output
    assert "no baseline" in output or "what mine can carry" in output


def test_a_study_without_a_time_is_said_to_have_none(capsys):
    study = write_study("mine", seeds=(0,))
    for file in study.cell_files():
        (study.cell_dir(file.cell_id) / "record.json").unlink()
    assert main(["audit", "mine"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "3 cells without a time – missing: never submitted" in output
    assert "no run has a time yet" in output


def test_compare_of_two_studies_prints_and_writes_the_pairs(here, capsys):
    write_study("before")
    write_study("after", factor=0.9)
    assert main(["compare", "before", "after", "--output", "pairs.csv"]) == 0
    output = capsys.readouterr().out
    assert "geometric mean 0.900" in output
    assert "b is faster; 3 of 3 can be told apart" in output
    rows = list(csv.DictReader((here / "pairs.csv").open()))
    assert [row["gpus"] for row in rows] == ["1", "2", "4"]
    assert {row["verdict"] for row in rows} == {"b is faster"}
    assert all(float(row["ratio"]) == pytest.approx(0.9) for row in rows)
    assert main(["compare", "before", "after", "--output", "pairs.md"]) == 0
    assert "\n| GPUs | " in (here / "pairs.md").read_text()
    assert "\n- day to day: " in (here / "pairs.md").read_text(), "with what must be read with it"


def test_a_written_comparison_opens_as_no_formula():
    from vit_sweep.report.tables.comparisons.comparison import compared_table
    from vit_sweep.report.tables.form.text import to_csv

    ratio = SimpleNamespace(value=1.0, low=0.9, high=1.1, freedom=9, known=True)
    numbers = {"gpus": 1, "nodes": 1, "a_s": 1.0, "b_s": 1.0, "a_runs": 3, "b_runs": 3, "adjusted_p": 0.5}
    pair = SimpleNamespace(label='=HYPERLINK("x")', verdict="@x", reason="\x1b[2J", ratio=ratio, **numbers)
    made = SimpleNamespace(pairs=[pair], mean=None, notes=())
    (row,) = csv.DictReader(to_csv(compared_table(made)).splitlines())
    assert (row["cell"], row["verdict"]) == ('\'=HYPERLINK("x")', "'@x")
    assert "\x1b" not in row["reason"]


def test_compare_of_single_runs_cannot_tell_them_apart(capsys):
    write_study("before", gpus=(1,), seeds=(0,))
    write_study("after", factor=0.5, gpus=(1,), seeds=(0,))
    assert main(["compare", "before", "after"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "cannot tell apart: a single run on each side says nothing of its spread" in output
    assert "geometric mean 0.500: cannot tell apart; 0 of 1 can be told apart" in output


def test_what_compare_proposes_puts_strong_beside_strong_and_weak_beside_weak(capsys):
    """Both studies have both kinds of runs, which are no repeats of each other; only their epochs differ."""
    for name, epochs, factor, weak_factor in (("mine", 3, 1, 1), ("longer", 9, 0.5, 2)):
        points = [
            point(gpus=gpus, seed=seed, scaling=scaling, epochs=epochs)
            for gpus in (1, 2, 4)
            for seed in range(3)
            for scaling in Scaling
        ]
        write_points(name, points, factor, weak_factor)
    assert main(["compare", "mine", "longer"]) == 1
    proposed = capsys.readouterr().out.strip().rpartition("to compare across what differs, add: ")[2].split()
    assert proposed == ["--across", "epochs"]
    assert main(["compare", "mine", "longer", *proposed, "--output", "pairs.csv"]) == 0
    with Path("pairs.csv").open() as file:
        pairs = {(row["cell"], float(row["ratio"]), row["verdict"]) for row in csv.DictReader(file)}
    assert pairs == {
        ("images=1600", 0.5, "b is faster"),
        *((f"images={images}", 2.0, "b is slower") for images in (160, 320, 640)),
    }
    output = " ".join(capsys.readouterr().out.split())
    assert "6 of 6 can be told apart (5% for the whole comparison), faster in 3 and slower in 3: no mean" in output


def test_compare_without_a_pair_exits_1_and_says_what_differs(capsys):
    write_study("mine", gpus=(1, 2))
    write_study("bf16", gpus=(1, 2), precision=Precision.BF16)
    assert main(["compare", "mine", "bf16"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "no cell of mine could be paired with one of bf16" in output
    assert "not paired, a: gpus=1 nodes=1 batch=16 accum=1 images=" in output
    assert "– the nearest cell differs in precision (fp32 here" in output
    assert output.endswith("to compare across what differs, add: --across precision")
    assert main(["compare", "mine", "bf16", "--across", "precision"]) == 0


def test_studies_that_have_nothing_in_common_get_no_hint(capsys):
    write_study("mine", gpus=(1, 2))
    assert main(["compare", "mine", "--reference", "paper_cifar100"]) == 1
    assert "--across" not in capsys.readouterr().out


def test_compare_with_a_file(here, capsys):
    write_study("mine", gpus=(1,), seeds=(0, 1))
    lines = ["gpus,batch,accum,seed,epoch,epoch_time_s", "1,16,1,0,1,20", "1,16,1,0,2,8.0", "1,16,1,1,1,20"]
    (here / "theirs.csv").write_text("\n".join([*lines, "1,16,1,1,2,8.016", ""]))
    assert main(["compare", "mine", "--csv", "theirs.csv"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "geometric mean 2.000" in output
    assert "b is slower" in output
    assert "said by one side only, so not compared:" in output


def test_collect_writes_the_tables_of_a_file_and_never_into_a_study(here, capsys):
    pytest.importorskip("pandas")
    small = here / "small.csv"
    lines = [f"{n},8,1,strong,64,{epoch},{9 / n + 1 / epoch}\n" for n in (1, 2) for epoch in (1, 2, 3)]
    small.write_text("".join(["gpus,batch,accum,scaling,images,epoch,epoch_time_s\n", *lines]))
    assert main(["collect", "--csv", "small.csv", "--output", "theirs"]) == 0
    rows = list(csv.DictReader((here / "theirs" / "tables" / "strong.csv").open()))
    assert [row["gpus"] for row in rows] == ["1", "2"]
    assert "2 runs of 6 rows" in capsys.readouterr().out
    write_study("mine", gpus=(1,), seeds=(0,))
    assert main(["collect", "--csv", "small.csv", "--output", "outputs/mine"]) == 2
    assert "is the folder of a study" in capsys.readouterr().err


# -- tables as researchers have them --------------------------------------------------------------------


def write_table(path, *, seeds=(0, 1, 2), factor=1.0, counts=(1, 2)):
    header = "gpus,batch,batch_per,accum,images,seed,epoch,epoch_time_s"
    lines = [
        f"{gpus},{64 // gpus},gpu,1,6400,{seed},{epoch},{factor * (9 / gpus + seed / 100 + 1 / epoch):.4f}"
        for gpus in counts
        for seed in seeds
        for epoch in (1, 2, 3)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *lines, ""]))


def test_two_tables_are_compared_with_each_other(here, capsys):
    write_table(here / "before.csv")
    write_table(here / "after.csv", factor=2.0)
    assert main(["compare", "before.csv", "after.csv"]) == 0
    screen = " ".join(capsys.readouterr().out.split())
    assert "a: before.csv" in screen
    assert "geometric mean 2.000" in screen


def test_files_and_patterns_are_repeats_of_each_other_even_with_equal_names(here, capsys):
    for seed in (0, 1, 2):
        write_table(here / f"run{seed}" / "metrics.csv", seeds=(seed,))
    assert main(["audit", "--csv", "run*/metrics.csv", "--output", "all.json"]) == 0
    screen = " ".join(capsys.readouterr().out.split())
    assert "3 files: run0/metrics.csv, run1/metrics.csv, run2/metrics.csv 6 runs of 18 rows" in screen
    assert main(["audit", "--csv", "run0/metrics.csv", "--csv", "run1/metrics.csv"]) == 0
    assert main(["audit", "--csv", "nothing*.csv"]) == 2
    assert "no file matches this pattern" in capsys.readouterr().err


def test_a_table_is_mapped_set_and_reported_on_one_page(here, capsys, monkeypatch):
    pytest.importorskip("pandas")
    write_table(here / "theirs.csv")
    text = (here / "theirs.csv").read_text().replace("gpus,", "num_gpus,", 1)
    (here / "theirs.csv").write_text(text)
    words = ["--csv", "theirs.csv", "--map", "gpus=num_gpus", "--set", "data=cifar10"]
    assert main(["audit", "--csv", "theirs.csv"]) == 2
    assert "--map gpus=THEIRS" in capsys.readouterr().err
    monkeypatch.setenv(SWITCH, "svg")
    assert main(["report", *words]) == 0
    monkeypatch.setenv(SWITCH, "off")
    page = (here / "outputs" / "theirs" / "report.html").read_text()
    assert "imported from" in page
    assert "cifar10" in page
    assert main(["collect", *words, "--export", "extra-p", "--export", "mlperf"]) == 0
    assert json.loads((here / "outputs/theirs/extra-p.json").read_text())["parameters"] == ["p"]
    assert len(list((here / "outputs/theirs/mlperf").glob("*.log"))) == 6
    assert main(["collect", *words, "--export", "extrap"]) == 2
    assert "did you mean extra-p?" in capsys.readouterr().err
    assert main(["collect", *words]) == 0
    assert "vit_sweep audit --csv theirs.csv --map gpus=num_gpus --set data=cifar10" in capsys.readouterr().out
    assert main(["report", "mine", *words]) == 2
    assert "2 things are named" in capsys.readouterr().err


def test_a_page_of_files_says_what_was_read_once_and_names_no_folder_of_this_machine(here, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.setenv(SWITCH, "svg")  # off, a report draws all formats
    for seed in (0, 1):
        write_table(here / f"run{seed}" / "metrics.csv", seeds=(seed,))
    assert main(["report", "--csv", f"{here}/run*/metrics.csv"]) == 0
    page = next((here / "outputs").glob("*/report.html")).read_text()
    assert re.findall(r"<div><dt>notes</dt>((?:<dd>.*?</dd>)+)</div>", page)[0].count("<dd>") > 1
    assert page.count("<dt>notes</dt>") == 1
    assert "<dt>run0/metrics.csv, sha256</dt>" in page
    # The command to type is as it was typed.
    assert str(here) not in page.replace(f"&#39;{here}/run*/metrics.csv&#39;", "")


def test_a_published_study_has_tables_and_a_page_of_its_own(here, capsys, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.setenv(SWITCH, "off")
    assert main(["collect", "--reference", "paper_cifar100"]) == 0
    screen = " ".join(capsys.readouterr().out.split())
    assert "vit_sweep report --reference paper_cifar100" in screen
    monkeypatch.setenv(SWITCH, "svg")
    assert main(["report", "--reference", "paper_cifar100"]) == 0
    page = (here / "outputs" / "paper_cifar100" / "report.html").read_text()
    assert "vit_sweep report --reference paper_cifar100" in page
    assert "arXiv:2602.21081" in page
