"""From a cell to its engine."""

from vit_sweep.job.train.engines import deepspeed
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.model import multiply_in, require_precision, vision_transformer
from vit_sweep.plan.cell import Cell


def engine_of(cell: Cell) -> Engine:
    """Build the cell's model, from its seed, in the cell's engine; the process group is there.

    Raises `JobError` for a number format that the device does not have.
    """
    require_precision(cell)
    multiply_in(cell.precision)
    return deepspeed.build(cell, vision_transformer(cell))
