"""When runs reach an accuracy: the epochs between which it happened, and the straight line between them. Pure.

Which epoch had it first, and after how many seconds, is `learning.when_reached`, as in the table of time to accuracy.
Of that a speedup takes less and more: only a bracket of one epoch, since who was below two epochs before may have had
it in between; and within it the straight line between the ends of both epochs (`likely_s`). Before the first epoch no
accuracy is known, so nothing is interpolated there. An epoch that ends with exactly the target gives its own end: a
target is chosen among the accuracies of the runs that are compared.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from launchers.checked import checked
from vit_sweep.record.learning import when_reached
from vit_sweep.runs.run import Run


class Curve(NamedTuple):
    """What one run had learnt after each of its epochs."""

    seconds: tuple[float, ...]
    """Of each epoch."""
    accuracies: tuple[float | None, ...]
    """After each of them; None where it is not known."""


@checked
class Bracket:
    """Between when and when an accuracy is reached, in seconds of training."""

    after_s: float | None
    """It was below up to here; None: not known."""
    by_s: float
    """It is known to be reached here."""
    likely_s: float | None
    """By the straight line between both; None where one end is not known."""

    @property
    def exact(self) -> bool:
        """Whether the bracket is closed: the epoch before is known to be below, or there is none."""
        return self.after_s is not None


def reached(curve: Curve, target: float) -> Bracket | None:
    """When a curve reaches `target`; None: never."""
    end = when_reached(curve.accuracies, curve.seconds, target)
    if end.epoch is None or end.seconds is None or end.below_s is None:
        return None
    had = curve.accuracies[end.epoch - 1] or 0.0
    low = curve.accuracies[end.epoch - 2] if end.epoch > 1 else None
    if end.epoch > 1 and low is None:
        return Bracket(after_s=None, by_s=end.seconds, likely_s=None)
    if had == target:
        return Bracket(after_s=end.seconds, by_s=end.seconds, likely_s=end.seconds)
    step_s = end.seconds - end.below_s
    likely = None if low is None else end.below_s + step_s * (target - low) / (had - low)
    return Bracket(after_s=end.below_s, by_s=end.seconds, likely_s=likely)


def curves_of(runs: Sequence[Run], *, of_training: bool) -> list[tuple[int | None, Curve]]:
    """Seed and curve of every run that has one, up to an epoch with a restart inside: what that lost is in no epoch."""
    curves = []
    for run in runs:
        timed = min([len(run.epoch_all_s), *(epoch - 1 for epoch in run.interrupted)])
        values = (run.train_accuracy if of_training else run.test_accuracy)[:timed]
        if any(value is not None for value in values):
            curves.append((run.seed, Curve(run.epoch_all_s[:timed], values)))
    return curves


def best_of(curve: Curve) -> float:
    """The highest accuracy of a curve."""
    return max(value for value in curve.accuracies if value is not None)


def last_of(curve: Curve) -> float:
    """The last known accuracy of a curve."""
    return [value for value in curve.accuracies if value is not None][-1]


def together(times: Sequence[Bracket]) -> Bracket:
    """Medians over runs; an end that is not known of one run is not known of all."""
    return Bracket(
        after_s=_median([time.after_s for time in times]),
        by_s=median(time.by_s for time in times),
        likely_s=_median([time.likely_s for time in times]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None
