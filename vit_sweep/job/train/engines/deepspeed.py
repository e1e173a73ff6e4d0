"""DeepSpeed, with ZeRO stage 0 to 3."""

import pickle
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from pydantic import ValidationError
from torch import Tensor, nn

from vit_sweep.job.train.continuing.deepspeed_states import take_over
from vit_sweep.job.train.continuing.whole_state import TrainingState
from vit_sweep.job.train.engines.autocast import precision_of, scaler_of
from vit_sweep.job.train.engines.deepspeed_schema import keys_read
from vit_sweep.job.train.engines.engine import EngineReport, Inputs
from vit_sweep.job.train.engines.half_step import lean
from vit_sweep.job.train.engines.offload import nvme_folder
from vit_sweep.job.train.measure.collectives import Counted, counted, silenced, start_deepspeed
from vit_sweep.job.train.model import optimizer
from vit_sweep.job.train.models.sequence import sequence_ranks
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Offload, Precision
from vit_sweep.plan.engine.ds_config import ds_config
from vit_sweep.plan.engine.knobs import further
from vit_sweep.plan.specs import DEEPSPEED
from vit_sweep.record.record import BatchTriple

TAG = "state"
"""Name of the folder of a checkpoint in which its files lie."""


def build(cell: Cell, model: nn.Module) -> "DeepSpeed":
    """Wrap the model and torch's optimizer with the configuration of `ds_config`."""
    start_deepspeed(cell)
    try:
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer(cell, model), config=configuration(cell))
    except ValidationError as error:
        errors = "; ".join(f"{'.'.join(map(str, e['loc']))} – {e['msg']}" for e in error.errors())
        raise JobError(
            Cause.CONFIGURATION, f"engine.config={list(cell.engine.config)}: DeepSpeed refuses it: {errors}"
        ) from error
    _require_offload(cell, engine.optimizer)
    lean(engine.optimizer)
    scale_loss(cell, engine)
    return DeepSpeed(engine)


def scale_loss(cell: Cell, engine: Any) -> None:
    """Where fp16 is autocast's: DeepSpeed's own scaling of 16-bit weights, which all ranks decide together.

    Without ZeRO that of torch, which DeepSpeed drives if it is there.
    """
    if cell.precision is not Precision.FP16_AMP:
        return
    if engine.zero_optimization_stage():
        engine.optimizer.loss_scaler = DynamicLossScaler(**_SCALES)
        engine.optimizer.dynamic_loss_scale = True
    else:
        engine.torch_autocast_z0_gradscaler = scaler_of(cell)


_SCALES = {
    "init_scale": 2.0**16,
    "scale_window": 1000,
    "min_scale": 1.0,
    "delayed_shift": 2,
    "consecutive_hysteresis": False,
}
"""DeepSpeed's defaults for 16-bit weights."""


def _require_offload(cell: Cell, optimizer: Any) -> None:
    """Raise `JobError` where states lie elsewhere than was asked, as DeepSpeed's own optimizer says."""
    offloads = {
        "offload_optimizer": getattr(optimizer, "cpu_offload", False) or getattr(optimizer, "offload_optimizer", False),
        "offload_param": getattr(optimizer, "offload_param", False),
    }
    for name, offloaded in offloads.items():
        place = getattr(cell.engine, name)
        if bool(offloaded) != (place is not Offload.NONE):
            raise JobError(
                Cause.MISMATCH,
                f"engine.{name}={place.value}: DeepSpeed {'moves' if offloaded else 'keeps'} these states all the same",
            )


def configuration(cell: Cell) -> dict[str, Any]:
    """The cell's configuration, with this node's folder where states are swapped to files."""
    config = ds_config(cell)
    keys_by_section = keys_read() if cell.engine.config else {}
    for key, _ in further(cell.engine):
        section, _, name = key.rpartition(".")
        if name not in keys_by_section.get(section, ()):
            raise JobError(
                Cause.CONFIGURATION,
                f"engine.config.{key}: DeepSpeed {deepspeed.__version__} here does not read it; leave it out",
            )
    for name in ("offload_optimizer", "offload_param"):
        if getattr(cell.engine, name) is Offload.NVME:
            config["zero_optimization"][name]["nvme_path"] = nvme_folder()
            if not deepspeed.ops.op_builder.AsyncIOBuilder().is_compatible():
                raise JobError(
                    Cause.CONFIGURATION,
                    f"engine.{name}=nvme: DeepSpeed cannot build what reads and writes its files (async_io), for which "
                    f"the nodes need a C++ compiler and libaio's headers; install libaio-dev, or use {name}=cpu",
                )
    return config


