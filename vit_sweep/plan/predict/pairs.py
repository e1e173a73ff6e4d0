"""What the contrastive loss of a micro step takes beside the towers: operations, memory, communication. Pure.

b pairs of a rank, B = b x ranks of all, E numbers of a point; all in fp32. A rank compares its own images with all
captions and its own captions with all images: two products of b x B x E, and two more of each in backward.
"""

from typing import NamedTuple

from vit_sweep.plan.cell import Cell

_FP32 = 4


class Gathering(NamedTuple):
    """All-gathers of a step with as many reduce-scatters, which together move what as many all-reduces do."""

    calls: int
    size_bytes: int
    """Of the whole tensors of all all-gathers together; of the reduce-scatters alike."""


def _points_bytes(cell: Cell) -> int:
    """Bytes of the points of all pairs of a micro step: (B, 2E)."""
    return _FP32 * cell.compared * 2 * cell.outputs


def gathering(cell: Cell) -> Gathering:
    """What an optimizer step gathers; nothing on one rank and of other tasks. Counted on gloo by a test."""
    if cell.model.text is None or cell.gpus == 1:
        return Gathering(calls=0, size_bytes=0)
    return Gathering(calls=cell.accum, size_bytes=cell.accum * _points_bytes(cell))


def loss_flop(cell: Cell) -> int:
    """Operations of the loss for one pair, forward and backward: 12 B E; 0 of other tasks, where it is next to none."""
    return 12 * cell.compared * cell.outputs if cell.model.text is not None else 0


def loss_bytes(cell: Cell) -> int:
    """Bytes of the loss on a rank in backward: two b x B matrices that it keeps, and the gradient of one; the points of
    all pairs and their gradients."""
    if cell.model.text is None:
        return 0
    return 3 * _FP32 * cell.micro_batch * cell.compared + 2 * _points_bytes(cell)
