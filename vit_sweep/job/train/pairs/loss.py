"""The contrastive loss of the pairs of all ranks (Radford et al. 2021, arXiv:2103.00020, figure 3).

Each rank compares its own pairs with those of all ranks, both ways: so the work of B pairs is shared, as that of the
towers is. Points of other ranks come by an all-gather, and their gradients go back by a reduce-scatter: without it each
rank would learn only from what its own pairs are compared with, and train something else without a word. The mean of
the ranks' losses is that of one process with all pairs, and so the mean of their gradients, which every engine takes,
is its gradient.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from vit_sweep.job.train.measure.collectives import DIRECT


def gathered_loss(answers: Tensor) -> Tensor:
    """The mean over this rank's pairs (n, 2 x embedding), compared with those of all ranks; a collective."""
    if dist.get_world_size() == 1:
        return own_loss(answers, answers, first=0)
    whole: Tensor = _Gather.apply(answers)
    return own_loss(answers, whole, first=dist.get_rank() * len(answers))


def own_loss(own: Tensor, whole: Tensor, *, first: int) -> Tensor:
    """The mean over pairs (n, 2 x embedding) that are those of `whole` (N, 2 x embedding) from `first` on."""
    images, captions = own.chunk(2, dim=1)
    all_images, all_captions = whole.chunk(2, dim=1)
    right = torch.arange(first, first + len(own), device=own.device)
    # (n, N) each: the scale of the logits is in the images' points.
    return (cross_entropy(images @ all_captions.T, right) + cross_entropy(captions @ all_images.T, right)) / 2


class _Gather(torch.autograd.Function):
    """The rows of all ranks, in their order; the gradient of a rank's rows is the sum of what all derive of them."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        """(n, width) on each rank to (ranks x n, width)."""
        whole = own.new_empty((dist.get_world_size() * len(own), own.shape[1]))
        DIRECT.all_gather_into_tensor(whole, own.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        """(ranks x n, width) on each rank to (n, width)."""
        (whole,) = gradients
        own = whole.new_empty((len(whole) // dist.get_world_size(), whole.shape[1]))
        DIRECT.reduce_scatter_tensor(own, whole.contiguous())
        return own
