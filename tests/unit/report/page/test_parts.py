"""What the page is made of: tables, machines, questions, fits, proposals; each rule without a page around it."""

import math
import re
from dataclasses import replace

import pytest

from tests.unit.analysis.builders import run, series_from, without_time
from tests.unit.report.page import contents
from tests.unit.report.page.contents import HOSTILE, empty, proposal
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.record.machine import Fingerprint, Gpu
from vit_sweep.report import render
from vit_sweep.report.page import audit, laws, machines, methods, request
from vit_sweep.report.page.layout import MOST_ROWS, compact, exact, head, heading, numeric, shown, table_of, whole
from vit_sweep.report.page.methods import METHODS
from vit_sweep.report.page.proposal import choose, markdown, propose, run_hours
from vit_sweep.report.tables.form.table import Column, Table, by_column
from vit_sweep.runs.imported import load_reference

COLUMNS = (
    Column(name="model", title="model", meaning="."),
    Column(name="gpus", title="GPUs", meaning="."),
    Column(name="speedup", title="speedup", meaning="S."),
    Column(name="speedup_low", title="low", meaning=".", bound_of="speedup"),
    Column(name="speedup_high", title="high", meaning=".", bound_of="speedup"),
    Column(name="efficiency", title="eff. %", meaning=".", percent=True),
    Column(name="note", title="note", meaning="."),
)


def table(**changes):
    """Two points of one model."""
    values = (("b", 1, 1.0, None, None, 1.0, None), ("b", 2, 1.9, 1.8, 2.0, 0.95, ""))
    by_name = {column.name: [*some] for column, some in zip(COLUMNS, zip(*values, strict=True), strict=True)}
    return replace(Table(name="strong", title="Strong", columns=COLUMNS, values=by_name), **changes)


# --- tables ----------------------------------------------------------------------------------------------


def test_bounds_join_their_number_equal_columns_are_said_once_and_empty_ones_are_left_out():
    made = compact(table())
    assert [column.name for column in made.columns] == ["gpus", "speedup", "efficiency"]
    assert [[shown(column, row).text for column in made.columns] for row in made.rows] == [
        ["1", "1", "100.0"],
        ["2", "1.90 [1.80, 2.00]", "95.0"],
    ]
    assert [column.name for column in made.said_once] == ["model"]
    assert [head(column) for column in made.columns] == [("GPUs", ""), ("speedup", ""), ("eff.", "%")]


def test_a_table_made_for_the_page_keeps_all_its_columns_in_their_order():
    made = table_of("t", "Title: what a row is", COLUMNS, table().rows)
    assert [column.name for column in whole(made).columns] == ["model", "gpus", "speedup", "efficiency", "note"]
    assert heading(made) == ("Title", "What a row is.")


def test_numbers_are_whole_for_machines():
    assert [exact(v) for v in (0.1 + 0.2, None, math.nan, True, "a", 1 / 3)] == [
        "0.30000000000000004",
        "",
        "",
        "true",
        "a",
        "0.3333333333333333",
    ]


def test_a_column_is_of_numbers_only_if_all_its_fields_are():
    columns = [Column(name=name) for name in "abc"]
    rows = [{"a": 1, "b": "1", "c": None}, {"a": 2.5, "b": 2, "c": None}, {"a": None, "b": 3, "c": None}]
    assert [numeric(rows, column) for column in columns] == [True, False, False]


def test_a_table_whose_columns_are_all_equal_still_has_one():
    made = compact(table(columns=COLUMNS[:1]))
    assert [column.name for column in made.columns] == ["model"] and len(made.rows) == 2


# --- machines --------------------------------------------------------------------------------------------


def machine(host="node0", **gpu):
    return Fingerprint(rank=0, host=host, cpu="EPYC", gpu=Gpu(**({"model": "T4", "serial": "abc"} | gpu)))


