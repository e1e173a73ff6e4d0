"""From records to speedups by hand-computed numbers, against the right baseline or none; asked against ran."""

from dataclasses import replace

import pytest

from launchers.profile import Device
from tests.unit.builders import DATA, ENGINE, MODEL, OPTIMIZER, cell, point, record, resolved, result, series
from vit_sweep.analysis.series.grouping import group
from vit_sweep.outcome.result import note_of
from vit_sweep.plan.choices import BatchPer, LrScaling, LrSchedule, Pipeline, Precision, Scaling
from vit_sweep.plan.grid import cell_of, series_of
from vit_sweep.record.record import BatchTriple, mismatches
from vit_sweep.record.stats import epoch_time, step_ms
from vit_sweep.runs.of_study import runs_of


def done(seconds, *memberships, host_cores=8, **changes):
    """A run whose steady epochs take `seconds`; the first one is much slower."""
    made = cell(**changes)
    return result(made, *memberships, record=record(made, (10 * seconds, seconds, seconds), host_cores))


def curves(results, scaling=Scaling.STRONG):
    """The series of these results."""
    return group(runs_of(results), scaling)


def rows(results, scaling=Scaling.STRONG):
    """The points of the only series."""
    (curve,) = curves(results, scaling)
    return curve.points


def values(points, name):
    """One figure of every point; None where it has none."""
    estimates = [getattr(point, name) for point in points]
    return [None if estimate is None else estimate.value for estimate in estimates]


# --- formulas -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scaling", "speedup", "efficiency"), [("strong", 1.6, 0.8), ("weak", 3.2, 1.6)])
def test_a_baseline_of_several_gpus_counts_as_one_unit(scaling, speedup, efficiency):
    images = {4: 1600, 8: 1600 if scaling == "strong" else 3200}
    results = [done(s, series(Scaling(scaling)), gpus=g, train_images=images[g]) for g, s in ((4, 8.0), (8, 5.0))]
    (curve,) = curves(results, Scaling(scaling))
    last = curve.points[1]
    assert (last.speedup.value, last.efficiency.value) == pytest.approx((speedup, efficiency))
    assert curve.baseline_gpus == 4


def test_the_first_epoch_never_joins_the_others():
    made = cell()
    time = epoch_time(record(made, (100.0, 1.0, 4.0, 2.0)))
    assert (time.median_s, time.spread_s, time.n, time.first_s) == (2.0, 3.0, 3, 100.0)
    (row,) = rows([result(made, record=record(made, (100.0, 1.0, 4.0, 2.0)))])
    assert (row.time_s.value, row.within, row.epochs, row.first_epoch_s) == (2.0, 1.5, 3, 100.0)


def test_an_only_epoch_counts_because_there_is_no_other():
    time = epoch_time(record(cell(epochs=1), (5.0,)))
    assert (time.median_s, time.spread_s, time.n, time.first_s) == (5.0, 0.0, 1, 5.0)


@pytest.mark.parametrize(("warmup", "median"), [(0, 2.5), (1, 2.0), (2, 2.5), (3, 3.0), (4, None), (9, None)])
def test_step_time_leaves_out_the_warm_up_steps(warmup, median):
    made = cell(epochs=2, warmup_steps=warmup)
    assert step_ms(record(made, (1.0, 1.0), step_ms=((90.0, 1.0), (2.0, 3.0)))) == median


def test_throughput_counts_the_images_that_went_through_the_model():
    assert rows([done(2.0, train_images=1590, micro_batch=100)])[0].images_per_s.value == 800


# --- the baseline -------------------------------------------------------------------------------------

