"""When a job is expected to start: by a simulation or by Slurm, corrected by how far off earlier forecasts were. Pure.

A forecast is learned from as a ratio of waits, (real + 1 min) / (expected + 1 min): a job that is expected in an hour
may be off by as many parts of it as one that is expected in a day. Forecasts of one look at the queue are off together,
so they count as one. Of n looks:

    start    = expected wait x median ratio, of whose logarithm is left what chance does not explain
    interval = forecast, each end moved by the (n + 1) 90 %-th smallest ratio by which earlier starts lay beyond theirs
               (below 1 where they lay inside)

The latter is conformalized quantile regression (Romano, Patterson, Candes, NeurIPS 2019): as many starts as stated lie
inside, if the next look is like the earlier ones. It takes nine looks; with fewer, an end is only moved outwards: as
the start is, or as far as an earlier start lay beyond it.
"""

from collections.abc import Iterable, Sequence
from math import ceil, exp, inf, log, pi
from statistics import median
from typing import NamedTuple

from launchers.queue_snapshot import QueueSnapshot
from launchers.text import plural
from vit_sweep.plan.waiting.backfill import DRAWS, PlannedJob, Stay, starts

COVERED = 0.8
"""Of starts that lie in the interval."""
LEAST_S = 60.0
"""An error that is not worth learning from."""
_EACH = (1 + COVERED) / 2
"""Of starts that lie on the right side of one end."""
ENOUGH_LOOKS = round(_EACH / (1 - _EACH))
"""From so many on the interval covers what it says, whatever the errors are like."""
LOOK_S = 300.0
"""Forecasts of one sweep, which is sent within minutes, are of one look."""
LAST_LOOKS = 40
"""A queue of long ago says little."""
_OF_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""
_ROUNDING = 1e-9
_LEAST_SPREAD = log(2)
"""Standard deviation of the logarithms of the ratios, at least: a few that agree prove nothing."""
_JOBS, _FEWEST = 400, 5
"""Jobs of a queue beyond which it is simulated less often, and the fewest times."""


class RawForecast(NamedTuple):
    """When a job is expected to start, uncorrected."""

    at_s: float
    """When it was made."""
    start_s: float
    earliest_s: float
    latest_s: float


class PastForecast(NamedTuple):
    """A forecast, and when the job did start."""

    forecast: RawForecast
    started_s: float


class Expected(NamedTuple):
    """A start, and between which times four of five such starts lie."""

    start_s: float
    earliest_s: float
    latest_s: float
    jobs: int
    """Earlier jobs of the study that it is corrected by."""
    looks: int
    """Looks at the queue that these were forecast by."""

    def basis(self, source: str) -> str:
        """What it rests on, after `source`: "from the queue at 14:02", "from Slurm's plan"."""
        if not self.jobs:
            return f"{source}, no earlier job of this study to correct it by"
        warning = f" ({plural(self.looks, 'look')}: few)" if self.looks < ENOUGH_LOOKS else ""
        return f"{source}, corrected by {plural(self.jobs, 'earlier job')} of this study{warning}"


Starts = tuple[RawForecast, ...] | str
"""When each task of a job starts; else why nobody knows."""


def from_queue(snapshot: QueueSnapshot | str, jobs: Sequence[PlannedJob]) -> tuple[Starts, ...]:
    """What a simulation of the queue says of each task of each job, if all are submitted now.

    In place of the tasks' starts: why nothing is known. `snapshot`: a look at the queue, or why there is none.
    """
    if isinstance(snapshot, str):
        return (snapshot,) * len(jobs)
    if snapshot.hidden is not None:
        return (snapshot.hidden,) * len(jobs)
    return from_draws(snapshot, jobs, starts(snapshot, jobs, draws=draws_of(snapshot)))


def from_draws(
    snapshot: QueueSnapshot, jobs: Sequence[PlannedJob], draws: Sequence[Sequence[Sequence[Stay]]]
) -> tuple[Starts, ...]:
    """The same of a simulation that has been done (`backfill.starts`)."""
    return tuple(
        absent_partition(snapshot, one) or _forecasts(snapshot, one, [stays[place] for stays in draws])
        for place, one in enumerate(jobs)
    )


