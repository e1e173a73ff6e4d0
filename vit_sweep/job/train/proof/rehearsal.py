"""A small copy of a cell's model, trained by the cell's engine on all ranks, and by one process that knows no other.

Both begin with the same weights and see the same images: noise, drawn anew for each step and rank. The engine's ranks
each take their own; the one process takes those of all ranks one after another. So both must reach the same weights.
It is done in fp32 unless said otherwise: what is looked at is the engine, not a number format.
"""

import gc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vit_sweep.job.train.engines.autocast import under_autocast
from vit_sweep.job.train.engines.build import wrapped
from vit_sweep.job.train.engines.engine import EngineReport
from vit_sweep.job.train.model import clip, optimizer, vision_transformer
from vit_sweep.job.train.objective import inputs_of, loss_of, random_targets
from vit_sweep.job.train.pairs.loss import local_contrastive_loss
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, Precision, Task
from vit_sweep.plan.predict.measuring import COPY_BLOCKS, COPY_IMAGES, COPY_MICRO_STEPS, COPY_SIDE
from vit_sweep.plan.specs import OptimizerSpec

_DROPS = {"p", "drop_prob", "dropout"}
"""What modules of torch and timm call the part that they drop by chance, which no two processes do alike."""
Weights = dict[str, Tensor]


def small(cell: Cell, updates: OptimizerSpec, precision: Precision = Precision.FP32) -> Cell:
    """A copy that every rank can hold twice."""
    text = cell.model.text
    return replace(
        cell,
        model=replace(
            cell.model,
            init=None,  # of another size
            layers=min(COPY_BLOCKS, cell.model.layers),  # of others' models, the whole
            text=text and replace(text, layers=min(COPY_BLOCKS, text.layers)),
            image_size=_side(cell) if cell.sequence > 1 else cell.model.image_size,
        ),
        micro_batch=COPY_IMAGES,
        accum=min(COPY_MICRO_STEPS, cell.accum),
        precision=precision,
        optimizer=updates,
        compile=False,
        # On a GPU it takes 16-bit numbers only.
        attention=Attention.SDPA if cell.attention is Attention.FLASH else cell.attention,
    )


