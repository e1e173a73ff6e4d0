"""megatron-core's distributed data parallel and, where it is asked for, its distributed optimizer.

Of Megatron's parallelism only that over data: its tensor and pipeline parallel layers are for its own models.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer import OptimizerConfig, ParamKey, get_megatron_optimizer
from megatron.core.optimizer.optimizer_config import ParamPredicate
from megatron.core.optimizer_param_scheduler import ParamGroupOverride
from megatron.core.transformer import TransformerConfig
from torch import Tensor, nn

from vit_sweep.job.train.engines.engine import EngineReport, Inputs
from vit_sweep.job.train.engines.plain_torch import PlainTorch
from vit_sweep.job.train.model import decays, device_of
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.engine.kinds import MEGATRON, MEGATRON_BUCKET_ELEMENTS


def build(cell: Cell, model: nn.Module) -> "Megatron":
    """Wrap the model, and make Megatron's own optimizer; the rank has a CUDA device."""
    if not parallel_state.is_initialized():
        parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    wrapped = DistributedDataParallel(_shape(cell), _communication(cell), model.to(device_of(cell)))
    return Megatron(cell, wrapped, _optimizer(cell, wrapped))


def _shape(cell: Cell) -> TransformerConfig:
    """What it asks of its own models. Of one that others build nothing is known, and nothing hangs on it here."""
    model = cell.model
    return TransformerConfig(
        num_layers=model.layers or 1,
        hidden_size=model.width or 1,
        num_attention_heads=model.heads or 1,
        ffn_hidden_size=model.mlp_width or 1,
    )


def _communication(cell: Cell) -> DistributedDataParallelConfig:
    return DistributedDataParallelConfig(
        overlap_grad_reduce=True,
        bucket_size=max(MEGATRON_BUCKET_ELEMENTS, 10**6 * cell.gpus),
        use_distributed_optimizer=bool(cell.engine.distributed_optimizer),
    )


def _optimizer(cell: Cell, wrapped: DistributedDataParallel) -> Any:
    """Megatron's, with what torch's is given."""
    spec = cell.optimizer
    config = OptimizerConfig(
        optimizer="sgd" if spec.kind is OptimizerKind.SGD else "adam",
        decoupled_weight_decay=spec.kind is OptimizerKind.ADAMW,
        lr=spec.learning_rate,
        weight_decay=spec.weight_decay,
        adam_beta1=spec.beta1,
        adam_beta2=spec.beta2,
        adam_eps=spec.eps,
        sgd_momentum=spec.beta1,
        clip_grad=spec.clip_norm,
        use_distributed_optimizer=bool(cell.engine.distributed_optimizer),
    )
    undecayed = ParamKey(predicate=ParamPredicate("undecayed", lambda weight: not decays(spec, weight)))
    # None would stand for Megatron's own rule.
    overrides = {} if spec.decay_all else {undecayed: ParamGroupOverride(wd_mult=0.0)}
    optimizer = get_megatron_optimizer(config, [wrapped], config_overrides=overrides, use_gloo_process_groups=False)
    # Megatron does this in its schedule, which is not used here.
    for group in optimizer.param_groups:
        group["weight_decay"] *= group["wd_mult"]
    return optimizer


class Megatron(PlainTorch):
    """Megatron's wrapper and optimizer behind the Protocol."""

    def __init__(self, cell: Cell, wrapped: DistributedDataParallel, optimizer: Any) -> None:
        """`optimizer` is that of `wrapped`."""
        super().__init__(cell, wrapped.module, optimizer, kind=MEGATRON)
        self._wrapped = wrapped
        wrapped.zero_grad_buffer()

    def forward(self, inputs: Inputs, *, boundary: bool) -> Tensor:  # noqa: ARG002 - backward exchanges
        """Logits of a micro step."""
        logits: Tensor = self._wrapped(inputs)
        return logits

    def backward(self, loss: Tensor, *, boundary: bool) -> None:
        """Add to the buffer; at a boundary its buckets are reduced as they become full."""
        exchanges = boundary and all(self.carries(kind, size) for kind, size in self._reductions())
        with nullcontext() if exchanges else self._wrapped.no_sync():
            super().backward(loss, boundary=boundary)
        if exchanges:
            self._wrapped.finish_grad_sync()

    def step(self, *, boundary: bool) -> None:
        """Update at a boundary; with the distributed optimizer the weights are then gathered."""
        if not boundary:
            return
        self._optimizer.step()
        self._wrapped.zero_grad_buffer()
        self._optimizer.zero_grad()

    def _reductions(self) -> list[tuple[str, int]]:
        kind = "reduce_scatter_tensor" if self._cell.engine.distributed_optimizer else "all_reduce"
        return [(kind, bucket.grad_data.nbytes) for group in self._wrapped.bucket_groups for bucket in group.buckets]

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Also the gathering of weights, which the optimizer begins."""
        with super().silenced():
            self._wrapped.start_param_sync = lambda *_, **__: None
            try:
                yield
            finally:
                del self._wrapped.start_param_sync

    @contextmanager
    def counted(self) -> Iterator[Any]:
        """Also the gathering of weights."""
        gather = self._wrapped.start_param_sync

        def counting(*args: Any, **options: Any) -> None:
            for buffer in self._wrapped.buffers:
                self.carries("all_gather_into_tensor", buffer.param_data.nbytes)
            gather(*args, **options)

        with super().counted() as counts:
            if self._cell.engine.distributed_optimizer:
                self._wrapped.start_param_sync = counting
            try:
                yield counts
            finally:
                self._wrapped.__dict__.pop("start_param_sync", None)

    def save(self, folder: Path) -> None:
        """The weights once, and each rank's part of the moments."""
        moments = [part.optimizer.state_dict() for part in self._parts()]
        torch.save(moments, folder / f"moments{dist.get_rank()}.pt")
        if dist.get_rank() == 0:
            torch.save(self._model.state_dict(), folder / "weights.pt")

    def load(self, folder: Path) -> None:
        """In place: weights and their buffer are the same memory."""
        weights, moments = (
            torch.load(folder / name, map_location="cpu", weights_only=True)
            for name in ("weights.pt", f"moments{dist.get_rank()}.pt")
        )
        self._model.load_state_dict(weights)
        for part, state in zip(self._parts(), moments, strict=True):
            part.optimizer.load_state_dict(state)

    def _parts(self) -> list[Any]:
        """Optimizers of kinds of weights: a ViT has one."""
        return list(getattr(self._optimizer, "chained_optimizers", [self._optimizer]))

    def report(self) -> EngineReport:
        """Of what Megatron made."""
        sound = self._wrapped.ddp_config.use_distributed_optimizer == self._cell.engine.distributed_optimizer
        classes = (f"megatron {type(self._wrapped).__name__}", *(type(part).__name__ for part in self._parts()))
        report = super().report()._replace(classes=classes)
        return report if sound else report._replace(kind="megatron with another optimizer")
