"""The gradient guard: before an engine trains, a small copy of the model shows that it loses no gradient.

An engine that drops an all-reduce, or cuts autograd somewhere, trains on without a word. So a rehearsal takes one step
of plain descent at learning rate 1: each weight then moves by its gradient. Each rank compares what it has.

Megatron's distributed optimizer knows no other rule than AdamW's. Without memory (betas of 0) and with an eps of 1 a
weight moves by g / (|g| + 1), which shows its gradient g as well.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from vit_sweep.job.train.measure.readback import gathered
from vit_sweep.job.train.proof.rehearsal import (
    Weights,
    by_engine,
    first_loss,
    first_weights,
    reference_weights,
    small,
    without_a_trace,
)
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import OptimizerKind, Precision
from vit_sweep.plan.specs import OptimizerSpec
from vit_sweep.record.record import GradientCheck

TOLERANCE = 1e-3
"""Norm of the difference over the norm of the right gradient of a parameter. Rounding makes 1e-6 of it."""
AUTOCAST_TOLERANCE = 5e-2
"""The same where products are rounded to the 8 bits of bf16: ZeRO 3's own linear layers then differ by 0.5 %."""
_SMALL = 1e-3
"""Part of the norm of all gradients below which a parameter's own norm is not what its difference is compared with:
such a gradient is rounding itself (keys of attention have a bias whose true gradient is zero)."""
_DESCENT = OptimizerSpec(name="descent", kind=OptimizerKind.SGD, learning_rate=1.0, weight_decay=0.0, beta1=0.0)
_DESCENT_BY_ADAMW = replace(_DESCENT, kind=OptimizerKind.ADAMW, beta2=0.0, eps=1.0)


def check_gradients(cell: Cell, *, rank: int, device: torch.device) -> GradientCheck:
    """Check the cell's engine; a collective. Raises `JobError` on all ranks if it loses or changes a gradient.

    In fp32, but where bf16 is autocast's in that: the casts of its weights may be where an engine loses gradients.
    """
    casts = cell.precision is Precision.BF16_AMP
    descent = _DESCENT_BY_ADAMW if cell.engine.distributed_optimizer else _DESCENT
    copy = small(cell, descent, cell.precision if casts else Precision.FP32)
    tolerance = AUTOCAST_TOLERANCE if casts else TOLERANCE
    with without_a_trace(device):
        rehearsed = by_engine(copy, steps=1, rank=rank, device=device)
        reference = reference_weights(copy, steps=1, device=device)
        differences = list(_differences(first_weights(copy), rehearsed.weights, reference))
        right_loss = first_loss(copy, rank=rank, device=device)
    off = abs(rehearsed.loss - right_loss) / right_loss
    losses: list[float] = gathered(off if math.isfinite(off) else math.inf)
    if not max(losses) <= tolerance:
        raise JobError(
            Cause.WRONG_GRADIENTS,
            f"{_named(cell)}: on rank {losses.index(max(losses))} the loss is not that of one process with the same "
            f"images: it differs by {max(losses):.2g} of it, allowed is {tolerance:g}; nothing was trained, since what "
            "is trained here would be something else",
        )
    ranks: list[tuple[float, str]] = gathered(max(differences))
    difference, parameter = max(ranks)
    if not difference <= tolerance:
        raise JobError(
            Cause.WRONG_GRADIENTS,
            f"{_named(cell)}: on rank {ranks.index((difference, parameter))} the gradient of {parameter} is "
            f"not that of one process with all images: it differs by {difference:.2g} of it, allowed is {tolerance:g}; "
            "nothing was trained, since what this engine trains would be something else",
        )
    return GradientCheck(
        difference=difference,
        parameter=parameter,
        parameters=len(differences),
        tolerance=tolerance,
        loss=max(losses),
    )


def _named(cell: Cell) -> str:
    shared = f" sequence={cell.sequence} sequence_method={cell.sequence_method.value}" if cell.sequence > 1 else ""
    return f"engine={cell.engine.name}{shared}"


def _differences(before: Weights, moved: Weights, reference: Weights) -> Iterator[tuple[float, str]]:
    """How far each parameter's gradient is from the right one, and its name; what is no number is infinitely far."""
    gradients = {name: before[name] - weight for name, weight in reference.items()}
    total_norm = float(torch.stack([gradient.norm() for gradient in gradients.values()]).norm())
    for name, gradient in gradients.items():
        engine_gradient = before[name] - moved[name]
        difference = float((engine_gradient - gradient).norm()) / max(float(gradient.norm()), _SMALL * total_norm)
        yield (difference if math.isfinite(difference) else math.inf), name
