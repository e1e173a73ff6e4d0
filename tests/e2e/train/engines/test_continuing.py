"""A training goes on, on other ranks or with another engine, as if nothing had happened: the planted truth.

Each of these is stopped in the middle of an epoch on two ranks, and goes on there: that is the truth. From the
checkpoint another goes on, on as many ranks and on others.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.conftest import LONG
from tests.e2e.train.engines.moved import left_in, train
from tests.e2e.train.ranks import small_cell
from tests.unit.builders import OPTIMIZER
from vit_sweep.job.train.continuing.whole_state import scale_of_deepspeed, scale_of_torch
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

STAGES = {f"zero{stage}": EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)}
PARTS = {"param_persistence_threshold": 0, "config": ("zero_optimization.sub_group_size=5000",)}
FP32 = {
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
    "accelerate": EngineSpec(name="accelerate", zero_stage=None, kind="accelerate"),
    "accelerate_zero2": EngineSpec(name="accelerate_zero2", zero_stage=2, kind="accelerate"),
    **STAGES,
    # No weight is whole anywhere, and they are several groups.
    "parts": replace(STAGES["zero3"], **PARTS),
}
BF16 = {f"{name}_bf16": engine for name, engine in FP32.items() if engine.kind == "deepspeed"}
if not LONG:
    for name in ("accelerate", "accelerate_zero2", "zero3"):
        del FP32[name]
    for name in ("zero1_bf16", "zero3_bf16"):
        del BF16[name]
SHARED = "shared_tokens"
ENGINES = FP32 | BF16 | {SHARED: STAGES["zero2"]}
WEIGHTS, LOSSES = 1e-5, 1e-6
"""Relative, in fp32, on another number of ranks: sums have another order there."""
ROUNDED = 1e-2
"""The same of losses of bf16, whose products are rounded to 8 bits."""
NOISE = "in_proj_bias"
"""A bias of keys moves no softmax: its gradient is rounding alone, of which Adam makes whole steps."""


def cell_on(ranks, name):
    """Two groups of weights, of which one does not decay."""
    precision = Precision.BF16 if name in BF16 else Precision.FP32
    fields = {"gpus": ranks, "engine": ENGINES[name], "optimizer": replace(OPTIMIZER, decay_all=False)}
    if name == SHARED and ranks > 1:
        fields |= {"sequence": 2, "micro_batch": 2 * 8 // ranks}
    return small_cell(precision=precision, **fields)


def to_others(shift):
    """From each engine to one that is so many places further, of the same number format."""
    return [(a, names[(at + shift) % len(names)]) for names in map(list, (FP32, BF16)) for at, a in enumerate(names)]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    cells = {name: cell_on(2, name) for name in ENGINES}
    return folder, train(folder, 2, cells)


def gone_on(truth, folder, ranks, pairs):
    """From each first engine's checkpoint with the second, on so many ranks; what it reached, beside the truth."""
    at, reached = truth
    cells = {f"{a} to {b}": cell_on(ranks, b) for a, b in pairs}
    origins = {f"{a} to {b}": left_in(at, a, cell_on(2, a)) for a, b in pairs}
    losses = train(folder, ranks, cells, origins)
    return {f"{a} to {b}": (losses[f"{a} to {b}"], reached[a], a in BF16) for a, b in pairs}


def test_on_as_many_ranks_any_engine_reaches_bit_by_bit_what_the_first_would_have(truth, tmp_path):
    for name, ((losses, weights), (true_losses, true_weights), _) in gone_on(truth, tmp_path, 2, to_others(3)).items():
        assert losses == true_losses, name
        assert all(weights[key].equal(true_weights[key]) for key in true_weights), name


@pytest.mark.parametrize(
    "ranks", [1, pytest.param(4, marks=pytest.mark.skipif(not LONG, reason="four ranks: VIT_SWEEP_LONG_TESTS=1"))]
)
def test_on_other_ranks_it_reaches_the_same_weights_and_losses_to_rounding(truth, tmp_path, ranks):
    pairs = [*to_others(0), *to_others(5)] if LONG else to_others(1)
    pairs += [(SHARED, "ddp"), ("zero0", SHARED)]
    for name, ((losses, weights), (true_losses, true_weights), rounded) in gone_on(
        truth, tmp_path, ranks, pairs
    ).items():
        for epoch, true_epoch in zip(losses, true_losses, strict=True):
            assert epoch == pytest.approx(true_epoch, rel=ROUNDED if rounded else LOSSES), name
        if not rounded:
            far = {key: float((weights[key] - true).norm() / true.norm()) for key, true in true_weights.items()}
            assert max(part for key, part in far.items() if NOISE not in key) < WEIGHTS, (name, far)


@pytest.mark.parametrize("clean_steps", [0, 7, 999])
def test_the_scale_of_a_loss_goes_from_torchs_scaler_to_deepspeeds_and_back(clean_steps):
    """Without a GPU nothing trains in fp16; what is handed over is arithmetic."""
    torchs = {"scale": 2.0**12, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": clean_steps}
    deepspeeds = SimpleNamespace(cur_scale=1.0, cur_iter=0, last_overflow_iter=5, scale_window=1000)
    scale_of_torch(torchs).into_deepspeed(deepspeeds)
    # It grows where this is a multiple of the window, and no step has been taken yet.
    assert deepspeeds.cur_iter - deepspeeds.last_overflow_iter - 1 == clean_steps
    loss_scale = scale_of_deepspeed(**vars(deepspeeds))
    assert loss_scale.of_torch(torchs | {"scale": 1.0, "_growth_tracker": 3}) == torchs
    assert scale_of_torch({}) is None
    assert loss_scale.of_torch({}) == {}, "one that scales nothing stays so"
