"""Weights from a file in a model that is built here; positions of another image size are resampled."""

from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from launchers.atomic import reading
from vit_sweep.job.rank_log import say
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, one_line
from vit_sweep.plan.choices import Pool
from vit_sweep.plan.models import (
    CLASS_TOKEN,
    HEAD,
    POSITIONS,
    Grid,
    digest,
    grid_in_file,
    grid_of,
    in_file,
    weights_mismatch,
)
from vit_sweep.plan.specs import ModelSpec


@torch.no_grad()
def begin(model: nn.Module, spec: ModelSpec) -> None:
    """Put the file's weights into the model; the head stays as it was drawn where the file's has other outputs.

    Raises `JobError` where the file is not the one that was planned.
    """
    weights = _read(spec)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    problem = weights_mismatch(spec, shapes)
    if problem is not None:
        raise JobError(Cause.CONFIGURATION, problem)
    for name, parameter in model.named_parameters():
        stored = weights.get(in_file(name, weights))
        if name == POSITIONS and stored is not None:
            stored = _positions(stored, spec, shapes)
        if stored is not None and stored.shape == parameter.shape:
            parameter.copy_(stored)
        elif name.startswith(HEAD):
            say(f"model.init: {name} is drawn anew, the file's is of another number of outputs")
        else:
            raise JobError(Cause.CONFIGURATION, f"model.init={spec.init}: it has no {name} as this model has")


def resampled(positions: Tensor, before: Grid, after: Grid) -> Tensor:
    """Positions (1, rows x columns, width) of one grid of patches, at those of another by bicubic weights.

    By where a patch lies in the whole image (Dosovitskiy et al. 2021, section 3.2).
    """
    if before == after:
        return positions
    grid = positions.float().reshape(1, *before, -1).permute(0, 3, 1, 2)  # (1, width, rows, columns)
    return interpolate(grid, size=after, mode="bicubic", antialias=True).flatten(2).transpose(1, 2)


def _positions(stored: Tensor, spec: ModelSpec, shapes: dict[str, tuple[int, ...]]) -> Tensor:
    grid = grid_in_file(spec, shapes)
    assert grid is not None, "`weights_mismatch` has looked"
    first = int(in_file(CLASS_TOKEN, shapes) in shapes)
    patches = resampled(stored[:, first:], grid, grid_of(spec))
    return torch.cat([stored[:, :first], patches], dim=1) if spec.pool is Pool.CLASS else patches


def _read(spec: ModelSpec) -> dict[str, Tensor]:
    setting = f"model.init={spec.init}"
    try:
        from safetensors.torch import load

        with reading(Path(str(spec.init))) as file:
            content = file.read()
    except (ImportError, OSError) as error:
        raise JobError(Cause.CONFIGURATION, f"{setting}: {one_line(error)}; it must be there on every node") from error
    if digest(BytesIO(content)) != spec.init_content:
        raise JobError(
            Cause.CONFIGURATION, f"{setting}: it is not the file that was planned; give the sweep's command again"
        )
    weights: dict[str, Tensor] = load(content)
    return weights
