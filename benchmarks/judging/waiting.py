"""How well starts are foreseen, and whether packing pays: queues whose truth is planted.

    python benchmarks/judging/waiting.py [--queues 100] [--json FILE]

Prints the Markdown tables of docs/study/waiting.md. A queue (`queues`) goes on for five days; from the third on a study
sends an array every 3 to 9 hours, and its forecasts are made as the product makes them (`plan.waiting`). What comes is
known from the same simulation of Slurm, with everybody's real run times and those who come later. Strategies: on the
third day 8 to 48 cells of one shape are sent, one or several a job, as `pack` sends and foresees them (`strategy`).
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import exp, log
from statistics import fmean, median
from typing import Any, NamedTuple

from benchmarks.judging.queues import HOUR, PARTITION, START_S, SubmittedAttempt, World, handle_of, jobs
from benchmarks.provenance import Table, options, report
from launchers.batch import Batch, Shape, Task
from launchers.profile import PartitionProfile, Scheduler
from vit_sweep.plan.waiting.backfill import promised
from vit_sweep.plan.waiting.expected import (
    ENOUGH_LOOKS,
    LEAST_S,
    Expected,
    PastForecast,
    RawForecast,
    corrected,
    from_queue,
    from_slurm,
)
from vit_sweep.plan.waiting.forecast_file import Strategy
from vit_sweep.plan.waiting.strategy import ALIKE_S, choose, expected, planned_jobs

WARM_UP_S = 48 * HOUR
ARRAYS, TASKS = 14, 4
SHAPES = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 8))
"""Nodes, and GPUs on each."""
PACKS = (1, 2, 4, 8)
"""Cells a job."""
PROFILE = PartitionProfile(
    name=PARTITION, partition=PARTITION, scheduler=Scheduler.SLURM, nodes=24, gpus_per_node=8, gpu_model="any"
)
LOOKS = ((0, 0), (1, ENOUGH_LOOKS - 1), (ENOUGH_LOOKS, 10**6))


class CorrectedForecast(NamedTuple):
    """A forecast, and what came."""

    forecast: RawForecast
    expected: Expected
    started_s: float
    usual: bool
    """Whether its queue is as the forecast assumes."""


class Forecasts(NamedTuple):
    """All forecasts of one study."""

    queue: list[CorrectedForecast]
    """By a simulation, before submission."""
    slurm: list[CorrectedForecast]
    """Slurm's, of submitted jobs."""


class Way(NamedTuple):
    """One way to send cells, and what came of it."""

    foreseen: Strategy
    real_s: float
    """Until the last cell had ended."""


class Sending(NamedTuple):
    """Cells that are sent one way or another in one queue."""

    ways: list[Way]
    auto: Way
    """What `pack=auto` takes."""
    in_order: bool
    """Whether who came first is first."""


def arrays(seed: int) -> list[SubmittedAttempt]:
    """What a study sends."""
    draw = random.Random(f"study {seed}")
    submissions, at_s = list[SubmittedAttempt](), START_S + WARM_UP_S
    for _ in range(ARRAYS):
        (nodes, gpus), limit_s = draw.choice(SHAPES), draw.choice((0.5, 1, 2)) * HOUR
        submissions.append(SubmittedAttempt(at_s, jobs(nodes, gpus, limit_s, _runs(draw, limit_s, TASKS))))
        at_s += draw.uniform(3, 9) * HOUR
    return submissions


def _runs(draw: random.Random, limit_s: float, count: int) -> tuple[float, ...]:
    return tuple(limit_s * draw.uniform(0.4, 0.9) for _ in range(count))


def forecasts_of(seed: int) -> Forecasts:
    """The forecasts of a study in one queue."""
    world = World(seed)
    played = world.play(arrays(seed))
    usual = world.flat_shares and world.in_order
    forecasts = Forecasts([], [])
    for submitted, entry in played.ours:
        at_s, started = submitted.submit_s, entry.stays[0].start_s
        (tasks,) = from_queue(played.look(at_s), [submitted.wanted])
        assert isinstance(tasks, tuple), tasks
        forecasts.queue.append(_corrected(tasks[0], started, forecasts.queue, usual))
        start = promised(played.look(at_s, with_new=True))[handle_of(entry)]
        if start is not None:
            forecasts.slurm.append(_corrected(from_slurm(at_s, start), started, forecasts.slurm, usual))
    return forecasts


