"""Random crops and flips per image, drawn from (seed, epoch, image) alone.

torchvision's random transforms draw one set of parameters for a whole batch. Here every image has its own, and they
depend neither on the number of ranks nor on the accumulation nor on who draws them: a worker on the host and the
device see the same picture. The draws are made on the host, since `exp` and `sqrt` differ in the last bit between
devices and a box that is rounded differently is another crop.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

Reals = NDArray[np.floating[Any]]

Size = tuple[int, int]
"""Rows and columns."""

SMALL_SIDE = 64
"""Images below this many pixels of a side are cropped with padding, larger ones to a random part of their area."""
_PADDING = 8
"""A small image is padded by its side over this number: 4 pixels for CIFAR's 32."""
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_ATTEMPTS = 10
"""As torchvision's RandomResizedCrop: part of the area, width over height, tries before the whole image is taken."""


def is_small(size: Size) -> bool:
    """Whether images of this size are cropped with padding."""
    return min(size) < SMALL_SIDE


def boxes_of(index: Tensor, *, seed: int, epoch: int, size: Size) -> Tensor:
    """Draw for each image of `index` (any shape) its (top, left, height, width, flip) in pixels of the source.

    `size`: rows and columns of the source.

    int64, (*index.shape, 5), on the host. A box of a small image keeps its size and may reach over the edge.
    """
    image = index.reshape(-1).cpu().numpy()
    flip = _uniform(image, seed, epoch, 0) < 0.5
    if is_small(size):
        pads = [length // _PADDING for length in size]
        top, left = (
            np.floor(_uniform(image, seed, epoch, k) * (2 * pad + 1)) - pad for k, pad in enumerate(pads, start=1)
        )
        height, width = (np.full(len(image), length) for length in size)
    else:
        top, left, height, width = _parts(image, seed, epoch, size)
    boxes = np.stack([top, left, height, width, flip], axis=-1).astype(np.int64)
    return torch.from_numpy(boxes).view(*index.shape, 5)


def cropped(images: Tensor, index: Tensor, boxes: Tensor) -> Tensor:
    """Gather, crop with zeros beyond the edge, and flip: uint8 (n, channels, h, w) of the whole set, on its device."""
    height, width = images.shape[-2:]
    top, left, _, _, flip = boxes.unbind(-1)  # (n,) each
    rows = top[:, None] + torch.arange(height, device=images.device)  # (n, height)
    columns = left[:, None] + torch.arange(width, device=images.device)  # (n, width)
    columns = torch.where(flip[:, None] == 1, columns.flip(1), columns)
    is_inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    pixels = images[
        index[:, None, None, None],
        torch.arange(images.shape[1], device=images.device)[None, :, None, None],
        rows.clamp(0, height - 1)[:, None, :, None],
        columns.clamp(0, width - 1)[:, None, None, :],
    ]
    return pixels * is_inside[:, None]  # (n, channels, height, width) * (n, 1, height, width)


def resized_crops(images: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Each image's own box at `size` by antialiased bilinear weights, flipped where drawn.

    uint8 (n, channels, h, w) becomes whole numbers 0 to 255 as floats, float32 stays what it is. A resize is linear and
    separable: it is one small matrix for the rows and one for the columns of each image, so a batch of unlike boxes is
    two batched products.
    """
    # Half precision is exact for 0 to 255 and wrong by at most 1/16 afterwards; on a CPU it would be slow.
    is_integer = not images.is_floating_point()
    dtype = torch.float16 if images.is_cuda and is_integer else torch.float32
    top, left, height, width, flip = boxes.unbind(-1)
    down = _weights(top, height, images.shape[-2], size[0]).to(dtype)  # (n, rows, h)
    across = _weights(left, width, images.shape[-1], size[1])  # (n, columns, w)
    across = torch.where(flip[:, None, None] == 1, across.flip(1), across).to(dtype)
    narrow = torch.einsum("nchw,nsw->nchs", images.to(dtype), across)  # (n, channels, h, columns)
    resized = torch.einsum("nth,nchs->ncts", down, narrow)
    return resized.round_() if is_integer else resized


def augmented_on_host(image: Tensor, box: Tensor, size: Size) -> Tensor:
    """The same for one uint8 image (channels, h, w) and its `box` (5,) by torchvision; a small image keeps its size.

    Returns (channels, height, width).
    """
    top, left, height, width, flip = box.tolist()
    if is_small((image.shape[-2], image.shape[-1])):
        image = transforms.crop(image, top, left, height, width)
    else:
        image = transforms.resized_crop(image, top, left, height, width, [*size], antialias=True)
    return transforms.horizontal_flip(image) if flip else image


def _weights(start: Tensor, length: Tensor, size: int, results: int) -> Tensor:
    """Triangle filter as (n, side, size): what each of `size` source pixels gives to each of `results` pixels.

    The filter is as wide as a result pixel is in the source, at least one pixel, and does not look beyond its box:
    Pillow's and torchvision's `antialias=True`.
    """
    begin, length = start[:, None, None].float(), length[:, None, None].float()
    scale = length / results
    centres = begin + (torch.arange(results, device=start.device)[:, None] + 0.5) * scale
    pixels = torch.arange(size, device=start.device) + 0.5
    weights = (1 - (pixels - centres).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights = weights * ((pixels > begin) & (pixels < begin + length))
    return weights / weights.sum(dim=-1, keepdim=True)


def _parts(image: NDArray[np.int64], seed: int, epoch: int, size: Size) -> tuple[Reals, ...]:
    """Boxes of torchvision's RandomResizedCrop: the first of ten tries that fits, else the whole image."""
    rows, columns = size
    height, width = np.full(len(image), float(rows)), np.full(len(image), float(columns))
    open_ = np.ones(len(image), dtype=bool)
    for attempt in range(_ATTEMPTS):
        u, v = (_uniform(image, seed, epoch, 3 + 2 * attempt + k) for k in (0, 1))
        area = rows * columns * (_AREA[0] + u * (_AREA[1] - _AREA[0]))
        ratio = np.exp(math.log(_RATIO[0]) + v * math.log(_RATIO[1] / _RATIO[0]))
        w, h = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = open_ & (w >= 1) & (h >= 1) & (w <= columns) & (h <= rows)
        height, width = np.where(fits, h, height), np.where(fits, w, width)
        open_ &= ~fits
    top = np.floor(_uniform(image, seed, epoch, 1) * (rows - height + 1))
    left = np.floor(_uniform(image, seed, epoch, 2) * (columns - width + 1))
    return top, left, height, width


def _uniform(image: NDArray[np.int64], seed: int, epoch: int, draw: int) -> Reals:
    """Numbers in [0, 1) by a hash of all four: a random generator that can begin anywhere."""
    key = np.zeros(len(image), dtype=np.uint64)
    for part in (np.uint64(seed), np.uint64(epoch), np.uint64(draw), image.astype(np.uint64)):
        key = _mixed(key ^ _mixed(np.broadcast_to(part, key.shape)))
    return (key >> np.uint64(11)) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 (Steele et al. 2014): every bit of the result depends on every bit of `x`."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
