"""What a test split says of two towers: its loss, and how often a picture finds its caption, and the reverse."""

import torch
from torch import Tensor

from vit_sweep.job.train.pairs.loss import own_loss

_ROWS = 1024
"""Pictures that are compared with all captions at once."""


def summed_loss(answers: Tensor, batch: int) -> float:
    """The loss of a split (n, 2 x embedding), summed over its pairs, each compared with `batch` next to it.

    As many as in a micro step of training, so that both losses are of the same kind; the last ones have fewer.
    """
    blocks = torch.split(answers, batch)
    return sum(float(own_loss(block, block, first=0)) * len(block) for block in blocks)


def recalls(answers: Tensor, tokens: Tensor) -> dict[str, float]:
    """Recall at 1, both ways, over a split: answers (n, 2 x embedding), tokens (n, length).

    Pictures may share a caption, word for word: a picture has found its own if the nearest of the split's distinct
    captions is it, and a caption if the nearest picture has it.
    """
    images, captions = answers.chunk(2, dim=1)
    _, own = torch.unique(tokens, dim=0, return_inverse=True)  # (n,): which of the distinct captions
    first = torch.full((int(own.max()) + 1,), len(own), device=own.device)
    first.scatter_reduce_(0, own, torch.arange(len(own), device=own.device), "amin")  # a picture of each caption
    distinct = captions[first]  # (distinct, embedding)
    found = torch.cat([(rows @ distinct.T).argmax(dim=1) for rows in torch.split(images, _ROWS)])
    nearest = torch.cat([(rows @ images.T).argmax(dim=1) for rows in torch.split(distinct, _ROWS)])
    return {
        "image_to_text": float((found == own).double().mean()),
        "text_to_image": float((own[nearest] == torch.arange(len(first), device=own.device)).double().mean()),
    }
