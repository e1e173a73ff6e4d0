"""Rules about runs: how many, how complete, with or without their cold start, steady or drifting. Pure."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import expm1, log, sqrt
from statistics import fmean, median

from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Severity, points_shown, with_apart
from vit_sweep.analysis.series.contention import is_contended
from vit_sweep.analysis.series.series import SeriesPoint
from vit_sweep.runs.run import Run

REPEATS_DIFFER = "repeats of such runs differ by 0.5 to 5%, weak ones by up to 19% (logs of arXiv:2602.21081)"
ENOUGH_DEGREES = 4
"""Degrees of freedom from which on a spread between repeats is known: the 95 % interval is then 1.4 times as wide as
with many, against 6.5 times with one."""
APART = 0.1
"""Repeats of a cell that differ by more are not repeats of the same thing: five times the usual 2 %."""
DRIFTS = 0.05
"""Change of the epoch time within a run from which on it matters; epochs of one run differ by 0.5 %."""
_STEEP = 4.0
"""A drift's slope over its standard error."""
_TWO_EPOCHS = 0.1
"""The same as `DRIFTS` where only two epochs count and nothing says how they scatter."""


def single_runs(evidence: Evidence) -> Iterator[Finding]:
    """Points that rest on one run: nobody knows how far a repeat would lie from it."""
    for series in evidence.series:
        points = points_shown(series)
        single = [point for point in points if len(point.runs) == 1]
        if not single:
            continue
        all_single = len(single) == len(points)
        yield Finding(
            rule="single runs",
            severity=Severity.FALLS if all_single else Severity.WEAKENS,
            claims=(Claim.SMALL_DIFFERENCES,),
            weakens=(Claim.THROUGHPUT, Claim.FIXED_PROBLEM, Claim.TIME_TO_ACCURACY, Claim.COMMUNICATION),
            where=series.label,
            sentence=f"{len(single)} of {plural(len(points), 'point')} "
            f"{'rests' if len(single) == 1 else 'rest'} on one run"
            + ("" if all_single else f" ({some(plural(point.gpus, 'GPU') for point in single)})")
            + f", so how far a repeat would lie from them is not known; {REPEATS_DIFFER}",
            advice="repeat each cell with other seeds on other nodes, as often as the wanted precision needs (the plan "
            "says how often); claim nothing smaller",
        )


def few_repeats(evidence: Evidence) -> Iterator[Finding]:
    """Repeats too few to know how far repeats lie from each other: two runs may agree, or differ, by chance."""
    for series in evidence.series:
        repeated = [point for point in series.timed if len(point.runs) > 1]
        degrees = sum(len(point.runs) - 1 for point in repeated)
        if not 0 < degrees < ENOUGH_DEGREES:
            continue
        gaps = [f"{_range(point):.1%} at {plural(point.gpus, 'GPU')} ({len(point.runs)} runs)" for point in repeated]
        yield Finding(
            rule="few repeats",
            claims=(Claim.SMALL_DIFFERENCES, Claim.THROUGHPUT),
            where=series.label,
            sentence=f"how far repeats of this series lie from each other rests on {plural(degrees, 'degree')} of "
            f"freedom: {some(gaps)}; by chance they may lie several times closer than further ones would",
            advice=f"repeat until the runs beyond the first of each cell are {ENOUGH_DEGREES} or more in all",
        )


def repeats_differ(evidence: Evidence) -> Iterator[Finding]:
    """Repeats of one cell that differ by more than repeats do: something else differed."""
    for series in evidence.series:
        far = [point for point in series.timed if len(point.runs) > 1 and _range(point) > APART]
        gaps = [
            f"{_range(point):.0%} at {plural(point.gpus, 'GPU')} "
            f"({some(f'{median(run.epoch_s):.4g} s' for run in point.runs)})"
            for point in far
        ]
        runs = [run for point in far for run in point.runs]
        contended = sum(map(is_contended, runs))
        why = (
            f"others used the hosts of {contended} of these {len(runs)} runs"
            if contended
            else "something that is not stated differed too"
        )
        if gaps:
            yield Finding(
                rule="repeats differ",
                claims=(Claim.SMALL_DIFFERENCES, Claim.THROUGHPUT),
                where=series.label,
                sentence=f"repeats of the same cell differ by {some(gaps)}: {why}",
                advice="compare their nodes, clocks and neighbours, and repeat the odd one",
            )


def _range(point: SeriesPoint) -> float:
    medians = [median(run.epoch_s) for run in point.runs]
    return max(medians) / min(medians) - 1


