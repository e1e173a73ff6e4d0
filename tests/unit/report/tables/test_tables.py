"""Tables show every asked cell, whatever became of it, with numbers that a pencil confirms."""

from dataclasses import replace
from itertools import chain
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.profile import Device, Link, Network
from tests.conftest import ROOT
from tests.unit.analysis.builders import run, without_time
from tests.unit.builders import cell, point, profile, record, result, series
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.analysis.series.spreads import Ratio
from vit_sweep.outcome.result import Status
from vit_sweep.plan.choices import Offload, Precision, Scaling, Task
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.predict.memory import CONTEXT_GIB
from vit_sweep.plan.specs import EngineSpec, ModelSpec
from vit_sweep.record.breakdown import Breakdown
from vit_sweep.record.counts import CollectiveKind, StepCounts
from vit_sweep.record.learning import Reached
from vit_sweep.record.record import CERTIFIED_WITHIN, Certificate, Compilations
from vit_sweep.report.tables import runs as tidy
from vit_sweep.report.tables.all_tables import NAMES, tables_of
from vit_sweep.report.tables.comparisons.pairs import APART, NOT_NEEDED, SAME, UNKNOWN, verdicts
from vit_sweep.report.tables.form.table import by_column
from vit_sweep.report.tables.form.text import printed
from vit_sweep.report.tables.scaling import SCALING_COLUMNS, scaling_table
from vit_sweep.runs.of_study import extra_columns, run_of, runs_of, summarised

BOTH = (series(), series(Scaling.WEAK))
NOT_DONE = ("failed", "running", "queued", "missing")
MIXED = [
    result(cell(), record=record(cell())),
    *(result(cell(gpus=2 * n), status=status, detail=f"why {status}") for n, status in enumerate(NOT_DONE, start=1)),
]
POINTS = make_plan([point(), point(gpus=33), point(gpus=4, nodes=3), point(gpus=64, scaling=Scaling.WEAK)]).points


def tables(runs, points=(), *, reached=None, extra=None):
    """Every table of runs, by name."""
    lines = [with_intervals(one) for mode in Scaling for one in group(runs, mode)]
    made = tables_of(runs, lines, extra or {}, points=points, reached=reached)
    return {table.name: table for table in made}


def of_results(results, points=()):
    runs = runs_of(results)
    said = [extra_columns(made, summarised(made)) for made in results]
    names = dict.fromkeys(chain.from_iterable(said))
    return tables(runs, points, extra=by_column(names, said))


def strong(results, points=()):
    return scaling_table(group(runs_of(results), Scaling.STRONG), points, Scaling.STRONG).rows


def test_every_asked_cell_appears_with_its_status_and_reason():
    found = of_results(MIXED)
    for name in ("strong", "runs"):
        rows = found[name].rows
        assert sorted(row["cell_id"] for row in rows) == sorted(asked.file.cell_id for asked in MIXED)
        assert {row["status"] for row in rows} == {"done", *NOT_DONE}
        assert all(row["note"] == f"why {row['status']}" for row in rows if row["status"] != "done")


def test_a_row_has_exactly_the_columns_of_the_table_in_their_order():
    found = of_results(MIXED, POINTS)
    assert [column.name for column in found["strong"].columns] == list(SCALING_COLUMNS)
    for table in found.values():
        assert all(list(row) == [column.name for column in table.columns] for row in table.rows)


def test_a_cell_that_serves_both_scalings_appears_in_both_tables():
    found = of_results([result(cell(), *BOTH, record=record(cell()))])
    assert found["strong"].rows[0]["cell_id"] == found["weak"].rows[0]["cell_id"] == cell().cell_id
    assert found["runs"].rows[0]["scaling"] == "strong weak"


def test_a_cell_appears_only_in_the_table_of_its_scaling():
    found = of_results([result(cell(), series(Scaling.WEAK), record=record(cell()))])
    assert "strong" not in found
    assert len(found["weak"].rows) == 1


@pytest.mark.parametrize(("mode", "gpus"), [(Scaling.STRONG, [33, 4]), (Scaling.WEAK, [64])])
def test_an_infeasible_point_appears_in_the_table_of_its_scaling_with_its_reasons(mode, gpus):
    rows = scaling_table((), POINTS, mode).rows
    assert [row["gpus"] for row in rows] == gpus
    reasons = {made.axes["gpus"]: "; ".join(made.reasons) for made in POINTS}
    for row in rows:
        assert (row["status"], row["note"]) == ("infeasible", reasons[row["gpus"]])
        assert (row["epoch_s"], row["speedup"], row["cell_id"]) == (None, None, None)


def test_infeasible_points_are_runs_that_never_were_and_failures():
    found = of_results(MIXED, POINTS)
    runs = [row for row in found["runs"].rows if row["status"] == "infeasible"]
    assert [(row["gpus"], row["scaling"]) for row in runs] == [(33, "strong"), (4, "strong"), (64, "weak")]
    failures = [row for row in found["failures"].rows if row["status"] == "infeasible"]
    assert [row["sentence"] for row in failures] == [row["note"] for row in runs]
    assert all("use " in row["note"] for row in runs)