def draws_of(snapshot: QueueSnapshot) -> int:
    """How often a queue is simulated: a long one less often, so that nobody waits for it."""
    return max(_FEWEST, min(DRAWS, DRAWS * _JOBS // max(1, len(snapshot.jobs))))


def from_slurm(at_s: float, start_s: float) -> RawForecast:
    """What Slurm says of a submitted job: by limits, so the job may start at any time until then."""
    return RawForecast(at_s, max(at_s, start_s), at_s, max(at_s, start_s))


def corrected(forecast: RawForecast, past: Iterable[PastForecast]) -> Expected:
    """Correct a forecast by earlier ones of the same kind (simulated, or Slurm's)."""
    comparable = (
        one for one in past if one.forecast.at_s <= forecast.at_s and _at_once(one.forecast) == _at_once(forecast)
    )
    ordered = sorted(comparable, key=lambda one: one.forecast.at_s)
    looks = _by_look(ordered)[-LAST_LOOKS:]
    shift = _shift([median(_log_ratio(one, one.forecast.start_s) for one in look) for look in looks])
    too_early = [median(-_log_ratio(one, one.forecast.earliest_s) for one in look) for look in looks]
    too_late = [median(_log_ratio(one, one.forecast.latest_s) for one in look) for look in looks]
    earlier, later = _widening(too_early, -shift), _widening(too_late, shift)
    start = _shifted(forecast, forecast.start_s, shift)
    earliest, latest = _shifted(forecast, forecast.earliest_s, -earlier), _shifted(forecast, forecast.latest_s, later)
    return Expected(start, min(earliest, start), max(latest, start), sum(map(len, looks)), len(looks))


def _forecasts(snapshot: QueueSnapshot, job: PlannedJob, draws: Sequence[Sequence[Stay]]) -> Starts:
    tasks = [sorted(stays[task].start_s for stays in draws) for task in range(len(job.runs_s))]
    ends = [(times[0], times[-1]) if len(draws) >= _FEWEST else (snapshot.at_s, inf) for times in tasks]
    forecasts = tuple(
        RawForecast(snapshot.at_s, times[(len(times) - 1) // 2], *end) for times, end in zip(tasks, ends, strict=True)
    )
    return why_never(snapshot, job) if forecasts and forecasts[0].start_s == inf else forecasts


def absent_partition(snapshot: QueueSnapshot, job: PlannedJob) -> str:
    """Say that a partition is not there, for which Slurm refuses a job, also beside others; empty where all are."""
    known = {name for room in snapshot.nodes for name in room.partitions}
    absent = [name for name in job.partitions if name not in known]
    return f"the queue shows no node of partition {' or '.join(absent)}" if absent else ""


def why_never(snapshot: QueueSnapshot, job: PlannedJob) -> str:
    """Why nothing that is known lets a job start."""
    partitions = job.partitions or snapshot.default_partitions
    if not partitions:
        return "the profile names no partition, and which is Slurm's default one is not known here"
    names = " or ".join(partitions)
    in_partition = [room for room in snapshot.nodes if set(room.partitions) & set(partitions)]
    fitting = [room for room in in_partition if room.gpus >= job.gpus_per_node]
    usable = [room for room in fitting if room.usable]
    if len(fitting) < job.nodes:
        return (
            f"partition {names} has {plural(len(fitting), 'node')} with {plural(job.gpus_per_node, 'GPU')} or more, "
            f"and {job.nodes} are asked for"
        )
    if len(usable) < job.nodes:
        return (
            f"{len(fitting) - len(usable)} of {plural(len(fitting), 'node')} in partition {names} are down or drained"
        )
    return (
        f"partition {names} has too long a queue to follow ({plural(len(snapshot.jobs), 'job')}), is held by jobs "
        "without a time limit, or the nodes asked for are not there"
    )


def _by_look(past: Sequence[PastForecast]) -> list[list[PastForecast]]:
    looks: list[list[PastForecast]] = []
    for forecast in past:
        if not looks or forecast.forecast.at_s - looks[-1][0].forecast.at_s > LOOK_S:
            looks.append([])
        looks[-1].append(forecast)
    return looks


def _at_once(forecast: RawForecast) -> bool:
    return forecast.start_s - forecast.at_s < LEAST_S


def _wait(forecast: RawForecast, moment_s: float) -> float:
    return max(0.0, moment_s - forecast.at_s) + LEAST_S


def _log_ratio(past: PastForecast, end_s: float) -> float:
    """How far a start lay beyond a moment: the logarithm of the ratio of waits."""
    return log(_wait(past.forecast, past.started_s)) - log(_wait(past.forecast, end_s))


def _shifted(forecast: RawForecast, moment_s: float, shift: float) -> float:
    """The moment whose wait is longer by the factor exp(`shift`)."""
    return forecast.at_s + max(0.0, _wait(forecast, moment_s) * exp(shift) - LEAST_S)


def _shift(ratios: Sequence[float]) -> float:
    """The median of logarithms, less what chance explains: a positive-part James-Stein estimate.

    A median's variance is pi/2 of a mean's; the spread is taken from the median absolute deviation.
    """
    if not ratios or (middle := median(ratios)) == 0:
        return 0.0
    deviation = max(_LEAST_SPREAD, _OF_NORMAL * median(abs(ratio - middle) for ratio in ratios))
    return middle * max(0.0, 1 - pi / 2 * deviation**2 / len(ratios) / middle**2)


def _widening(beyond: Iterable[float], shift: float) -> float:
    """How far an end of an interval has to move outwards, by how far starts lay beyond it."""
    distances = sorted(one for one in beyond if one > -inf)  # an end that was left open teaches nothing
    if len(distances) < ENOUGH_LOOKS:
        return max([0.0, shift, *distances])
    return distances[min(len(distances), ceil(_EACH * (len(distances) + 1) - _ROUNDING)) - 1]
