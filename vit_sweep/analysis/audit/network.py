"""Rules about communication: waiting that is read as transfer, and a link that explains a collapse. Pure.

Every rank of a ring sends and receives 2 (n - 1)/n of the bytes that are reduced (Patarasuk and Yuan, 2009), so
`bus bandwidth = 2 (n - 1)/n x bytes / time` is what the slowest link carries, comparable between GPU counts.
"""

from collections.abc import Iterator
from statistics import median

from launchers.text import some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Severity, gpus_of
from vit_sweep.analysis.laws.link import gradient_bytes
from vit_sweep.analysis.series.series import ScalingSeries, SeriesPoint
from vit_sweep.plan import ring
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


def straggler_wait(evidence: Evidence) -> Iterator[Finding]:
    """Time in collectives that contains waiting for slower ranks, or cannot be told from it."""
    for series in evidence.series:
        for rule in (_one_rank, _waits, _shrinks):
            said = rule(series)
            if said is not None:
                severity, sentence = said
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
        for point in series.timed
        if point.gpus > 1
        and any(_communication(run) and _wait(run) is None and run.origin is not Origin.STUDY for run in point.runs)
    ]
    if not points:
        return None
    return Severity.FALLS, (
        f"communication of {len(points)} point(s) ({some(gpus_of(point.gpus) for point in points)}) is not known for "
        "every rank: what one rank spends in a collective is transfer and waiting for the slowest rank together"
    )


def _waits(series: ScalingSeries) -> tuple[Severity, str] | None:
    said = []
    for point in series.timed:
        shares = [
            wait / (wait + pure)
            for run in point.runs
            if (wait := _wait(run)) and (pure := _communication(run)) is not None
        ]
        if shares and median(shares) > WAITING:
            said.append(f"{median(shares):.0%} at {gpus_of(point.gpus)}")
    if not said:
        return None
    return Severity.WEAKENS, (
        f"of the first rank's time in collectives, waiting for the last one is {some(said)}: only the rest is "
        "communication"
    )


def _shrinks(series: ScalingSeries) -> tuple[Severity, str] | None:
    """Equal bytes that take longer over fewer ranks: the excess cannot be transfer."""
    times = [
        (point.gpus, median(found))
        for point in series.timed
        if point.gpus > 1 and (found := [t for run in point.runs if (t := _communication(run))])
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
        f"reducing the same gradient takes {few[1]:.0f} ms a step over {gpus_of(few[0])} and {many[1]:.0f} ms over "
        f"{gpus_of(many[0])}: what shrinks with more ranks is waiting or another node, not transfer"
    )


def slow_link(evidence: Evidence) -> Iterator[Finding]:
    """Bytes over time that are just what a slow link carries, where other GPU counts see much more."""
    for series in evidence.series:
        size = gradient_bytes(series)
        speeds = {point.gpus: (point, _bus(point, size)) for point in series.timed if size is not None}
        known = {gpus: (point, speed) for gpus, (point, speed) in speeds.items() if speed is not None}
        if size is None or len(known) < 2:
            continue
        best_gpus, (_, best) = max(known.items(), key=lambda item: item[1][1] or 0.0)
        for gpus, (point, speed) in sorted(known.items()):
            if speed is None or best is None or speed >= COLLAPSE * best or point.nodes == 1:
                continue
            name = link_of(speed)
            if not name:
                continue
            time = median([t for run in point.runs if (t := _communication(run))])
            yield Finding(
                rule="slow link",
                claims=(Claim.COMMUNICATION, Claim.THROUGHPUT),
                where=series.label,
                sentence=f"at {gpus_of(gpus)} {ring.traffic(gpus) * size / 1e6:.0f} MB in {time:.0f} ms are "
                f"{speed:.3f} GB/s, against {best:.3g} GB/s at {gpus_of(best_gpus)}: "
                f"what {name} carries. {_compute_said(series, point)}",
                advice="look at the links of the nodes that this GPU count adds (`ethtool`, preflight) and leave "
                "the slow one out",
            )


def link_of(gb_per_s: float) -> str:
    """The Ethernet whose TCP goodput this bandwidth is, with its figure; empty if it is none's."""
    for name, rate in LINKS_GBIT.items():
        most = rate / 8 * GOODPUT
        if LINK_LOW * most <= gb_per_s <= LINK_HIGH * most:
            return f"one {name} link ({most:.3g} GB/s)"
    return ""


def _bus(point: SeriesPoint, size: float | None) -> float | None:
    times = [t for run in point.runs if (t := _communication(run))]
    if point.gpus < 2 or size is None or not times:
        return None
    return ring.traffic(point.gpus) * size / median(times) / 1e6


def _compute_said(series: ScalingSeries, point: SeriesPoint) -> str:
    """Whether the ranks themselves became slower, as far as that was measured."""
    now, before = _compute(point), [ms for other in series.timed if other is not point and (ms := _compute(other))]
    if now is None or not before:
        return "Whether the GPUs became slower was not measured"
    change = now / median(before) - 1
    if change < 0.05:
        return f"Computing stays at {now:.0f} ms a step ({median(before):.0f} elsewhere): a link, not slow GPUs"
    return f"Computing takes {now:.0f} ms a step ({median(before):.0f} elsewhere), so slow GPUs have their part"


def _compute(point: SeriesPoint) -> float | None:
    times = [median(run.compute_ms_by_rank) for run in point.runs if run.compute_ms_by_rank]
    return median(times) if times else None


def _communication(run: Run) -> float | None:
    return run.parts.communication if run.parts is not None else None


def _wait(run: Run) -> float | None:
    return run.parts.straggler_wait if run.parts is not None else None
