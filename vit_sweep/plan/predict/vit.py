"""Arithmetic of a Vision Transformer: tokens, parameters, FLOPs, saved activations. Pure.

Symbols: N tokens, D width, L layers, H heads, M MLP width, p patch size, C classes.
Multiply-add counts as two operations, so torchvision's "17.56 GFLOPs" (MACs) of ViT-B/16 are 35.1 GFLOP here.
"""

import math

from vit_sweep.plan.point import ModelSpec, Precision

_AUTOCAST = 36 / 32
"""Activations that autocast keeps against 16-bit weights, where M = 4D: of others' models only those are counted."""


def tokens(model: ModelSpec) -> int:
    """Patches and the class token: (image / patch)^2 + 1."""
    return (model.image_size // model.patch_size) ** 2 + 1


def parameters(model: ModelSpec, classes: int) -> int:
    """Trainable parameters of torchvision's VisionTransformer (86,567,656 for ViT-B/16 and 1000 classes)."""
    if model.counts is not None:
        return model.counts.parameters
    return sum(math.prod(shape) for shape in (*model.layers * block_shapes(model), *other_shapes(model, classes)))


def block_shapes(model: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Shapes of the parameters of an encoder block: attention, MLP, two norms."""
    d, m = model.width, model.mlp_width
    return (3 * d, d), (3 * d,), (d, d), (d,), (m, d), (m,), (d, m), (d,), (d,), (d,), (d,), (d,)


def other_shapes(model: ModelSpec, classes: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of the parameters in no block: patches, class token, positions, last norm, head."""
    d, p = model.width, model.patch_size
    return (d, 3, p, p), (d,), (1, 1, d), (1, tokens(model), d), (d,), (d,), (classes, d), (classes,)


def forward_flop(model: ModelSpec, classes: int) -> float:
    """Operations of one image's forward pass: 2(N-1)D 3p^2 + L(8ND^2 + 4NDM + 4N^2 D) + 2DC."""
    if model.counts is not None:
        return model.counts.forward_flop or model.counts.flop_per_image / 3
    n, d, m = tokens(model), model.width, model.mlp_width
    patches = 2 * (n - 1) * d * 3 * model.patch_size**2
    blocks = model.layers * (8 * n * d * d + 4 * n * d * m + 4 * n * n * d)
    return patches + blocks + 2 * d * classes


def train_flop(model: ModelSpec, classes: int) -> float:
    """Operations of one image's forward and backward: three forwards, less the gradient of the pixels.

    Never more with recomputation: model FLOPs, as MFU counts them (PaLM, Chowdhery et al. 2022, appendix B).
    """
    if model.counts is not None:
        return model.counts.flop_per_image
    patches = 2 * (tokens(model) - 1) * model.width * 3 * model.patch_size**2
    return 3 * forward_flop(model, classes) - patches


def activation_bytes(model: ModelSpec, precision: Precision) -> float | None:
    """Bytes that autograd keeps per image of a micro batch, with fused attention and without recomputation.

    Counted of a model that is not built here; None where nobody counted it.

    fp32: 64 LND (M = 4D), counted exactly by saved-tensor hooks; torchvision's attention keeps 1.7 % more.
    16-bit weights and activations: 32 LND, and in fp32 the softmax statistics (4HN) and the norms' (16N).
    Autocast: 36 LND and those statistics, since what the norms read stays fp32. Its casts of the weights, which do not
    grow with the batch, are `memory`'s.
    The part of the MLP (20 and 10 bytes per unit of its width and token) is kept apart, so M need not be 4D.
    """
    halves = precision.products in (Precision.BF16, Precision.FP16)
    if model.counts is not None:
        kept = model.counts.kept_bytes_16 if halves else model.counts.kept_bytes_32
        return kept * _AUTOCAST if kept is not None and precision.autocast else kept
    n, d, m, layers = tokens(model), model.width, model.mlp_width, model.layers
    if not halves:
        return round(1.017 * layers * n * (32 * d + 8 * m))
    return layers * n * ((20 if precision.autocast else 16) * d + 4 * m + 4 * model.heads + 16)