def test_only_what_ended_without_a_time_is_a_failure():
    rows = of_results(MIXED)["failures"].rows
    assert [(row["status"], row["sentence"]) for row in rows] == [
        ("failed", "why failed"),
        ("missing", "why missing"),
    ]


def test_a_scaling_row_holds_the_measured_numbers():
    tables = of_results([result(cell(), record=record(cell(), (9.0, 2.0, 4.0)))])
    (row,) = tables["strong"].rows
    assert (row["epoch_s"], row["n"], row["epochs_counted"], row["first_epoch_s"]) == (3.0, 1, 2, 9.0)
    # `n` counts runs wherever it stands; a row that is one run has none.
    (run,) = tables["runs"].rows
    assert (run["epochs_counted"], run.get("n")) == (2, None)
    assert row["within"] == pytest.approx((4 - 2) / 3)
    assert (row["between"], row["epoch_s_low"], row["epoch_s_high"]) == (None, None, None)
    assert (row["speedup"], row["efficiency"], row["batch"], row["placement"]) == (1, 1, 16, "packed")
    assert (row["train_accuracy"], row["test_accuracy"]) == (0.25, 0.125)


def test_a_task_is_told_by_its_own_measures_and_by_no_accuracy():
    made = cell(task=Task.REGRESSION)
    done = record(made)
    learnt = [{"mae": 3.0, "rmse": 4.0, "r2": -0.5}, {"mae": 2.0, "rmse": 3.0, "r2": 0.5}, {"mae": 1.5, "rmse": 2.0}]
    epochs = [
        replace(epoch, train_accuracy=None, test_accuracy=None, test_metrics=values)
        for epoch, values in zip(done.epochs, learnt, strict=True)
    ]
    (row,) = strong([result(made, record=replace(done, epochs=tuple(epochs)))])
    assert (row["test_mae"], row["test_rmse"], row["test_r2"], row["test_map"]) == (1.5, 2.0, None, None)
    assert (row["train_accuracy"], row["test_accuracy"]) == (None, None)
    found = tables(runs_of([result(made, record=replace(done, epochs=tuple(epochs)))]))["runs"]
    assert {column.name for column in found.filled} >= {"test_mae", "test_rmse"}
    assert not any("accuracy" in column.name for column in found.filled)


def test_speedup_efficiency_and_serial_fraction_are_those_of_a_pencil():
    rows = tables([run(1, (12.0,)), run(4, (4.0,))])["strong"].rows
    assert (rows[1]["speedup"], rows[1]["efficiency"], rows[1]["baseline_gpus"]) == (3.0, 0.75, 1)
    assert rows[1]["serial_fraction"] == pytest.approx((1 / 3 - 1 / 4) / (1 - 1 / 4))
    weak = tables([run(1, (10.0,), scaling=Scaling.WEAK), run(4, (12.5,), scaling=Scaling.WEAK)])["weak"].rows
    assert (weak[1]["efficiency"], weak[1]["speedup"], weak[1]["serial_fraction"]) == (0.8, 3.2, None)


def test_accuracies_of_models_that_saw_unlike_numbers_of_images_are_remarked_on():
    def weak(images):
        return [run(gpus, (10.0,), scaling=Scaling.WEAK, work=gpus * images, test_accuracy=(0.5,)) for gpus in (1, 4)]

    remark = "unlike numbers of images (1,000 to 4,000 an epoch) do not compare"
    assert any(remark in note for note in tables(weak(1000))["weak"].notes)
    strong = tables([replace(run_, work=1000) for run_ in weak(1000)])["weak"].notes
    silent = tables([replace(run_, test_accuracy=()) for run_ in weak(1000)])["weak"].notes
    assert not any("do not compare" in note for note in (*strong, *silent))


def test_a_scaling_table_says_how_far_its_runs_differ_and_what_of_days():
    notes = tables([run(1, (10.0,), seed=0), run(1, (10.2,), seed=1)])["strong"].notes
    assert [note.split(":")[0] for note in notes] == ["95% intervals", "day to day"]


def test_repeats_are_one_row_with_both_spreads_and_an_interval():
    times = [(9.0, 11.0), (10.0, 10.2), (12.0, 12.0)]
    row = tables([run(2, one, seed=seed) for seed, one in enumerate(times)])["strong"].rows[0]
    assert (row["epoch_s"], row["n"], row["epochs_counted"], row["seeds"]) == (10.1, 3, 6, "0 1 2")
    assert row["between"] == pytest.approx((12 - 10) / 10.1)
    assert row["within"] == pytest.approx(median([2 / 10, 0.2 / 10.1, 0]))
    assert row["epoch_s_low"] < 10.1 < row["epoch_s_high"]
    assert row["freedom"] == pytest.approx(2)