def test_a_fingerprint_is_of_what_makes_machines_alike():
    same = machines.fingerprint(machine("node1", serial="def", sm_clock_mhz=300))
    assert machines.fingerprint(machine()) == same
    assert machines.fingerprint(machine(model="A40")) != same


def test_few_machines_stand_side_by_side_and_many_one_below_the_other():
    runs = [run(1, seed=n, machine=(machine(f"node{n}"),)) for n in range(6)]
    few, many = machines.machines(runs[:2])[0], machines.machines(runs)[0]
    assert [column.name for column in few.columns] == ["fact", "node0 1", "node1 2"]
    assert ["GPU model", "T4", "T4"] in [list(row.values()) for row in few.rows]
    assert len(many.rows) == 6 and many.columns[0].name == "host"


def test_unlike_gpus_and_flags_are_said():
    runs = [run(1, machine=(machine(),)), run(2, machine=(machine("b", model="A40"),), flags=("throttled",))]
    remarks = machines.remarks(runs)
    assert "Not all GPUs are alike: GPU model: A40 (on b), T4 (on node0)." in remarks
    assert "throttled: g2-s0." in remarks


def test_without_any_machine_it_is_said_how_many_are_unknown():
    assert machines.machines([run(1)]) == ()
    assert machines.remarks([run(1)]) == (), "the empty table says it"
    unknown = [run(1, seed=seed) for seed in range(7)]
    known = run(1, run_id="known", machine=(Fingerprint(rank=0, host="a"),))
    assert machines.remarks([*unknown, known]) == (
        "7 of 8 runs recorded no machine: g1-s0, g1-s1, g1-s2, g1-s3, g1-s4 and 2 more.",
    )


# --- what was asked --------------------------------------------------------------------------------------


def point(cell_id="a", reasons=(), **axes):
    return PlannedPoint(point_id="p", axes={"gpus": 1, "model": "b"} | axes, cell_id=cell_id, reasons=reasons)


def test_axes_that_vary_come_first_numbers_by_size():
    points = [point(gpus=n) for n in (16, 2, 1)]
    assert request.axes(points) == (("gpus", "1, 2, 16"), ("model", "b"))


def test_a_combination_that_cannot_run_is_a_failure_with_its_reason():
    points = [point(), point(cell_id=None, reasons=("too many GPUs",), gpus=64)]
    (lost, never) = request.failures(points, [without_time(1, "out_of_memory", cause="gpu_memory", note="full")])
    assert (lost.name, lost.status, lost.cause, lost.sentence) == ("g1-s0", "out_of_memory", "gpu_memory", "full")
    assert (never.status, never.sentence) == ("infeasible", "too many GPUs") and "gpus=64" in never.name
    (cut,) = request.failures([point()], [run(1), run(2, (5.0,) * 4, epochs_requested=6)])
    assert (cut.name, cut.status) == ("g2-s0", "partial") and "after 5 of 6 epochs" in cut.sentence
    assert request.status_line(points, [run(1), without_time(2)]) == (
        "1 of 2 cells is done, 1 failed, 1 combination cannot run."
    )


def test_commands_are_quoted_and_foreign_entries_are_left_out():
    study = {"commands": [{"arguments": ["-m", "gpus=1,2", "name=a b"], "at": "t", "git_commit": None}, "damaged"]}
    (command,) = request.commands(study)
    assert command.line == "vit_sweep -m gpus=1,2 'name=a b'" and command.commit == ""
    assert request.to_type((command,), "s") == (command.line, "vit_sweep report s")
    assert request.commands({}) == () and request.to_type((), "s") == ()


# --- fits and answers ------------------------------------------------------------------------------------


def amdahl(serial, counts=(1, 2, 4, 8), runs=3):
    """A series that follows the law, with repeats."""
    times = {p: 100 * (serial + (1 - serial) / p) for p in counts}
    return with_intervals(
        series_from({p: [[time * (1 + 0.001 * n), time] for n in range(runs)] for p, time in times.items()})
    )


