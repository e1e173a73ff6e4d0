"""Summaries of repeated measurements within a run. Pure.

What a restart disturbed is left out: the epoch that it lies in, and the first whole one of the new process, which is
cold. The very first epoch of a run is cold too and kept apart.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from statistics import median
from typing import NamedTuple

from launchers.checked import checked
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.predict.cost import Throughput
from vit_sweep.record.breakdown import StepBreakdown, step_breakdown
from vit_sweep.record.record import Compilations, EpochReport, Record


class EpochTime(NamedTuple):
    """How long an epoch takes in steady state."""

    median_s: float
    """Median over the epochs that count, each the max over ranks."""
    spread_s: float
    """Largest minus smallest of them."""
    n: int
    """How many epochs count. Cold ones do only if there are no others; 0: every epoch has a restart inside, and the
    median is over the sums of their parts."""
    first_s: float
    counted_s: tuple[float, ...] = ()
    """The epochs that count, in their order."""

    @property
    def values_s(self) -> tuple[float, ...]:
        """What the run brings to a statistic over runs: the epochs that count, else the one time that it has."""
        return self.counted_s or (self.median_s,)


def epoch_time(record: Record) -> EpochTime:
    """Summarise a run's epochs; cold ones never join others, and interrupted ones never join whole ones."""
    steady = counted(record)
    seconds = [epoch.seconds for epoch in steady or record.epochs]
    return EpochTime(
        median_s=median(seconds),
        spread_s=max(seconds) - min(seconds),
        n=len(steady),
        first_s=record.epochs[0].seconds,
        counted_s=tuple(epoch.seconds for epoch in steady),
    )


def steady_steps_ms(record: Record) -> list[float]:
    """Each optimizer step (max over ranks) after the warm-up steps, without the epochs that a restart disturbed."""
    # Warm-up is counted in steps for the first process only: later ones lose their whole first epoch.
    steady: list[float] = []
    warm_up = record.requested.warmup_steps
    for number, epoch in enumerate(record.epochs):
        if not (epoch.interrupted or (epoch.cold and number)):
            steady += epoch.step_ms[warm_up:]
        warm_up = max(0, warm_up - len(epoch.step_ms))
    return steady


def step_ms(record: Record) -> float | None:
    """Median of `steady_steps_ms`; None if nothing is left."""
    steps = steady_steps_ms(record)
    return median(steps) if steps else None


TAIL = (0.95, 0.99)
"""Quantiles of steps that tables show beside the median."""


def step_tail_ms(record: Record) -> tuple[float | None, ...]:
    """The step that so many of `steady_steps_ms` do not exceed, for each of `TAIL`: nearest rank, never interpolated.

    None where there are too few steps for one to lie above it: 20 for 95 %, 100 for 99 %.
    """
    steps = sorted(steady_steps_ms(record))
    ranks = [math.ceil(quantile * len(steps)) for quantile in TAIL]
    return tuple(steps[rank - 1] if steps and rank < len(steps) else None for rank in ranks)


_FEW_STEPS = 20


def step_percentiles_ms(record: Record) -> tuple[float, ...]:
    """The percentiles, 0 to 100, of `steady_steps_ms`: nearest rank, never interpolated; empty with few steps."""
    steps = sorted(steady_steps_ms(record))
    if len(steps) < _FEW_STEPS:
        return ()
    hundred = _hundred(len(steps))
    if len(steps) < 100:  # most of them stand for several percents
        return (steps[0], *hundred([round(ms, 4) for ms in steps]))
    return (steps[0], *[round(ms, 4) for ms in hundred(steps)])


@lru_cache(maxsize=1024)
def _hundred(count: int) -> Callable[[Sequence[float]], tuple[float, ...]]:
    """What takes the percentiles 1 to 100 from so many sorted values."""
    return itemgetter(*(math.ceil(percent * count / 100) - 1 for percent in range(1, 101)))


def skipped(record: Record) -> tuple[int, float] | None:
    """How many optimizer steps fp16's loss scaling threw away, and their part of the time of all; None but for fp16."""
    if record.requested.precision.products is not Precision.FP16:
        return None
    lost_ms = [epoch.step_ms[step] for epoch in record.epochs for step in epoch.skipped_steps]
    total_ms = sum(ms for epoch in record.epochs for ms in epoch.step_ms)
    return len(lost_ms), sum(lost_ms) / total_ms if total_ms else 0.0