def test_without_a_baseline_nothing_is_compared_and_a_sentence_says_which_cell_to_run():
    table = tables([without_time(1), run(2, (5.0,))])["strong"]
    assert (table.rows[1]["speedup"], table.rows[1]["efficiency"]) == (None, None)
    assert "no baseline: gpus=1 (g1-s0) is failed; run that cell" in table.rows[1]["note"]
    assert len(table.notes) == 1
    assert "run that cell" in table.notes[0]


def test_a_run_on_other_gpus_stands_apart_at_the_end_with_its_reason():
    odd = run(2, (5.0,), devices=("Tesla P4", "Tesla P4"))
    row = tables([run(1), odd, run(4)])["strong"].rows[-1]
    assert (row["status"], row["cell_id"], row["speedup"]) == ("apart", "g2-s0", None)
    assert "Tesla P4" in row["note"]


def test_one_gpu_count_gives_a_row_and_no_comparison_with_others():
    (row,) = tables([run(8, (5.0,))])["strong"].rows
    assert (row["gpus"], row["speedup"], row["serial_fraction"]) == (8, 1.0, None)


def test_a_failed_repeat_is_counted_in_the_note_of_its_row():
    (row,) = tables([run(2, seed=0), without_time(2, seed=1, note="out of memory")])["strong"].rows
    assert (row["n"], row["status"], row["note"]) == (1, "done", "1 of 2 runs: failed: out of memory")


def test_oversubscription_is_said_in_both_tables():
    crowded = cell(gpus=4, device=Device.CPU)
    found = of_results([result(crowded, record=record(crowded, host_cores=2))])
    for name in ("strong", "runs"):
        (row,) = found[name].rows
        assert (row["oversubscribed"], row["note"]) == (True, "oversubscribed: 4 ranks on 2 cores")
    assert "batch" not in found


def test_a_run_row_says_what_a_step_consists_of():
    counts = StepCounts(
        collectives=(
            CollectiveKind(name="all_gather", calls=2, bytes=3e6),
            CollectiveKind(name="all_reduce", calls=1, bytes=1e6),
        ),
        operations=700.5,
        flop=16e9,
        host_reads=2,
        peak_memory_bytes=3 * 2**20,
        parameters=10,
        all_parameters=12,
    )
    made = result(cell(), record=replace(record(cell()), breakdown=Breakdown(counts=counts)))
    (row,) = of_results([made])["runs"].rows
    assert (row["collectives"], row["collectives_mb"], row["operations"], row["counted_gflop"]) == (3, 4, 700.5, 16)
    assert (row["host_reads"], row["kernels"], row["step_peak_mib"], row["trained_parameters"]) == (2, None, 3, 10)


def test_a_run_row_names_where_and_with_what_it_ran():
    made = cell(gpus=4, nodes=2)
    (row,) = of_results([result(made, record=record(made))])["runs"].rows
    assert (row["hosts"], row["devices"]) == ("node0 node1", "Tesla T4")
    assert (row["version_python"], row["attempt"], row["job_id"]) == ("3.11", "1", "17_0")
    assert (row["global_batch"], row["peak_memory_mib"], row["peak_host_mib"]) == (64, None, 500.0)


def test_the_batch_effect_is_shown_at_equal_gpus_only():
    runs = [run(2, (10.0,), micro_batch=16), run(2, (8.0,), micro_batch=32, run_id="b"), run(4, (5.0,), micro_batch=64)]
    rows = tables(runs)["batch"].rows
    assert [(row["gpus"], row["micro_batch"], row["throughput_ratio"]) for row in rows] == [
        (2, 16, None),
        (2, 32, pytest.approx(10 / 8)),
    ]
    assert rows[0]["images_per_s"] == 6400 / 10


def test_a_batch_that_gains_by_repeated_images_says_so():
    """160 images in the time of 144 are no faster training."""
    padded = run(1, (10.0,), micro_batch=32, work=144, images=160, note="11% repeated images", run_id="b")
    rows = tables([run(1, (10.0,), work=144), padded])["batch"].rows
    assert [row["note"] or "" for row in rows] == ["", "11% repeated images"]


def test_one_epoch_or_mean_has_no_spread():
    of_one, of_two = tables([run(1, (10.0,)), run(2, (10.0, 12.0))])["runs"].rows
    assert (of_one["spread_s"], of_two["spread_s"]) == (None, 2.0)


def test_accumulation_is_compared_once_at_equal_micro_and_once_at_equal_global_batch():
    runs = [
        run(2, (10.0,), micro_batch=16, accum=1, run_id="a"),
        run(2, (9.0,), micro_batch=16, accum=2, run_id="b"),
        run(2, (11.0,), micro_batch=8, accum=2, run_id="c"),
    ]
    rows = tables(runs)["accumulation"].rows
    assert [(row["held"], row["cell_id"]) for row in rows] == [
        ("micro batch", "a"),
        ("micro batch", "b"),
        ("global batch", "a"),
        ("global batch", "c"),
    ]


