"""What the plan knows of models that others build and of files of weights, and refuses of them. Pure."""

import hashlib
import math
import re
from collections.abc import Mapping
from io import BufferedReader, BytesIO

from launchers.checked import checked
from launchers.profile import Count
from vit_sweep.plan.choices import DataSource, Pool
from vit_sweep.plan.engine.kinds import machinery
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict.vit import patches
from vit_sweep.plan.specs import DEEPSPEED, ModelSpec

TIMM, TORCHVISION = "timm", "torchvision"
LIBRARIES = (TIMM, TORCHVISION)
"""Whose models are found by their names."""
REFUSED = 3
"""Exit code of the counting program where the model is at fault."""
_SHAPE = ("patch_size", "layers", "heads", "width", "mlp_width")


@checked
class CountRequest:
    """Which model is to be counted."""

    model: ModelSpec
    classes: Count


def task_without_targets(point: Point, _: object) -> str | None:
    """A task that the data set's labels are not made for."""
    data, task = point.data, point.task
    if task in data.tasks:
        return None
    return (
        f"task={task.value} data={data.name}: its images are labelled for {' or '.join(data.tasks)}; use "
        f"task={' or '.join(data.tasks)}, or other data"
    )


def wrong_model(point: Point, _: object) -> str | None:
    """A shape that is no ViT's, and what only a model that is built here can do."""
    model, data = point.model, point.data
    if data.source in (DataSource.CIFAR10, DataSource.CIFAR100, DataSource.STL10) and data.channels != 3:
        return f"data.channels={data.channels}: the images of {data.name} have 3; use data.channels=3"
    if model.channels != data.channels:
        return (
            f"model.channels={model.channels}: the images of data={data.name} have {data.channels}; use "
            f"model.channels={data.channels}, or leave it out"
        )
    if model.target is None:
        return _wrong_shape(model)
    if model.target == TORCHVISION and (model.channels != 3 or isinstance(model.image_size, tuple)):
        return (
            f"model={model.name} model.channels={model.channels} image_size={model.image_text}: torchvision's models "
            "take squares of 3 channels; use a model that is built here, or one of timm"
        )
    overridden = [name for name in _SHAPE if getattr(model, name)]
    if overridden:
        return (
            f"model={model.name}: model.{overridden[0]}={getattr(model, overridden[0])} is of models that are built "
            f"here, and {model.target} builds this one; give what it takes by model.arguments, or leave model.target "
            "out"
        )
    if any(name == "pretrained" for name, _ in model.arguments):
        return (
            f"model={model.name}: model.arguments.pretrained would fetch weights, and nodes have no internet; a "
            "study of scaling trains from random weights: leave it out"
        )
    for name in ("activation_checkpointing", "compile"):
        if getattr(point, name):
            return (
                f"{name}=true: it works on encoder blocks, and which those are in {model.name} of {model.target} is "
                f"not known; use {name}=false, or a model that is built here"
            )
    scalars = model.counts.scalars if model.counts is not None else ()
    if scalars and machinery(point.engine) == DEEPSPEED:
        return (
            f"model={model.name}: its parameter {scalars[0]} has no dimension, which DeepSpeed refuses; give it the "
            "shape (1,) in the model, or use engine=ddp"
        )
    return None


def _wrong_shape(model: ModelSpec) -> str | None:
    lacking = [name for name in _SHAPE if not getattr(model, name)]
    if lacking:
        return f"model={model.name}: model.{lacking[0]} must be at least 1, or model.target must say who builds it"
    if not any(length % model.patch_size for length in model.image_shape) and model.width % model.heads == 0:
        return None
    return (
        f"model={model.name}: image_size={model.image_text} must divide by "
        f"patch_size={model.patch_size} and width={model.width} by heads={model.heads}"
    )


# Weights that a model begins with instead of ones drawn anew. Files name them as torchvision does, or as timm does.
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
