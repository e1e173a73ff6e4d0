"""How long cells under way will take yet, and all of them together, with what says so. Pure.

    a cell    = start-up + rate x work, of cells alike that ended, else of those that train; else what the plan says
    its rest  = its own seconds a step x its steps that are left; in its first epoch: such a whole less its age
    the sweep = cells that wait put one by one on as many places as there were side by side so far

Nothing is said of what nothing is known of. Waiting in a queue is counted where something says when a cell starts, and
else left out: nobody can promise it.
"""

import heapq
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from statistics import fmean
from typing import NamedTuple

from launchers.checked import Quantity, checked
from launchers.text import grouped, plural

PLANNED = "the plan's estimate"
OWN, FIRST = "its own epochs", "its own first steps"
_ENDED = "cell that ended|cells that ended"
_OF_ALL = {OWN: "the running cells' own epochs", FIRST: "the running cells' own first steps"}


@checked
class Left:
    """Time that is left."""

    seconds: Quantity
    basis: str
    """What says so: `from 3 cells that ended, 2 side by side`."""


@checked
class Forecast:
    """What is left of the cells that run, or whose start is expected, as far as something says it, and of all that are
    under way."""

    cells: dict[str, Left]
    """By cell id."""
    sweep: Left | None
    """None where nothing is under way, or nothing says how long it takes."""


class Training(NamedTuple):
    """How far an attempt came when it last said so."""

    at_s: float
    """When, by the clock of `now_s`."""
    trained_s: float
    """From its first step until then."""
    steps: int
    """Of this attempt in that time."""
    steps_left: int
    """Of the whole run."""
    steps_in_all: int
    whole_epoch: bool = True
    """Whether it has finished an epoch; before that its first steps are all there is, which are slower than others."""

    @property
    def basis(self) -> str:
        """What its times are."""
        return OWN if self.whole_epoch else FIRST


class Job(NamedTuple):
    """A cell that runs, waits or is done. All times in seconds, all clocks that of `now_s`."""

    name: str
    kinds: tuple[Hashable, ...]
    """What it shares with cells that say something about it, the closest kin first."""
    work: float
    """In any unit that all jobs share."""
    planned_s: float | None = None
    basis: str = PLANNED
    """What says so."""
    runs: bool = False
    began_s: float | None = None
    took_s: float | None = None
    """From first line to record, of one that is done."""
    whole: bool = True
    """Of one that is done: whether that time holds all of its work, not only what followed a checkpoint."""
    startup_s: float = 0.0
    """Of that time, before the first step."""
    after_s: float = 0.0
    """Of that time, after the last epoch."""
    training: Training | None = None
    """Of one that runs and trains."""
    queues: bool = False
    """Whether it may wait in a queue that others fill too."""
    starts_s: float | None = None
    """When it is expected to start, of one that waits there."""


class _Queued(NamedTuple):
    """A job that waits."""

    from_s: float
    """From now until it is expected to start; 0 where nothing says when."""
    seconds: float


class _Sample(NamedTuple):
    work: float
    startup_s: float
    rest_s: float
    after_s: float
    basis: str = ""
    """Of one that still trains: what its times are."""


_Samples = Mapping[Hashable, Sequence[_Sample]]
"""By what they share with others."""


def forecast(jobs: Sequence[Job], now_s: float) -> Forecast:
    """Say what is left of the jobs; those that ended otherwise than well are not among them."""
    done = _by_kind(
        (job, _Sample(job.work, job.startup_s, max(0.0, job.took_s - job.startup_s), job.after_s))
        for job in jobs
        if job.took_s is not None and job.whole
    )
    trained = _by_kind((job, _sample(job, job.training)) for job in jobs if job.training is not None)
    cells: dict[str, Left] = {}
    busy_s: list[float] = []
    queue: list[_Queued] = []
    bases: list[str] = []
    told_by: dict[int, Sequence[_Sample]] = {}
    unknown = False
    for job in jobs:
        if job.took_s is not None:
            continue
        total = _whole(job, done, trained)
        left = _left_of_running(job, total, done, now_s) if job.runs else total
        if left is None:
            unknown = True
        elif left.seconds <= 0:
            busy_s.append(0.0)  # overdue: it says nothing of itself, and holds up nobody's forecast
        else:
            if job.runs:
                busy_s.append(left.seconds)
            else:
                queue.append(_Queued(max(0.0, job.starts_s - now_s) if job.starts_s else 0.0, left.seconds))
            kin = () if job.runs and job.training is not None else _kin(job, done)
            told_by[id(kin)] = kin
            bases.append(_ENDED if kin else _OF_ALL.get(left.basis, left.basis))
            if job.runs:
                cells[job.name] = replace(left, basis=f"from {left.basis}")
            elif job.starts_s is not None:
                whole_s = queue[-1].from_s + left.seconds
                cells[job.name] = Left(seconds=whole_s, basis=f"from its expected start and {left.basis}")
    if unknown or not any((*busy_s, *queue)):
        return Forecast(cells=cells, sweep=None)
    waiting = [job for job in jobs if job.queues and not job.runs and job.took_s is None]
    expected = sum(job.starts_s is not None for job in waiting)
    places = _side_by_side(jobs, now_s)
    # Before any has run, those whose starts are expected need no place of another one.
    seconds = _makespan(busy_s, queue, places or max(1.0, expected))
    samples_used = len({id(sample) for kin in told_by.values() for sample in kin})
    basis = "from " + " and ".join(
        plural(samples_used, base) if base == _ENDED else base for base in dict.fromkeys(bases)
    )
    if len(queue) + len(busy_s) > 1 and (places or not expected):
        concurrency = f"{places:.2g} side by side" if places and places > 1.05 else "one after another"
        basis += f", {concurrency}" if queue else ""
    return Forecast(cells=cells, sweep=Left(seconds=seconds, basis=basis + _waiting_too(expected, len(waiting))))