def placed(placement, nodes, times, gpus=4, **changes):
    return [
        run(gpus, (time,), placement=placement, nodes=nodes, run_id=f"{placement}{i}", seed=i, **changes)
        for i, time in enumerate(times)
    ]


def test_placements_are_paired_at_equal_work_with_the_ratio_of_a_pencil():
    runs = placed("packed", 1, (10.0, 10.1, 10.2)) + placed("spread", 4, (12.0, 12.1, 12.2))
    (row,) = tables(runs)["placement"].rows
    assert (row["reference"], row["reference_nodes"], row["placement"], row["nodes"]) == ("packed", 1, "spread", 4)
    assert row["time_ratio"] == pytest.approx(12.1 / 10.1)
    assert (row["verdict"], row["n"], row["reference_n"]) == ("slower", 3, 3)
    assert row["time_ratio_low"] > 1


@pytest.mark.parametrize(
    ("packed", "spread", "verdict"),
    [((10.0, 11.0), (10.5, 10.4), SAME), ((10.0,), (12.0, 12.1), UNKNOWN), ((12.0, 12.1), (10.0, 10.1), "faster")],
)
def test_placements_that_cannot_be_told_apart_are_called_so(packed, spread, verdict):
    (row,) = tables(placed("packed", 1, packed) + placed("spread", 4, spread))["placement"].rows
    assert row["verdict"] == verdict


def test_what_alone_is_a_verdict_may_be_chance_among_many():
    """Holm: the smallest of 12 p values counts twelve times."""
    found, others = (Ratio(estimate=Estimate(value=1.1, low=1.01, high=1.2, n=3), p_value=p) for p in (0.02, 0.5))
    assert verdicts([found]) == ["slower"]
    assert verdicts([found, *[others] * 11]) == [SAME] * 12
    assert verdicts([replace(found, p_value=0.004), *[others] * 11])[0] == "slower"


def test_placements_of_other_work_or_gpus_are_no_pair():
    other = placed("spread", 4, (12.0,), micro_batch=32) + placed("spread", 2, (12.0,), gpus=2)
    assert "placement" not in tables(placed("packed", 1, (10.0,)) + other)


def sized(side, gpus=1, sequence=1, **changes):
    """A run of images of `side` pixels."""
    conditions = {"model.image_size": str(side), "sequence": str(sequence)}
    make = without_time if "status" in changes else run
    name = f"{side}-{gpus}-{sequence}"
    return make(gpus, run_id=name, conditions=conditions, sequence=sequence, **changes)


SIZED = [
    sized(224),
    sized(512, epoch_s=(40.0, 40.0), memory_mib=9000.0, memory_predicted_mib=9500.0),
    sized(768, status="out_of_memory", memory_predicted_mib=20_000.0),
    sized(512, gpus=2, sequence=2),
    sized(1024, gpus=2, sequence=2, epoch_s=(80.0, 80.0), memory_mib=9900.0),
]


def test_the_largest_image_is_found_for_each_degree_on_equal_gpus():
    alone, shared = tables([*SIZED, sized(2048, gpus=4)])["resolutions"].rows
    keys = ("gpus", "sequence", "smallest_px", "largest_px", "too_large_px", "images_per_s", "memory_mib")
    assert [alone[key] for key in keys] == [1, 1, 224, 512, 768, 6400 / 40, 9000.0]
    assert [shared[key] for key in keys] == [2, 2, 512, 1024, None, 6400 / 80, 9900.0]
    assert alone["predicted_mib"] == 9500.0
    assert alone["cell_id"] == "512-1-1"


EXACT = Certificate(steps=50, difference=0.0, absolute=0.0, parameter="a.bias", tolerance=CERTIFIED_WITHIN)


def on_stage(n, seconds=10.0, *, run_id="", **changes):
    """A run of DeepSpeed, certified unless `changes` say otherwise."""
    conditions = {"engine": f"zero{n}", "engine.zero_stage": f"{n}"}
    given = {"certificate": EXACT, "software": (("code", "c1"), ("torch", "2.8"))} | changes
    return run(2, (seconds + n,), run_id=run_id or f"z{n}", conditions=conditions, **given)


def test_engines_are_compared_with_the_lowest_zero_stage():
    rows = tables([on_stage(3), on_stage(0)])["engines"].rows
    assert [(row["engine"], row["zero_stage"], row["reference"], row["time_ratio"]) for row in rows] == [
        ("zero0", 0, None, None),
        ("zero3", 3, "zero0", pytest.approx(1.3)),
    ]


