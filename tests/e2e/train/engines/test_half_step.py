"""The update of 16-bit weights is DeepSpeed's own bit by bit, and asks the device once."""

import math
import os
from collections import Counter

import pytest
import torch
import torch.distributed as dist
from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tests.e2e.train.ranks import small_cell
from vit_sweep.job.train.engines import half_step
from vit_sweep.job.train.engines.build import wrapped
from vit_sweep.job.train.engines.half_step import lean
from vit_sweep.job.train.model import vision_transformer
from vit_sweep.plan.choices import Precision

pytestmark = pytest.mark.train

STEPS = 6
LAYERS = 3
SCALES = {"scale_window": 2, "init_scale": 2.0**8, "min_scale": 1.0}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A process group of this process alone."""
    monkeypatch.setattr(os, "environ", os.environ | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    import deepspeed

    monkeypatch.setattr(deepspeed.utils.groups, "_WORLD_GROUP", None)  # else that of the test before
    deepspeed.ops.__compatible_ops__ = {}
    # It asks for instructions that not every processor has; torch computes without them.
    monkeypatch.setattr(deepspeed.accelerator.get_accelerator(), "is_fp16_supported", lambda: True)
    dist.init_process_group("gloo", store=dist.FileStore(f"{tmp_path}/store", 1), rank=0, world_size=1)
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
    yield
    dist.destroy_process_group()


def trained(dtype, *, ours, spoilt=None, optimizer=torch.optim.AdamW):
    """Weights, masters, scale and skipped steps after steps with made-up gradients; step `spoilt` has an infinity."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(LAYERS)]).to(dtype)
    half_optimizer = FP16_UnfusedOptimizer(
        optimizer(model.parameters(), lr=0.1),
        low_precision_dtype=dtype,
        dynamic_loss_scale=dtype is torch.float16,
        dynamic_loss_args=SCALES if dtype is torch.float16 else None,
        verbose=False,
    )
    if ours:
        lean(half_optimizer)
    skipped, scales, reads = [], [], Counter()
    for number in range(STEPS):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        if number == spoilt:
            next(model.parameters()).grad[0, 0] = math.inf
        with profile(activities=[ProfilerActivity.CPU]) as site:
            half_optimizer.step()
        reads[number] = sum(event.name == "aten::_local_scalar_dense" for event in site.events())
        half_optimizer.zero_grad()
        skipped.append(half_optimizer.overflow)
        scales.append(half_optimizer.loss_scale_config.cur_scale)
    weights = [p.detach().clone() for p in model.parameters()]
    return weights, [p.detach().clone() for group in half_optimizer.fp32_groups for p in group], skipped, scales, reads


@pytest.mark.parametrize("spoilt", [None, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_masters_scales_and_skipped_steps_are_the_very_same(dtype, spoilt):
    theirs, ours = (trained(dtype, ours=ours, spoilt=spoilt)[:4] for ours in (False, True))
    for theirs_now, other in zip(theirs[:2], ours[:2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(theirs_now, other, strict=True))
    assert theirs[2:] == ours[2:]
    assert ours[2] == [number == spoilt for number in range(STEPS)]
    if dtype is torch.float16:
        assert len(set(ours[3])) > 1, "the scale never changed, so nothing of it was compared"


def test_the_device_is_asked_once_a_step_and_not_once_a_weight():
    """SGD, since AdamW on a CPU reads its own step counters; on CUDA they stay on the device."""
    reads = [trained(torch.bfloat16, ours=ours, optimizer=torch.optim.SGD)[4] for ours in (False, True)]
    assert min(reads[0].values()) > 2 * LAYERS, "DeepSpeed no longer asks per weight: is all of this still needed?"
    assert set(reads[1].values()) == {1}


def by_engine(stage, dtype, *, ours, spoilt=None):
    """Weights, skipped steps and host reads of an update after steps of a small model under a ZeRO stage."""
    import deepspeed

    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(LAYERS)])
    config = {
        "train_batch_size": 4,
        "gradient_clipping": 0.0,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": dtype is torch.bfloat16},
        "fp16": {"enabled": dtype is torch.float16, "initial_scale_power": 4},
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), config=config)
    if ours:
        lean(engine.optimizer)
    skipped, reads = [], []
    for number in range(STEPS):
        loss = engine(torch.randn(4, 8, dtype=dtype)).float().square().sum()
        engine.backward(loss * math.inf if number == spoilt else loss)
        with profile(activities=[ProfilerActivity.CPU]) as site:
            engine.step()
        reads.append(sum(event.name == "aten::_local_scalar_dense" for event in site.events()))
        skipped.append(bool(engine.optimizer.overflow))
    state = {name: weight.detach().clone() for name, weight in engine.module_state_dict().items()}
    engine.destroy()
    return state, skipped, reads


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stage", [1, 2])
def test_zero_leaves_out_the_same_steps_by_its_norm_alone(stage, dtype):
    theirs, ours = (by_engine(stage, dtype, ours=ours, spoilt=2) for ours in (False, True))
    assert all(torch.equal(theirs[0][name], ours[0][name]) for name in theirs[0])
    assert theirs[1] == ours[1] == [number == 2 for number in range(STEPS)]


def test_in_16_bits_a_stage_asks_the_device_for_its_one_norm():
    """Else ZeRO 1 and 2 would be slower than stage 0 for a reason that is none of theirs. They read that norm twice
    in a row, once to mark it as invalid; the second time nothing is left to wait for."""
    reads = {stage: set(by_engine(stage, torch.bfloat16, ours=True)[2]) for stage in range(4)}
    assert reads == {0: {1}, 1: {2}, 2: {2}, 3: {1}}
    assert min(by_engine(1, torch.bfloat16, ours=False)[2]) > 2, "is all of this still needed?"


def test_an_optimizer_that_clips_is_left_alone():
    model = nn.Linear(4, 4).to(torch.bfloat16)
    half_optimizer = FP16_UnfusedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1), low_precision_dtype=torch.bfloat16, clip_grad=1.0, verbose=False
    )
    lean(half_optimizer)
    assert half_optimizer.step.__func__ is FP16_UnfusedOptimizer.step


def test_what_trains_a_cell_in_16_bits_updates_so():
    trained_cell = small_cell(precision=Precision.BF16)
    updates = wrapped(trained_cell, vision_transformer(trained_cell)).optimizer
    assert updates.step.func is half_step._step
