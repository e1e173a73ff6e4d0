"""When runs reach an accuracy: the epochs between which it happened, and the straight line between them. Pure.

An accuracy is known after an epoch only, so a target is reached somewhere between the end of the last epoch below it
and the end of the first one that has it: a bracket. An epoch that ends with exactly the target gives its own end.
Straight lines between the ends of epochs say where in the bracket (`likely_s`); before the first epoch no accuracy is
known, so nothing is interpolated there.
"""

from collections.abc import Sequence
from statistics import median

from launchers.checked import checked
from vit_sweep.runs.run import Run

Curve = Sequence[tuple[float, float | None]]
"""Seconds since the start and the accuracy after each epoch; None where it is not known."""


@checked
class Reached:
    """When an accuracy is reached, in seconds since the start of training."""

    after_s: float | None
    """It was below up to here; None: not known."""
    by_s: float
    """It is known to be reached here."""
    likely_s: float | None
    """By the straight line between both; None where one end is not known."""

    @property
    def exact(self) -> bool:
        """Whether the bracket is closed: every earlier epoch is known to be below."""
        return self.after_s is not None


def reached(curve: Curve, target: float) -> Reached | None:
    """When a curve reaches `target`; None: never."""
    before: tuple[float, float | None] | None = (0.0, None)
    for seconds, value in curve:
        if value is None:
            before = None
        elif value < target:
            # Whatever lies before it counts as below too, as curves rise.
            before = (seconds, value)
        elif before is None:
            return Reached(after_s=None, by_s=seconds, likely_s=None)
        else:
            return _between(before, (seconds, value), target)
    return None


def _between(before: tuple[float, float | None], after: tuple[float, float], target: float) -> Reached:
    (start, low), (end, high) = before, after
    if high == target:
        return Reached(after_s=end, by_s=end, likely_s=end)
    likely = None if low is None else start + (end - start) * (target - low) / (high - low)
    return Reached(after_s=start, by_s=end, likely_s=likely)


def curve_of(run: Run, *, of_training: bool) -> Curve:
    """The run's own curve; empty without any accuracy."""
    values = run.train_accuracy if of_training else run.test_accuracy
    if not any(value is not None for value in values):
        return []
    ends = [sum(run.epoch_all_s[: epoch + 1]) for epoch in range(len(run.epoch_all_s))]
    return list(zip(ends, values, strict=False))


def curves_of(runs: Sequence[Run], *, of_training: bool) -> list[tuple[int | None, Curve]]:
    """Seed and curve of every run that has one."""
    return [(run.seed, curve) for run in runs if (curve := curve_of(run, of_training=of_training))]


def best_of(curve: Curve) -> float:
    """The highest accuracy of a curve."""
    return max(value for _, value in curve if value is not None)


def last_of(curve: Curve) -> float:
    """The last known accuracy of a curve."""
    return [value for _, value in curve if value is not None][-1]


def together(times: Sequence[Reached]) -> Reached:
    """Medians over runs; an end that is not known of one run is not known of all."""
    return Reached(
        after_s=_median([time.after_s for time in times]),
        by_s=median(time.by_s for time in times),
        likely_s=_median([time.likely_s for time in times]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None
