"""From a cell to its engine."""

from importlib import import_module

from torch import nn

from launchers.profile import Device
from vit_sweep.job.train.engines import ddp
from vit_sweep.job.train.engines.autocast import under_autocast
from vit_sweep.job.train.engines.engine import Build, Engine
from vit_sweep.job.train.model import DTYPES, device_of, multiply_in, require_precision, vision_transformer
from vit_sweep.job.train.models.sequence import require_kernel
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, one_line
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import ACCELERATE, DDP, FSDP2, MEGATRON, MEGATRON_NEEDS_CUDA, OPTIONAL, machinery
from vit_sweep.plan.specs import DEEPSPEED
from vit_sweep.study.code.provenance import absent_packages


def _deepspeed(cell: Cell, model: nn.Module) -> Engine:
    import vit_sweep.job.train.imports.with_deepspeed  # noqa: F401
    from vit_sweep.job.train.engines import deepspeed

    return deepspeed.build(cell, model)


def _fsdp2(cell: Cell, model: nn.Module) -> Engine:
    from vit_sweep.job.train.engines import fsdp2

    return fsdp2.build(cell, model)


_BUILD: dict[str, Build] = {DEEPSPEED: _deepspeed, DDP: ddp.build, FSDP2: _fsdp2}


def engine_of(cell: Cell) -> Engine:
    """Build the cell's model, from its seed, in the cell's engine; the process group is there.

    Raises `JobError` for a number format or a kernel that the device lacks, and an engine that cannot be imported.
    """
    require_precision(cell)
    require_kernel(cell, device_of(cell), DTYPES[cell.precision.products])
    return wrapped(cell, vision_transformer(cell))


def wrapped(cell: Cell, model: nn.Module) -> Engine:
    """Build this model in the cell's engine, alike on all ranks."""
    multiply_in(cell.precision)
    kind = cell.engine.kind
    if not (kind == ACCELERATE and machinery(cell.engine) == DDP):  # an Accelerator casts by itself
        under_autocast(cell, model)
    if kind in OPTIONAL:
        return _optional(cell)(cell, model)
    build = _BUILD[kind] if kind in _BUILD else _of_module(kind)
    return build(cell, model)


def _optional(cell: Cell) -> Build:
    """The function of an engine whose packages are not everybody's, or that runs on some devices only."""
    kind = cell.engine.kind
    problem = absent_packages(kind)
    if kind == MEGATRON and cell.device is not Device.CUDA:
        problem = f"{MEGATRON_NEEDS_CUDA}, and this rank has none; use another engine"
    if problem:
        raise JobError(Cause.CONFIGURATION, f"engine={kind}: {problem}")
    build: Build = import_module(f"vit_sweep.job.train.engines.{kind}").build
    return build


def _of_module(name: str) -> Build:
    """The function of somebody's own engine."""
    try:
        build: Build = import_module(name).build
    except Exception as error:  # a module of somebody's own may raise whatever it likes
        raise JobError(
            Cause.CONFIGURATION,
            f"engine.kind={name}: no engine can be had from this module ({one_line(error)}); it must be on PYTHONPATH "
            "and have a function build(cell, model)",
        ) from error
    return build
