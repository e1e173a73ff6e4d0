"""Three speedups side by side: of throughput, of a fixed global batch, of the time to an equal accuracy. Pure.

    throughput            T(p0) / T(p), of images per second where the images differ (weak scaling)
    fixed global batch    T(p0) / T(p) of runs with the baseline's images per optimizer step, whatever their micro batch
    time to accuracy      t(p0) / t(p), t = seconds until that accuracy is reached, see `reaching`

The target of a pair is the highest accuracy that every run of both sides reaches between two known epochs; else, where
not every epoch's accuracy is known, that the baseline does: the speedup is then a lower bound. Test accuracy is taken
if both sides have it, else training accuracy, and that only of equal training images.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from launchers.checked import checked
from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding
from vit_sweep.analysis.audit.reaching import Bracket, Curve, best_of, curves_of, last_of, reached, together
from vit_sweep.analysis.series.series import ScalingSeries, SeriesPoint
from vit_sweep.plan.choices import Scaling
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
    """By interpolation; where that is not possible the lower end of its bracket."""
    interpolated: bool = False
    to_accuracy_low: float | None = None
    to_accuracy_high: float | None = None
    """The ends of its bracket: epochs are that far apart. None: no upper end is known."""
    by_seed: tuple[tuple[int, float], ...] = ()
    """Seed and speedup by interpolation, where both sides ran the same seeds, several of them."""
    to_accuracy_why: str = ""
    target: float | None = None
    """The accuracy that both reach."""
    baseline_s: float | None = None
    """Seconds until the baseline reaches it, by interpolation where that is possible on both sides."""
    seconds: float | None = None
    of_training: bool = False
    """Whether that is training accuracy."""
    at_least: bool = False
    """Whether only the lower end of the bracket is known."""
    in_first_epoch: bool = False
    """Whether that is so because this GPU count has the accuracy after its first epoch: epochs are too long to tell."""


def speedups(evidence: Evidence) -> tuple[Speedups, ...]:
    """Every point of every series that has a baseline, the baseline itself left out."""
    rows, same_batch = [], _by_batch(evidence.runs)
    for series in evidence.series:
        base = series.baseline
        for point in series.timed:
            if base is not None and base.time_s is not None and point is not base and point.gpus != base.gpus:
                rows.append(_compare(same_batch, series, base, point))
    return tuple(rows)


BatchIndex = Mapping[tuple[object, ...], Sequence[Run]]


def _by_batch(runs: Iterable[Run]) -> BatchIndex:
    """Runs with a time that counts by GPUs, global batch, images and conditions."""
    index: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        if run.timed and not run.oversubscribed:
            index.setdefault((run.gpus, run.global_batch, run.work, run.conditions), []).append(run)
    return index


LOST = 0.8
"""A time to accuracy that gains less than this part of the throughput is worth saying."""


def time_is_not_throughput(rows: Sequence[Speedups]) -> tuple[Finding, ...]:
    """Of each series the largest GPU count that gains much less in time to an equal accuracy than in throughput.

    The upper end of the bracket must be less; where the epochs are not known, nothing shows more than the lower end.
    """
    last: dict[tuple[str, Scaling], Speedups] = {}
    for row in rows:
        most = row.to_accuracy_high
        if row.at_least and not row.in_first_epoch:
            most = row.to_accuracy
        if most is not None and row.throughput is not None and most < LOST * row.throughput:
            largest = last.get((row.where, row.scaling), row)
            last[row.where, row.scaling] = max(row, largest, key=lambda candidate: candidate.gpus)
    return tuple(_lost(row) for row in last.values())


def _lost(row: Speedups) -> Finding:
    reach = "are only known to reach" if row.at_least else "reach"
    return Finding(
        rule="throughput is not learning",
        claims=(Claim.TIME_TO_ACCURACY,),
        where=row.where,
        sentence=f"{plural(row.gpus, 'GPU')} have {times(row.throughput)} times the throughput, but {reach} "
        f"{row.target:.1%} {'training' if row.of_training else 'test'} accuracy {times_to_accuracy(row)}"
        f" ({'' if row.interpolated else 'by '}{_seconds(row.baseline_s)} -> {_seconds(row.seconds)})",
        advice="give the time to an accuracy beside every speedup, with the accuracy after every epoch",
    )


def times_to_accuracy(row: Speedups) -> str:
    """`6.2 times as fast (5.9 to 11.8)`, with the seeds where there are several; empty without a number."""
    if row.to_accuracy is None:
        return ""
    ends = bracket(row)
    seeds = some((times(value) for _, value in row.by_seed), 5)
    both = f"{times(row.to_accuracy)} times as fast" + (f" ({ends})" if ends else "")
    alone = ends and not row.interpolated  # the bracket is all that is known
    return (f"{ends} times as fast" if alone else both) + (f"; by seed {seeds}" if seeds else "")


def times(value: float | None) -> str:
    """A speedup as sentences say it: `11.8`, `0.54`; empty of none."""
    return "" if value is None else f"{value:.{2 if value < 1 else 1}f}"


def bracket(row: Speedups) -> str:
    """`5.9 to 11.8`, or `at least 5.9`; empty where the epochs leave nothing open."""
    if row.to_accuracy is None or row.to_accuracy_low is None:
        return ""
    low = times(row.to_accuracy_low)
    if row.to_accuracy_high is None:
        return f"at least {low}"
    high = times(row.to_accuracy_high)
    return f"{low} to {high}" if low != high else ""


def _compare(same_batch: BatchIndex, series: ScalingSeries, base: SeriesPoint, point: SeriesPoint) -> Speedups:
    row = Speedups(
        where=series.label,
        scaling=series.key.scaling,
        gpus=point.gpus,
        baseline_gpus=base.gpus,
        throughput=point.speedup.value if point.speedup is not None else None,
        fixed_batch=None,
        to_accuracy=None,
    )
    return _with_accuracy(_with_fixed_batch(row, same_batch, series, base, point), base, point)


def _with_fixed_batch(
    row: Speedups, same_batch: BatchIndex, series: ScalingSeries, base: SeriesPoint, point: SeriesPoint
) -> Speedups:
    wanted = base.runs[0].global_batch
    if series.key.scaling is Scaling.WEAK:
        return replace(row, fixed_batch_why="weak scaling grows the work")
    if wanted is None:
        return replace(row, fixed_batch_why="the global batch is not known")
    key = (point.gpus, wanted, base.runs[0].work, series.key.conditions)
    placement = series.key.placement
    like = [run for run in same_batch.get(key, ()) if any(curve.placement == placement for curve in run.curves)]
    if not like or base.time_s is None:
        return replace(row, fixed_batch_why=f"no run on {plural(point.gpus, 'GPU')} with a global batch of {wanted}")
    return replace(row, fixed_batch=base.time_s.value / median([median(run.epoch_s) for run in like]))


Curves = list[tuple[int | None, Curve]]


def _with_accuracy(row: Speedups, base: SeriesPoint, point: SeriesPoint) -> Speedups:
    tested = [curves_of(side.runs, of_training=False) for side in (base, point)]
    of_training = not all(tested)
    before, after = [curves_of(side.runs, of_training=True) for side in (base, point)] if of_training else tested
    row = replace(row, of_training=of_training)
    if not before or not after:
        return replace(row, to_accuracy_why="no accuracy on both sides")
    if of_training and {run.work for run in base.runs} != {run.work for run in point.runs}:
        return replace(row, to_accuracy_why="training accuracies of different numbers of images are not comparable")
    target = _target(before, after)
    if target is None:
        ends = [median(last_of(curve) for _, curve in curves) for curves in (before, after)]
        return replace(
            row,
            to_accuracy_why=f"too few accuracies are known, or none is common: {plural(row.baseline_gpus, 'GPU')} ends "
            f"at {ends[0]:.1%}, {plural(row.gpus, 'GPU')} at {ends[1]:.1%}",
        )
    return _at(row, before, after, target)


def _target(before: Curves, after: Curves) -> float | None:
    """The highest accuracy that every run reaches, in a bracket that is known on both sides, if possible one to
    interpolate in; else in one of the baseline. None: there is none."""
    most = min(best_of(curve) for _, curve in (*before, *after))
    values = {
        value for _, curve in (*before, *after) for value in curve.accuracies if value is not None and value <= most
    }
    candidates = sorted(values, reverse=True)
    for line in (True, False):
        for target in candidates:
            if _known(before, target, line=line) and _known(after, target, line=line):
                return target
    return next((target for target in candidates if _known(before, target, line=False)), None)


def _known(curves: Curves, target: float, *, line: bool) -> bool:
    """Whether every run's bracket is known; with `line`, whether it can be interpolated in as well."""
    times = [reached(curve, target) for _, curve in curves]
    return all(time is not None and time.exact and (time.likely_s is not None or not line) for time in times)


