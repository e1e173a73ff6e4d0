"""Captions: of sets that have none of their own, made from what the images show; and as tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from launchers.text import plural
from vit_sweep.job.rank_log import say
from vit_sweep.plan.specs import BEGIN, END

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_STROKES = ("a thin handwritten {}", "a handwritten {}", "a bold handwritten {}")


def tokens_of(captions: Sequence[str], length: int) -> Tensor:
    """int64 (captions, length): BEGIN, the bytes of the UTF-8, END to the end; a caption that is too long is cut."""
    tokens = torch.full((len(captions), length), END)
    tokens[:, 0] = BEGIN
    encoded: dict[str, Tensor] = {}
    cut = 0
    for row, caption in enumerate(captions):
        if caption not in encoded:
            encoded[caption] = torch.tensor(list(caption.encode()), dtype=torch.int64)
        content = encoded[caption][: length - 2]
        cut += len(content) < len(encoded[caption])
        tokens[row, 1 : 1 + len(content)] = content
    if cut:
        say(f"{plural(cut, 'caption')} of {len(captions):,} longer than model.text.length={length} allows: cut")
    return tokens


def of_digits(images: Tensor, digits: Tensor) -> list[str]:
    """Which digit (n,) it is, and whether its stroke is among the thinnest or the boldest third of (n, c, h, w)."""
    ink = images.double().mean(dim=(1, 2, 3))
    third, two_thirds = ink.quantile(torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))
    strokes = (ink > third).long() + (ink > two_thirds).long()
    return [_STROKES[s].format(_DIGITS[d]) for s, d in zip(strokes.tolist(), digits.tolist(), strict=True)]


def of_pictures(labels: Tensor) -> list[str]:
    """Which of the made-up pictures it is."""
    return [f"picture {label}" for label in labels.tolist()]
