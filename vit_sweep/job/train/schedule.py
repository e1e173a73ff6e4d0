"""The learning rate of the cell, set in the optimizer before each optimizer step."""

from vit_sweep.job.train.engines.engine import Optimizer
from vit_sweep.plan.cell import Cell
from vit_sweep.record.learning import lr_at


class Schedule:
    """Sets `learning.lr_at` in all parameter groups. It has no state worth saving: the rate is the step's."""

    def __init__(self, optimizer: Optimizer, cell: Cell) -> None:
        """Whatever rate a loaded checkpoint left in the optimizer is overwritten before its next step."""
        self._optimizer, self._cell = optimizer, cell
        self._set: float | None = None

    def before_step(self, epoch: int, step: int) -> None:
        """Set the rate of this step: `epoch` from 1, `step` the finished optimizer steps of it.

        A number kept by the host: nothing is copied to the device, and nothing is written when it stays the same.
        """
        rate = lr_at(self._cell, (epoch - 1) * self._cell.steps_per_epoch + step)
        if rate == self._set:
            return
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._set = rate