def test_the_law_that_predicts_best_is_marked_and_goes_one_step_on():
    series = amdahl(0.05)
    text = render.page(replace(empty(), fits=(("batch 16", fit(series)),)))
    (chosen,) = [item for item in re.findall(r"<li class=\"fitted\">.*?</li>\n", text, re.DOTALL) if "best" in item]
    assert (
        "<strong>Amdahl</strong>" in chosen
        and "On 16 GPUs, a count that was not measured, an epoch would take " in chosen
    )
    assert float(re.search(r"Leave-one-out error: ([\d.]+)%", chosen)[1]) < 1
    assert re.search(r'<p class="refusal">Needs 5 GPU counts', text)


def test_answers_are_split_into_question_and_sentence():
    series = amdahl(0.05)
    grouped = laws.by_question(laws.answers_of(laws.answers_by_series([(series, fit(series))], threshold=0.8)))
    question, ((about, answer),) = grouped[0]
    assert (question, about) == ("Largest GPU count with an efficiency of 80% or more", "")
    assert laws.reply(answer).startswith("4, measured") and laws.reply(answer).endswith(".")


def test_what_is_equal_of_several_series_is_said_once():
    two = [(f"batch {batch}", series_from({1: (10.0,), 2: (6.0,)})) for batch in (16, 32)]
    fitted = [(name, fit(series)) for name, series in two]
    asked = [
        replace(one, name=name)
        for (name, series), (_, fits) in zip(two, fitted, strict=True)
        for one in laws.answers_by_series([(series, fits)], threshold=0.8)
    ]
    text = render.page(
        replace(
            empty(),
            fits=tuple(fitted),
            answers=laws.answers_of(asked),
            findings=tuple(
                finding for name, _ in two for finding in (contents.finding("one seed", "of 2 points", where=name),)
            ),
        )
    )
    assert text.count("No law is fitted yet") == text.count("Needs 4 GPU counts") == text.count("Of 2 points") == 1
    assert text.lower().count("batch 16; batch 32") == 6, "each of four answers, the laws, the finding"
    fitted[1] = ("batch 32", fit(amdahl(0.05)))
    assert [name for name, _ in laws.by_outcome(fitted)] == ["batch 16", "batch 32"]


def test_laws_that_agree_are_listed_as_one_lists_things():
    (spread,) = [
        curve
        for curve in group(load_reference("paper_cifar100").imported.runs, Scaling.STRONG)
        if curve.key.placement == "spread"
    ]
    assert "s by the latency-bandwidth model, Amdahl and USL, with an efficiency" in laws.prediction_beyond(fit(spread))


def test_many_series_become_a_table():
    fitted = [(amdahl(s), fit(amdahl(s))) for s in (0.01, 0.05)]
    assert laws.answers_table(laws.answers_by_series(fitted[:1], threshold=0.8), threshold=0.8) is None
    made = laws.answers_table(laws.answers_by_series(fitted, threshold=0.8), threshold=0.8)
    assert made.rows[1]["efficient"] == 4 and len(made.rows) == 2
    assert made.rows[1]["epoch_s"] == pytest.approx(100 * (0.05 + 0.95 / 4), rel=0.01)
    assert not made.notes


def test_single_runs_are_remarked_on_once():
    fitted = [(series_from({1: (10.0,), 2: (6.0 + batch,)}), ()) for batch in (0, 1)]
    asked = laws.answers_by_series(fitted, threshold=0.8)
    assert laws.assumptions(laws.answers_of(asked)) == ("single runs are taken to differ by 2%, an assumption",)
    assert laws.answers_table(asked, threshold=0.8).notes == ("* ranked by single runs",)
    text = render.page(replace(empty(), answers=laws.answers_of(asked)))
    assert text.count("taken to differ by 2%") == 1


def test_words_to_type_keep_their_small_letters():
    assert laws.sentence("gpus=16 would help") == "gpus=16 would help."
    assert laws.sentence("no law") == "No law." and laws.sentence(" ") == ""


