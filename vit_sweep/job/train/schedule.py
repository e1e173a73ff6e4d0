"""The learning rate of the cell, set in the engine before each optimizer step."""

from typing import Any

from vit_sweep.plan.cell import Cell
from vit_sweep.record.learning import lr_at


class Schedule:
    """Sets `learning.lr_at` in all parameter groups. It has no state worth saving: the rate is the step's."""

    def __init__(self, engine: Any, cell: Cell) -> None:
        """`engine` is DeepSpeed's; whatever rate a loaded checkpoint left in it is overwritten before its next step."""
        self._engine, self._cell = engine, cell
        self._set: float | None = None

    def before_step(self, epoch: int, step: int) -> None:
        """Set the rate of this step: `epoch` from 1, `step` the finished optimizer steps of it.

        A number kept by the host: nothing is copied to the device, and nothing is written when it stays the same.
        """
        rate = lr_at(self._cell, (epoch - 1) * self._cell.steps_per_epoch + step)
        if rate == self._set:
            return
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._set = rate
