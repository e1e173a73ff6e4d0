"""Rules about the baseline: too slow, borrowed, from another machine, not the same as its other half. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil, expm1, log
from statistics import median

from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Severity
from vit_sweep.analysis.audit.spread import Spread, spread_of
from vit_sweep.analysis.series.series import ScalingSeries, SeriesKey, SeriesPoint
from vit_sweep.runs.run import Origin, Run

UNEQUAL = 0.05
"""Two times of the same step that differ by less are never accused: it would change no speedup that matters."""


def superlinear(evidence: Evidence) -> Iterator[Finding]:
    """Efficiency above 1 by more than repeats differ: as a rule the baseline is slow."""
    for series, base, points, spread in _beyond_chance(evidence, _above_ideal):
        too_fast = [
            f"{point.efficiency.value:.1%} at {plural(point.gpus, 'GPU')} ({base.time_s.value:.3g} s -> "
            f"{point.time_s.value:.3g} s)"
            for point in points
            if point.efficiency is not None and point.time_s is not None and base.time_s is not None
        ]
        yield Finding(
            rule="efficiency above 1",
            claims=(Claim.THROUGHPUT,),
            where=series.label,
            sentence=f"more than ideal, by more than repeats differ: {some(too_fast)} ({spread.words}); a slow "
            "baseline raises every efficiency of its series as much",
            advice=f"repeat the {plural(base.gpus, 'GPU')} run on a cool, exclusive node and compare its clocks",
        )


def negative_serial_fraction(evidence: Evidence) -> Iterator[Finding]:
    """Karp and Flatt's fraction (1/S - 1/q)/(1 - 1/q) below 0: no program has less than no serial part."""
    for series, _, points, _ in _beyond_chance(evidence, _above_ideal):
        fractions = [
            f"{point.serial_fraction.value:.4f} at {plural(point.gpus, 'GPU')}"
            for point in points
            if point.serial_fraction is not None  # of strong scaling only
        ]
        if fractions:
            yield Finding(
                rule="negative Karp-Flatt",
                claims=(Claim.THROUGHPUT,),
                where=series.label,
                sentence=f"the serial fraction is negative: {some(fractions)}; no model can start from such a baseline",
                advice="fit no law through this baseline; measure it again",
            )


def slower_with_more(evidence: Evidence) -> Iterator[Finding]:
    """Speedup below 1 by more than repeats differ: Karp and Flatt's serial fraction is then above 1."""
    for series, base, points, spread in _beyond_chance(evidence, _below_baseline):
        slower = [
            f"{point.speedup.value:.2f} on {plural(point.gpus, 'GPU')}" for point in points if point.speedup is not None
        ]
        yield Finding(
            rule="speedup below 1",
            claims=(Claim.THROUGHPUT,),
            where=series.label,
            sentence=f"more GPUs do less work a second than {plural(base.gpus, 'GPU')}, by more than repeats differ: "
            f"{some(slower)} ({spread.words}); no serial part explains that",
            advice="look for a busy host, a slow link or ranks that share cores, and measure again",
        )


def _above_ideal(point: SeriesPoint) -> float | None:
    return log(point.efficiency.value) if point.efficiency is not None else None


def _below_baseline(point: SeriesPoint) -> float | None:
    return -log(point.speedup.value) if point.speedup is not None else None


def _beyond_chance(
    evidence: Evidence, excess: Callable[[SeriesPoint], float | None]
) -> Iterator[tuple[ScalingSeries, SeriesPoint, list[SeriesPoint], Spread]]:
    """Each series with its baseline and the points whose `excess`, a logarithm, is more than repeats differ by.

    Every point that is compared with a baseline counts: each could exceed by chance. Series without one are left out.
    """
    spread = spread_of(evidence)
    tests = sum(len(series.timed) - 1 for series in evidence.series if series.baseline is not None)
    for series in evidence.series:
        base = series.baseline
        if base is None:
            continue
        points = [
            point
            for point in series.points
            if point.gpus != base.gpus
            and (value := excess(point)) is not None
            and value > spread.margin(point, base, tests=tests)
        ]
        if points:
            yield series, base, points, spread


SLOW_CLOCK = 0.025
"""How far the median SM clock of a baseline may lie below the others': at its power limit a GPU varies by less."""


def slow_clock(evidence: Evidence) -> Iterator[Finding]:
    """The GPUs of the baseline ran at a lower clock than those of every other point."""
    for series in evidence.series:
        base = series.baseline
        others = [_clock_mhz(point) for point in series.timed if base is not None and point.gpus != base.gpus]
        clock = _clock_mhz(base) if base is not None else None
        known = [other for other in others if other is not None]
        if base is None or clock is None or not known or clock >= (1 - SLOW_CLOCK) * min(known):
            continue
        yield Finding(
            rule="slow baseline clock",
            severity=Severity.FALLS,
            claims=(Claim.THROUGHPUT,),
            where=series.label,
            sentence=f"the GPUs of the {plural(base.gpus, 'GPU')} run, by which all are judged, ran at {clock:.0f} "
            f"MHz, those of all others at {min(known):.0f} MHz or more",
            advice="repeat the baseline on a GPU that keeps its clock; the speedups are too high till then",
        )


def _clock_mhz(point: SeriesPoint) -> float | None:
    """Median over the runs of a point of their slowest rank's median SM clock; None where one is not known."""
    clocks = [run.sm_clock_mhz for run in point.runs]
    return median(clock for clock in clocks if clock is not None) if clocks and None not in clocks else None


