"""Runs that compare unlike numbers of pairs have unlike losses: strong scaling never mixes them into one series."""

import pytest

from tests.unit.analysis.builders import run
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.runs.run import counted

PAIRS = {"task": "contrastive"}


def of_one_batch(gpus, batch=64, accum=1, **changes):
    """A run whose global batch stays, whatever its GPUs."""
    curves = (Membership(scaling=Scaling.STRONG, batch_per=BatchPer.GLOBAL, placement="packed"),)
    micro = batch // gpus // accum
    return run(gpus, (10.0 / gpus,), micro_batch=micro, accum=accum, curves=curves, **changes)


def test_one_global_batch_is_one_loss_and_one_series():
    (series,) = group([of_one_batch(gpus, conditions=PAIRS) for gpus in (1, 2, 4)], Scaling.STRONG)
    assert series.points[-1].speedup.value == pytest.approx(4)
    assert dict(series.key.conditions)["compared_pairs"] == "64"


def test_a_batch_that_grows_with_the_gpus_is_another_loss_at_each_count():
    """The same runs as classifications are one series: its loss of an image knows no other images."""
    grown = [run(gpus, (10.0 / gpus,), conditions=PAIRS) for gpus in (1, 2, 4)]
    series = group(grown, Scaling.STRONG)
    assert [[point.gpus for point in one.points] for one in series] == [[1], [2], [4]]
    assert all(point.speedup is None or point.speedup.value == 1 for one in series for point in one.points)
    assert {one.label for one in series} == {"compared_pairs=16", "compared_pairs=32", "compared_pairs=64"}
    assert len(group([run(gpus, (10.0 / gpus,)) for gpus in (1, 2, 4)], Scaling.STRONG)) == 1


def test_accumulation_compares_fewer_pairs():
    runs = [of_one_batch(2, accum=accum, conditions=PAIRS, run_id=f"a{accum}") for accum in (1, 2)]
    assert [run.compared for run in runs] == [64, 32]
    assert len(group(runs, Scaling.STRONG)) == 2


def test_weak_scaling_keeps_the_work_of_each_gpu_in_one_series():
    runs = [run(gpus, (10.0,), scaling=Scaling.WEAK, conditions=PAIRS) for gpus in (1, 2, 4)]
    (series,) = group(runs, Scaling.WEAK)
    assert series.points[-1].efficiency.value == pytest.approx(1)


def test_runs_count_pairs_where_all_learn_from_them():
    pairs, images = run(conditions=PAIRS), run(conditions={"task": "classification"})
    assert [counted(runs) for runs in ([pairs], [images], [pairs, images], [run()])] == [
        "pairs",
        "images",
        "images",
        "images",
    ]