def test_ddp_is_the_control_that_every_stage_and_fsdp2_are_compared_with():
    kinds = [("fsdp2", "None"), ("deepspeed", "1"), ("ddp", "None"), ("accelerate", "None")]
    engines = [
        run(
            2,
            (10.0 + n,),
            run_id=kind,
            conditions={"engine": kind, "engine.kind": kind, "engine.zero_stage": stage},
            certificate=EXACT,
        )
        for n, (kind, stage) in enumerate(kinds)
    ]
    rows = tables(engines)["engines"].rows
    assert [(row["engine"], row["zero_stage"], row["reference"]) for row in rows] == [
        ("ddp", None, None),
        ("accelerate", None, "ddp"),
        ("deepspeed", 1, "ddp"),
        ("fsdp2", None, "ddp"),
    ]


def test_what_an_engine_saves_of_the_references_memory_and_pays_in_time_stands_beside_what_was_predicted():
    whole = on_stage(0, memory_mib=8000.0, memory_predicted_mib=8000.0, step_predicted_ms=100.0)
    parts = on_stage(3, memory_mib=3000.0, memory_predicted_mib=4000.0, step_predicted_ms=120.0)
    reference, row = tables([whole, parts])["engines"].rows
    context = 1024 * CONTEXT_GIB
    assert row["memory_saved"] == pytest.approx(1 - (3000 + context) / (8000 + context))
    assert (row["memory_saved_predicted"], row["time_ratio_predicted"]) == (0.5, pytest.approx(1.2))
    assert reference["memory_saved"] is None
    (_, unknown) = tables([replace(whole, memory_mib=None), replace(parts, certificate=EXACT)])["engines"].rows
    assert (unknown["memory_saved"], unknown["memory_saved_predicted"]) == (None, 0.5)


def test_what_the_plan_expects_of_engines_on_gpus_is_in_their_table():
    """On a partition whose peak and link are known. ZeRO 1 moves one and a half all-reduces a step, ZeRO 3 one."""
    lab = profile(peak_tflops={"fp32": 8.1}, network=Network(inside=Link(gb_per_s=10.0)))
    spec = EngineSpec(name="zero1", zero_stage=1)
    vit_b = ModelSpec(name="vit_b_16", image_size=224, patch_size=16, layers=12, heads=12, width=768, mlp_width=3072)
    engines = [spec, replace(spec, offload_optimizer=Offload.CPU), replace(spec, name="zero3", zero_stage=3)]
    made = [cell(gpus=4, nodes=1, model=vit_b, engine=engine) for engine in engines]
    runs = [
        replace(run_of(result(one, record=record(one)), profile=lab), certificate=EXACT, memory_mib=3000.0)
        for one in made
    ]
    (_, offloaded, sharded) = tables(runs)["engines"].rows
    assert offloaded["reference"] == sharded["reference"] == "zero1 offload_optimizer=none"
    assert offloaded["time_ratio_predicted"] > 1 > sharded["time_ratio_predicted"] > 0.9
    for row in (offloaded, sharded):
        assert 0 < row["memory_saved_predicted"] < 1 and row["memory_saved"] == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"certificate": None}, "no certificate"),
        ({"certificate": replace(EXACT, difference=0.7)}, "fails: a.bias differs by 7.0e-01, allowed is 0.001"),
        ({"certificate": replace(EXACT, difference=None)}, "fails: a.bias is no number, allowed is 0.001"),
        ({"certificate": replace(EXACT, instead="ddp")}, "fails: ddp ran"),
    ],
)
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_an_engine_without_a_certificate_that_holds_stands_apart_and_is_no_reference(stage, changes, text):
    table = tables([on_stage(n, **(changes if n == stage else {})) for n in range(3)])["engines"]
    certified = [n for n in range(3) if n != stage]
    assert {row["zero_stage"]: (row["certificate"], row["reference"], row["verdict"]) for row in table.rows} == {
        stage: (text, None, APART),
        certified[0]: ("exact", None, None),
        certified[1]: ("exact", f"zero{certified[0]}", UNKNOWN),
    }
    assert [row["time_ratio"] is None for row in table.rows].count(False) == 1
    assert table.notes[0].startswith("apart: 1 of 3 rows: engines are compared only where a certificate says")


def test_a_certificate_speaks_for_other_batches_and_repeats_of_its_version_only():
    certified = on_stage(1, run_id="certified")
    old = (("code", "c1"), ("torch", "2.7"))
    runs = [
        on_stage(0),
        certified,
        on_stage(1, run_id="repeat", seed=1, certificate=None),
        on_stage(0, run_id="batch", micro_batch=32, certificate=replace(EXACT, difference=2e-6, masked="keys")),
        on_stage(1, run_id="of old", micro_batch=32, certificate=None, software=old),
    ]
    rows = tables(runs)["engines"].rows
    assert {row["cell_id"]: row["certificate"] for row in rows} == {
        "z0": "within 2.0e-06, keys left out",
        "certified repeat": "exact",
        "batch": "within 2.0e-06, keys left out",
        "of old": "certificate of another version: torch 2.8, not 2.7",
    }
    failing = replace(certified, certificate=replace(EXACT, difference=0.5), run_id="z", seed=2)
    rows = tables([*runs, failing])["engines"].rows
    assert [row["verdict"] for row in rows if row["zero_stage"] == 1] == [APART, APART], "one failure is enough"