def _at(row: Speedups, before: Curves, after: Curves, target: float) -> Speedups:
    slow, fast = (
        {place: time for place, (_, curve) in enumerate(side) if (time := reached(curve, target)) is not None}
        for side in (before, after)
    )
    base, grown = together(list(slow.values())), together(list(fast.values()))
    value, low, high = _ratio(base, grown)
    known_s = (base.by_s, grown.by_s) if value is None else (base.likely_s, grown.likely_s)
    row = replace(row, target=target, baseline_s=known_s[0], seconds=known_s[1], interpolated=value is not None)
    if high is None and low < 1:
        return replace(
            row,
            to_accuracy_why=f"{target:.1%} is reached within {_seconds(grown.by_s)}, exactly when is not known "
            "(baseline: "
            f"{_seconds(base.by_s)})",
        )
    seeds = {seed: slow[place] for place, (seed, _) in enumerate(before) if seed is not None and place in slow}
    pairs = [
        (seed, gain)
        for place, (seed, _) in enumerate(after)
        if seed is not None and seed in seeds and place in fast and (gain := _ratio(seeds[seed], fast[place])[0])
    ]
    return replace(
        row,
        to_accuracy=low if value is None else value,
        to_accuracy_low=low,
        to_accuracy_high=high,
        at_least=high is None,
        in_first_epoch=grown.after_s == 0,
        by_seed=tuple(pairs) if len(pairs) > 1 else (),
    )


def _ratio(base: Bracket, grown: Bracket) -> tuple[float | None, float, float | None]:
    """Speedup by interpolation, lower end, upper end; None where it is not known."""
    low = (base.by_s if base.after_s is None else base.after_s) / grown.by_s
    high = base.by_s / grown.after_s if grown.after_s else None
    if base.likely_s is None or grown.likely_s is None:
        return None, low, high
    return base.likely_s / grown.likely_s, low, high


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
