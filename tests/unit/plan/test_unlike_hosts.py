"""The paper's Tesla hosts: a job stays on one GPU model unless it is told otherwise, and the plan knows which."""

import pytest

from launchers.profile import Device, Host, Scheduler
from tests.unit.builders import point, profile
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.predict.cost import predict


def tesla(**changes):
    defaults = {
        "name": "tesla",
        "scheduler": Scheduler.HOSTFILE,
        "device": Device.CUDA,
        "nodes": 5,
        "gpus_per_node": 1,
        "gpu_model": "RTX 3070",
        "gpu_memory_gib": 8.0,
        "peak_tflops": {"fp32": 20.3, "fp16": 40.0},
        "hosts": (
            Host(
                name="t0", gpu_model="P4", gpu_memory_gib=4.0, peak_tflops={"fp32": 5.5}, refused_precisions=("fp16",)
            ),
            Host(name="t1"),
            Host(name="t2"),
            Host(name="t3", gpu_model="GTX 1070", peak_tflops={"fp32": 6.5}),
            Host(name="t4"),
        ),
    }
    return profile(**(defaults | changes))


@pytest.mark.parametrize("gpus", [1, 2, 3])
def test_every_cell_of_a_curve_stays_on_the_model_with_the_most_hosts(gpus):
    assert cell_of(point(gpus=gpus, partition=tesla())).gpu_model == "RTX 3070"


def test_more_hosts_than_one_model_has_need_the_explicit_word():
    (reason,) = cell_of(point(gpus=4, partition=tesla()))
    assert reason.startswith("gpus=4 nodes=4: tesla has no 4 hosts of one GPU model")
    assert "3 x RTX 3070" in reason
    assert "partition.mixed_hosts=true" in reason
    mixed = cell_of(point(gpus=5, partition=tesla(mixed_hosts=True)))
    assert isinstance(mixed, Cell)
    assert mixed.gpu_model == "GTX 1070 + P4 + RTX 3070"


def test_a_precision_is_refused_only_where_a_chosen_host_refuses_it():
    assert isinstance(cell_of(point(gpus=3, precision=Precision.FP16, partition=tesla())), Cell)
    (reason,) = cell_of(point(gpus=5, precision=Precision.FP16, partition=tesla(mixed_hosts=True)))
    assert reason == "precision=fp16: t0 (GTX 1070 + P4 + RTX 3070) refuses it; use fp32 or bf16"


def test_the_weakest_chosen_host_gives_the_estimate():
    alone = predict(cell_of(point(gpus=1, partition=tesla())), tesla(), ())
    both = predict(cell_of(point(gpus=5, partition=tesla(mixed_hosts=True))), tesla(mixed_hosts=True), ())
    assert "20.3 TFLOP/s" in alone.basis
    assert "5.5 TFLOP/s" in both.basis


def test_the_smallest_chosen_memory_decides():
    from dataclasses import replace

    from tests.unit.builders import DATA
    from tests.unit.plan.predict.test_memory import VIT_B

    heavy = {"model": VIT_B, "data": replace(DATA, train_images=50_000), "batch": 16}  # about 5 GiB
    (fits,) = make_plan([point(gpus=3, partition=tesla(), **heavy)]).points
    assert fits.cell_id is not None
    (skipped,) = make_plan([point(gpus=5, partition=tesla(mixed_hosts=True), **heavy)]).points
    assert "has 4 of which 97% can be used" in skipped.reasons[0]