def compiled(record: Record) -> Compilations | None:
    """Over all epochs, of each the most over ranks; None where nothing was to be compiled or nobody counted."""
    epochs = [epoch.compiled_by_rank for epoch in record.epochs if epoch.compiled_by_rank]
    if not epochs:
        return None
    return Compilations(
        graphs=sum(max(rank.graphs for rank in ranks) for ranks in epochs),
        breaks=sum(max(rank.breaks for rank in ranks) for ranks in epochs),
    )


def rank_step_ms(record: Record) -> tuple[float, ...]:
    """Median optimizer step of each rank, over the epochs that count."""
    epochs = [epoch.step_ms_by_rank for epoch in counted(record)]
    if not epochs or any(not steps for ranks in epochs for steps in ranks):
        return ()
    return tuple(median([ms for steps in ranks for ms in steps]) for ranks in zip(*epochs, strict=True))


def breakdown(record: Record) -> StepBreakdown | None:
    """Where a step goes, over the epochs that count for `epoch_time`; None where that was not measured."""
    return step_breakdown([epoch.phases_by_rank for epoch in counted(record)])


def images_per_s(record: Record) -> float:
    """Images of an epoch over its median time, of all GPUs."""
    return record.epochs[-1].images / epoch_time(record).median_s


def throughput(record: Record) -> Throughput:
    """What a plan learns of a finished run."""
    rate = images_per_s(record) / record.requested.gpus
    return Throughput(cell=record.requested, images_per_s=rate, startup_s=record.startup_s)


def throughputs(records: Iterable[Record]) -> tuple[Throughput, ...]:
    """The same of several; of one that goes on from another cell's checkpoint nothing."""
    return tuple(throughput(record) for record in records if record.requested.origin is None)


def spent_gpu_hours(record: Record) -> float:
    """GPU-hours of a finished run: its job from the first line to the record, on all GPUs that it was given.

    Of a shared allocation, and of nodes that were its alone, those that waited are counted. After a restart, and for
    records without the job's time: start-up and epochs at least.
    """
    least_s = record.startup_s + sum(epoch.seconds for epoch in record.epochs)
    gpus = record.allocated_gpus or record.requested.gpus
    return gpus * max(record.job_s or 0.0, least_s) / 3600


@checked
class SlowestRank:
    """Where a step of one rank goes on average, in milliseconds: of the one that computes longest.

    The parts add up to its step.
    """

    rank: int
    data_wait: float
    copy: float
    forward: float
    backward: float
    communication: float | None
    """Without `wait`; None: inside of `backward`."""
    wait: float | None
    """For others, in its reduction: it is the slowest on average, not in every step."""
    optimizer: float
    other: float

    @property
    def parts(self) -> dict[str, float | None]:
        """Milliseconds by part."""
        return {name: getattr(self, name) for name in SLOWEST_PARTS}

    @property
    def columns(self) -> dict[str, float | None]:
        """As tables name them, with the step that they add up to."""
        columns = {f"slowest_{name}_ms": ms for name, ms in self.parts.items()}
        step = round(sum(ms for ms in columns.values() if ms is not None), 3)
        return {"slowest_rank": self.rank, "slowest_step_ms": step, **columns}


SLOWEST_PARTS = ("data_wait", "copy", "forward", "backward", "communication", "wait", "optimizer", "other")
SLOWEST_COLUMNS = ("slowest_rank", "slowest_step_ms", *(f"slowest_{name}_ms" for name in SLOWEST_PARTS))


