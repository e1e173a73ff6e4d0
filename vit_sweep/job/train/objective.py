"""What a task trains for: its loss, its targets, and what the answers on the test split are worth.

| task | targets of n images | loss of an image |
|---|---|---|
| classification | int64 (n,), the class | cross entropy |
| multilabel | float32 (n, labels), 0 or 1 | binary cross entropy, the mean over labels |
| regression | float32 (n, numbers), standardised by the training images | squared error, the mean over numbers |
| contrastive | int64 (n, length), its caption | cross entropy of which caption it has and of the reverse, halved |
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from vit_sweep.job.train.engines.engine import Inputs
from vit_sweep.job.train.metrics import of_labels, of_numbers
from vit_sweep.job.train.pairs.loss import contrastive_loss
from vit_sweep.job.train.pairs.retrieval import recalls
from vit_sweep.plan.choices import Task
from vit_sweep.plan.specs import BEGIN, END


class Units(NamedTuple):
    """How standardised numbers become the data's own again: x scale + offset."""

    offset: Tensor
    """float64 (numbers,): the mean of the training images."""
    scale: Tensor
    """float64 (numbers,): their standard deviation, 1 where they are all alike."""


def units_of(numbers: Tensor) -> Units:
    """Of all training images: (n, numbers)."""
    numbers = numbers.double()
    scale = numbers.std(dim=0, correction=0)
    return Units(numbers.mean(dim=0), torch.where(scale > 0, scale, 1.0))


def standardised(numbers: Tensor, units: Units) -> Tensor:
    """float32 (n, numbers) of mean 0 and deviation 1 over the training images."""
    return ((numbers.double() - units.offset) / units.scale).float()


def inputs_of(task: Task, images: Tensor, targets: Tensor) -> Inputs:
    """What the task's model sees of images and their targets."""
    return (images, targets) if task is Task.CONTRASTIVE else images


def loss_of(task: Task, logits: Tensor, targets: Tensor, *, summed: bool = False) -> Tensor:
    """The mean over images, or their sum, of (n, outputs) in fp32; of pairs the mean, over all ranks: a collective."""
    if task is Task.CONTRASTIVE:
        return contrastive_loss(logits)
    if task is Task.CLASSIFICATION:
        return cross_entropy(logits, targets, reduction="sum" if summed else "mean")
    loss = binary_cross_entropy_with_logits if task is Task.MULTILABEL else mse_loss
    by_image = loss(logits, targets, reduction="none").mean(dim=1)  # (n,)
    return by_image.sum() if summed else by_image.mean()


def correct_of(task: Task, logits: Tensor, targets: Tensor) -> Tensor:
    """How many images are classified correctly, of logits (n, outputs); 0 where the task knows no right and wrong."""
    if task is not Task.CLASSIFICATION:
        return logits.new_zeros(())
    return (logits.argmax(dim=1) == targets).sum()


def random_targets(task: Task, outputs: int, count: int, noise: torch.Generator) -> Tensor:
    """Targets of no meaning, for images of noise; of pairs `outputs` is the length of a caption."""
    match task:
        case Task.CONTRASTIVE:
            tokens = torch.randint(BEGIN, (count, outputs), generator=noise)  # bytes
            tokens[:, 0], tokens[:, -1] = BEGIN, END
            return tokens
        case Task.CLASSIFICATION:
            return torch.randint(outputs, (count,), generator=noise)
        case Task.MULTILABEL:
            return torch.randint(2, (count, outputs), generator=noise).float()
        case Task.REGRESSION:
            return torch.randn((count, outputs), generator=noise)


def scores(task: Task, outputs: Tensor, targets: Tensor, units: Units | None) -> dict[str, float]:
    """The task's metrics over a whole split, (n, outputs) each; `units`: of regression.

    One that has no value (R² of one image or of equal ones, precision where no image has any label) is left out.
    """
    if task is Task.CLASSIFICATION:
        return {}
    if task is Task.CONTRASTIVE:
        return recalls(outputs, targets)
    outputs, targets = outputs.double().cpu(), targets.double().cpu()
    if task is Task.REGRESSION and units is not None:
        outputs, targets = outputs * units.scale + units.offset, targets * units.scale + units.offset
    values = of_labels(outputs, targets) if task is Task.MULTILABEL else of_numbers(outputs, targets)
    return {name: value for name, value in values.items() if math.isfinite(value)}