def test_what_differs_by_rounding_alone_is_not_called_exact():
    rows = tables([on_stage(0), on_stage(1, certificate=replace(EXACT, absolute=1e-7))])["engines"].rows
    assert [row["certificate"] for row in rows] == ["exact", "within rounding"]


def test_a_row_is_certified_as_its_worst_run_is_and_only_for_as_many_ranks():
    old = on_stage(1, run_id="old", seed=1, certificate=None, software=(("code", "c1"), ("torch", "2.7")))
    rows = tables([on_stage(0), on_stage(1), old])["engines"].rows
    assert [row["certificate"] for row in rows if row["zero_stage"] == 1] == [
        "certificate of another version: torch 2.8, not 2.7"
    ]
    more = [replace(on_stage(n, run_id=f"four {n}", certificate=None), gpus=4) for n in (0, 1)]
    rows = tables([on_stage(0), on_stage(1), *more])["engines"].rows
    assert {row["certificate"] for row in rows if row["gpus"] == 4} == {"no certificate"}


KNOBS = {"engine.overlap_comm": "False", "engine.offload_optimizer": "none", "engine.communication_data_type": "None"}


def with_knob(name, value, seconds=10.0, **changes):
    knobs = {"engine": "zero2", "engine.zero_stage": "2"} | KNOBS | {f"engine.{name}": value}
    return run(2, (seconds,), run_id=f"{name}={value}", conditions=knobs, software=(("code", "c1"),), **changes)


def test_schedules_of_one_engine_are_compared_without_certificates_and_share_one():
    bare = [with_knob("overlap_comm", "True"), with_knob("overlap_comm", "False", 12.0)]
    table = tables(bare)["engines"]
    assert [(row["engine"], row["certificate"], row["reference"]) for row in table.rows] == [
        ("zero2 overlap_comm=False", NOT_NEEDED, None),
        ("zero2 overlap_comm=True", NOT_NEEDED, "zero2 overlap_comm=False"),
    ]
    assert table.rows[1]["time_ratio"] == pytest.approx(10 / 12)
    assert table.notes == ()
    shared = tables([replace(bare[0], certificate=EXACT), bare[1], on_stage(0, software=(("code", "c1"),))])["engines"]
    assert {row["certificate"] for row in shared.rows} == {"exact"}
    failing = [replace(bare[0], certificate=replace(EXACT, difference=0.5)), bare[1]]
    assert {row["verdict"] for row in tables(failing)["engines"].rows} == {APART}


@pytest.mark.parametrize(("knob", "value"), [("offload_optimizer", "cpu"), ("communication_data_type", "bf16")])
def test_knobs_that_compute_something_else_need_certificates_of_their_own_and_are_no_reference(knob, value):
    plain = with_knob("overlap_comm", "False", certificate=EXACT)
    rows = tables([with_knob(knob, value), plain])["engines"].rows
    assert [(row["engine"], row["verdict"]) for row in rows] == [
        (f"zero2 {knob}={KNOBS[f'engine.{knob}']}", None),
        (f"zero2 {knob}={value}", APART),
    ]
    reference, other = tables([with_knob(knob, value, certificate=EXACT), plain])["engines"].rows
    assert (reference["reference"], other["reference"]) == (None, f"zero2 {knob}={KNOBS[f'engine.{knob}']}")


def test_what_offload_saves_and_costs_is_against_the_same_engine_without_it():
    """Other engines are against the first certified one, as is offload where its engine did not run without it."""
    none, cpu = {"engine.offload_optimizer": "none"}, {"engine.offload_optimizer": "cpu"}
    whole = {f"engine.{name}": "cpu" for name in ("offload_optimizer", "offload_param")}
    base = {"engine.offload_param": "none"}
    engines = [
        (1, none, 10.0, 8000.0),
        (1, cpu, 15.0, 5000.0),
        (2, cpu, 16.0, 4500.0),
        (3, none, 12.0, 4000.0),
        (3, cpu, 18.0, 3000.0),
        (3, whole, 24.0, 2000.0),
    ]
    runs = [
        run(
            2,
            (seconds,),
            run_id=f"{stage}-{seconds}",
            certificate=EXACT,
            memory_mib=mib,
            conditions={"engine": f"zero{stage}", "engine.zero_stage": f"{stage}"} | base | keys,
        )
        for stage, keys, seconds, mib in engines
    ]
    rows = tables(runs)["engines"].rows
    assert [(row["cell_id"], (row["reference"] or "").split(" ")[0], row["time_ratio"]) for row in rows] == [
        ("1-10.0", "", None),
        ("1-15.0", "zero1", 1.5),
        ("2-16.0", "zero1", 1.6),
        ("3-12.0", "zero1", 1.2),
        ("3-18.0", "zero3", 1.5),
        ("3-24.0", "zero3", 2.0),
    ]
    context = 1024 * CONTEXT_GIB
    assert rows[-1]["memory_saved"] == pytest.approx(1 - (2000 + context) / (4000 + context))
    alone = replace(runs[3], certificate=None)
    others = tables([*runs[:3], alone, *runs[4:]])["engines"].rows
    assert [row["reference"] for row in others[-3:]] == [None, *[rows[1]["reference"]] * 2], "it is no reference then"