def drift(evidence: Evidence) -> Iterator[Finding]:
    """Runs that become slower or faster from epoch to epoch: their median depends on how long they ran."""
    for series in evidence.series:
        base = series.baseline
        first = {run.run_id for run in base.runs} if base is not None and len(series.timed) > 1 else set()
        drifting = [
            (run, change)
            for point in with_apart(series)
            for run in point.runs
            if (change := drift_of(run.epoch_s)) is not None
        ]
        if not drifting:
            continue
        runs = some((f"{evidence.name(run)} {change:+.0%}" for run, change in drifting), separator="; ")
        baseline = any(run.run_id in first for run, _ in drifting)
        yield Finding(
            rule="drift within a run",
            claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
            where=series.label,
            sentence=f"from the first to the last epoch that counts the time of an epoch changes: {runs}"
            + ("; the baseline is among them, and every speedup moves with it" if baseline else ""),
            advice="look at clocks, temperature and neighbours; run until the time is steady and count from there",
        )


def drift_of(epochs_s: Sequence[float]) -> float | None:
    """By which part the time of an epoch changes from the first to the last, as a straight line through its logarithms
    says; None where it is steady, or scatters too much to tell."""
    count = len(epochs_s)
    if count < 2:
        return None
    logs = [log(seconds) for seconds in epochs_s]
    middle, mean = (count - 1) / 2, fmean(logs)
    weight = sum((place - middle) ** 2 for place in range(count))
    slope = sum((place - middle) * value for place, value in enumerate(logs)) / weight
    change = expm1(slope * (count - 1))
    if count == 2:
        return change if abs(change) > _TWO_EPOCHS else None
    residual = sum((value - mean - slope * (place - middle)) ** 2 for place, value in enumerate(logs))
    error = sqrt(residual / (count - 2) / weight)
    return change if abs(change) > DRIFTS and abs(slope) > _STEEP * error else None


def partial_runs(evidence: Evidence) -> Iterator[Finding]:
    """Runs that stopped early and are averaged with whole ones."""
    cut = [run for run in evidence.runs if run.timed and run.partial]
    if not cut:
        return
    runs = some(
        (f"{_of(run, evidence)}: {run.epochs_done} of {run.epochs_requested} epochs" for run in cut), separator="; "
    )
    yield Finding(
        rule="partial runs",
        claims=(Claim.THROUGHPUT, Claim.ACCURACY),
        sentence=f"{plural(len(cut), 'run')} stopped early: {runs}; such an accuracy is that of an earlier epoch",
        advice="run them again to the end, and compare accuracies of equal epochs only",
    )


def missing_ranks(evidence: Evidence) -> Iterator[Finding]:
    """Runs of which not every rank's time is there: the slowest may be the one that is missing."""
    lacking = [
        f"{evidence.name(run)}: {flag}"
        for run in evidence.runs
        for flag in run.flags
        if flag.startswith("rows missing")
    ]
    if not lacking:
        return
    yield Finding(
        rule="missing ranks",
        claims=(Claim.THROUGHPUT,),
        sentence=f"{plural(len(lacking), 'run lacks|runs lack')} ranks, and the slowest may be among these: "
        f"{some(lacking, 2, separator='; ')}",
        advice="let one process write the maximum over ranks instead of all appending to one file",
    )


_warm_up = partial(Finding, rule="warm-up included", claims=(Claim.THROUGHPUT,))


def warm_up_included(evidence: Evidence) -> Iterator[Finding]:
    """The first epoch (start-up, compilation, cold caches, cool GPUs) is in the figures."""
    published = [
        (run.published_s, median(run.epoch_s), run.gpus)
        for run in evidence.runs
        if run.published_s is not None and run.timed
    ]
    moved = sorted(
        ((mean, warm, gpus) for mean, warm, gpus in published if mean != warm),
        key=lambda means: -abs(means[0] / means[1] - 1),
    )
    if moved:
        examples = some(
            f"{plural(gpus, 'GPU')} {mean:.3g} s against {warm:.3g} s without it ({mean / warm - 1:+.1%})"
            for mean, warm, gpus in moved[:3]
        )
        yield _warm_up(
            sentence=f"the source's {len(published)} means contain the first epoch: {examples}; here it is left out",
            advice="leave the first epoch, or enough steps, out of every mean",
        )
    stuck = [run for run in evidence.runs if run.timed and run.published_s is not None and run.first_epoch_s is None]
    if stuck:
        yield _warm_up(
            sentence=f"of {plural(len(stuck), 'run')} only the mean from epoch 1 on is known, which cannot be "
            f"taken out: {some((evidence.name(run) for run in stuck), separator='; ')}",
            advice="publish every epoch, or the mean without the first beside it",
        )
    alone = [run for run in evidence.runs if run.timed and run.epochs_done == 1]
    if alone:
        yield _warm_up(
            sentence=f"{plural(len(alone), 'run has|runs have')} one epoch only, the cold one: "
            f"{some((evidence.name(run) for run in alone), separator='; ')}",
            advice="run three epochs or more",
        )


def _of(run: Run, evidence: Evidence) -> str:
    """`strong, 2 GPUs`, or `2 GPUs (cell)`."""
    name = evidence.name(run)
    return name if plural(run.gpus, "GPU") in name else f"{plural(run.gpus, 'GPU')} ({name})"
