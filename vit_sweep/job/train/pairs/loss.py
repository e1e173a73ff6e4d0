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


def contrastive_loss(embeddings: Tensor) -> Tensor:
    """The mean over this rank's pairs (n, 2 x embedding), compared with those of all ranks; a collective."""
    if dist.get_world_size() == 1:
        return local_contrastive_loss(embeddings, embeddings, first=0)
    gathered: Tensor = _Gather.apply(embeddings)
    return local_contrastive_loss(embeddings, gathered, first=dist.get_rank() * len(embeddings))


def local_contrastive_loss(local: Tensor, gathered: Tensor, *, first: int) -> Tensor:
    """The mean over pairs (n, 2 x embedding) that are those of `gathered` (N, 2 x embedding) from `first` on."""
    images, captions = local.chunk(2, dim=1)
    all_images, all_captions = gathered.chunk(2, dim=1)
    targets = torch.arange(first, first + len(local), device=local.device)
    # (n, N) each: the scale of the logits is in the images' points.
    return (cross_entropy(images @ all_captions.T, targets) + cross_entropy(captions @ all_images.T, targets)) / 2


class _Gather(torch.autograd.Function):
    """The rows of all ranks, in their order; the gradient of a rank's rows is the sum of what all derive of them."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        """(n, width) on each rank to (ranks x n, width)."""
        gathered = local.new_empty((dist.get_world_size() * len(local), local.shape[1]))
        DIRECT.all_gather_into_tensor(gathered, local.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        """(ranks x n, width) on each rank to (n, width)."""
        (gradient,) = gradients
        local = gradient.new_empty((len(gradient) // dist.get_world_size(), gradient.shape[1]))
        DIRECT.reduce_scatter_tensor(local, gradient.contiguous())
        return local
