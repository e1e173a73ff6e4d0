"""torch's DistributedDataParallel: whole states on every rank, gradients all-reduced while backward makes others."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from launchers.profile import Device
from vit_sweep.job.train.engines.engine import EngineReport, Inputs
from vit_sweep.job.train.engines.plain_torch import PlainTorch
from vit_sweep.job.train.model import device_of, optimizer
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import DDP, DDP_BUCKET_BYTES


def build(cell: Cell, model: nn.Module) -> "Ddp":
    model.to(device_of(cell))
    devices = [device_of(cell)] if cell.device is Device.CUDA else None
    wrapped = DistributedDataParallel(model, device_ids=devices, **ddp_options(cell))
    return Ddp(cell, wrapped, optimizer(cell, model), kind=DDP)


def ddp_options(cell: Cell) -> dict[str, Any]:
    """How the gradients are reduced: they lie in the buckets."""
    return {
        "bucket_cap_mb": DDP_BUCKET_BYTES // 2**20,
        "gradient_as_bucket_view": True,
        # With accumulation the first backward is one without exchange, from which a static graph cannot be learnt.
        "static_graph": cell.accum == 1,
    }


class Ddp(PlainTorch):
    """DDP behind the Protocol."""

    def __init__(
        self, cell: Cell, wrapped: DistributedDataParallel, optimizer: torch.optim.Optimizer, *, kind: str
    ) -> None:
        """`wrapped` holds the model, `optimizer` its weights."""
        self._ddp = wrapped
        super().__init__(cell, wrapped.module, optimizer, kind=kind)

    def forward(self, inputs: Inputs, *, boundary: bool) -> Tensor:
        """Logits of a micro step; whether its backward exchanges is settled here."""
        exchanges = boundary and not self._silent
        if exchanges and self._counts is not None:
            for size_bytes in self._buckets():
                self._counts.add("all_reduce", size_bytes)
        with nullcontext() if exchanges else self._ddp.no_sync():
            logits: Tensor = self._ddp(inputs)
        return logits

    def _buckets(self) -> list[int]:
        """Bytes of each bucket, as DDP built them after its first step."""
        built: dict[str, Any] = self._ddp._get_ddp_logging_data()  # type: ignore[no-untyped-call]  # torch's own gap
        sizes = built.get("rebuilt_bucket_sizes") or built["bucket_sizes"]
        return [int(size) for size in str(sizes).split(",")]

    def report(self) -> EngineReport:
        """Of the wrapper: it is what runs."""
        report = super().report()
        return report._replace(classes=(type(self._ddp).__name__, *report.classes[1:]))
