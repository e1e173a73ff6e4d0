"""How many cells a job: one each, or packed, whichever a simulation of the queue says ends sooner (`pack=auto`). Pure.

Both ways meet the same queues: in each draw the jobs of others run as long (`backfill`). What decides is the makespan,
from now to the end of the last cell; GPU-hours only where makespans are alike, since nothing idles in a packed job.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import fmean, quantiles
from typing import NamedTuple

from launchers.batch import Batch
from launchers.profile import PartitionProfile
from launchers.queue_snapshot import QueueSnapshot
from launchers.text import lasting, plural
from vit_sweep.plan.waiting.backfill import NEVER, PlannedJob, makespan_s, starts
from vit_sweep.plan.waiting.expected import Starts, absent_partition, draws_of, from_draws, why_never
from vit_sweep.plan.waiting.forecast_file import Choice, Strategy

ALIKE_S = 60.0
"""Makespans that differ by less are equal: no forecast is as fine."""
LAG_S = 15.0
"""Between a job's end and the start of the next one on its nodes, mean: half of the time between two looks of backfill
(bf_interval, 30 s by default)."""
STEP_S = 2.0
"""Between two cells of a packed job."""


def candidates(max_cells: int) -> list[int]:
    """Cells a job to compare: doublings up to `max_cells`, one first.

    >>> candidates(6), candidates(1)
    ([1, 2, 4, 6], [1])
    """
    doublings = [2**power for power in range(max_cells.bit_length()) if 2**power < max_cells]
    return [*doublings, max_cells]


class Outlook(NamedTuple):
    """What one simulation says of one way to send the cells."""

    strategy: Strategy
    starts: Mapping[str, Starts]
    """By the batch's name."""


def expected(
    snapshot: QueueSnapshot, pack: int, batches: Sequence[Batch], seconds: Mapping[str, float]
) -> Outlook | str:
    """What is to be expected of `batches`, which came of so many cells a job; else why not all are seen to start.

    `seconds`: how long each cell runs, by its id.
    """
    jobs = planned_jobs(batches, seconds)
    if absent := next(filter(None, (absent_partition(snapshot, one) for one in jobs)), ""):
        return absent
    draws = starts(snapshot, jobs, draws=draws_of(snapshot))
    stuck = next((one for one, stays in zip(jobs, draws[0], strict=True) if NEVER in stays), None)
    if stuck is not None:
        return why_never(snapshot, stuck)
    spans = [makespan_s(snapshot, once) for once in draws]
    if max(spans) == inf:
        return "in some of the simulated queues a cell never starts"
    mean = fmean(spans)
    tenths = quantiles(spans, n=10, method="inclusive") if len(spans) > 1 else spans * 9
    strategy = Strategy(
        pack=pack,
        jobs=sum(len(one.runs_s) for one in jobs),
        makespan_s=mean,
        low_s=min(tenths[0], mean),
        high_s=max(tenths[-1], mean),
        gpu_hours=sum(seconds[task.name] * batch.held_gpus for batch in batches for task in batch.tasks) / 3600,
    )
    forecasts = from_draws(snapshot, jobs, draws)
    return Outlook(strategy, {batch.name: starts for batch, starts in zip(batches, forecasts, strict=True)})


def choose(strategies: Sequence[Strategy]) -> Choice:
    """The least makespan; among equal ones the fewest GPU-hours, then the fewest cells a job.

    `strategies`: one job a cell first, and at least that one.
    """
    unpacked = strategies[0]
    soonest = min(one.makespan_s for one in strategies)
    alike = [one for one in strategies if one.makespan_s < soonest + ALIKE_S]
    best = min(alike, key=lambda one: (one.gpu_hours, one.pack))
    rival = best if best.pack > 1 else min(strategies[1:], key=lambda one: one.makespan_s, default=None)
    return Choice(strategies=tuple(strategies), pack=best.pack, why=_sentence(unpacked, rival, best))


def planned_jobs(batches: Iterable[Batch], seconds: Mapping[str, float]) -> list[PlannedJob]:
    """Batches as the queue would see them: a task of an array is a job, a shared batch is one."""
    return [
        PlannedJob(
            partitions=tuple(filter(None, (batch.profile.partition or "").split(","))),
            nodes=batch.shape.nodes,
            gpus_per_node=batch.shape.gpus_per_node,
            cpus_per_node=batch.shape.gpus_per_node * batch.profile.cpus_per_gpu,
            whole_nodes=batch.profile.exclusive,
            limit_s=60.0 * batch.shape.minutes,
            runs_s=_runs_s(batch, seconds),
            at_once=batch.parallel,
            exclude=batch.exclude,
        )
        for batch in batches
    ]


def unmodelled_request(profile: PartitionProfile) -> str:
    """What a profile asks for that the simulation knows nothing of; empty where there is no such thing."""
    unmodelled = [name for name in ("reservation", "constraint", "nodelist") if getattr(profile, name) is not None]
    return (
        f"partition {profile.name} asks for {unmodelled[0]}={getattr(profile, unmodelled[0])}, which no simulation "
        "here knows of"
        if unmodelled
        else ""
    )


def _runs_s(batch: Batch, seconds: Mapping[str, float]) -> tuple[float, ...]:
    """What each job keeps its nodes from others of ours, the lag before the next one with it."""
    run_times = [seconds[task.name] for task in batch.tasks]
    if batch.shared:
        return (sum(run_times) + STEP_S * (len(run_times) - 1) + LAG_S,)
    return tuple(run + LAG_S for run in run_times)


def _sentence(unpacked: Strategy, rival: Strategy | None, best: Strategy) -> str:
    start = f"expected, queue and run: one job a cell ends in {_span(unpacked)}"
    if rival is None:
        return f"{start}; nothing else is possible"
    gained = abs(unpacked.makespan_s - rival.makespan_s)
    difference = f"{lasting(gained)} {'sooner' if best.pack > 1 else 'later'}" if gained >= ALIKE_S else "no sooner"
    return f"{start}, pack={rival.pack} ({plural(rival.jobs, 'job')}) in {_span(rival)}, {difference}"


def _span(strategy: Strategy) -> str:
    low, mean, high = (lasting(span) for span in (strategy.low_s, strategy.makespan_s, strategy.high_s))
    return mean if low == high else f"{mean} ({low} to {high})"
