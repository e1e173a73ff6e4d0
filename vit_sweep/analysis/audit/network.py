"""Rules about communication: waiting that is read as transfer, links that explain a collapse or a plateau. Pure.

They read the runs that stand apart too: what keeps them out of a speedup does not make their network unknown.

Every rank of a ring sends and receives 2 (n - 1)/n of the bytes that are reduced (Patarasuk and Yuan, 2009), so
`bus bandwidth = 2 (n - 1)/n x bytes / time` is what the slowest link carries, comparable between GPU counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from statistics import median
from typing import NamedTuple

from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Severity, with_apart
from vit_sweep.analysis.laws.link import step_bytes
from vit_sweep.analysis.series.series import ScalingSeries, SeriesPoint
from vit_sweep.plan.predict import ring
from vit_sweep.runs.run import Origin, Run

WAITING = 0.25
"""Part of the time in collectives, as the first rank to arrive sees it, from which on waiting must be split off."""
SHRINKS = 0.8
"""The same bytes over more ranks of a ring cannot take less than this part of the time over fewer."""
COLLAPSE = 0.5
"""A link is suspected where less than this part of the best bus bandwidth of the series is left."""
GOODPUT = 1448 / 1538
"""Part of an Ethernet's rate that TCP carries with packets of 1500 bytes: 1448 of 1538 on the wire."""
LINKS_GBIT = {"1 GbE": 1, "2.5 GbE": 2.5, "10 GbE": 10, "25 GbE": 25, "40 GbE": 40, "100 GbE": 100}
"""Nominal rates. A link is named where between `LINK_LOW` and `LINK_HIGH` of its goodput is seen."""
LINK_LOW, LINK_HIGH = 0.8, 1.03
MATTERS = 0.25
"""Part of a step in collectives from which on a link that is full limits the scaling."""
_SAME_RATE = 1.15
"""How far the rates of points that share one full link lie from each other at most."""


def straggler_wait(evidence: Evidence) -> Iterator[Finding]:
    """Time in collectives that contains waiting for slower ranks, or cannot be told from it."""
    for series in evidence.series:
        for rule in (_one_rank, _waits, _shrinks):
            verdict = rule(series)
            if verdict is not None:
                severity, sentence = verdict
                yield Finding(
                    rule="straggler wait",
                    severity=severity,
                    claims=(Claim.COMMUNICATION,),
                    where=series.label,
                    sentence=sentence,
                    advice="time collectives on every rank: the least is transfer, the rest is waiting",
                )


def _one_rank(series: ScalingSeries) -> tuple[Severity, str] | None:
    """Whether somebody else's figure is that of one rank; a study's own is the least over ranks."""
    points = [
        point
        for point in with_apart(series)
        if point.gpus > 1
        and any(_communication(run) and _wait(run) is None and run.origin is not Origin.STUDY for run in point.runs)
    ]
    if not points:
        return None
    rank_0 = all("communication" in " ".join(run.rank_0_only) for point in points for run in point.runs)
    return Severity.FALLS, (
        f"communication of {plural(len(points), 'point')} ({some(plural(point.gpus, 'GPU') for point in points)}) is "
        f"{'known of rank 0 alone' if rank_0 else 'not known for every rank'}: what one rank spends in a collective is "
        "transfer and waiting for the slowest rank together"
    )


def _waits(series: ScalingSeries) -> tuple[Severity, str] | None:
    waiting = []
    for point in with_apart(series):
        shares = [
            wait / (wait + pure)
            for run in point.runs
            if (wait := _wait(run)) and (pure := _communication(run)) is not None
        ]
        if shares and median(shares) > WAITING:
            waiting.append(f"{median(shares):.0%} at {plural(point.gpus, 'GPU')}")
    if not waiting:
        return None
    return Severity.WEAKENS, (
        f"of the first rank's time in collectives, waiting for the last one is {some(waiting)}: only the rest is "
        "communication"
    )


def _shrinks(series: ScalingSeries) -> tuple[Severity, str] | None:
    """Equal bytes that take longer over fewer ranks: the excess cannot be transfer."""
    times = [
        (point.gpus, median(known))
        for point in with_apart(series)
        if point.gpus > 1 and (known := [t for run in point.runs if (t := _communication(run))])
    ]
    pairs = [
        (few[1] / many[1], few, many)
        for few in times
        for many in times
        if few[0] < many[0] and many[1] < SHRINKS * few[1]
    ]
    if not pairs or series.key.batch_per == "global":
        return None
    _, few, many = max(pairs)
    return Severity.FALLS, (
        f"reducing the same gradient takes {few[1]:.0f} ms a step over {plural(few[0], 'GPU')} and {many[1]:.0f} ms "
        f"over {plural(many[0], 'GPU')}: what shrinks with more ranks is waiting or another node, not transfer"
    )


class Rate(NamedTuple):
    """What the links of a point carried."""

    point: SeriesPoint
    time_ms: float
    """In collectives per step."""
    bus_gb_per_s: float
    """Through each rank's own link: 2 (n - 1)/n x bytes / time."""
    shared_gb_per_s: float
    """Through one link that all ranks share: n times as much."""

    @property
    def across(self) -> bool:
        """Whether it may have crossed a network: not known to be on one machine."""
        return self.point.nodes != 1

    @property
    def share(self) -> float:
        """Part of a step."""
        steps = [step for run in self.point.runs if (step := _step_ms(run)) is not None]
        return self.time_ms / median(steps) if steps else 0.0


