"""Somebody's tidy table becomes runs: epochs over ranks, attempts, means, and a count of all that was wrong."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.errors import UserError
from tests.conftest import ROOT
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.gather import gather_runs
from vit_sweep.report.table_files import to_parquet
from vit_sweep.runs.imported import load_reference, read_csv, reference_dir, reference_names
from vit_sweep.runs.run import Origin
from vit_sweep.runs.tidy.columns import COLUMNS, NUMBERS, epoch_range
from vit_sweep.runs.tidy.table import tidy

HEADER = "gpus,batch,accum,scaling,epoch,epoch_time_s"


def table(text, tmp_path, header=HEADER):
    path = tmp_path / "theirs.csv"
    path.write_text("\n".join([header, *text.split()]) + "\n")
    return path


def read(text, tmp_path, header=HEADER):
    return read_csv(table(text, tmp_path, header))


def rows(*lines, names="gpus epoch epoch_time_s"):
    return [(number, dict(zip(names.split(), line.split(), strict=True))) for number, line in enumerate(lines, start=2)]


def test_the_first_epoch_stands_apart_and_the_others_count(tmp_path):
    table = read("2,16,1,strong,1,30 2,16,1,strong,2,10 2,16,1,strong,3,12", tmp_path)
    (run,) = table.runs
    assert (run.first_epoch_s, run.epoch_s, run.epoch_all_s) == (30.0, (10.0, 12.0), (30.0, 10.0, 12.0))
    assert (run.epochs_requested, run.epochs_done, run.partial) == (3, 3, False)
    assert (run.global_batch, run.origin, run.run_id) == (32, Origin.IMPORTED, "theirs.csv line 2")
    assert table.counts.rows == 3
    assert not table.problems


def test_an_epoch_is_as_long_as_its_slowest_rank():
    made = tidy(rows("2 1 10 0", "2 1 11 1", "2 2 7 0", "2 2 5 1", names="gpus epoch epoch_time_s rank"), source="x")
    assert made.runs[0].epoch_all_s == (11.0, 7.0)
    assert made.runs[0].flags == ()


def test_a_certificate_of_another_program_counts_and_without_one_there_is_none():
    names = "gpus epoch epoch_time_s certificate"
    held, failed, none = (tidy(rows(f"2 1 10 {text}", names=names), source="x").runs[0] for text in ("0", "0.5", "-"))
    assert held.certificate.holds and not failed.certificate.holds
    assert none.certificate is None


def test_ranks_that_count_from_1_are_read_as_from_0_and_that_is_said():
    names, note = "gpus epoch epoch_time_s rank communication_ms", "ranks count from 1 here; they are read as from 0"
    one, zero = (
        tidy(rows(*(f"2 {e} {9 + r} {r + first} {5 - r}" for e in (1, 2) for r in (0, 1)), names=names), source="x")
        for first in (1, 0)
    )
    assert note in one.notes and note not in zero.notes
    assert one.runs == zero.runs, "rank 2 of 2 is no mistake, and the least over both is communication"
    assert one.runs[0].parts.communication == 4.0 and not one.problems


def test_what_only_rank_0_of_several_reports_is_named_and_its_computing_kept_apart():
    names = "gpus epoch epoch_time_s rank communication_ms compute_ms"
    full = ["2 1 9 0 5 40", "2 2 9 0 6 41", "2 3 9 0 7 43"]
    others = [f"2 {epoch} 9 1" for epoch in (1, 2, 3)]
    of_rank_0 = rows(*full, names=names) + rows(*others, names="gpus epoch epoch_time_s rank")
    (run,) = tidy(of_rank_0, source="x").runs
    assert run.rank_0_only == ("communication_ms", "compute_ms")
    assert (run.rank_0_compute_ms, run.compute_ms_by_rank) == (42.0, ())
    (both,) = tidy(rows(*full, *(line.replace(" 0 ", " 1 ") for line in full), names=names), source="x").runs
    assert (both.rank_0_only, both.compute_ms_by_rank) == ((), (42.0, 42.0))


def test_a_missing_rank_is_flagged_and_counted_and_the_run_is_kept():
    made = tidy(
        rows("3 1 10 0", "3 1 11 1", "3 1 9 2", "3 2 7 0", "3 2 5 2", names="gpus epoch epoch_time_s rank"), source="x"
    )
    (run,) = made.runs
    assert run.flags == ("rows missing: 1 of 3 ranks in epoch 2; its epoch is the slowest of those that are there",)
    assert (run.epoch_s, made.counts.missing_ranks) == ((7.0,), 1)


def test_repeated_rows_count_once_even_if_unknown_columns_differ(tmp_path):
    """The published logs have one row per rank and visible GPU: 8 times too many."""
    text = "1,16,1,strong,1,9,0 1,16,1,strong,1,9,1 1,16,1,strong,2,8,0 1,16,1,strong,2,8,1"
    table = read(text, tmp_path, header=HEADER + ",GPU_ID")
    assert table.runs[0].epoch_all_s == (9.0, 8.0)
    assert (table.counts.rows, table.counts.duplicates) == (4, 2)
    assert "gpu_id" in table.problems[0]


def test_of_a_run_that_began_again_the_last_complete_attempt_is_kept():
    """`run_1/1_GPU/p1_b16_e5` of the published logs holds 2 + 5 epochs."""
    made = tidy(rows("1 1 50", "1 2 51", "1 1 40", "1 2 41", "1 3 42", "1 4 43", "1 5 44"), source="x")
    assert made.runs[0].epoch_all_s == (40.0, 41.0, 42.0, 43.0, 44.0)
    assert made.counts.attempts == 1
    assert (
        "1 run begins again in this file: strong, 1 GPU (attempts of 2, 5 epochs, number 2 counts)" in made.problems[0]
    )


def test_runs_that_began_again_are_told_in_one_sentence():
    lines = [f"{gpus} {epoch} {10 + attempt}" for gpus in (1, 2, 3, 4) for attempt in (0, 1) for epoch in (1, 2)]
    made = tidy(rows(*lines), source="x")
    (problem,) = made.problems
    assert problem.startswith("4 runs begin again in this file: strong, 1 GPU")
    assert "and 1 more" in problem


def test_a_later_attempt_that_is_cut_off_does_not_replace_a_complete_one():
    made = tidy(rows("1 1 40", "1 2 41", "1 3 42", "1 1 50", "1 2 51"), source="x")
    assert made.runs[0].epoch_all_s == (40.0, 41.0, 42.0)


def test_attempts_are_told_apart_by_rank_however_ranks_are_interleaved():
    names = "gpus epoch epoch_time_s rank"
    made = tidy(rows("2 1 5 0", "2 1 6 1", "2 1 7 1", "2 1 8 0", "2 2 3 0", "2 2 4 1", names=names), source="x")
    assert made.runs[0].epoch_all_s == (8.0, 4.0)
    assert made.runs[0].flags == ()


def test_repeats_are_told_apart_by_seed_or_run():
    names = "gpus epoch epoch_time_s seed"
    made = tidy(rows("1 1 5 0", "1 1 6 1", names=names), source="x")
    assert [run.epoch_s for run in made.runs] == [(5.0,), (6.0,)]
    assert made.counts.attempts == 0


def test_fewer_epochs_than_asked_make_a_run_partial(tmp_path):
    table = read("2,16,1,strong,1,30,5 2,16,1,strong,2,10,5", tmp_path, header=HEADER + ",epochs")
    assert table.runs[0].partial
    assert (table.runs[0].epochs_done, table.counts.partial) == (2, 1)


def test_a_gap_left_by_a_bad_row_makes_a_run_partial(tmp_path):
    table = read("2,16,1,strong,1,30 2,16,1,strong,2,nan 2,16,1,strong,3,10", tmp_path)
    assert table.runs[0].partial


@pytest.mark.parametrize("bad", ["nan", "-3", "0", "inf", "abc", ""])
def test_an_impossible_time_is_named_with_its_line_and_left_out(bad, tmp_path):
    table = read(f"2,16,1,strong,1,30 2,16,1,strong,2,{bad} 2,16,1,strong,3,10", tmp_path)
    assert table.runs[0].epoch_s == (10.0,)
    assert table.counts.bad_rows == 1
    assert table.problems == (f"line 3: epoch_time_s={bad} – must be a number above 0; 1 row left out",)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("batch", "1000001", "must be at most 1e+06"),
        ("images", "1e19", "must be at most 1e+18"),
        ("seed", "9" * 5000, "must be a whole number from 0"),
        ("certificate", "1e19", "must be at most 1e+18"),
        ("note", "x" * 1001, "must have at most 1000 characters, and has 1,001"),
    ],
)
def test_what_no_table_could_hold_is_named_and_left_out(name, value, rule):
    lines = [f"2 1 30 {value}", "2 2 10 1"]
    (problem,) = tidy(rows(*lines, names=f"gpus epoch epoch_time_s {name}"), source="x").problems
    assert problem.startswith(f"line 2: {name}={value[:57]}")
    assert rule in problem
    assert len(problem) < 200


def test_a_mean_over_more_epochs_than_memory_holds_is_no_row():
    made = tidy(rows("1 1-99999999 12", "1 9999999999999999 12", "1 3 12"), source="x")
    assert len(made.runs[0].epoch_all_s) == 1
    assert made.counts.bad_rows == 2
    assert any("must be a range of at most 10,000 epochs" in problem for problem in made.problems)


def test_the_largest_values_of_all_columns_are_a_table(tmp_path):
    """Their products, too, are numbers of 64 bits."""
    names = [name for name in COLUMNS if name not in ("epoch", "rank", "scaling", "batch_per")]
    most = {name: "1e18" if name in NUMBERS else "x" * 1000 for name in names}
    most |= dict.fromkeys(("test_accuracy", "train_accuracy", "accuracy"), "1")
    most |= dict.fromkeys(("gpus", "nodes", "batch", "accum", "epochs"), "1e6")
    lines = [f"{epoch},{','.join(most.values())}" for epoch in (1, 2)]
    (tmp_path / "most.csv").write_text(f"epoch,{','.join(names)}\n" + "\n".join(lines))
    made = read_csv(tmp_path / "most.csv")
    assert made.problems == ()
    for table in gather_runs(made.runs).tables:
        assert to_parquet(table)


def test_many_bad_rows_are_one_sentence(tmp_path):
    text = " ".join(f"2,16,1,strong,{epoch},-1" for epoch in range(1, 9))
    table = read(f"{text} 2,16,1,strong,9,10", tmp_path)
    assert table.problems[0].startswith("lines 2, 3, 4, 5, 6 and 3 more: epoch_time_s=-1 ")
    assert table.counts.sentence == "1 run of 9 rows, 8 rows left out, 1 partial run"


def test_a_wrong_accuracy_is_left_out_and_its_row_is_kept(tmp_path):
    table = read("1,16,1,strong,1,30,57.07 1,16,1,strong,2,10,0.6", tmp_path, header=HEADER + ",train_accuracy")
    assert table.runs[0].train_accuracy == (None, 0.6)
    assert "a percentage divided by 100" in table.problems[0]


def test_accuracy_of_unsaid_images_is_judged_as_training_accuracy(tmp_path):
    table = read("1,16,1,strong,1,30,0.5", tmp_path, header=HEADER + ",accuracy")
    assert (table.runs[0].train_accuracy, table.runs[0].test_accuracy) == ((0.5,), ())


def test_a_rank_beyond_the_gpus_is_no_row():
    made = tidy(rows("2 1 5 2", "2 1 5 1", "2 1 5 0", names="gpus epoch epoch_time_s rank"), source="x")
    assert "rank=2 – must be below gpus=2" in made.problems[0]


def test_a_row_may_be_a_mean_over_epochs_with_and_without_the_first():
    """The paper's 32 GPUs: 5 x 61.6 - 4 x 60.7 = 65.2 s for epoch 1."""
    names = "gpus epoch epoch_time_s epoch_time_sd_s warm_epoch_time_s train_accuracy epochs"
    (run,) = tidy(rows("32 1-5 61.6 2.3 60.7 0.069 5", names=names), source="x").runs
    assert run.first_epoch_s == pytest.approx(65.2)
    assert run.epoch_s == (60.7,)
    assert (run.published_s, run.published_sd_s) == (61.6, 2.3)
    assert sum(run.epoch_all_s) == pytest.approx(308.0)
    assert run.train_accuracy == (None, None, None, None, 0.069)


