"""Hugging Face's Accelerate: its DDP, or DeepSpeed by its plugin where a ZeRO stage is asked for.

It takes what it finds for what was meant: `cpu=True` passes the plugin over, without it and without CUDA each rank
trains alone, a second Accelerator keeps the first one's settings. So everything is said to it, its state is forgotten
before, and what it made is looked at.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedDataParallelKwargs
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from launchers.profile import Device
from launchers.text import plural
from vit_sweep.job.train.engines.ddp import Ddp, ddp_options
from vit_sweep.job.train.engines.deepspeed import DeepSpeed, configuration, scale_loss
from vit_sweep.job.train.engines.engine import Engine, EngineReport
from vit_sweep.job.train.engines.plain_torch import PlainTorch
from vit_sweep.job.train.measure.collectives import start_deepspeed
from vit_sweep.job.train.model import device_of, optimizer
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import ACCELERATE


def build(cell: Cell, model: nn.Module) -> Engine:
    """Let an Accelerator prepare the model and torch's optimizer."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    plugin = cell.engine.zero_stage is not None
    with _environment(cell, ACCELERATE_USE_DEEPSPEED=str(plugin).lower()):
        return _deepspeed(cell, model) if plugin else _ddp(cell, model.to(device_of(cell)))


def _ddp(cell: Cell, model: nn.Module) -> Engine:
    accelerator = Accelerator(
        cpu=cell.device is Device.CPU,
        mixed_precision=cell.precision.products.value if cell.precision.autocast else "no",
        gradient_accumulation_steps=cell.accum,
        kwargs_handlers=[DistributedDataParallelKwargs(**ddp_options(cell))],
    )
    wrapped, stepped = accelerator.prepare(model, optimizer(cell, model))
    if dist.get_world_size() == 1 and wrapped is model:
        # It sees nothing to exchange, and leaves the model as it is.
        return _Alone(cell, model, accelerator, stepped)
    _require(DistributedDataParallel, wrapped, accelerator, cell)
    return _Ddp(cell, wrapped, accelerator, stepped)


def _deepspeed(cell: Cell, model: nn.Module) -> "_DeepSpeed":
    start_deepspeed(cell)
    # Without its backend it takes a run without CUDA for one of a single process.
    PartialState(backend="gloo" if cell.device is Device.CPU else "nccl")
    plugin = DeepSpeedPlugin(hf_ds_config=configuration(cell), zero3_init_flag=False)
    accelerator = Accelerator(deepspeed_plugin=plugin, gradient_accumulation_steps=cell.accum)
    engine, _ = accelerator.prepare(model, optimizer(cell, model))
    _require(DeepSpeedEngine, engine, accelerator, cell)
    scale_loss(cell, engine)
    return _DeepSpeed(accelerator, engine)


def _require(expected: type, wrapped: nn.Module, accelerator: Accelerator, cell: Cell) -> None:
    if isinstance(wrapped, expected) and accelerator.num_processes == dist.get_world_size():
        return
    raise JobError(
        Cause.MISMATCH,
        f"engine={cell.engine.name}: {expected.__name__} was asked for on {plural(dist.get_world_size(), 'rank')}, and "
        f"Accelerate made {type(wrapped).__name__} of the model ({accelerator.distributed_type.value}, "
        f"{plural(accelerator.num_processes, 'process|processes')}); nothing was trained, since it would be "
        "something else",
    )


@contextmanager
def _environment(cell: Cell, **variables: str) -> Iterator[None]:
    """Say what an Accelerator reads from the environment, and undo what it changes: variables, and torch's threads."""
    previous, threads, device = dict(os.environ), torch.get_num_threads(), device_of(cell)
    # It asks for an address, though the process group is there; a rank's GPU is the one of its local rank's number.
    os.environ.update({"MASTER_ADDR": "127.0.0.1", **variables})
    if device.index is not None:
        os.environ["LOCAL_RANK"] = str(device.index)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(previous)
        torch.set_num_threads(threads)


class _Driven(PlainTorch):
    """What an Accelerator does of a step where torch's optimizer updates."""

    _accelerator: Accelerator
    _stepped: AcceleratedOptimizer
    """What the Accelerator made of the optimizer."""

    def backward(self, loss: Tensor, *, boundary: bool) -> None:
        """It divides by the accumulation, and updates where gradients are in step."""
        self._accelerator.sync_gradients = boundary
        self._accelerator.backward(loss)

    def _drive(self, accelerator: Accelerator, stepped: AcceleratedOptimizer) -> None:
        """Take what scales the loss from it; it does so itself."""
        self._accelerator, self._stepped = accelerator, stepped
        self._scaler = accelerator.scaler or self._scaler

    def _update(self) -> None:
        """The Accelerator's part of a boundary, which `backward` has told it."""
        self._stepped.step()
        self._stepped.zero_grad()

    def report(self) -> EngineReport:
        """Its casting too, which it lays around the model's forward."""
        report = super().report()
        casts = self._accelerator.native_amp and hasattr(self._model, "_original_forward")
        return report._replace(precision=f"{self._accelerator.mixed_precision}_amp") if casts else report


class _Alone(_Driven):
    """One rank, whose model is not wrapped."""

    def __init__(self, cell: Cell, model: nn.Module, accelerator: Accelerator, stepped: AcceleratedOptimizer) -> None:
        super().__init__(cell, model, stepped.optimizer, kind=ACCELERATE)
        self._drive(accelerator, stepped)


class _Ddp(_Driven, Ddp):
    """DDP that an Accelerator drives."""

    def __init__(
        self, cell: Cell, wrapped: DistributedDataParallel, accelerator: Accelerator, stepped: AcceleratedOptimizer
    ) -> None:
        Ddp.__init__(self, cell, wrapped, stepped.optimizer, kind=ACCELERATE)
        self._drive(accelerator, stepped)


class _DeepSpeed(DeepSpeed):
    """DeepSpeed's engine that an Accelerator drives."""

    def __init__(self, accelerator: Accelerator, engine: DeepSpeedEngine) -> None:
        super().__init__(engine)
        self._accelerator = accelerator

    def exchange_apart(self, enabled: bool) -> bool:  # noqa: ARG002 - the update follows within `backward`
        """Gradients are exchanged during backward, with ZeRO 0 at its end."""
        return False

    def backward(self, loss: Tensor, *, boundary: bool) -> None:
        """Backward, and at a boundary the update too: so does Accelerate."""
        self._accelerator.sync_gradients = boundary
        with self._watched_scale():
            self._accelerator.backward(loss)

    def step(self, *, boundary: bool) -> None:
        """Nothing is left."""

    def report(self) -> EngineReport:
        """What DeepSpeed itself says."""
        return super().report()._replace(kind=ACCELERATE)