# --- methods ---------------------------------------------------------------------------------------------


def test_the_methods_say_what_was_set():
    lead = methods.lead([run(1, conditions={"warmup_steps": "5"}), run(4, seed=1)], versions=(("torch", "2.11"),))
    assert lead[0] == "2 runs with a time, on 1 to 4 GPUs, with 2 epochs each that count."
    mean = run(2, (10.0,), published_s=11.0)
    assert methods.lead([mean])[0].endswith("on 2 GPUs; of each the source gives the mean of its epochs only.")
    assert "2 epochs each that count; of 1 the source gives the mean" in methods.lead([mean, run(1)])[0]
    assert "Seeds: 0, 1." in lead[1] and lead[2].endswith(": 5.") and lead[3] == "Versions: torch 2.11."
    assert "No run has a time" in methods.lead([])[0]


def test_every_column_of_the_scaling_tables_that_is_a_formula_has_its_definition():
    text = " ".join(formula.text + formula.term for formula in METHODS).lower()
    for term in (
        "speedup",
        "efficiency",
        "serial fraction",
        "student's t",
        "warm-up",
        "exposed",
        "mfu",
        "throughput",
        "bus bandwidth",
        "straggler",
        "gpu-hours",
        "held out",
    ):
        assert term in text, term


# --- the audit -------------------------------------------------------------------------------------------


def test_what_makes_a_claim_fall_comes_first_and_ends_as_a_sentence():
    from vit_sweep.analysis.audit.judge import audit as judge

    verdict = judge([run(p, (10.0 / p,) * 2, micro_batch=16) for p in (1, 2, 4)])
    text = render.page(replace(empty(), findings=verdict.findings))
    items = re.findall(r'<li class="(bad|weak)"><strong class="verdict">(\w+): .*?<p>.*?(.)</p>', text, re.DOTALL)
    assert items[0] == ("bad", "falls", ".") and items == sorted(items)
    assert {end for _, _, end in items} == {"."}
    claims, three = audit.tables_of(verdict, prefix="x-")
    assert claims.name == "x-claims" and three.name == "x-three-speedups" and len(three.rows) == 2


# --- proposals -------------------------------------------------------------------------------------------


def test_the_lower_end_of_the_interval_decides_so_that_noise_buys_no_gpus():
    # 2 GPUs: efficiency 0.81 in the middle; one of three runs is much slower.
    series = with_intervals(series_from({1: [[100.0]] * 3, 2: [[61.7], [61.7], [75.0]]}))
    two = series.points[1]
    assert two.efficiency.value > 0.8 > two.efficiency.low
    assert choose(series, 0.8) is series.baseline
    assert choose(series, 0.6) is two


def test_no_count_is_chosen_beyond_one_that_falls_below():
    series = series_from({1: [100.0], 2: [80.0], 4: [26.0]})
    assert choose(series, 0.8).gpus == 1


def test_gpu_hours_are_gpus_times_wall_time():
    # 3 epochs of 10 s on 4 GPUs, 30 s computing; the job held its GPUs 36 s: 6 s of start-up.
    series = series_from({4: [10.0, 10.0]}, job_s=36.0)
    assert run_hours(series.points[0]).value == pytest.approx(4 * 36 / 3600)
    bare = series_from({4: [10.0, 10.0]})
    assert run_hours(bare.points[0]).value == pytest.approx(4 * 30 / 3600)


def test_the_request_is_a_run_at_the_chosen_count_times_its_repeats():
    series = amdahl(0.03)
    made = propose((series,), [r for p in series.points for r in p.runs], threshold=0.8, study_bytes=2_000_000)
    (row,) = made.resources.rows
    each = run_hours(series.points[3])
    assert (row["gpus"], row["runs"]) == (8, 3)
    assert (row["gpu_hours"], row["gpu_hours_low"]) == (pytest.approx(3 * each.value), pytest.approx(3 * each.low))
    assert [r["chosen"] for r in made.evidence.rows] == [False, False, False, True]
    assert ("this study's folder", "2 MB") in made.storage
    assert any("the global batch grows" in caveat for caveat in made.caveats)


