"""Arithmetic of a text tower: parameters, FLOPs, saved activations. Pure.

Symbols as in `vit`, of the text tower: N tokens of a caption, D width, L layers, H heads, M MLP width, E numbers of a
point. Attention is causal, and counted whole, as is usual: a fused kernel skips about half of its 4N^2 D.
"""

import math

from vit_sweep.plan.choices import Precision
from vit_sweep.plan.specs import VOCABULARY, TextSpec

Shapes = tuple[tuple[int, ...], ...]


def block_shapes(text: TextSpec) -> Shapes:
    """Shapes of the parameters of a block: queries, keys, values and output, MLP, two norms."""
    d, m = text.width, text.mlp_width
    return *4 * ((d, d), (d,)), (m, d), (m,), (d, m), (d,), *4 * ((d,),)


def other_shapes(text: TextSpec) -> Shapes:
    """Shapes of the parameters in no block: tokens, positions, last norm, projection."""
    d = text.width
    return (VOCABULARY, d), (text.length, d), (d,), (d,), (text.embedding, d)


def parameters(text: TextSpec) -> int:
    """Trainable parameters."""
    return sum(math.prod(shape) for shape in (*text.layers * block_shapes(text), *other_shapes(text)))


def forward_flop(text: TextSpec) -> int:
    """Operations of one caption's forward pass: L(8ND^2 + 4NDM + 4N^2 D) + 2DE; backward takes twice as many."""
    n, d, m = text.length, text.width, text.mlp_width
    return text.layers * (8 * n * d * d + 4 * n * d * m + 4 * n * n * d) + 2 * d * text.embedding


def kept_bytes(text: TextSpec, precision: Precision, *, checkpointing: bool) -> int:
    """Bytes that one caption keeps for backward: those of an image's tokens, counted by a test.

    With checkpointing the inputs of all blocks and the whole of one.
    """
    n, d, m = text.length, text.width, text.mlp_width
    if precision.products.bytes == 2:
        block = n * ((20 if precision.autocast else 16) * d + 4 * m + 4 * text.heads + 16)
    else:
        block = n * (32 * d + 8 * m + 4 * text.heads + 16)
    if not checkpointing:
        return text.layers * block
    return text.layers * precision.bytes * n * d + block
