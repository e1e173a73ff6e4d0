"""What the plan knows of models that others build, and refuses of them. Pure."""

from launchers.checked import checked
from launchers.profile import Count
from vit_sweep.plan.choices import DataSource
from vit_sweep.plan.engine.kinds import machinery
from vit_sweep.plan.point import Point
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