def test_memory_stands_beside_what_was_predicted_context_included():
    one = run(2, memory_mib=3000.0, memory_predicted_mib=4000.0)
    (row,) = tables([one, without_time(4, status="out_of_memory", memory_predicted_mib=9000.0)])["memory"].rows[:1]
    measured = 3000 + 1024 * CONTEXT_GIB
    assert (row["measured_mib"], row["memory_error"]) == (measured, pytest.approx(measured / 4000 - 1))


def test_cost_is_gpus_times_the_hours_that_jobs_held_them():
    runs = [run(4, (36.0,), seed=seed, job_s=900.0, queue_wait_s=60.0, joules_per_image=0.5) for seed in range(3)]
    table = tables(runs)["cost"]
    (row,) = table.rows
    assert (row["gpu_hours"], row["gpu_hours_per_epoch"], row["queue_wait_s"]) == (3.0, 4 * 36 / 3600, 60)
    assert (row["images_per_joule"], row["joules_per_epoch"]) == (2.0, 3200.0)
    assert "together 3 GPU-hours" in table.notes[0]


def to_accuracy(ends, **fields):
    """The row of runs that reached 0.5 as `ends` say."""
    runs = [run(2, (10.0,), seed=seed, run_id=f"r{seed}", test_accuracy=(0.4,), **fields) for seed in range(len(ends))]
    reached = {one.run_id: (0.5, end) for one, end in zip(runs, ends, strict=True)}
    (row,) = tables(runs, reached=reached)["accuracy"].rows
    return row


def after(epochs, wall_s=None):
    """A target that is reached after so many epochs of 10 s."""
    return Reached(seconds=10.0 * epochs, epoch=epochs, below_s=10.0 * (epochs - 1), wall_s=wall_s)


NEVER = Reached(seconds=None, epoch=None, reason="never reached 0.5 in 5 epochs; the best was 0.4", trained_s=50.0)
DIVERGED = Reached(seconds=None, epoch=None, reason="diverged", diverged=True)


def test_time_to_accuracy_is_a_median_over_seeds_with_an_interval_and_the_bracket_of_each():
    row = to_accuracy([after(3), after(4), after(5)])
    assert (row["time_to_accuracy_s"], row["epochs_to_accuracy"], row["reached"], row["n"]) == (40.0, 4, 3, 3)
    assert row["time_to_accuracy_s_low"] < 30
    assert row["time_to_accuracy_s_high"] > 50
    assert row["brackets_s"] == "seed 0: 20 to 30; seed 1: 30 to 40; seed 2: 40 to 50"
    assert (row["to_accuracy_exceeds_s"], row["wall_to_accuracy_s"], row["energy_to_accuracy_j"]) == (None, None, None)


def test_seeds_that_all_end_in_one_epoch_do_not_know_its_time_to_the_last_digit():
    row = to_accuracy([after(4)] * 3)
    assert row["time_to_accuracy_s_low"] < 35
    assert row["time_to_accuracy_s_high"] > 45


def test_a_seed_that_never_reaches_it_leaves_no_median_but_a_bound_and_is_counted():
    row = to_accuracy([after(3), after(4), NEVER])
    assert (row["time_to_accuracy_s"], row["epochs_to_accuracy"], row["to_accuracy_exceeds_s"]) == (None, None, 40.0)
    assert (row["reached"], row["n"]) == (2, 3)
    assert row["note"] == "1 of 3 never reach it: no median, no interval"
    assert to_accuracy([after(3), NEVER, NEVER])["to_accuracy_exceeds_s"] == 50.0


def test_a_seed_that_diverged_is_among_those_that_never_reach_it():
    row = to_accuracy([after(3), after(4), DIVERGED])
    assert (row["reached"], row["n"], row["to_accuracy_exceeds_s"]) == (2, 3, 40.0)
    assert row["note"].endswith("; diverged")
    assert to_accuracy([after(3), DIVERGED, DIVERGED])["to_accuracy_exceeds_s"] is None


def test_mlperfs_result_is_the_mean_without_the_fastest_and_the_slowest_which_may_be_one_that_never_got_there():
    five = [after(4, wall_s=wall) for wall in (50.0, 51.0, 53.0, 58.0, 90.0)]
    assert to_accuracy(five)["mlperf_s"] == (51 + 53 + 58) / 3
    assert to_accuracy([*five[:4], NEVER])["mlperf_s"] == (51 + 53 + 58) / 3
    for ends in ([*five[:3], NEVER, NEVER], five[:4], [*five[:4], after(4)]):
        assert to_accuracy(ends)["mlperf_s"] is None


