"""Weights that a model begins with instead of ones drawn anew: which file fits which shape. Pure.

Files name weights as torchvision does, or as timm: both write the same model.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from io import BufferedReader, BytesIO

from vit_sweep.plan.choices import Pool
from vit_sweep.plan.predict.vit import patches
from vit_sweep.plan.specs import ModelSpec

POSITIONS, CLASS_TOKEN, PATCHES = "encoder.pos_embedding", "class_token", "conv_proj.weight"
HEAD = "heads."
"""What the names of the head's weights begin with: it is drawn anew where the file's is of other outputs."""
_TIMM = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)
Shape = tuple[int, ...]
Grid = tuple[int, int]
"""Rows and columns of patches."""


def digest(file: BufferedReader | BytesIO) -> str:
    """What a file of weights is known by in a cell's identity: of its content, not of its place."""
    return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def in_file(name: str, names: Mapping[str, object]) -> str:
    """The name of one of our weights in a file with these names."""
    if name in names or not any(other.startswith("blocks.") for other in names):
        return name
    for our_name, timm_name in _TIMM:
        name = re.sub(our_name, timm_name, name)
    return name


def grid_of(model: ModelSpec) -> Grid:
    """Of the model's own image."""
    rows, columns = model.image_shape
    return rows // model.patch_size, columns // model.patch_size


def grid_in_file(model: ModelSpec, shapes: Mapping[str, Shape]) -> Grid | None:
    """Of the images that the file's positions are for: as here, or a square; None where it is neither."""
    count = shapes[in_file(POSITIONS, shapes)][1] - (in_file(CLASS_TOKEN, shapes) in shapes)
    side = math.isqrt(count)
    if count == patches(model):
        return grid_of(model)
    return (side, side) if side * side == count else None


def weights_mismatch(model: ModelSpec, shapes: Mapping[str, Shape]) -> str | None:
    """Say why weights of these shapes are not those of the model, or None."""
    setting = f"model={model.name} model.init={model.init}"
    if model.target is not None:
        return (
            f"{setting}: {model.target} builds this model, and only one that is built here takes a file; leave it out"
        )
    d, m, p = model.width, model.mlp_width, model.patch_size
    block = {"self_attention.in_proj_weight": (3 * d, d), "mlp.0.weight": (m, d)}
    expected: dict[str, Shape] = {PATCHES: (d, model.channels, p, p)} | {
        f"encoder.layers.encoder_layer_{layer}.{name}": shape
        for layer in range(model.layers)
        for name, shape in block.items()
    }
    absent = [name for name in (*expected, POSITIONS) if in_file(name, shapes) not in shapes]
    if len(absent) == len(expected) + 1:
        return f"{setting}: its weights are named neither as torchvision's nor as timm's; convert it to one of these"
    layers = {match[1] for name in shapes if (match := re.search(r"(?:encoder_layer_|^blocks\.)(\d+)\.", name))}
    if absent or len(layers) != model.layers:
        return (
            f"{setting}: it has {len(layers)} encoder blocks, this model {model.layers}; use model.layers={len(layers)}"
        )
    for name, shape in expected.items():
        stored = shapes[in_file(name, shapes)]
        if stored != shape:
            return (
                f"{setting}: {in_file(name, shapes)} is {_text(stored)} there and {_text(shape)} here; use a model of "
                "that width, patch size and number of channels"
            )
    if model.pool is Pool.CLASS and in_file(CLASS_TOKEN, shapes) not in shapes:
        return f"{setting}: it has no class token; use model.pool=mean"
    if grid_in_file(model, shapes) is None:
        count = shapes[in_file(POSITIONS, shapes)][1] - (in_file(CLASS_TOKEN, shapes) in shapes)
        return (
            f"{setting}: its {count} patches are neither those of {model.image_text} px nor of any square, so where "
            "they lie is not known; use an image_size of as many patches"
        )
    return None


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))
