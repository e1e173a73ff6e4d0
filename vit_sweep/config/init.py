"""Files of weights that models begin with, read for shapes and digest before anything is planned. An edge."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from launchers.atomic import reading
from launchers.errors import UserError
from vit_sweep.plan.init import Shape, digest, weights_mismatch
from vit_sweep.plan.point import Point

Known = tuple[dict[str, Shape], str]
"""Shapes by name, and the digest of the file."""


def with_init(points: Iterable[Point]) -> list[Point]:
    """The points, whose `model.init` fits and has its digest; raises `UserError` where one does not."""
    files: dict[str, Known] = {}
    checked_points = []
    for point in points:
        if point.model.init is not None:
            path = str(Path(point.model.init).expanduser().absolute())
            if path not in files:
                files[path] = _shapes_and_digest(path)
            shapes, digest = files[path]
            problem = weights_mismatch(point.model, shapes)
            if problem:
                raise UserError(problem)
            point = replace(point, model=replace(point.model, init=path, init_content=digest))  # noqa: PLW2901
        checked_points.append(point)
    return checked_points


def _shapes_and_digest(path: str) -> Known:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UserError(
            f"model.init={path}: safetensors is not installed here: pip install 'vit_sweep[train]', or leave it out"
        ) from None
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
        with reading(Path(path)) as stream:
            return shapes, digest(stream)
    except OSError as error:
        raise UserError(
            f"model.init={path}: it cannot be read ({error.strerror or error}); give another file"
        ) from None
    except SafetensorError as error:
        raise UserError(f"model.init={path}: it is no whole safetensors file ({error}); give another file") from None