def rates_of(series: ScalingSeries) -> list[Rate]:
    """Of every point whose time in collectives and gradient are known, sorted by GPUs."""
    points = with_apart(series)
    size = step_bytes(replace(series, points=points))
    if size is None:
        return []
    rates = []
    for point in points:
        times = [time for run in point.runs if (time := _communication(run))]
        if point.gpus > 1 and times:
            bus = ring.traffic(point.gpus) * size / median(times) / 1e6
            rates.append(Rate(point, median(times), bus, point.gpus * bus))
    return rates


def slow_link(evidence: Evidence) -> Iterator[Finding]:
    """Bytes over time that are just what a slow link carries, where other GPU counts see much more."""
    for series in evidence.series:
        rates = rates_of(series)
        best = max(rates, key=lambda rate: rate.bus_gb_per_s, default=None)
        for rate in rates:
            name = link_of(rate.bus_gb_per_s)
            if best is None or not _collapsed(rate, best) or not name:
                continue
            gpus, megabytes = rate.point.gpus, rate.bus_gb_per_s * rate.time_ms
            yield Finding(
                rule="slow link",
                claims=(Claim.COMMUNICATION, Claim.THROUGHPUT),
                where=series.label,
                sentence=f"at {plural(gpus, 'GPU')} {megabytes:.0f} MB in {rate.time_ms:.0f} ms are "
                f"{rate.bus_gb_per_s:.3f} GB/s, against {best.bus_gb_per_s:.3g} GB/s at "
                f"{plural(best.point.gpus, 'GPU')}: what {name} carries. {_computing(with_apart(series), rate.point)}",
                advice="look at the links of the nodes that this GPU count adds (`ethtool`, preflight) and leave "
                "the slow one out",
            )


def _collapsed(rate: Rate, best: Rate) -> bool:
    return rate.across and rate.bus_gb_per_s < COLLAPSE * best.bus_gb_per_s


def saturated_link(evidence: Evidence) -> Iterator[Finding]:
    """Every count on several machines fills the same slow link, its own or a shared one: none collapses, all wait."""
    for series in evidence.series:
        rates = rates_of(series)
        best = max(rates, key=lambda rate: rate.bus_gb_per_s, default=None)
        across = [rate for rate in rates if rate.across]
        limited = [rate for rate in across if rate.share >= MATTERS]
        if best is None or len({rate.point.gpus for rate in across}) < 2 or not limited:
            continue
        own = [rate.bus_gb_per_s for rate in across]
        total = [rate.shared_gb_per_s for rate in across]
        if (link := _full(own)) and not any(_collapsed(rate, best) for rate in across):
            words = f"each rank sees {min(own):.3g} to {max(own):.3g} GB/s, what {link} carries"
        elif len({rate.point.gpus for rate in across}) > 2 and (link := _full(total)):
            words = (
                f"all ranks together see {min(total):.3g} to {max(total):.3g} GB/s, however many they are: what "
                f"{link} carries that all of them share"
            )
        else:
            continue
        most = max(limited, key=lambda rate: rate.share)
        yield Finding(
            rule="saturated link",
            claims=(Claim.COMMUNICATION, Claim.THROUGHPUT),
            where=series.label,
            sentence=f"at {some(plural(rate.point.gpus, 'GPU') for rate in across)} {words}, and {most.share:.0%} of a "
            f"step at {plural(most.point.gpus, 'GPU')} is spent in collectives: the curve is that of the link",
            advice="name the network beside the curve; a faster one, larger batches or accumulation move it",
        )


def _full(rates: Sequence[float]) -> str:
    """The link whose goodput all rates are; empty where they differ or are none's."""
    names = {link_of(rate) for rate in rates}
    return names.pop() if len(names) == 1 and max(rates) <= _SAME_RATE * min(rates) else ""


def _step_ms(run: Run) -> float | None:
    """An optimizer step; of the epoch where it is not known by itself."""
    if run.step_ms is not None or not run.timed or run.work is None or not run.global_batch:
        return run.step_ms
    return 1000 * median(run.epoch_s) / ceil(run.work / run.global_batch)


def link_of(gb_per_s: float) -> str:
    """The Ethernet whose TCP goodput this bandwidth is, with its figure; empty if it is none's."""
    for name, rate in LINKS_GBIT.items():
        most = rate / 8 * GOODPUT
        if LINK_LOW * most <= gb_per_s <= LINK_HIGH * most:
            return f"one {name} link ({most:.3g} GB/s)"
    return ""


def _computing(points: Sequence[SeriesPoint], point: SeriesPoint) -> str:
    """Whether the ranks themselves became slower, as far as that was measured; rank 0 is compared with rank 0."""
    for of_rank_0, subject in ((False, "Computing"), (True, "Computing of rank 0, the only one known,")):
        current = _compute(point, of_rank_0=of_rank_0)
        before = [ms for other in points if other is not point and (ms := _compute(other, of_rank_0=of_rank_0))]
        if current is None or not before:
            continue
        if current / median(before) - 1 < 0.05:
            return f"{subject} stays at {current:.0f} ms a step ({median(before):.0f} elsewhere): a link, not slow GPUs"
        return f"{subject} takes {current:.0f} ms a step ({median(before):.0f} elsewhere), so slow GPUs have their part"
    return "Whether the GPUs became slower was not measured"


def _compute(point: SeriesPoint, *, of_rank_0: bool) -> float | None:
    if of_rank_0:
        times = [run.rank_0_compute_ms for run in point.runs if run.rank_0_compute_ms is not None]
    else:
        times = [median(run.compute_ms_by_rank) for run in point.runs if run.compute_ms_by_rank]
    return median(times) if times else None


def _communication(run: Run) -> float | None:
    return run.parts.communication if run.parts is not None else None


def _wait(run: Run) -> float | None:
    return run.parts.straggler_wait if run.parts is not None else None
