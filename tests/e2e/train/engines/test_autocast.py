"""fp32 weights with 16-bit products: all engines train what one process does, scale fp16's loss, and come back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.train.ranks import be_one_of_two, run_all, small_cell
from tests.unit.builders import MODEL, OPTIMIZER
from vit_sweep.plan.choices import OptimizerKind, Precision
from vit_sweep.plan.predict.memory import cast_bytes
from vit_sweep.plan.predict.vit import activation_bytes, parameters
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

ENGINES = {
    **{f"zero{stage}": EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)},
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
    "accelerate": EngineSpec(name="accelerate", zero_stage=None, kind="accelerate"),
    "accelerate_zero1": EngineSpec(name="accelerate_zero1", zero_stage=1, kind="accelerate"),
}
BF16, FP16 = Precision.BF16_AMP, Precision.FP16_AMP
CASES = [
    *((name, BF16) for name in ("zero0", "zero2", "zero3", "ddp", "fsdp2", "accelerate")),
    *((name, FP16) for name in ("zero0", "zero1", "zero3", "ddp", "fsdp2", "accelerate_zero1")),
]
"""An Accelerator's own takes fp16 for a CUDA device's only."""
CLIP_NORM = 0.1
HEAD = "heads.head.weight"
SPOILT = 1
"""Step whose loss is made infinite on one rank."""


def test_every_engine_trains_as_one_process_leaves_out_what_is_not_finite_and_comes_back(tmp_path):
    """All in one pair of processes. Gradients and their sums are fp32's; a scaled loss rounds otherwise, and so do the
    linear layers that ZeRO 3 puts in the place of torch's, which round a product before they add the bias."""
    run_all(_rank, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=300)
    for rank in range(2):
        for case, result in zip(CASES, json.loads((tmp_path / f"{rank}.json").read_text()), strict=True):
            precision = case[1]
            assert (result["precision"], result["weights"]) == (precision, ["torch.float32"]), case
            allowed = 2e-3 if precision is FP16 else 2e-2 if case[0] == "zero3" else 1e-5
            assert result["difference"] <= allowed, case
            assert result["clipped"] <= allowed, (
                f"{case}: its gradients are clipped by another norm, as by a scaled one"
            )
            assert result["shorter"] < 0.5, "there was nothing to clip"
            assert result["from_fp32"] > 1e-3, f"{case}: nothing was cast"
            assert result["left_out"] == ([SPOILT] if precision is FP16 else []), case
            assert result["comes_back"], case


def _rank(folder, rank):
    be_one_of_two(folder, rank, lambda: [_made(*case, Path(folder) / f"{n}", rank) for n, case in enumerate(CASES)])


def _made(name, precision, folder, rank):
    import torch
    import torch.distributed as dist

    from vit_sweep.job.train.proof import rehearsal

    device = torch.device("cpu")
    descent = replace(OPTIMIZER, name="sgd", kind=OptimizerKind.SGD, learning_rate=0.1, beta1=0.9)
    cell = small_cell(gpus=2, accum=2, engine=ENGINES[name], precision=precision, optimizer=descent)
    copy = rehearsal.small(cell, descent, precision)
    before = rehearsal.first_weights(copy)
    trained = rehearsal.by_engine(copy, steps=1, rank=rank, device=device)
    right = rehearsal.reference_weights(copy, steps=1, device=device)
    wide = rehearsal.reference_weights(replace(copy, precision=Precision.FP32), steps=1, device=device)
    clipped = replace(copy, optimizer=replace(descent, clip_norm=CLIP_NORM))
    by_engine = rehearsal.by_engine(clipped, steps=1, rank=rank, device=device).weights
    by_one = rehearsal.reference_weights(clipped, steps=1, device=device)
    left_out, comes_back, weights = _comes_back(copy, folder, rank)
    dist.barrier()
    return {
        "precision": trained.engine.precision,
        "weights": sorted({str(weight.dtype) for weight in weights}),
        "difference": _apart(before, trained.weights, right),
        "clipped": _apart(before, by_engine, by_one),
        "shorter": float((by_one[HEAD] - before[HEAD]).norm() / (right[HEAD] - before[HEAD]).norm()),
        "from_fp32": _apart(before, wide, right),
        "left_out": left_out,
        "comes_back": comes_back,
    }


def _apart(before, one, other):
    """Largest difference of a parameter by how far it has moved, but for the keys' bias, whose gradient is rounding."""
    parts = []
    for name, weight in other.items():
        if not name.endswith("in_proj_bias"):
            parts.append(float((one[name] - weight).norm()) / float((weight - before[name]).norm()))
    return max(parts)


def _comes_back(copy, folder, rank):
    """Steps that were left out; whether another copy goes on bit by bit, scale and all; the weights."""
    import math

    import torch
    import torch.distributed as dist

    from vit_sweep.job.train.engines.build import wrapped
    from vit_sweep.job.train.proof import rehearsal

    first = wrapped(copy, rehearsal._model(copy))
    left_out = []
    for step in range(3):
        skipped = first.skipped_steps
        _step(copy, first, step, rank, math.inf if copy.precision is FP16 and (step, rank) == (SPOILT, 1) else 1.0)
        left_out += [step] * (first.skipped_steps - skipped)
    if rank == 0:
        folder.mkdir()
    dist.barrier()
    first.save(folder)
    dist.barrier()
    second = wrapped(copy, rehearsal._model(copy))
    second.load(folder)
    for engine in (first, second):
        _step(copy, engine, 3, rank)
    one, other = first.weights(), second.weights()
    return left_out, all(torch.equal(one[name], other[name]) for name in one), list(one.values())


def _step(copy, engine, step, rank, factor=1.0):
    import torch
    from torch.nn.functional import cross_entropy

    from vit_sweep.job.train.proof import rehearsal

    engine.module.train()
    exchanges = engine.exchange_apart(True)
    for micro, (images, labels) in enumerate(rehearsal._batches(copy, step, rank, torch.device("cpu")), start=1):
        boundary = micro == copy.accum
        logits = engine.forward(images, boundary=boundary).float()
        engine.backward(factor * cross_entropy(logits, labels), boundary=boundary)
        if boundary and exchanges:
            engine.exchange()
        engine.step(boundary=boundary)


def test_autocast_keeps_the_activations_and_casts_that_the_plan_knows():
    import torch

    from vit_sweep.job.train.engines.autocast import under_autocast
    from vit_sweep.job.train.model import vision_transformer
    from vit_sweep.job.train.models.counting import _IMAGES, _kept_bytes

    spec = replace(MODEL, image_size=64, patch_size=8, layers=4, width=128, heads=4, mlp_width=512)
    cell = small_cell(precision=BF16, model=spec)
    shape = (_IMAGES, 3, spec.image_size, spec.image_size)
    bytes_kept = _kept_bytes(under_autocast(cell, vision_transformer(cell)), shape, torch.float32)
    casts = cast_bytes(cell, parameters(spec, 4)) / _IMAGES
    assert bytes_kept == pytest.approx(activation_bytes(spec, BF16) + casts, rel=0.05)