def test_epochs_given_singly_stand_and_the_mean_fills_the_rest():
    """3 x 12 - 20 = 16 s are left for two epochs, whose spread nobody knows: they count as one number."""
    (run,) = tidy(rows("1 1 20", "1 1-3 12"), source="x").runs
    assert run.epoch_all_s == (20.0, 8.0, 8.0)
    assert (run.first_epoch_s, run.epoch_s) == (20.0, (8.0,))


def test_a_first_epoch_within_a_mean_cannot_be_taken_out():
    (run,) = tidy(rows("1 1-3 12"), source="x").runs
    assert (run.first_epoch_s, run.epoch_s, run.epochs_done) == (None, (12.0,), 3)
    assert run.published_s == 12.0


def test_communication_is_the_least_over_ranks_and_the_wait_is_the_rest():
    """Per epoch: 50 images in steps of 2 x 5 are 5 steps, so 1 s is 200 ms a step."""
    names = "gpus epoch epoch_time_s rank batch accum images communication_s"
    lines = ["2 1 9 0 5 1 50 9", "2 1 9 1 5 1 50 9", "2 2 8 0 5 1 50 1", "2 2 8 1 5 1 50 3"]
    (run,) = tidy(rows(*lines, names=names), source="x").runs
    assert run.parts.communication == pytest.approx(200)
    assert run.parts.straggler_wait == pytest.approx(400)