def test_single_runs_are_named_as_one_lists_things():
    for times, words in (({1: [9.0]}, "1 GPU ran"), ({1: [9.0], 2: [5.0]}, "1 and 2 GPUs ran")):
        series = series_from(times)
        made = propose((series,), [r for p in series.points for r in p.runs], threshold=0.8)
        assert any(f"{words} once" in caveat for caveat in made.caveats)


def test_a_series_without_a_baseline_asks_for_nothing_and_says_why():
    from vit_sweep.analysis.series.grouping import group
    from vit_sweep.plan.choices import Scaling

    (series,) = group([without_time(1), run(2, (50.0,))], Scaling.STRONG)
    made = propose((series,), [], threshold=0.8)
    assert made.resources.rows == () and "nothing can be asked for" in made.resources.empty
    assert any("no baseline" in caveat for caveat in made.caveats)


def test_markdown_keeps_hostile_words_as_text(tmp_path):
    asked_for = replace(proposal(tmp_path), summary=(HOSTILE, "a | b\nc"))
    text = markdown(replace(empty(), study="x*y_z", proposal=asked_for), figure="figures/a b.png")
    assert "# Compute time proposal: x\\*y\\_z" in text
    assert not re.search(r"(?<!\\)<script", text) and "a \\| b c" in text
    assert "](figures/a%20b.png)" in text
    widths = {line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {4, 11}  # the two tables: three and ten columns


def test_a_report_without_a_proposal_has_no_markdown():
    with pytest.raises(ValueError, match="no proposal"):
        markdown(empty())


def test_a_very_long_table_is_cut_and_says_where_the_rest_is():
    rows = [{**table().rows[0], "gpus": number} for number in range(MOST_ROWS + 1)]
    made = compact(table(values=by_column(rows[0], rows)))
    assert len(made.rows) == MOST_ROWS
    assert made.notes == (f"The first {MOST_ROWS:,} of {MOST_ROWS + 1:,} rows; tables/strong.csv has all.",)


def test_a_desk_shows_at_once_what_engines_cost_and_save_and_why_some_stand_apart():
    """A certificate that all rows have is said above the table."""
    names = ("engine", "gpus", "nodes", "epoch_s", "step_ms", "images_per_s", "memory_mib", "certificate", "time_ratio")
    names += ("verdict", "memory_saved", "train_accuracy")
    columns = tuple(Column(name=name, title=name, meaning=".") for name in names)
    engines = {"ddp": "exact, the keys' part of in_proj_bias left out", "accelerate_zero2": "no certificate"}
    rows = tuple(
        dict.fromkeys(names, 12.345)
        | {"engine": name, "gpus": 2, "nodes": 1, "certificate": text, "verdict": "apart, see certificate"}
        for name, text in engines.items()
    )
    made = compact(replace(table(), name="engines", columns=columns, values=by_column(names, rows)))
    at_once = {column.name for column in made.columns} - made.more
    assert at_once >= {"engine", "gpus", "epoch_s", "time_ratio", "memory_saved", "certificate"}


def test_what_tells_rows_apart_is_among_the_columns_that_a_desk_shows_at_once():
    names = (
        "engine",
        "gpus",
        "speedup",
        "efficiency",
        "epoch_s",
        "images_per_s",
        "serial_fraction",
        "n",
        "train_accuracy",
    )
    columns = tuple(Column(name=name, title=name, meaning=".") for name in (*names[1:], names[0]))
    rows = tuple(
        dict.fromkeys(names, 123456.7) | {"engine": engine, "gpus": gpus}
        for engine in ("zero0", "zero2")
        for gpus in (1, 2)
    )
    made = compact(replace(table(), columns=columns, values=by_column(names, rows)))
    assert made.columns[0].name == "engine" and "engine" not in made.more