def _side(cell: Cell) -> int | tuple[int, int]:
    """Pixels of a side, or rows and columns: at most some patches more than `COPY_SIDE`, with as much padding in the
    last rank's tokens.

    The one process must hold all tokens, of which the cell's image may have too many.
    """
    patch, degree = cell.model.patch_size, cell.sequence
    rows, columns = (
        (patches - max(0, patches - COPY_SIDE) // degree * degree) * patch
        for patches in (length // patch for length in cell.model.image_shape)
    )
    return (rows, columns) if isinstance(cell.model.image_size, tuple) else rows


def first_weights(copy: Cell) -> Weights:
    """What both begin with."""
    return {name: weight.detach().clone() for name, weight in _model(_unshared(copy)).named_parameters()}


def _unshared(copy: Cell) -> Cell:
    """The same with all tokens on each rank, and the kernel that torch chooses."""
    return replace(copy, sequence=1, attention=Attention.SDPA)


class Rehearsed(NamedTuple):
    """What an engine did with the small copy."""

    weights: Weights
    engine: EngineReport
    collectives: tuple[str, ...]
    """Kinds that were seen in the last step."""
    loss: float
    """Of the first step's first micro step on this rank."""


def by_engine(copy: Cell, *, steps: int, rank: int, device: torch.device) -> Rehearsed:
    """Take so many optimizer steps of the engine, at least one, driven as the loop does it; a collective."""
    engine = wrapped(copy, _model(copy))
    exchanges = engine.exchange_apart(True)
    engine.module.train()
    losses: list[Tensor] = []
    for step in range(steps):
        with engine.counted() as counts:
            for micro, (images, labels) in enumerate(_batches(copy, step, rank // copy.sequence, device), start=1):
                boundary = micro == copy.accum
                inputs = inputs_of(copy.task, images, labels)
                logits = engine.forward(inputs, boundary=boundary).float()  # as the loop does
                loss = loss_of(copy.task, logits, labels)
                losses.append(loss.detach())
                engine.backward(loss, boundary=boundary)
                if boundary and exchanges:
                    engine.exchange()
                engine.step(boundary=boundary)
    kinds = tuple(kind.name for kind in counts.kinds(1))
    return Rehearsed(engine.weights(), engine.report(), kinds, loss=float(losses[0]))


def first_loss(copy: Cell, *, rank: int, device: torch.device) -> float:
    """The loss of one process with all tokens of the images of this rank's first micro step."""
    with torch.no_grad():
        model = under_autocast(copy, _model(_unshared(copy))).to(device).train()
        if copy.task is Task.CONTRASTIVE:
            embeddings = model(next(_micro_steps_of_pairs(copy, 0, device))).float()
            first = rank * COPY_IMAGES
            return float(local_contrastive_loss(embeddings[first : first + COPY_IMAGES], embeddings, first=first))
        images, labels = next(_batches(copy, 0, rank // copy.sequence, device))
        return float(loss_of(copy.task, model(images).float(), labels))


def reference_weights(copy: Cell, *, steps: int, device: torch.device) -> Weights:
    """The weights after the same steps of one process."""
    model = under_autocast(copy, _model(_unshared(copy))).to(device)
    updates = optimizer(copy, model)
    for step in range(steps):
        for loss in _losses(copy, model, step, device):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        clip(copy, model)
        updates.step()
        updates.zero_grad()
    return {name: weight.detach().cpu() for name, weight in model.named_parameters()}


def _losses(copy: Cell, model: nn.Module, step: int, device: torch.device) -> Iterator[Tensor]:
    """What one process derives in a step, whose sum is the loss over the images of all ranks."""
    if copy.task is Task.CONTRASTIVE:
        for pairs in _micro_steps_of_pairs(copy, step, device):
            embeddings = model(pairs).float()
            yield local_contrastive_loss(embeddings, embeddings, first=0) / copy.accum
        return
    for rank in range(copy.data_ranks):
        for images, labels in _batches(copy, step, rank, device):
            yield loss_of(copy.task, model(images).float(), labels) / (copy.accum * copy.data_ranks)


def _micro_steps_of_pairs(copy: Cell, step: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of all ranks together, micro step by micro step: these are compared with each other."""
    ranks = [_batches(copy, step, rank, device) for rank in range(copy.data_ranks)]
    for batches in zip(*ranks, strict=True):
        images, tokens = zip(*batches, strict=True)
        yield torch.cat(images), torch.cat(tokens)


@contextmanager
def without_a_trace(device: torch.device) -> Iterator[None]:
    """Let nothing of the block stay, or be counted as the run's memory."""
    yield
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _model(copy: Cell) -> nn.Module:
    """As it is made, but without chance, and but for the head: that is zero, and would let no gradient through."""
    model = vision_transformer(copy)
    for weight in model.parameters():
        if weight.ndim == 2 and not weight.any():
            nn.init.trunc_normal_(weight, std=0.02)
    for part in model.modules():
        for name in _DROPS & vars(part).keys():
            setattr(part, name, 0.0)
    return model


def _batches(copy: Cell, step: int, rank: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (n, channels, rows, columns) and targets (n, ...) of the micro steps of a data-parallel rank."""
    noise = torch.Generator().manual_seed(zlib.crc32(f"{copy.seed}/{step}/{rank}".encode()))
    shape = (COPY_IMAGES, copy.model.channels, *copy.model.image_shape)
    for _ in range(copy.accum):
        images = torch.randn(shape, generator=noise)
        width = copy.model.text.length if copy.model.text is not None else copy.outputs
        labels = random_targets(copy.task, width, COPY_IMAGES, noise)
        yield images.to(device), labels.to(device)