def test_communication_of_one_rank_has_no_wait():
    names = "gpus epoch epoch_time_s communication_ms"
    (run,) = tidy(rows("2 1 9 150", names=names), source="x").runs
    assert (run.parts.communication, run.parts.straggler_wait) == (150.0, None)


def test_a_global_batch_is_divided_among_the_gpus():
    names = "gpus epoch epoch_time_s batch batch_per accum"
    (run,) = tidy(rows("4 1 9 128 global 2", names=names), source="x").runs
    assert (run.micro_batch, run.global_batch) == (16, 128)


def test_epochs_may_count_from_0():
    made = tidy(rows("1 0 9", "1 1 5"), source="x")
    assert made.runs[0].first_epoch_s == 9.0
    assert any("count from 0" in note for note in made.notes)


def test_one_gpu_count_only_is_said_to_have_no_baseline(tmp_path):
    table = read("4,16,1,strong,1,30 4,16,1,strong,2,10", tmp_path)
    assert any("every run has gpus=4: there is no baseline" in note for note in table.notes)


def test_two_data_sets_mixed_make_two_series(tmp_path):
    text = "1,16,1,strong,1,30,cifar10 2,16,1,strong,1,16,cifar100 4,16,1,strong,1,8,cifar100"
    table = read(text, tmp_path, header=HEADER + ",data")
    series = group(table.runs, Scaling.STRONG)
    assert [(curve.key.condition("data"), curve.baseline_gpus) for curve in series] == [("cifar10", 1), ("cifar100", 2)]


