"""The Vision Transformer that is built here: torchvision's, for images of any rectangle and number of channels.

Attention is computed here, from the weights of torch's module. That copies queries, keys and values, adds their bias
apart, and puts their gradients together by zeros and sums: of what a block moves besides its products about a half.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vision_transformer import VisionTransformer

from vit_sweep.plan.predict.vit import patches
from vit_sweep.plan.specs import ModelSpec

Across = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of this rank's queries over all tokens, all (images, local tokens, heads, width of a head)."""
_CHANNELS = 3
"""Of torchvision's own, whose images are squares too."""


def built(spec: ModelSpec, classes: int) -> VisionTransformer:
    """The model of this shape with weights drawn anew; images are (n, channels, rows, columns)."""
    if _is_usual(spec):
        return VisionTransformer(image_size=spec.image_shape[0], **_shape(spec, classes))
    return AnyImages(spec, classes)


def _is_usual(spec: ModelSpec) -> bool:
    rows, columns = spec.image_shape
    return spec.channels == _CHANNELS and rows == columns


def _shape(spec: ModelSpec, classes: int) -> dict[str, int]:
    return {
        "patch_size": spec.patch_size,
        "num_layers": spec.layers,
        "num_heads": spec.heads,
        "hidden_dim": spec.width,
        "mlp_dim": spec.mlp_width,
        "num_classes": classes,
    }


class AnyImages(VisionTransformer):  # type: ignore[misc]  # torchvision ships no types
    """Of images that are not torchvision's, its own patches and positions, drawn as torchvision draws them."""

    def __init__(self, spec: ModelSpec, classes: int) -> None:
        patch, usual = spec.patch_size, _is_usual(spec)
        super().__init__(image_size=spec.image_shape[0] if usual else patch, **_shape(spec, classes))
        if usual:
            return
        self.conv_proj = nn.Conv2d(spec.channels, spec.width, kernel_size=patch, stride=patch)
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (spec.channels * patch * patch)))
        assert self.conv_proj.bias is not None
        nn.init.zeros_(self.conv_proj.bias)
        self.seq_length = patches(spec) + 1
        self.encoder.pos_embedding = nn.Parameter(torch.empty(1, self.seq_length, spec.width).normal_(std=0.02))

    def _process_input(self, x: Tensor) -> Tensor:
        """(n, channels, rows, columns) as (n, patches, width)."""
        embedded: Tensor = self.conv_proj(x)  # (n, width, rows / patch, columns / patch)
        return embedded.flatten(2).transpose(1, 2)


def attend_by(attention: nn.Module, across: Across) -> None:
    """Let torch's attention in a block attend so: queries, keys and values are parts of one product, none is copied."""
    assert isinstance(attention, nn.MultiheadAttention)

    # A function and not a partial, which torch.compile passes over without a word.
    def forward(tokens: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:  # (images, local tokens, width)
        packed = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
        queries, keys, values = packed.view(*tokens.shape[:2], 3, attention.num_heads, -1).unbind(-3)
        return attention.out_proj(across(queries, keys, values).flatten(2)), None

    attention.forward = forward  # type: ignore[assignment]


def over_own_tokens(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`Across` where this rank has all tokens."""
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
    return functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
