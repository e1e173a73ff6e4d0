"""What a test split says of two towers: its loss, and how often a picture finds its caption, and the reverse."""

import torch
from torch import Tensor

from vit_sweep.job.train.pairs.loss import local_contrastive_loss

_ROWS = 1024
"""Pictures that are compared with all captions at once."""


def summed_loss(embeddings: Tensor, batch: int) -> float:
    """The loss of a split (n, 2 x embedding), summed over its pairs, each compared with `batch` next to it.

    As many as in a micro step of training, so that both losses are of the same kind; the last ones have fewer.
    """
    blocks = torch.split(embeddings, batch)
    return sum(float(local_contrastive_loss(block, block, first=0)) * len(block) for block in blocks)


def recalls(embeddings: Tensor, tokens: Tensor) -> dict[str, float]:
    """Recall at 1, both ways, over a split: embeddings (n, 2 x embedding), tokens (n, length).

    Pictures may share a caption, word for word: a picture has found its own if the nearest of the split's distinct
    captions is it, and a caption if the nearest picture has it.
    """
    images, captions = embeddings.chunk(2, dim=1)
    _, caption_index = torch.unique(tokens, dim=0, return_inverse=True)  # (n,): which of the distinct captions
    first_image = torch.full((int(caption_index.max()) + 1,), len(caption_index), device=caption_index.device)
    first_image.scatter_reduce_(
        0, caption_index, torch.arange(len(caption_index), device=caption_index.device), "amin"
    )  # a picture of each caption
    distinct = captions[first_image]  # (distinct, embedding)
    retrieved = torch.cat([(rows @ distinct.T).argmax(dim=1) for rows in torch.split(images, _ROWS)])
    nearest = torch.cat([(rows @ images.T).argmax(dim=1) for rows in torch.split(distinct, _ROWS)])
    return {
        "image_to_text": float((retrieved == caption_index).double().mean()),
        "text_to_image": float(
            (caption_index[nearest] == torch.arange(len(first_image), device=caption_index.device)).double().mean()
        ),
    }