class DeepSpeed:
    """DeepSpeed's engine behind the Protocol."""

    def __init__(self, engine: Any) -> None:
        """`engine`: what `deepspeed.initialize` returned."""
        self._engine = engine
        self._skipped = 0

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """torch's, which scales the loss of fp16 products without ZeRO."""
        scaler: torch.amp.GradScaler | None = self._engine.torch_autocast_z0_gradscaler
        return scaler

    @property
    def module(self) -> nn.Module:
        """The model; ZeRO 3 keeps a part of each parameter, as `ds_tensor`."""
        model: nn.Module = self._engine.module
        return model

    @property
    def optimizer(self) -> Any:
        """DeepSpeed's wrapper of torch's, if the stage or the number format has one."""
        return self._engine.optimizer

    @property
    def skipped_steps(self) -> int:
        """Steps that fp16's loss scaling threw away, as DeepSpeed has read already, or torch's scaler has shown."""
        return int(self._engine.skipped_steps) + self._skipped

    def exchange_apart(self, enabled: bool) -> bool:
        """ZeRO 1 to 3 reduce in hooks of the backward pass.

        For ZeRO 0 DeepSpeed calls the method of `exchange` at the end of its backward, so calling it ourselves changes
        nothing but that its time can be told apart.
        """
        is_apart = enabled and self._engine.zero_optimization_stage() == 0
        self._engine.enable_backward_allreduce = not is_apart
        return is_apart

    def forward(self, inputs: Inputs, *, boundary: bool) -> Tensor:  # noqa: ARG002 - DeepSpeed counts micro steps
        """Logits of a micro step."""
        return self.evaluate(inputs)

    def backward(self, loss: Tensor, *, boundary: bool) -> None:  # noqa: ARG002 - as above
        """DeepSpeed divides by the accumulation itself."""
        self._engine.backward(loss)

    def exchange(self) -> None:
        """The one all-reduce of ZeRO 0."""
        self._engine.allreduce_gradients()

    def step(self, *, boundary: bool) -> None:  # noqa: ARG002 - as above
        """DeepSpeed updates at the boundary of the accumulation only, and counts before it."""
        with self._watched_scale():
            self._engine.step()

    @contextmanager
    def _watched_scale(self) -> Iterator[None]:
        """Count an update within it that torch's scaler left out: it makes its scale smaller then."""
        scale_before = self._scaler.get_scale() if self._scaler is not None else 0.0
        yield
        self._skipped += self._scaler is not None and self._scaler.get_scale() < scale_before

    def evaluate(self, inputs: Inputs) -> Tensor:
        """Logits of whatever images or pairs."""
        logits: Tensor = self._engine(inputs)
        return logits

    def weights(self) -> dict[str, Tensor]:
        """ZeRO 3 gathers them for a moment."""
        weights = dict(self.module.named_parameters())
        with deepspeed.zero.GatheredParameters(
            list(weights.values()), enabled=self._engine.zero_optimization_stage() == 3
        ):
            return {name: weight.detach().cpu().clone() for name, weight in weights.items()}

    def silenced(self) -> AbstractContextManager[None]:
        """Turn off what goes through DeepSpeed's backend."""
        return silenced()

    def counted(self) -> AbstractContextManager[Counted]:
        """Count what goes through DeepSpeed's backend."""
        return counted()

    def save(self, folder: Path) -> None:
        """DeepSpeed's own files."""
        scaler = {} if self._scaler is None else {"scaler": self._scaler.state_dict()}
        self._engine.save_checkpoint(str(folder), client_state=scaler, tag=TAG, save_latest=False)

    def load(self, folder: Path) -> None:
        """Read them, held to what is safe."""
        with tensors_only():
            _, client_state = self._engine.load_checkpoint(str(folder), tag=TAG)
        if self._scaler is not None:
            self._scaler.load_state_dict(client_state["scaler"])

    def load_state(self, state: TrainingState) -> None:
        """Each rank takes its part of what others left."""
        take_over(self._engine, state)
        if self._scaler is not None and state.scale is not None:
            self._scaler.load_state_dict(state.scale.of_torch(self._scaler.state_dict()))

    def report(self) -> EngineReport:
        """What DeepSpeed itself says, and torch of its fp32 products."""
        engine = self._engine
        return EngineReport(
            kind=DEEPSPEED if isinstance(engine, DeepSpeedEngine) else type(engine).__name__,
            classes=(type(engine).__name__, type(engine.optimizer).__name__),
            batch=BatchTriple(
                micro_batch=engine.train_micro_batch_size_per_gpu(),
                accum=engine.gradient_accumulation_steps(),
                global_batch=engine.train_batch_size() // sequence_ranks(engine.module),
            ),
            zero_stage=engine.zero_optimization_stage(),
            precision=_precision(engine),
            # ZeRO-3 keeps a shard of each parameter; `ds_numel` is the whole one's size.
            parameters=sum(getattr(p, "ds_numel", p.numel()) for p in engine.module.parameters()),
        )


def _precision(engine: Any) -> str:
    if engine.bfloat16_enabled():
        return Precision.BF16.value
    if engine.fp16_enabled():
        return Precision.FP16.value
    return precision_of(engine.module)


def _member(enumeration: Any, name: str) -> Enum:
    """What a checkpoint may ask `getattr` for: a member of an enumeration, which some Pythons pickle by its name."""
    if isinstance(enumeration, type) and issubclass(enumeration, Enum) and name in enumeration.__members__:
        return enumeration[name]
    raise pickle.UnpicklingError(f"{name} of {enumeration} is no member of an enumeration")


_OURS = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address, (_member, "builtins.getattr")]


@contextmanager
def tensors_only() -> Iterator[None]:
    """Within it torch unpickles tensors and the few classes of DeepSpeed that a checkpoint of ours holds.

    DeepSpeed asks for all of pickle, which runs whatever the file names: `torch.load` is held to the safe part.
    """
    everything = torch.load

    def load(*args: Any, **options: Any) -> Any:
        return everything(*args, **(options | {"weights_only": True}))

    torch.load = load
    try:
        with torch.serialization.safe_globals(_OURS):
            yield
    finally:
        torch.load = everything
