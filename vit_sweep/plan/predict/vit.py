"""Arithmetic of a Vision Transformer: tokens, parameters, FLOPs, saved activations. Pure.

A text tower beside it (`ModelSpec.text`) is part of the model: what is said of an image is then said of a pair.
Symbols: N tokens, D width, L layers, H heads, M MLP width, p patch size, c channels, C classes.
Multiply-add counts as two operations, so torchvision's "17.56 GFLOPs" (MACs) of ViT-B/16 are 35.1 GFLOP here.
"""

import math
from functools import lru_cache

from vit_sweep.plan.choices import Attention, Pool, Precision
from vit_sweep.plan.predict import text
from vit_sweep.plan.specs import ModelSpec

_AUTOCAST = 36 / 32
"""Activations that autocast keeps against 16-bit weights, where M = 4D: of others' models only those are counted."""


def tokens(model: ModelSpec) -> int:
    """Patches, and the class token where there is one: rows / patch x columns / patch + 1."""
    return patches(model) + (model.pool is Pool.CLASS)


def patches(model: ModelSpec) -> int:
    """Patches of an image: rows / patch x columns / patch."""
    rows, columns = model.image_shape
    return (rows // model.patch_size) * (columns // model.patch_size)


def local_tokens(count: int, sequence: int) -> int:
    """Of `count` tokens those of each rank of a sequence group, padding included: ceil(N / s)."""
    return -(-count // sequence)


@lru_cache(maxsize=1024)
def parameters(model: ModelSpec, classes: int) -> int:
    """Trainable parameters of torchvision's VisionTransformer (86,567,656 for ViT-B/16 and 1000 classes).

    Of two towers both, and the scale of their products.
    """
    text_parameters = text.parameters(model.text) + 1 if model.text is not None else 0
    if model.counts is not None:
        return model.counts.parameters + text_parameters
    shapes = (*model.layers * block_shapes(model), *other_shapes(model, classes))
    return sum(math.prod(shape) for shape in shapes) + text_parameters


def block_shapes(model: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Shapes of the parameters of an encoder block: attention, MLP, two norms."""
    d, m = model.width, model.mlp_width
    return (3 * d, d), (3 * d,), (d, d), (d,), (m, d), (m,), (d, m), (d,), (d,), (d,), (d,), (d,)


def other_shapes(model: ModelSpec, classes: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of the parameters in no block: patches, class token, positions, last norm, head."""
    d, p = model.width, model.patch_size
    class_token = ((1, 1, d),) if model.pool is Pool.CLASS else ()
    return (d, model.channels, p, p), (d,), *class_token, (1, tokens(model), d), (d,), (d,), (classes, d), (classes,)


def forward_flop(model: ModelSpec, classes: int) -> float:
    """Operations of one image's forward pass, of P patches: 2PD cp^2 + L(8ND^2 + 4NDM + 4N^2 D) + 2DC."""
    text_flop = text.forward_flop(model.text) if model.text is not None else 0
    if model.counts is not None:
        return (model.counts.forward_flop or model.counts.flop_per_image / 3) + text_flop
    n, d, m = tokens(model), model.width, model.mlp_width
    blocks = model.layers * (8 * n * d * d + 4 * n * d * m + 4 * n * n * d)
    return _patch_flop(model) + blocks + 2 * d * classes + text_flop


def train_flop(model: ModelSpec, classes: int) -> float:
    """Operations of one image's forward and backward: three forwards, less the gradient of the pixels.

    Never more with recomputation: model FLOPs, as MFU counts them (PaLM, Chowdhery et al. 2022, appendix B).
    """
    if model.counts is not None:
        return model.counts.flop_per_image + (3 * text.forward_flop(model.text) if model.text is not None else 0)
    return 3 * forward_flop(model, classes) - _patch_flop(model)


def _patch_flop(model: ModelSpec) -> int:
    return 2 * patches(model) * model.width * model.channels * model.patch_size**2


def activation_bytes(
    model: ModelSpec, precision: Precision, *, sequence: int = 1, attention: Attention = Attention.SDPA
) -> float | None:
    """Bytes that autograd keeps on a rank per image of a micro batch, without recomputation; a text tower left out.

    Counted of a model that is not built here; None where nobody counted it.

    Of one rank with fused attention, fp32: 64 LND (M = 4D), counted exactly by saved-tensor hooks; torchvision's
    attention keeps 1.7 % more.
    16-bit weights and activations: 32 LND, and in fp32 the softmax statistics (4HN) and the norms' (16N).
    Autocast: 36 LND and those statistics, since what the norms read stays fp32. Its casts of the weights, which do not
    grow with the batch, are `memory`'s.
    The part of the MLP (20 and 10 bytes per unit of its width and token) is kept apart, so M need not be 4D.

    `attention=math` keeps all weights, 4HN bytes a token, and queries, keys and values once more, both always in fp32.
    Of ranks that share tokens, of n each: 5D + 2M numbers a token and block, and what attention keeps: 4D numbers and
    the softmax statistics, or 3D and the weights; once the pixels of its patches, and 2D around the last norm. Autocast
    keeps 4D bytes more, of what the norms read. Counted by hooks on gloo, `tests/e2e/train/test_sequence.py` counts
    anew.
    """
    halves = precision.products in (Precision.BF16, Precision.FP16)
    if model.counts is not None:
        kept_bytes = model.counts.kept_bytes_16 if halves else model.counts.kept_bytes_32
        return kept_bytes * _AUTOCAST if kept_bytes is not None and precision.autocast else kept_bytes
    n, d, m, layers, heads = tokens(model), model.width, model.mlp_width, model.layers, model.heads
    math_weights = 4 * heads * n if attention is Attention.MATH else 0
    if sequence > 1:
        size = precision.products.bytes
        attended = 12 * d + math_weights if math_weights else 4 * d * size + 4 * heads
        block = (5 * d + 2 * m) * size + attended + 16 + (4 * d if precision.autocast else 0)
        embedding_and_norm = (model.channels * model.patch_size**2 + 2 * d) * size
        return local_tokens(n, sequence) * (layers * block + embedding_and_norm)
    attention_copies = (6 if halves else 8) * d if math_weights else 0
    if not halves:
        return round(layers * n * (1.017 * (32 * d + 8 * m) + attention_copies + math_weights))
    return (
        layers
        * n
        * ((20 if precision.autocast else 16) * d + 4 * m + (attention_copies + math_weights or 4 * heads) + 16)
    )