def _corrected(
    forecast: RawForecast, started_s: float, earlier: Sequence[CorrectedForecast], usual: bool
) -> CorrectedForecast:
    past = [PastForecast(one.forecast, one.started_s) for one in earlier if one.started_s < forecast.at_s]
    return CorrectedForecast(forecast, corrected(forecast, past), started_s, usual)


def sending(seed: int) -> Sending:
    """What is foreseen, and what comes, of cells that are sent in jobs of so many."""
    draw, world = random.Random(f"strategy {seed}"), World(seed)
    (nodes, gpus), minutes = draw.choice(SHAPES), draw.choice((15, 30, 60))
    runs, at_s = _runs(draw, minutes * 60.0, draw.choice((8, 24, 48))), START_S + WARM_UP_S
    seconds = {f"cell-{number}": run for number, run in enumerate(runs)}
    outlook = world.play([SubmittedAttempt(at_s, jobs(nodes, gpus, minutes * 60.0, runs))]).look(at_s)
    strategies = list[Way]()
    for pack in PACKS:
        batches = _batches(list(seconds), Shape(nodes=nodes, gpus_per_node=gpus, minutes=minutes), pack)
        foreseen = expected(outlook, pack, batches, seconds)
        assert not isinstance(foreseen, str), foreseen
        played = world.play([SubmittedAttempt(at_s, one) for one in planned_jobs(batches, seconds)])
        ends = [stay.end_s for _, entry in played.ours for stay in entry.stays]
        strategies.append(Way(foreseen.strategy, max(ends) - at_s))
    pack_chosen = choose([way.foreseen for way in strategies]).pack
    return Sending(strategies, next(way for way in strategies if way.foreseen.pack == pack_chosen), world.in_order)


def _batches(cells: Sequence[str], shape: Shape, pack: int) -> list[Batch]:
    tasks = [Task(name=cell, attempt=1, shape=shape if pack > 1 else None) for cell in cells]
    groups = [tasks[start : start + pack] for start in range(0, len(tasks), pack)] if pack > 1 else [tasks]
    return [
        Batch(
            study="waiting",
            study_dir="/studies/waiting",
            profile=PROFILE,
            shape=replace(shape, minutes=shape.minutes * pack),
            tasks=tuple(group),
            shared=pack > 1,
            module="job",
        )
        for group in groups
    ]


def accuracy_table(studies: Sequence[Forecasts]) -> tuple[Table, dict[str, Any]]:
    """How far off forecasts are, and how often their intervals hold."""
    queue = [told for study in studies for told in study.queue]
    slurm = [told for study in studies for told in study.slurm]
    at_once = [told for told in queue if told.forecast.start_s == told.forecast.at_s]
    began = sum(told.started_s - told.forecast.at_s < LEAST_S for told in at_once)
    rows = []
    figures: dict[str, Any] = {"expected at once": len(at_once), "began at once": began}
    for name, forecasts in (
        ("a look at the queue", queue),
        ("... others as assumed", [one for one in queue if one.usual]),
        ("... others not so", [one for one in queue if not one.usual]),
        ("Slurm's plan", slurm),
    ):
        for least, most in LOOKS:
            of_looks = [
                one
                for one in forecasts
                if least <= one.expected.looks <= most and one.forecast.start_s > one.forecast.at_s
            ]
            if of_looks:
                words = f"{least} to {most}" if least < most < 10**6 else f"{least}" + (" or more" if least else "")
                row, numbers = _row(of_looks)
                rows.append((name, words, *row))
                figures[f"{name}, {words}"] = numbers
    head = (
        "forecast by",
        "earlier looks",
        "arrays",
        "wait",
        "off by",
        "corrected",
        "factor",
        "corrected ",
        "inside",
        "corrected  ",
        "interval",
    )
    title = (
        f"First starts in {len(studies)} queues, medians; {began} of {len(at_once)} that were expected at once began "
        f"at once and are left out; of {len(queue) - len(slurm)} of {len(queue)} Slurm says nothing"
    )
    return Table(title, head, rows), figures


