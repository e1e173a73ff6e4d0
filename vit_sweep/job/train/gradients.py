"""The gradient guard: before an engine trains, a small copy of the model shows that it loses no gradient.

An engine that drops an all-reduce, or cuts autograd somewhere, trains on without a word. So all ranks train a copy with
two of the model's blocks for one step in an engine of the same kind, by plain descent at learning rate 1: each weight
then moves by its gradient. One process of its own, which sees the images of all ranks one after another, must move
every weight alike. Each rank does that for itself and compares what it has.

It is done in fp32 whatever the precision: what is checked is the engine, not a number format.
"""

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vit_sweep.job.train.engines.build import wrapped
from vit_sweep.job.train.measure.readback import gathered
from vit_sweep.job.train.model import optimizer, vision_transformer
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.point import OptimizerKind, OptimizerSpec, Precision
from vit_sweep.record.record import GradientCheck

TOLERANCE = 1e-3
"""Norm of the difference over the norm of the right gradient of a parameter. Rounding makes 1e-5 of it."""
_SMALL = 1e-3
"""Part of the norm of all gradients below which a parameter's own norm is not what its difference is compared with:
such a gradient is rounding itself (keys of attention have a bias whose true gradient is zero)."""
_BLOCKS, _IMAGES, _MICRO_STEPS = 2, 2, 2
Batch = tuple[Tensor, Tensor]


def check_gradients(cell: Cell, *, rank: int, device: torch.device) -> GradientCheck:
    """Check the cell's engine; a collective. Raises `JobError` on all ranks if it loses or changes a gradient."""
    copy = _small(cell)
    with _without_a_trace(device):
        before = {name: weight.detach().clone() for name, weight in _model(copy).named_parameters()}
        right = _alone(copy, device)
        differences = list(_differences(before, _moved(copy, rank=rank, device=device), right))
    ranks: list[tuple[float, str]] = gathered(max(differences))
    difference, parameter = max(ranks)
    if not difference <= TOLERANCE:
        raise JobError(
            Cause.WRONG_GRADIENTS,
            f"engine={cell.engine.name}: on rank {ranks.index((difference, parameter))} the gradient of {parameter} is "
            f"not that of one process with all images: it differs by {difference:.2g} of it, allowed is {TOLERANCE:g}; "
            "nothing was trained, since what this engine trains would be something else",
        )
    return GradientCheck(difference=difference, parameter=parameter, parameters=len(differences), tolerance=TOLERANCE)


def _small(cell: Cell) -> Cell:
    """A copy that every rank can hold twice, whose step is its gradient."""
    return replace(
        cell,
        model=replace(cell.model, layers=min(_BLOCKS, cell.model.layers)),
        micro_batch=_IMAGES,
        accum=min(_MICRO_STEPS, cell.accum),
        precision=Precision.FP32,
        optimizer=OptimizerSpec(name="descent", kind=OptimizerKind.SGD, learning_rate=1.0, weight_decay=0.0, beta1=0.0),
        compile=False,
    )


def _model(cell: Cell) -> nn.Module:
    """As it is made, but for the head: that is zero, and would let no gradient through."""
    model = vision_transformer(cell)
    nn.init.trunc_normal_(model.get_parameter("heads.head.weight"), std=0.02)
    return model


def _batches(cell: Cell, rank: int, device: torch.device) -> Iterator[Batch]:
    """Images (n, 3, side, side) and labels (n,) of a rank's micro steps: noise, another for each."""
    noise = torch.Generator().manual_seed(cell.seed * cell.gpus + rank)
    side = cell.model.image_size
    for _ in range(cell.accum):
        images = torch.randn(_IMAGES, 3, side, side, generator=noise)
        labels = torch.randint(cell.data.classes, (_IMAGES,), generator=noise)
        yield images.to(device), labels.to(device)


def _moved(cell: Cell, *, rank: int, device: torch.device) -> dict[str, Tensor]:
    """The weights after one optimizer step of the engine, driven as the loop does it."""
    engine = wrapped(cell, _model(cell))
    exchanges = engine.exchange_apart(True)
    engine.module.train()
    for micro, (images, labels) in enumerate(_batches(cell, rank, device), start=1):
        boundary = micro == cell.accum
        engine.backward(cross_entropy(engine.forward(images, boundary=boundary), labels), boundary=boundary)
        if boundary and exchanges:
            engine.exchange()
        engine.step(boundary=boundary)
    return engine.weights()


def _alone(cell: Cell, device: torch.device) -> dict[str, Tensor]:
    """The weights after the same step, by one process that knows no other."""
    model = _model(cell).to(device)
    updates = optimizer(cell, model)
    for rank in range(cell.gpus):
        for images, labels in _batches(cell, rank, device):
            loss = cross_entropy(model(images), labels) / (cell.accum * cell.gpus)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
    updates.step()
    return {name: weight.detach().cpu() for name, weight in model.named_parameters()}


def _differences(
    before: dict[str, Tensor], moved: dict[str, Tensor], right: dict[str, Tensor]
) -> Iterator[tuple[float, str]]:
    """How far each parameter's gradient is from the right one, and its name; what is no number is infinitely far."""
    gradients = {name: before[name] - weight for name, weight in right.items()}
    whole = float(torch.stack([gradient.norm() for gradient in gradients.values()]).norm())
    for name, gradient in gradients.items():
        own = before[name] - moved[name]
        difference = float((own - gradient).norm()) / max(float(gradient.norm()), _SMALL * whole)
        yield (difference if math.isfinite(difference) else math.inf), name


@contextmanager
def _without_a_trace(device: torch.device) -> Iterator[None]:
    """Let nothing of the block stay, or be counted as the run's memory."""
    yield
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
