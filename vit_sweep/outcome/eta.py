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
from datetime import datetime
from operator import attrgetter
from statistics import fmean
from typing import NamedTuple

from launchers.checked import Quantity, checked
from launchers.profile import Scheduler
from launchers.text import plural
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.plan_file import CellForecast, PlanFile
from vit_sweep.plan.predict.cost import FRACTION_OF_PEAK, TEST_SHARE
from vit_sweep.plan.predict.pairs import loss_flop
from vit_sweep.plan.predict.vit import train_flop

PLANNED = "the plan's estimate"
PROCESSOR = "the clock of this machine's processor"
OWN, FIRST = "its own epochs", "its own first steps"
LOCAL_STARTUP_S = 5.0
"""Of a cell here: its ranks are forked from a process that has imported all."""
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
        whole = _whole(job, done, trained)
        left = _left_of_running(job, whole, done, now_s) if job.runs else whole
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
    ended = len({id(sample) for kin in told_by.values() for sample in kin})
    basis = "from " + " and ".join(plural(ended, base) if base == _ENDED else base for base in dict.fromkeys(bases))
    if len(queue) + len(busy_s) > 1 and (places or not expected):
        shown = f"{places:.2g} side by side" if places and places > 1.05 else "one after another"
        basis += f", {shown}" if queue else ""
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


def _by_kind(made: Iterable[tuple[Job, _Sample]]) -> _Samples:
    samples: dict[Hashable, list[_Sample]] = {}
    for job, sample in made:
        for kind in job.kinds:
            samples.setdefault(kind, []).append(sample)
    return samples


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


def _left_of_running(job: Job, whole: Left | None, done: _Samples, now_s: float) -> Left | None:
    """What is left of a job that runs; 0 seconds: it takes longer than anything says."""
    if job.training is not None:
        at = job.training
        after_s = fmean(sample.after_s for sample in kin) if (kin := _kin(job, done)) else 0.0
        seconds = at.steps_left * at.trained_s / at.steps + after_s - (now_s - at.at_s)
        return Left(seconds=max(0.0, seconds), basis=at.basis)
    if whole is None or job.began_s is None:
        return whole
    return replace(whole, seconds=max(0.0, whole.seconds - (now_s - job.began_s)))


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
    until = -math.inf
    for begin, end in sorted(spans):
        work_s += max(0.0, end - begin)
        wall_s += max(0.0, end - max(begin, until))
        until = max(until, end)
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


def jobs_of(results: Sequence[Result], plan: PlanFile | None, *, core_flops: float | None = None) -> list[Job]:
    """The cells that are done or under way, and what the plan says of them.

    `core_flops`: operations a second of a core of this machine at its peak; where the plan has no estimate of a cell
    that runs here on cores, its time is told from them.
    """
    open_or_done = [r for r in results if r.status.under_way or r.status is Status.DONE]
    planned = {cell.cell_id: cell for cell in plan.cells} if plan else {}
    queues = {i for i, profile in enumerate(plan.profiles) if profile.scheduler is Scheduler.SLURM} if plan else set()
    timed = all(_step_ms(planned, result) is not None for result in open_or_done)
    here = {i for i, profile in enumerate(plan.profiles) if profile.scheduler is Scheduler.LOCAL} if plan else set()
    jobs = [_job(r, planned, queues, timed=timed) for r in open_or_done]
    if core_flops is None:
        return jobs
    return [_told_from_cores(job, r, planned, here, core_flops) for job, r in zip(jobs, open_or_done, strict=True)]


def _told_from_cores(
    job: Job, result: Result, planned: Mapping[str, CellForecast], here: set[int], core_flops: float
) -> Job:
    """The same job, with a time from this machine's cores where it will run on them and nothing else says one."""
    cell, known = result.file.cell, planned.get(result.file.cell_id)
    if known is None or known.seconds is not None or known.profile_index not in here or cell.device != "cpu":
        return job
    tests = cell.data.test_images / cell.images_per_epoch * TEST_SHARE
    seconds = _flop(cell) * (1 + tests) / (FRACTION_OF_PEAK[cell.precision.products] * core_flops * cell.cpus_per_gpu)
    return job._replace(planned_s=LOCAL_STARTUP_S + seconds, basis=PROCESSOR)


def _job(result: Result, planned: Mapping[str, CellForecast], queues: set[int], *, timed: bool) -> Job:
    cell, brief, at = result.file.cell, result.brief, result.progress
    known = planned.get(result.file.cell_id)
    step_ms = _step_ms(planned, result) if timed else None
    steps = cell.steps_per_epoch * cell.epochs_here
    job = Job(
        name=result.file.cell_id,
        kinds=(replace(cell, seed=0), (cell.partition, cell.device, cell.gpu_model, cell.precision)),
        work=steps * step_ms if step_ms else _flop(cell),
        planned_s=known.seconds if known else None,
        queues=known is not None and known.profile_index in queues,
    )
    if result.status is Status.DONE and brief is not None:
        took_s, trained_s = brief.job_s, brief.trained_s
        return job._replace(
            began_s=_clock(brief.started_at),
            took_s=took_s if took_s is not None else 0.0,
            whole=took_s is not None and brief.restarts == 0,
            startup_s=brief.startup_s,
            after_s=max(0.0, took_s - brief.startup_s - trained_s) if took_s and trained_s else 0.0,
        )
    if result.status is not Status.RUNNING:
        return job._replace(starts_s=_clock(result.expected.start)) if result.expected is not None else job
    training = None
    if at is not None and at.at and at.trained_s and at.trained_steps:
        training = Training(
            _clock(at.at),
            at.trained_s,
            at.trained_steps,
            max(0, steps - at.steps),
            steps,
            whole_epoch=at.trained_steps >= min(cell.steps_per_epoch, steps) or at.steps % cell.steps_per_epoch == 0,
        )
    began = at.started_at if at is not None else ""
    return job._replace(runs=True, began_s=_clock(began) if began else None, training=training)


def _step_ms(planned: Mapping[str, CellForecast], result: Result) -> float | None:
    known = planned.get(result.file.cell_id)
    return known.step_ms if known else None


def _flop(cell: Cell) -> float:
    """Operations of each GPU in the whole run."""
    flop = train_flop(cell.model, cell.outputs) + loss_flop(cell)
    return flop * cell.images_per_epoch * cell.epochs_here / cell.gpus


def _clock(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