def throttled_baseline(evidence: Evidence) -> Iterator[Finding]:
    """The GPU of the baseline had its clock held down."""
    for series in evidence.series:
        base = series.baseline
        flags = [flag for run in base.runs for flag in run.flags if "throttled" in flag] if base is not None else []
        if base is not None and flags and len(series.timed) > 1:
            yield Finding(
                rule="throttled baseline",
                severity=Severity.FALLS,
                claims=(Claim.THROUGHPUT,),
                where=series.label,
                sentence=f"the {plural(base.gpus, 'GPU')} run, by which all are judged, was held back: {some(flags)}",
                advice="repeat the baseline on a node that keeps its clock; the speedups are too high till then",
            )


def borrowed_baseline(evidence: Evidence) -> Iterator[Finding]:
    """The smallest run of a series belongs to another placement, or only another data set, GPU or cluster has it."""
    for series in evidence.series:
        own, base = _own_placement(series), series.baseline
        # In a study one GPU is the same cell whatever the placement, and `another_node` knows where it ran.
        planned = base is not None and all(run.origin is Origin.STUDY for run in base.runs)
        if base is not None and not own and not planned and len(series.timed) > 1:
            placements = sorted({curve.placement or "unknown" for run in base.runs for curve in run.curves})
            nodes = _same_node(series, base)
            yield Finding(
                rule="borrowed baseline",
                severity=Severity.WEAKENS if nodes else Severity.FALLS,
                claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
                where=series.label,
                sentence=f"placement={series.key.placement} has no {plural(base.gpus, 'GPU')} run of its own; its "
                f"baseline is that of placement={', '.join(placements)}"
                + (f", {nodes}" if nodes else ", and nothing says that it ran on the same machines"),
                advice=f"run {plural(base.gpus, 'GPU')} on the nodes of this series too",
            )
    yield from _other_conditions(evidence)


def _own_placement(series: ScalingSeries) -> bool:
    base = series.baseline
    placement = series.key.placement
    if base is None or not placement:
        return True
    return any(curve.placement in ("", placement) for run in base.runs for curve in run.curves)


def _same_node(series: ScalingSeries, base: SeriesPoint) -> str:
    hosts = {host for run in base.runs for host in run.hosts}
    others = {host for point in series.timed if point is not base for run in point.runs for host in run.hosts}
    return f"on {some(sorted(hosts))}, which this series used too" if hosts and hosts <= others else ""


def _other_conditions(evidence: Evidence) -> list[Finding]:
    """Series that begin later than a sister series which differs in one thing only."""
    sisters: dict[SeriesKey, list[tuple[int, ScalingSeries]]] = {}
    for series in evidence.series:
        first = min((point.gpus for point in series.timed), default=None)
        if first is not None:
            sisters.setdefault(replace(series.key, conditions=()), []).append((first, series))
    findings = []
    for group in sisters.values():
        least = min(first for first, _ in group)
        early = [(first, series) for first, series in group if first == least]
        for start, series in group:
            late = (_late_start(series, start, sister, first) for first, sister in early if start > first)
            findings += [finding for finding in late if finding is not None][:1]
    return findings


def _late_start(series: ScalingSeries, start: int, sister: ScalingSeries, first: int) -> Finding | None:
    names = _differing(series, sister)
    if len(names) != 1:
        return None
    name, own, other = names[0]
    return Finding(
        rule="baseline of something else",
        claims=(Claim.THROUGHPUT,),
        where=series.label,
        sentence=f"it starts at {plural(start, 'GPU')}; only {name}={other} has {plural(first, 'GPU')}, this is "
        f"{name}={own}: speedups count from {plural(start, 'GPU')} and nothing is borrowed",
        advice=f"run {plural(first, 'GPU')} with {name}={own}",
    )


def _differing(a: ScalingSeries, b: ScalingSeries) -> list[tuple[str, str, str]]:
    """The conditions in which two series differ; values behind a name that itself differs are not counted."""
    own, other = dict(a.key.conditions), dict(b.key.conditions)
    names = [name for name in sorted(own.keys() | other.keys()) if own.get(name, "") != other.get(name, "")]
    plain = [name for name in names if name.split(".", 1)[0] not in names or "." not in name]
    return [(name, own.get(name, "not stated"), other.get(name, "not stated")) for name in plain]


def unequal_baselines(evidence: Evidence) -> Iterator[Finding]:
    """The same step on as many GPUs, timed in two series: if it differs, one of the baselines is off."""
    spread = spread_of(evidence)
    steps: dict[tuple[object, ...], list[tuple[float, str, SeriesPoint]]] = {}
    for series in evidence.series:
        base = series.baseline
        seconds = [step for run in base.runs if (step := _step_s(run)) is not None] if base is not None else []
        if base is not None and seconds:
            first = base.runs[0]
            same = (first.gpus, first.micro_batch, first.accum, first.conditions)
            steps.setdefault(same, []).append((median(seconds), series.label, base))
    pairs = sum(len(times) - 1 for times in steps.values())
    for (gpus, micro, *_), times in steps.items():
        ordered = sorted(times, key=lambda time: time[:2])
        (low, fast, least), (high, slow, most) = ordered[0], ordered[-1]
        # Either may be the slower one, so twice as many tests.
        margin = max(UNEQUAL, expm1(spread.margin(least, most, tests=2 * pairs)))
        if high > low * (1 + margin) and fast != slow:
            yield Finding(
                rule="unequal baselines",
                claims=(Claim.THROUGHPUT,),
                where=slow,
                sentence=f"the same step of {plural(int(str(gpus)), 'GPU')} with {micro} images per GPU takes "
                f"{high:.3g} s in one series ({slow}) and {low:.3g} s in the other ({fast}), "
                f"{high / low - 1:.0%} apart",
                advice="time both series from one baseline, repeated on several nodes",
            )


def _step_s(run: Run) -> float | None:
    if not run.timed or run.work is None or not run.global_batch:
        return None
    return median(run.epoch_s) / ceil(run.work / run.global_batch)