@checked
class StepParts:
    """Where a step of a run goes, in milliseconds of an optimizer step (docs/results/measuring.md).

    Of several ranks each part is that of another rank: the most or the least. `slowest` is of one.
    """

    data_wait: float | None = None
    copy: float | None = None
    forward: float | None = None
    backward: float | None = None
    communication: float | None = None
    """The least over ranks."""
    straggler_wait: float | None = None
    optimizer: float | None = None
    other: float | None = None
    exposed: float | None = None
    """Communication that no computation hides; not a further part, but a second view of it. None if none was seen."""
    exposed_low: float | None = None
    exposed_high: float | None = None
    collective: float | None = None
    """Pure time of the collectives, from the profiled window, as all that follows."""
    communicated_mb: float | None = None
    algorithm_gb_per_s: float | None = None
    bus_gb_per_s: float | None = None
    slowest: SlowestRank | None = None
    """None where nobody timed the phases of every rank."""

    @property
    def columns(self) -> dict[str, float | None]:
        """As tables name them."""
        slowest = self.slowest.columns if self.slowest is not None else dict.fromkeys(SLOWEST_COLUMNS)
        return dict(zip(_PART_COLUMNS, _PARTS(self), strict=True)) | slowest


_PART_COLUMNS = (
    "data_wait_ms",
    "copy_ms",
    "forward_ms",
    "backward_ms",
    "communication_ms",
    "optimizer_ms",
    "other_ms",
    "straggler_wait_ms",
    "exposed_ms",
    "exposed_low_ms",
    "exposed_high_ms",
    "collective_ms",
    "communicated_mb",
    "algorithm_gb_per_s",
    "bus_gb_per_s",
)
_PARTS = attrgetter(*(name.removesuffix("_ms") for name in _PART_COLUMNS))
STEP_COLUMNS = (*_PART_COLUMNS, *SLOWEST_COLUMNS)
"""Of `StepParts.columns`."""


_PHASES = ("data_wait", "copy", "forward", "backward", "optimizer", "other")
"""Without those of communication."""


def step_parts(record: Record, step_breakdown: StepBreakdown | None) -> StepParts | None:
    """What is known of a run's steps; None where nothing was measured. `measured`: the run's `breakdown`.

    A phase is the most over ranks, communication the least (`StepBreakdown`).
    """
    measured = record.breakdown
    exposed, window = (measured.exposed, measured.collective) if measured is not None else (None, None)
    if step_breakdown is None and exposed is None and window is None:
        return None
    columns: dict[str, float | SlowestRank | None] = {}
    if window is not None:
        columns |= {
            "straggler_wait": window.straggler_wait_ms,
            "collective": window.pure_ms,
            "communicated_mb": window.bytes / 1e6,
            "algorithm_gb_per_s": window.algorithm_gb_per_s,
            "bus_gb_per_s": window.bus_gb_per_s,
        }
    if exposed is not None:
        low, high = exposed.interval_ms or (None, None)
        exposed_ms = None if exposed.is_nothing else exposed.exposed_ms
        columns |= {"exposed": exposed_ms, "exposed_low": low, "exposed_high": high}
    if step_breakdown is not None:
        columns |= {name: getattr(step_breakdown.most, name) for name in _PHASES}
        columns |= {"communication": step_breakdown.communication_ms, "slowest": _slowest(step_breakdown)}
        if step_breakdown.straggler_wait_ms is not None:  # over whole epochs, which says more than a short window
            columns["straggler_wait"] = step_breakdown.straggler_wait_ms
    return StepParts(**columns)  # type: ignore[arg-type]  # by name


def _slowest(step_breakdown: StepBreakdown) -> SlowestRank:
    of_rank, least = step_breakdown.slowest, step_breakdown.least_communication
    return SlowestRank(
        rank=step_breakdown.slowest_rank,
        **{name: getattr(of_rank, name) for name in _PHASES},
        communication=of_rank.communication if least is None else least,
        wait=None if of_rank.communication is None or least is None else round(of_rank.communication - least, 3),
    )


def measured_columns(record: Record) -> dict[str, float | str | None]:
    """What a table says of a run's steps, in milliseconds of a step; None where it was not or cannot be measured."""
    parts = step_parts(record, breakdown(record)) or StepParts()
    return {**parts.columns, "measuring_notes": measuring_notes(record)}


def measuring_notes(record: Record) -> str | None:
    """Why something of its steps was not measured."""
    return "; ".join(record.breakdown.notes) or None if record.breakdown is not None else None


def counted(record: Record) -> list[EpochReport]:
    """Whole epochs that nothing disturbed, without the first; only if there are none, cold ones."""
    steady = [epoch for epoch in record.epochs[1:] if not (epoch.interrupted or epoch.cold)]
    return steady or [epoch for epoch in record.epochs if not epoch.interrupted]
