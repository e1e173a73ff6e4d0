"""Whether a run learns: the learning rate of every step, the time to a target accuracy, and a loss that is none. Pure.

The rate is a function of the cell and the step alone. No state of it is saved: a run that goes on from a checkpoint
has the rate of its step.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import LrScaling, LrSchedule
from vit_sweep.record.record import Record


@checked
class Reached:
    """When a run first classified so many of the test images right."""

    seconds: float | None
    """Training time up to the end of that epoch: epochs summed, each the max over ranks, evaluation not counted."""
    epoch: int | None
    """That epoch, from 1; None: never."""
    reason: str = ""
    """Why there are no seconds."""
    below_s: float | None = None
    """Training time at the last evaluation below the target; 0: the first evaluation had it."""
    wall_s: float | None = None
    """From the first touch of the data set to the end of the evaluation that had it (`EpochReport.wall_s`)."""
    trained_s: float | None = None
    """Of a run that never reached it: all its training, at which it was still below."""
    diverged: bool = False
    """It ended with a loss that is none, and would never have reached it."""

    @property
    def never(self) -> bool:
        """Whether it ended without having reached it."""
        return self.diverged or self.trained_s is not None


def peak_rate(cell: Cell) -> float:
    """The learning rate after the warm-up: rate x (global batch / base batch), its root, or as it was given."""
    ratio = cell.global_batch / cell.optimizer.base_batch
    match cell.lr_scaling:
        case LrScaling.NONE:
            return cell.optimizer.learning_rate
        case LrScaling.LINEAR:
            return cell.optimizer.learning_rate * ratio
        case LrScaling.SQRT:
            return cell.optimizer.learning_rate * math.sqrt(ratio)


def lr_at(cell: Cell, step: int) -> float:
    """The learning rate of an optimizer step, counted from 0 over the whole run.

    Warm-up over W = lr_warmup_epochs x steps per epoch: peak x (step + 1) / W, a line that starts at 0 before the
    first step (whose own rate is not 0: it would be a step for nothing). Afterwards, of the S steps that are left, the
    part t = (step - W) / S has gone by: peak, peak x (1 + cos pi t) / 2 or peak x (1 - t), which would be 0 in the step
    behind the last one.
    """
    rising = cell.lr_warmup_epochs * cell.steps_per_epoch
    peak = peak_rate(cell)
    if step < rising:
        return peak * min(1.0, (step + 1) / rising)
    decay_steps = cell.epochs * cell.steps_per_epoch - rising
    decayed = min(1.0, (step - rising) / decay_steps) if decay_steps > 0 else 1.0
    match cell.schedule:
        case LrSchedule.CONSTANT:
            return peak
        case LrSchedule.COSINE:
            return peak * (1 + math.cos(math.pi * decayed)) / 2
        case LrSchedule.LINEAR:
            return peak * (1 - decayed)


def time_to_accuracy(record: Record, target: float) -> Reached:
    """Sum the epochs up to and including the first whose test accuracy is at least `target`.

    With a restart inside one of them there is no such time: what it lost is in no epoch. Nor is there one of a training
    that other GPUs began.
    """
    epochs = record.training
    reached = when_reached([e.test_accuracy for e in epochs], [e.seconds for e in epochs], target)
    if record.requested.origin is not None:
        outcome = f"reached {target:g} in epoch {reached.epoch}" if reached.epoch else reached.reason
        reason = f"{outcome}, but the training began on {plural(record.requested.origin.gpus, 'other GPU')}"
        return Reached(seconds=None, epoch=reached.epoch, reason=reason)
    if reached.epoch is None:
        return reached
    cut = next((epoch.epoch for epoch in epochs[: reached.epoch] if epoch.interrupted), None)
    if cut is not None:
        return Reached(
            seconds=None,
            epoch=reached.epoch,
            reason=f"reached {target:g} in epoch {reached.epoch}, but a restart lies inside epoch {cut}",
        )
    return replace(reached, wall_s=epochs[reached.epoch - 1].wall_s)


def when_reached(accuracies: Sequence[float | None], seconds: Sequence[float], target: float) -> Reached:
    """The same from the test accuracy after each epoch and the epochs' times, either of which may not be known."""
    evaluated = [accuracy for accuracy in accuracies if accuracy is not None]
    if not evaluated:
        return Reached(seconds=None, epoch=None, reason="its test accuracy was not recorded")
    ends = [0.0, *accumulate(seconds)]
    first = next((n for n, accuracy in enumerate(accuracies, 1) if accuracy is not None and accuracy >= target), None)
    if first is None:
        count = len(accuracies)
        reason = f"never reached {target:g} in {plural(count, 'epoch')}; the best was {max(evaluated):.3g}"
        return Reached(seconds=None, epoch=None, reason=reason, trained_s=ends[min(count, len(seconds))])
    if len(seconds) < first:
        reason = f"reached {target:g} in epoch {first}; its times are not known"
        return Reached(seconds=None, epoch=first, reason=reason)
    below = max((n for n, accuracy in enumerate(accuracies[: first - 1], 1) if accuracy is not None), default=0)
    return Reached(seconds=ends[first], epoch=first, below_s=ends[below])


def diverged(train_loss: float, test_loss: float | None = None) -> str | None:
    """Say that a loss is infinite or not a number, else None. To be asked before a checkpoint is saved."""
    losses = {"training": train_loss, "test": test_loss}
    wrong = [f"{name} loss is {loss}" for name, loss in losses.items() if loss is not None and not math.isfinite(loss)]
    if not wrong:
        return None
    return (
        f"the {' and the '.join(wrong)}; nothing of this state is saved; try a smaller optimizer.learning_rate, or "
        "lr_warmup_epochs=1"
    )
