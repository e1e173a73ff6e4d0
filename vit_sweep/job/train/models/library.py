"""A model that others build, by its name in a library or by a function of somebody's own."""

from importlib import import_module
from typing import Any

import torch
from torch import nn

from launchers.errors import UserError, closest
from vit_sweep.outcome.failure import one_line
from vit_sweep.plan.models import LIBRARIES, TIMM
from vit_sweep.plan.specs import ModelSpec

_USUAL_SIDE = 224
"""Pixels of a side that torchvision's models are made for, and timm's that do not say."""


def load(spec: ModelSpec, classes: int) -> nn.Module:
    """Build the model, with weights drawn anew and a head of one output per class, on torch's current device.

    Raises `UserError` for one that cannot be built, and one that does not answer images (n, channels, rows, columns)
    with logits (n, classes).
    """
    try:
        model = _built(spec, classes)
    except Exception as error:  # whatever somebody's function raises
        raise UserError(f"{_named(spec)}: it cannot be built: {one_line(error)}{_advice(spec, error)}") from error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"{_named(spec)}: it returned {type(model).__name__}, not a torch.nn.Module; it must return the model that "
            "it builds"
        )
    _require_logits(spec, model, classes)
    return model


def _built(spec: ModelSpec, classes: int) -> Any:
    arguments: dict[str, Any] = dict(spec.arguments)
    if spec.target == TIMM:
        import timm

        usual = getattr(timm.get_pretrained_cfg(spec.name), "input_size", None) or (3, _USUAL_SIDE, _USUAL_SIDE)
        if tuple(usual[-2:]) != spec.image_shape:
            arguments["img_size"] = spec.image_size
        if spec.channels != usual[0]:
            arguments["in_chans"] = spec.channels
        return timm.create_model(spec.name, num_classes=classes, **arguments)
    if spec.target in LIBRARIES:
        from torchvision.models import get_model

        if spec.image_size != _USUAL_SIDE:
            arguments["image_size"] = spec.image_size
        return get_model(spec.name, weights=None, num_classes=classes, **arguments)
    module, _, function = str(spec.target).partition(":")
    build = getattr(import_module(module), function)
    if spec.channels != 3:
        arguments["channels"] = spec.channels
    return build(num_classes=classes, image_size=spec.image_size, **arguments)


def _names(spec: ModelSpec) -> list[str]:
    """What its library can be asked for."""
    if spec.target == TIMM:
        import timm

        return list(timm.list_models())
    from torchvision.models import list_models

    return list(list_models())


def _require_logits(spec: ModelSpec, model: nn.Module, classes: int) -> None:
    shape_in, training = (1, spec.channels, *spec.image_shape), model.training
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(shape_in))
    except Exception as error:  # whatever somebody's module raises
        raise UserError(
            f"{_named(spec)}: it does not take images of (n, {', '.join(map(str, shape_in[1:]))}): {one_line(error)}"
        ) from error
    model.train(training)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (1, classes):
        raise UserError(
            f"{_named(spec)}: it answers one image with {shape} instead of logits (1, {classes}); it must have a head "
            f"of num_classes={classes} outputs"
        )


def _named(spec: ModelSpec) -> str:
    return f"model.target={spec.target} model.name={spec.name}"


def _advice(spec: ModelSpec, error: Exception) -> str:
    if spec.target not in LIBRARIES:
        return (
            "; it must be a function my_package.my_module:build(num_classes, image_size, ...) of a module on PYTHONPATH"
        )
    if isinstance(error, ImportError):
        return f"; pip install 'vit_sweep[{'timm' if spec.target == TIMM else 'train'}]'"
    architecture = spec.name.lower().partition(".")[0]  # of timm's, a tag says which weights it was published with
    if architecture not in (names := _names(spec)):
        return f"; {closest(architecture, names)}"
    return f"; image_size and model.arguments must be what {spec.target} knows of this name"
