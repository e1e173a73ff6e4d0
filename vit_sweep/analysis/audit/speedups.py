"""Three speedups side by side: of throughput, of a fixed global batch, of the time to an equal accuracy. Pure.

    throughput            T(p0) / T(p), of images per second where the images differ (weak scaling)
    fixed global batch    T(p0) / T(p) of runs with the baseline's images per optimizer step, whatever their micro batch
    time to accuracy      t(p0) / t(p), t = seconds up to the end of the first epoch with at least that accuracy

The target of a pair is the highest accuracy that both sides are known to reach and whose time is known exactly on both;
else, where not every epoch's accuracy is known, exactly on the baseline: the other side's time is then the most that it
can be, and the speedup the least ("at least"). Test accuracy is taken if both sides have it, else training accuracy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from launchers.checked import checked
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, gpus_of
from vit_sweep.analysis.series.series import ScalingSeries, SeriesPoint
from vit_sweep.plan.point import Scaling
from vit_sweep.runs.run import Run


@checked
class Speedups:
    """One GPU count of a series against its baseline. Where a number is None, its `_why` says why."""

    where: str
    scaling: Scaling
    gpus: int
    baseline_gpus: int
    throughput: float | None
    fixed_batch: float | None
    fixed_batch_why: str = ""
    to_accuracy: float | None
    to_accuracy_why: str = ""
    target: float | None = None
    """The accuracy that both reach."""
    baseline_s: float | None = None
    """Seconds until the baseline reaches it."""
    seconds: float | None = None
    of_training: bool = False
    """Whether that is training accuracy."""
    at_least: bool = False
    """Whether the time to accuracy of this GPU count is only known to be no more: `to_accuracy` is the least."""


@checked
class Reached:
    """When a point reaches an accuracy."""

    seconds: float
    """Up to the end of the first epoch that is known to reach it."""
    exact: bool
    """Whether every earlier epoch is known not to."""


def speedups(evidence: Evidence) -> tuple[Speedups, ...]:
    """Every point of every series that has a baseline, the baseline itself left out."""
    found, same_batch = [], _by_batch(evidence.runs)
    for series in evidence.series:
        base = series.baseline
        for point in series.timed:
            if base is not None and base.time_s is not None and point is not base and point.gpus != base.gpus:
                found.append(_compare(same_batch, series, base, point))
    return tuple(found)


BatchIndex = Mapping[tuple[object, ...], Sequence[Run]]


def _by_batch(runs: Iterable[Run]) -> BatchIndex:
    """Runs with a time that counts by GPUs, global batch, images and conditions."""
    found: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        if run.timed and not run.oversubscribed:
            found.setdefault((run.gpus, run.global_batch, run.work, run.conditions), []).append(run)
    return found


LOST = 0.8
"""A time to accuracy that gains less than this part of the throughput is worth saying."""


def time_is_not_throughput(found: Sequence[Speedups]) -> tuple[Finding, ...]:
    """Of each series the largest GPU count that gains much less in time to an equal accuracy than in throughput."""
    last: dict[tuple[str, Scaling], Speedups] = {}
    for one in found:
        if one.to_accuracy is not None and one.throughput is not None and one.to_accuracy < LOST * one.throughput:
            last[one.where, one.scaling] = max(one, last.get((one.where, one.scaling), one), key=lambda o: o.gpus)
    return tuple(_lost(one) for one in last.values())


def _lost(one: Speedups) -> Finding:
    return Finding(
        rule="throughput is not learning",
        claims=(Claim.TIME_TO_ACCURACY,),
        where=one.where,
        sentence=f"{gpus_of(one.gpus)} have {one.throughput:.1f} times the throughput, but {one.target:.1%} "
        f"{'training' if one.of_training else 'test'} accuracy comes {one.to_accuracy:.1f} times sooner"
        + (" at least, more is not known" if one.at_least else "")
        + f" ({_seconds(one.baseline_s)} -> {_seconds(one.seconds)})",
        advice="give the time to an accuracy beside every speedup, with the accuracy after every epoch",
    )


def _compare(same_batch: BatchIndex, series: ScalingSeries, base: SeriesPoint, point: SeriesPoint) -> Speedups:
    made = Speedups(
        where=series.label,
        scaling=series.key.scaling,
        gpus=point.gpus,
        baseline_gpus=base.gpus,
        throughput=point.speedup.value if point.speedup is not None else None,
        fixed_batch=None,
        to_accuracy=None,
    )
    return _with_accuracy(_with_fixed_batch(made, same_batch, series, base, point), base, point)


def _with_fixed_batch(
    made: Speedups, same_batch: BatchIndex, series: ScalingSeries, base: SeriesPoint, point: SeriesPoint
) -> Speedups:
    wanted = base.runs[0].global_batch
    if series.key.scaling is Scaling.WEAK:
        return replace(made, fixed_batch_why="weak scaling grows the work")
    if wanted is None:
        return replace(made, fixed_batch_why="the global batch is not known")
    key = (point.gpus, wanted, base.runs[0].work, series.key.conditions)
    like = [run for run in same_batch.get(key, ()) if _same_place(run, series)]
    if not like or base.time_s is None:
        return replace(made, fixed_batch_why=f"no run on {gpus_of(point.gpus)} with a global batch of {wanted}")
    return replace(made, fixed_batch=base.time_s.value / median([median(run.epoch_s) for run in like]))


def _same_place(run: Run, series: ScalingSeries) -> bool:
    return any(one.placement == series.key.placement for one in run.curves)


def _with_accuracy(made: Speedups, base: SeriesPoint, point: SeriesPoint) -> Speedups:
    pairs = [(False, [run.test_accuracy for run in p.runs]) for p in (base, point)]
    of_training = not all(any(_known(values) for values in found) for _, found in pairs)
    a, b = (_curve(p.runs, of_training=of_training) for p in (base, point))
    if not a or not b:
        return replace(made, to_accuracy_why="no accuracy on both sides")
    best = min(max(value for _, value in curve if value is not None) for curve in (a, b))
    candidates = sorted({value for _, value in (*a, *b) if value is not None and value <= best}, reverse=True)
    if not candidates:
        return replace(made, to_accuracy_why="they reach no common accuracy", of_training=of_training)
    found = [(target, reached(a, target), reached(b, target)) for target in candidates]
    usable = [(t, x, y) for t, x, y in found if x is not None and y is not None and x.exact]
    exact = [one for one in usable if one[2] is not None and one[2].exact]
    if not usable:
        high = max(value for _, value in a if value is not None)
        low = max(value for _, value in b if value is not None)
        return replace(
            made,
            of_training=of_training,
            to_accuracy_why=f"too few accuracies are known: {gpus_of(made.baseline_gpus)} ends at {high:.1%}, "
            f"{gpus_of(made.gpus)} at {low:.1%}",
        )
    target, x, y = (exact or usable)[0]
    assert x is not None
    assert y is not None
    made = replace(made, target=target, of_training=of_training, baseline_s=x.seconds, seconds=y.seconds)
    ratio = x.seconds / y.seconds
    if not y.exact and ratio < 1:
        why = (
            f"{target:.1%} is reached within {_seconds(y.seconds)}, nobody knows when (baseline: {_seconds(x.seconds)})"
        )
        return replace(made, to_accuracy_why=why)
    return replace(made, to_accuracy=ratio, at_least=not y.exact)


def reached(curve: Sequence[tuple[float, float | None]], target: float) -> Reached | None:
    """When a curve of (seconds since the start, accuracy or None where unknown) reaches `target`; None: never."""
    before_known = True
    for seconds, value in curve:
        if value is None:
            before_known = False
        elif value >= target:
            return Reached(seconds=seconds, exact=before_known)
        else:
            # A later epoch below the target: whatever lies before it counts as below too, as curves rise.
            before_known = True
    return None


def _curve(runs: Sequence[Run], *, of_training: bool) -> list[tuple[float, float | None]]:
    """Seconds since the start and accuracy after each epoch, medians over runs; empty without any accuracy."""
    every = [(run.epoch_all_s, run.train_accuracy if of_training else run.test_accuracy) for run in runs]
    every = [(times, values) for times, values in every if times and _known(values)]
    epochs = min((min(len(times), len(values)) for times, values in every), default=0)
    curve: list[tuple[float, float | None]] = []
    for epoch in range(epochs):
        known = [value for _, values in every if (value := values[epoch]) is not None]
        seconds = median([sum(times[: epoch + 1]) for times, _ in every])
        curve.append((seconds, median(known) if len(known) == len(every) else None))
    return curve if any(value is not None for _, value in curve) else []


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _known(values: tuple[float | None, ...]) -> bool:
    return any(value is not None for value in values)