def test_energy_to_accuracy_is_mean_power_times_the_time_and_needs_every_run():
    row = to_accuracy([after(3), after(4), after(5)], images=6400, joules_per_image=0.5)
    assert (row["energy_to_accuracy_j"], row["energy_to_accuracy_wh"]) == (320 * 40.0, 320 * 40.0 / 3600)
    assert row["energy_to_accuracy_j_low"] == pytest.approx(320 * row["time_to_accuracy_s_low"])
    assert to_accuracy([after(3), NEVER], images=6400, joules_per_image=0.5)["energy_to_accuracy_j"] is None


def test_numbers_that_are_none_become_empty_fields():
    wrong = record(cell())
    wrong = replace(wrong, epochs=(*wrong.epochs[:-1], replace(wrong.epochs[-1], train_loss=float("nan"))))
    (row,) = of_results([result(cell(), record=wrong)])["runs"].rows
    assert (row["train_loss"], row["test_loss"]) == (None, 2.5)


RUNS = [
    *(run(gpus, (10.0 / gpus + seed / 10, 10.0 / gpus), seed=seed) for gpus in (1, 2, 4) for seed in range(3)),
    *placed("spread", 4, (3.0, 3.2)),
    run(2, (7.0,), micro_batch=32, run_id="big"),
    without_time(8, note="lost"),
]


def but_runs(found):
    """The tables whose rows have an order of their own."""
    return {name: table for name, table in found.items() if name != "runs"}


MADE = but_runs(tables(RUNS))


@given(st.permutations(RUNS), st.lists(st.sampled_from(RUNS), max_size=5))
def test_neither_the_order_of_runs_nor_duplicates_matter(shuffled, again):
    assert but_runs(tables(shuffled + again)) == MADE


def test_every_table_is_in_the_docs():
    page = (ROOT / "docs" / "results" / "collecting.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []


@pytest.mark.parametrize("status", [status for status in Status if status.under_way])
def test_what_is_under_way_has_not_failed(status):
    found = tables([run(1, (10.0,)), without_time(2, status=status)])
    assert "failures" not in found


def test_a_runs_row_has_the_tail_of_its_steps_what_loss_scaling_lost_and_what_was_compiled():
    """101 steps after one of warm-up; two of them, of 50 and 100 ms among 5,151 + 9 ms, were thrown away."""
    asked = cell(epochs=2, warmup_steps=1, precision=Precision.FP16)
    made = record(asked, (1.0, 1.0), step_ms=((9.0,), [float(ms) for ms in range(101, 0, -1)]))
    compiled = (Compilations(graphs=2, breaks=1), Compilations(graphs=3, breaks=0))
    last = replace(made.epochs[1], skipped_steps=(1, 51), compiled_by_rank=compiled)
    (row,) = of_results([result(asked, record=replace(made, epochs=(made.epochs[0], last)))])["runs"].rows
    assert (row["step_ms"], row["step_p95_ms"], row["step_p99_ms"]) == (51.0, 96.0, 100.0)
    assert (row["skipped_steps"], row["skipped_share"]) == (2, pytest.approx(150 / 5160))
    assert (row["compiled_graphs"], row["graph_breaks"]) == (3, 1), "of each the most over ranks"


def test_the_images_of_an_epoch_stand_in_each_row_where_they_differ_and_once_where_they_do_not():
    for scaling, columns_before in ((Scaling.STRONG, 0), (Scaling.WEAK, 1)):
        made = tables([run(gpus, (10.0,), scaling=scaling) for gpus in (1, 2)])[scaling.value]
        assert "work" in {column.name for column in printed(made)[columns_before]}
        assert [row["work"] for row in made.rows] == [6400, 6400 if scaling is Scaling.STRONG else 12800]


def test_the_columns_of_all_runs_are_those_of_each_run_by_itself(monkeypatch):
    """They are made for some runs at once; no value may stand in another's row."""
    monkeypatch.setattr(tidy, "_AT_ONCE", 2)
    learnt = run(4, (1.0,), run_id="x", test_metrics=(("f1", (0.1, 0.2)),), step_ms=3.0, continued_from="")
    runs = [*RUNS[:3], without_time(8, note="lost"), learnt]
    reached = {"x": (0.5, Reached(seconds=7.0, epoch=1, below_s=3.0))}
    together = tidy.runs_table(runs, {}, reached).rows
    alone = [row for one in runs for row in tidy.runs_table([one], {}, reached).rows]
    assert [*together] == alone
    assert [row["epoch_s"] for row in together][3:] == [None, 1.0]
    assert [row["test_f1"] for row in together] == [None, None, None, None, 0.2]
    assert [row["time_to_accuracy_s"] for row in together] == [None, None, None, None, 7.0]