def _waiting_too(expected: int, waiting: int) -> str:
    """How much of the waiting in the queue is counted: of so many that wait, those whose start is expected."""
    if not waiting:
        return ""
    if not expected:
        return ", without waiting in the queue"
    of_them = "" if expected == waiting else f" of {expected} of {waiting} that wait"
    return f", with the expected waiting in the queue{of_them}"


def _sample(job: Job, training: Training) -> _Sample:
    """What a job that still trains says of others: as if it had ended."""
    step_s = training.trained_s / training.steps
    startup_s = training.at_s - training.trained_s - job.began_s if job.began_s is not None else 0.0
    return _Sample(job.work, max(0.0, startup_s), step_s * training.steps_in_all, 0.0, _OF_ALL[training.basis])


def _by_kind(pairs: Iterable[tuple[Job, _Sample]]) -> _Samples:
    return grouped((kind, sample) for job, sample in pairs for kind in job.kinds)


def _kin(job: Job, samples: _Samples) -> Sequence[_Sample]:
    """Those of its closest kin."""
    return next((samples[kind] for kind in job.kinds if kind in samples), ())


def _whole(job: Job, done: _Samples, trained: _Samples) -> Left | None:
    """How long the whole job takes, from its first line to its last."""
    for samples in (done, trained):
        kin = _kin(job, samples)
        if kin:
            rate = sum(sample.rest_s for sample in kin) / sum(sample.work for sample in kin)
            seconds = fmean(sample.startup_s for sample in kin) + rate * job.work
            # One that knows its first steps alone says so of all.
            basis = max(sample.basis for sample in kin)
            return Left(seconds=seconds, basis=basis or plural(len(kin), _ENDED))
    return None if job.planned_s is None else Left(seconds=job.planned_s, basis=job.basis)


def _left_of_running(job: Job, total: Left | None, done: _Samples, now_s: float) -> Left | None:
    """What is left of a job that runs; 0 seconds: it takes longer than anything says."""
    if job.training is not None:
        training = job.training
        after_s = fmean(sample.after_s for sample in kin) if (kin := _kin(job, done)) else 0.0
        seconds = training.steps_left * training.trained_s / training.steps + after_s - (now_s - training.at_s)
        return Left(seconds=max(0.0, seconds), basis=training.basis)
    if total is None or job.began_s is None:
        return total
    return replace(total, seconds=max(0.0, total.seconds - (now_s - job.began_s)))


def _side_by_side(jobs: Sequence[Job], now_s: float) -> float | None:
    """How many jobs ran at a time while any ran, or run now, if those are more; None if none ever did.

    Times without any job are a pause or a queue, and say nothing.
    """
    spans = [
        (job.began_s, now_s if job.took_s is None else job.began_s + job.took_s)
        for job in jobs
        if job.began_s is not None and (job.runs or job.took_s is not None)
    ]
    work_s = wall_s = 0.0
    covered_s = -math.inf
    for begin, end in sorted(spans):
        work_s += max(0.0, end - begin)
        wall_s += max(0.0, end - max(begin, covered_s))
        covered_s = max(covered_s, end)
    now = sum(job.runs for job in jobs)
    average = work_s / wall_s if wall_s else 0.0
    return max(average, now) or None


def _makespan(busy_s: Sequence[float], queue: Sequence[_Queued], places: float) -> float:
    """When the last job ends, if each that waits takes the first place that becomes free, in their order, and none
    before it is expected to start.

    At least what all of it takes at the rate so far, which need not be that of a whole number of places.
    """
    free_s = [*busy_s, *[0.0] * (max(1, math.ceil(places - 0.05)) - len(busy_s))]
    heapq.heapify(free_s)
    for job in sorted(queue, key=attrgetter("from_s")):
        heapq.heapreplace(free_s, max(free_s[0], job.from_s) + job.seconds)
    return max(*free_s, (sum(busy_s) + sum(job.seconds for job in queue)) / places)
