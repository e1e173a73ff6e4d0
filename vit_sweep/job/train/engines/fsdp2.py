"""torch's FSDP2 (`fully_shard`): states sharded over the ranks, weights gathered block by block."""

from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter
from torch.distributed.tensor import DTensor

from vit_sweep.job.train.engines.engine import EngineReport, Inputs
from vit_sweep.job.train.engines.plain_torch import PlainTorch
from vit_sweep.job.train.measure.collectives import fill_locally
from vit_sweep.job.train.model import device_of, optimizer
from vit_sweep.job.train.pairs.towers import blocks_of
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import FSDP2


def build(cell: Cell, model: nn.Module) -> "Fsdp2":
    """Shard each encoder block, then what is left."""
    mesh = init_device_mesh(cell.device.value, (cell.gpus,))
    model = model.to(device_of(cell))
    # Of a model that others build it is not known what the blocks are.
    for block in blocks_of(model) if cell.model.target is None else ():
        fully_shard(block, mesh=mesh, reshard_after_forward=bool(cell.engine.reshard_after_forward))
    # What is in no block (patches, head) is needed first in backward: kept meanwhile, as torch does by itself.
    return Fsdp2(cell, fully_shard(model, mesh=mesh, reshard_after_forward=False))


class Fsdp2(PlainTorch):
    """FSDP2 behind the Protocol."""

    def __init__(self, cell: Cell, model: FSDPModule) -> None:
        """`model` is sharded."""
        assert isinstance(model, nn.Module)
        # After the sharding: the optimizer updates a rank's part of each weight.
        super().__init__(cell, model, optimizer(cell, model), kind=FSDP2)
        self._sharded = model
        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.set_custom_all_gather(_Gather(self))
                part.set_custom_reduce_scatter(_Scatter(self))

    def forward(self, inputs: Inputs, *, boundary: bool) -> Tensor:
        """Logits of a micro step; its backward scatters gradients at a boundary only."""
        self._sharded.set_requires_gradient_sync(boundary)
        return self.evaluate(inputs)

    def report(self) -> EngineReport:
        """It is FSDP2 if every weight is one of which each rank keeps a part."""
        report = super().report()
        sharded = all(isinstance(weight, DTensor) for weight in self._model.parameters())
        return report if sharded else report._replace(kind="unsharded")


class _Gather(DefaultAllGather):
    """torch's gathering of weights, which can be counted and left out."""

    def __init__(self, engine: Fsdp2) -> None:
        self._engine = engine

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, *args: Any, **options: Any) -> Any:
        if self._engine.carries("all_gather_into_tensor", output_tensor.nbytes):
            return super().__call__(output_tensor, input_tensor, *args, **options)
        # torch gathers in place, into memory that nobody has written: a copy of the own part is put everywhere.
        fill_locally("all_gather_into_tensor", [output_tensor, input_tensor.clone()])
        return None


class _Scatter(DefaultReduceScatter):
    """torch's reduction of gradients to those of whom they belong to, which can be counted and left out."""

    def __init__(self, engine: Fsdp2) -> None:
        self._engine = engine

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, *args: Any, **options: Any) -> Any:
        if self._engine.carries("reduce_scatter_tensor", input_tensor.nbytes):
            return super().__call__(output_tensor, input_tensor, *args, **options)
        fill_locally("reduce_scatter_tensor", [output_tensor, input_tensor])
        return None