# -- files that are no tables -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty; its first line names the columns: gpus, epoch, epoch_time_s"),
        ("\n\n", "is empty"),
        ("1,1,30\n1,2,10\n", "its first line is numbers, not the names of columns"),
        ("gpus,epoch,epoch_times\n1,1,30\n", "no column epoch_time_s (did you mean epoch_times?"),
        ("gpus,epoch,epoch_time_s\n", "nothing is left to judge – there is no row below its header"),
        ("gpus,epoch,epoch_time_s\n1,1,nan\n1,2,-4\n", "lines 2, 3: epoch_time_s=nan – must be a number above 0"),
        ("gpus,gpus,epoch,epoch_time_s\n1,1,1,3\n", "the column gpus comes twice"),
        ('gpus,epoch,epoch_time_s\n1,1,"30\n', "not CSV"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_a_sentence(text, reason, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_csv(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="is not a text; a CSV file or "):
        read_csv(tmp_path / "picture.csv")


def test_an_unknown_column_is_named_with_the_closest_known_and_ignored(tmp_path):
    table = read("1,16,1,strong,1,30,x", tmp_path, header=HEADER + ",precison")
    assert table.problems == (
        "columns that are not understood and not used: precison (did you mean precision?); see docs/results/import.md",
    )


def test_a_byte_order_mark_and_capital_letters_do_no_harm(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text("\ufeffGPUs, Epoch ,Epoch_Time_s\n1,1,30\n", encoding="utf-8")
    assert read_csv(path).runs[0].epoch_s == (30.0,)


# -- rules for all tables -----------------------------------------------------------------------------

LINES = st.lists(
    st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 2), st.integers(1, 4), st.integers(0, 3)),
    min_size=1,
    max_size=24,
    unique=True,
).map(lambda rows: [row for row in rows if row[3] < row[0]] or [(1, 0, 1, 0)])


def made_of(lines):
    names = "gpus seed epoch rank epoch_time_s"
    texts = [f"{gpus} {seed} {epoch} {rank} {10 * epoch + rank + seed + 1}" for gpus, seed, epoch, rank in lines]
    return tidy(rows(*texts, names=names), source="x")


def nameless(runs):
    return [replace(run, run_id="") for run in runs]


@given(LINES, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(lines, random):
    shuffled = list(lines)
    random.shuffle(shuffled)
    assert nameless(made_of(shuffled).runs) == nameless(made_of(lines).runs)


@given(LINES, st.integers(0, 2**16))
def test_repeated_rows_change_nothing_but_their_count(lines, number):
    again = lines + Random(number).choices(lines, k=3)
    assert nameless(made_of(again).runs) == nameless(made_of(lines).runs)
    assert made_of(again).counts.duplicates == 3


@given(st.integers(1, 99), st.integers(0, 5))
def test_an_epoch_or_a_range_of_them_is_read(first, more):
    assert epoch_range(f"{first}-{first + more}") == (first, first + more)
    assert epoch_range(str(first)) == epoch_range(f"{first}.0") == (first, first)


@pytest.mark.parametrize("text", ["", "-1", "5-2", "1.5", "one", "1-"])
def test_what_is_no_epoch_is_refused(text):
    with pytest.raises(ValueError, match="a range like 2-5"):
        epoch_range(text)


# -- what is shipped ----------------------------------------------------------------------------------


def test_the_page_describes_every_column_in_order():
    page = (ROOT / "docs" / "results" / "import.md").read_text().partition("## Files as they are")[0]
    described = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert described == list(COLUMNS)


def test_the_example_of_the_page_is_read_without_a_problem(tmp_path):
    page = (ROOT / "docs" / "results" / "import.md").read_text()
    path = tmp_path / "example.csv"
    path.write_text(page.split("```csv\n")[1].split("```")[0])
    table = read_csv(path)
    assert not table.problems
    assert not table.notes
    assert table.counts.rows > len(table.runs) > 1


@pytest.mark.parametrize("name", reference_names())
def test_a_published_study_is_read_without_a_problem(name):
    table = load_reference(name)
    assert not table.imported.problems
    assert table.imported.counts.bad_rows == table.imported.counts.duplicates == 0
    assert all(run.origin is Origin.REFERENCE for run in table.imported.runs)
    assert table.facts.source
    assert table.facts.licence


def test_every_published_study_has_figures_and_a_source():
    assert {path.stem for path in reference_dir().glob("*.yaml")} == set(reference_names())


def test_the_papers_figures_are_those_of_the_paper():
    """Mean over epochs, sd, mean without the first: table 4 of arXiv:2602.21081's logs, first and last line."""
    runs = {(run.gpus, run.curves[0].placement): run for run in load_reference("paper_cifar100").imported.runs}
    assert len(runs) == 17
    first, last = runs[1, "packed"], runs[32, "spread"]
    assert (first.published_s, first.published_sd_s, first.epoch_s) == (1813.4, 2.9, (1814.4,))
    assert (last.published_s, last.published_sd_s, last.epoch_s) == (61.6, 2.3, (60.7,))
    assert last.epoch_all_s[0] == pytest.approx(65.2)
    assert first.epoch_all_s[0] == 1809
    assert (runs[2, "spread"].epochs_done, runs[2, "spread"].epochs_requested) == (4, 5)
    assert [run.train_accuracy[-1] for run in (first, last)] == [0.302, 0.069]


def test_an_unknown_published_study_shows_the_menu():
    with pytest.raises(UserError, match="did you mean paper_cifar100"):
        load_reference("paper_cifar10")