OTHER = {
    "batch": {"micro_batch": 8},
    "accum": {"accum": 2},
    "model": {"model": replace(MODEL, name="other", layers=4)},
    "precision": {"precision": Precision.BF16},
    "engine": {"engine": replace(ENGINE, name="zero1", zero_stage=1)},
    "optimizer": {"optimizer": replace(OPTIMIZER, name="other")},
    "learning rate": {"optimizer": replace(OPTIMIZER, learning_rate=0.1)},
    "data": {"data": replace(DATA, name="other")},
    "images": {"train_images": 800},
    "partition": {"partition": "other"},
    "gpu_model": {"gpu_model": "A100"},
    "epochs": {"epochs": 2},
    "warm-up": {"warmup_steps": 0},
}
SAME_NAME = {
    "layers of the model": {"model": replace(MODEL, layers=4)},
    "classes of the data": {"data": replace(DATA, classes=11)},
    "stage of the engine": {"engine": replace(ENGINE, zero_stage=3)},
    "weight decay of the optimizer": {"optimizer": replace(OPTIMIZER, weight_decay=0.5)},
    "threads of a rank": {"cpus_per_gpu": 4},
    "pipeline": {"pipeline": Pipeline.LOADER},
    "rule of the learning rate": {"lr_scaling": LrScaling.LINEAR},
    "warm-up of the learning rate": {"lr_warmup_epochs": 1.0},
    "schedule of the learning rate": {"schedule": LrSchedule.COSINE},
    "checkpointed blocks": {"activation_checkpointing": True},
    "compiled blocks": {"compile": True},
}


@pytest.mark.parametrize(
    "other",
    [*OTHER.values(), *SAME_NAME.values()],
    ids=[*OTHER, *SAME_NAME],
)
def test_a_baseline_is_never_borrowed_from_another_series(other):
    both = curves([done(8.0, gpus=1), done(4.0, gpus=2, **other)])
    assert sorted((curve.baseline_gpus, values(curve.points, "speedup")) for curve in both) == [(1, [1]), (2, [1])]


def test_a_baseline_is_never_borrowed_from_the_other_scaling_mode():
    results = [done(8.0, series(Scaling.WEAK), gpus=1), done(4.0, series(Scaling.STRONG), gpus=2)]
    assert [row.gpus for mode in Scaling for row in rows(results, mode)] == [2, 1]


def test_a_global_batch_keeps_one_curve_while_the_micro_batch_shrinks():
    memberships = series(batch_per=BatchPer.GLOBAL)
    (curve,) = curves([done(8.0, memberships, gpus=1, micro_batch=64), done(4.0, memberships, gpus=4, micro_batch=16)])
    assert curve.key.batch == 64
    assert values(curve.points, "speedup") == [1, 2]


def test_one_gpu_starts_the_packed_and_the_spread_curve():
    spread = series(placement="spread")
    results = [done(8.0, gpus=1), done(5.0, gpus=2), done(4.0, spread, gpus=2, nodes=2)]
    packed, apart = curves(results)
    assert [(row.gpus, row.nodes, row.speedup.value) for row in packed.points] == [(1, 1, 1), (2, 1, 1.6)]
    assert [(row.gpus, row.nodes, row.speedup.value) for row in apart.points] == [(1, 1, 1), (2, 2, 2)]
    assert apart.key.placement == "spread"


def test_one_gpu_that_was_asked_for_on_both_curves_is_on_each_once():
    spread = series(placement="spread")
    both = curves([done(8.0, series(), spread), done(4.0, spread, gpus=2, nodes=2)])
    assert [[row.gpus for row in curve.points] for curve in both] == [[1], [1, 2]]


def test_one_gpu_of_another_batch_starts_no_curve():
    spread = series(placement="spread")
    both = curves([done(8.0, micro_batch=8), done(4.0, spread, gpus=2, nodes=2)])
    assert [[row.gpus for row in curve.points] for curve in both] == [[1], [2]]


def test_two_layouts_of_the_same_gpus_are_not_one_curve():
    points = [point(gpus=4, nodes=nodes) for nodes in (1, 2)]
    cells = [cell_of(p) for p in points]
    results = [result(c, series_of(p), record=record(c)) for p, c in zip(points, cells, strict=True)]
    assert all(len({row.gpus for row in curve.points}) == len(curve.points) for curve in curves(results))