def _row(forecasts: Sequence[CorrectedForecast]) -> tuple[tuple[str, ...], dict[str, float]]:
    starts_s = [[one.forecast.start_s for one in forecasts], [one.expected.start_s for one in forecasts]]
    wait = median(one.started_s - one.forecast.at_s for one in forecasts) / 60
    errors = [
        median(abs(start - one.started_s) for start, one in zip(some, forecasts, strict=True)) / 60 for some in starts_s
    ]
    factors = [
        exp(median(abs(_off(start, one)) for start, one in zip(some, forecasts, strict=True))) for some in starts_s
    ]
    coverages = [
        fmean(low <= one.started_s <= high for low, high, one in ends)
        for ends in (
            [(one.forecast.earliest_s, one.forecast.latest_s, one) for one in forecasts],
            [(one.expected.earliest_s, one.expected.latest_s, one) for one in forecasts],
        )
    ]
    width = median(one.expected.latest_s - one.expected.earliest_s for one in forecasts) / 60
    row = (
        str(len(forecasts)),
        f"{wait:.0f} min",
        *(f"{one:.0f} min" for one in errors),
        *(f"{one:.1f}" for one in factors),
        *(f"{one:.0%}" for one in coverages),
        f"{width:.0f} min",
    )
    return row, {"arrays": len(forecasts), "factor": factors[0], "corrected": factors[1], "inside": coverages[1]}


def _off(start_s: float, forecast: CorrectedForecast) -> float:
    """By what factor a wait is off, as a logarithm."""
    at_s = forecast.forecast.at_s
    return log(forecast.started_s - at_s + LEAST_S) - log(start_s - at_s + LEAST_S)


def strategy_table(sendings: Sequence[Sending]) -> tuple[Table, dict[str, Any]]:
    """What each way, and `auto`, comes to beside one job a cell."""
    rows, figures = [], {}
    for order, queues in (
        ("in their order", [one for one in sendings if one.in_order]),
        ("by users' priorities", [one for one in sendings if not one.in_order]),
    ):
        strategies = [
            ("one job a cell" if pack == 1 else f"pack={pack}", [one.ways[place] for one in queues])
            for place, pack in enumerate(PACKS)
        ]
        strategies.append(("pack=auto", [one.auto for one in queues]))
        strategies.append(("the best, seen afterwards", [min(one.ways, key=lambda way: way.real_s) for one in queues]))
        for name, chosen_ways in strategies if queues else ():
            row, figures[f"{name}, {order}"] = _beside_alone([one.ways[0] for one in queues], chosen_ways)
            rows.append((order, name, *row))
    head = (
        "jobs are taken",
        "cells sent as",
        "packed",
        "sooner",
        "by at most",
        "later",
        "by at most ",
        "makespans, in all",
        "GPU-hours",
        "forecast off by",
    )
    return Table(f"Makespans beside one job a cell, {len(sendings)} queues", head, rows), figures


def _beside_alone(unpacked: Sequence[Way], chosen_ways: Sequence[Way]) -> tuple[tuple[str, ...], dict[str, float]]:
    gains = [base.real_s - way.real_s for base, way in zip(unpacked, chosen_ways, strict=True)]
    won, lost = [[sign * gain for gain in gains if sign * gain > ALIKE_S] for sign in (1, -1)]
    total, hours = (
        sum(map(measure, chosen_ways)) / sum(map(measure, unpacked)) - 1
        for measure in (lambda way: way.real_s, lambda way: way.foreseen.gpu_hours)
    )
    off = median(abs(way.foreseen.makespan_s / way.real_s - 1) for way in chosen_ways)
    packed = sum(way.foreseen.pack > 1 for way in chosen_ways)
    row = (
        f"{packed} of {len(chosen_ways)}",
        str(len(won)),
        _hours(won),
        str(len(lost)),
        _hours(lost),
        f"{total:+.1%}",
        f"{hours:+.1%}",
        f"{off:.0%}",
    )
    return row, {"packed": packed, "sooner": len(won), "later": len(lost), "all": total, "forecast off by": off}


def _hours(seconds: Sequence[float]) -> str:
    return f"{max(seconds) / HOUR:.1f} h" if seconds else ""


def main() -> None:
    """Print both tables."""
    parser = options(__doc__)
    parser.add_argument("--queues", type=int, default=100, help="seeded queues")
    args = parser.parse_args()
    seeds, figures = range(args.queues), {}
    for name, (table, numbers) in (
        ("accuracy", accuracy_table([forecasts_of(seed) for seed in seeds])),
        ("strategies", strategy_table([sending(seed) for seed in seeds])),
    ):
        figures[name] = numbers
        print(table.markdown())
    report(figures, args)


if __name__ == "__main__":
    main()
