"""The equivalence certificate: an engine, with a cell's optimizer and number of ranks, trains what one process does.

It is a rehearsal of `STEPS` optimizer steps; then each rank compares all weights of the engine with those of the one
process, by how far they have moved. But for SGD and LARS, the keys' part of the bias of attention is left out: its true
gradient is zero, so Adam and its like divide rounding by rounding there.

What the number format itself loses is no difference: a weight is decayed and moved in one kernel or in several, and
each rounds it to its own last bit. So the learning rate is one at which weights of 1, those of norms, move by far more.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vit_sweep.job.train.engines.engine import EngineReport
from vit_sweep.job.train.measure.readback import gathered
from vit_sweep.job.train.proof.rehearsal import (
    Weights,
    by_engine,
    first_weights,
    reference_weights,
    small,
    without_a_trace,
)
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.predict.measuring import CERTIFIED_STEPS
from vit_sweep.plan.specs import EngineSpec
from vit_sweep.record.record import CERTIFIED_WITHIN, Certificate

STEPS = CERTIFIED_STEPS
_RATE = 1e-3
"""Learning rate, whatever the cell's: noise cannot be learnt, a rate that breaks the weights would compare rounding,
and so would one of 1e-5, at which a norm's weight moves by a hundred last bits a step and loses up to two."""
_ROUNDING = 1.5 * torch.finfo(torch.float32).eps
"""Of a weight, in a step: one kernel rounds the sum, several the decayed weight too, each by half a last bit."""
_KEYS = ("in_proj_bias", "qkv.bias")
"""What torch and timm call that bias."""
_KEYS_ALONE = "k_proj.bias"
"""What transformers calls its keys' part, which it keeps apart."""
_AS_LONG_AS_THE_GRADIENT = (OptimizerKind.SGD, OptimizerKind.LARS)
"""Optimizers that do not blow up a gradient of nothing but rounding."""


def certify(cell: Cell, *, rank: int, device: torch.device) -> Certificate:
    """Compare the cell's engine with one process; a collective. What does not agree is said, not raised."""
    updates = cell.optimizer
    # LARS measures its steps in parts of a tensor's norm.
    rate = _RATE / (updates.trust_coefficient if updates.kind is OptimizerKind.LARS else 1)
    copy = small(cell, replace(updates, learning_rate=rate))
    masked = () if updates.kind in _AS_LONG_AS_THE_GRADIENT else _KEYS
    with without_a_trace(device):
        rehearsed = by_engine(copy, steps=STEPS, rank=rank, device=device)
        reference = reference_weights(copy, steps=STEPS, device=device)
        largest = max(_differences(first_weights(copy), rehearsed.weights, reference, masked))
    ranks: list[tuple[float, float, str]] = gathered(largest)
    difference, absolute, parameter = max(ranks)
    return Certificate(
        steps=STEPS,
        difference=difference if math.isfinite(difference) else None,
        absolute=absolute if math.isfinite(absolute) else None,
        parameter=parameter,
        tolerance=CERTIFIED_WITHIN,
        masked=_masked_in(reference, masked),
        classes=rehearsed.engine.classes,
        collectives=rehearsed.collectives,
        instead=_instead(cell.engine, rehearsed.engine),
    )


def _masked_in(weights: Weights, masked: tuple[str, ...]) -> str:
    if not masked:
        return ""
    masked_parts = [f"the keys' part of {keys}" for keys in masked if any(name.endswith(keys) for name in weights)]
    return " and ".join(masked_parts + [_KEYS_ALONE] * any(name.endswith(_KEYS_ALONE) for name in weights))


def _instead(requested: EngineSpec, ran: EngineReport) -> str:
    if (ran.kind, ran.zero_stage) == (requested.kind, requested.zero_stage):
        return ""
    return ran.kind if ran.zero_stage is None else f"{ran.kind} with ZeRO {ran.zero_stage}"


def _differences(
    before: Weights, engine: Weights, reference: Weights, masked: tuple[str, ...]
) -> Iterator[tuple[float, float, str]]:
    """Of each parameter: difference by movement, largest difference of a weight, name; no number counts as infinite."""
    for name, weight in reference.items():
        difference, movement = (engine[name] - weight).abs(), weight - before[name]
        rounding = STEPS * _ROUNDING * weight.abs()
        if masked and name.endswith(_KEYS_ALONE):
            continue
        if name.endswith(masked):
            difference, movement, rounding = map(_without_keys, (difference, movement, rounding))
        part = float((difference - rounding).clamp(min=0).norm()) / max(float(movement.norm()), 1e-12)
        yield (part if math.isfinite(part) else math.inf), float(difference.max()), name


def _without_keys(bias: Tensor) -> Tensor:
    """The parts of queries and values of a bias (3 x width,)."""
    queries, _, values = bias.chunk(3)
    return torch.cat([queries, values])