def test_the_busiest_host_decides_whether_a_run_was_oversubscribed():
    made = cell(gpus=4, nodes=2, device=Device.CPU)
    ran = record(made)
    few = tuple(replace(rank, host_cores=1 if rank.host == "node1" else 8) for rank in ran.ranks)
    (row,) = rows([result(made, record=replace(ran, ranks=few))])
    assert (row.oversubscribed, row.speedup) == (True, None)


# --- no baseline --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["failed", "running", "queued", "missing"])
def test_without_a_finished_baseline_there_is_no_speedup_but_a_sentence(status):
    (curve,) = curves([result(cell(), status=status), done(5.0, gpus=2), done(3.0, gpus=4)])
    assert curve.points[0].status == status
    assert curve.no_baseline.startswith(f"no baseline: gpus=1 ({cell().cell_id}) is {status}")
    assert values(curve.points, "speedup") == values(curve.points, "efficiency") == [None] * 3
    assert values(curve.points, "time_s") == [None, 5.0, 3.0]


def test_a_failed_cell_stays_in_its_curve_with_its_reason():
    failed = result(cell(gpus=2), status="failed", detail="out of memory on rank 1")
    curve = rows([done(8.0), failed, done(4.0, gpus=4)])
    (lost,) = curve[1].without
    assert (lost.gpus, lost.status, lost.note) == (2, "failed", "out of memory on rank 1")
    assert values(curve, "speedup") == [1, None, 2]


def test_an_oversubscribed_run_has_times_but_no_speedup():
    (curve,) = curves([done(8.0, gpus=gpus, device=Device.CPU, host_cores=2) for gpus in (2, 4)])
    first, crowded = curve.points
    assert curve.timed == (first,)
    assert (first.oversubscribed, first.speedup.value) == (False, 1)
    assert (crowded.oversubscribed, crowded.speedup, crowded.efficiency) == (True, None, None)
    assert (crowded.time_s.value, crowded.images_per_s.value) == (8.0, 200)
    assert crowded.runs[0].note == "oversubscribed: 4 ranks on 2 cores"


def test_an_oversubscribed_baseline_is_none():
    results = [done(8.0, gpus=2, device=Device.CPU, host_cores=1), done(4.0, gpus=4, device=Device.CPU, host_cores=4)]
    (curve,) = curves(results)
    assert values(curve.points, "speedup") == [None, None]
    assert curve.no_baseline.startswith("no baseline: gpus=2 ran with more ranks than cores")


def test_many_repeated_images_are_noted_and_few_are_not():
    assert note_of(done(1.0, train_images=150, micro_batch=100), 8) == "33% repeated images"
    assert note_of(done(1.0, train_images=1590, micro_batch=100), 8) == ""


# --- what ran is what was asked -----------------------------------------------------------------------

DIFFERENT = {
    "gpus: asked 4, ran 2": {"gpus": 2},
    "nodes: asked 2, ran 1": {"nodes": 1},
    "micro batch: asked 16, ran 8": {"batch": BatchTriple(micro_batch=8, accum=1, global_batch=64)},
    "accum: asked 1, ran 2": {"batch": BatchTriple(micro_batch=16, accum=2, global_batch=64)},
    "global batch: asked 64, ran 16": {"batch": BatchTriple(micro_batch=16, accum=1, global_batch=16)},
    "zero_stage: asked 0, ran 3": {"zero_stage": 3},
    "precision: asked fp32, ran bf16": {"precision": "bf16"},
    "steps per epoch: asked 25, ran 100": {"steps_per_epoch": 100},
}


@pytest.mark.parametrize("sentence", DIFFERENT)
def test_every_difference_between_asked_and_ran_is_named(sentence):
    made = cell(gpus=4, nodes=2)
    assert mismatches(made, resolved(made, **DIFFERENT[sentence])) == (sentence,)


def test_several_differences_are_all_named_and_none_when_there_is_none():
    made = cell(gpus=4, nodes=2)
    assert len(mismatches(made, resolved(made, gpus=2, nodes=1, precision="fp16"))) == 3
    assert mismatches(made, resolved(made)) == ()
