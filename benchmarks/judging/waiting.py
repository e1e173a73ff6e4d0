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
from vit_sweep.plan.waiting.strategy import ALIKE_S, choose, expected, wanted

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


class Told(NamedTuple):
    """A forecast, and what came."""

    forecast: RawForecast
    expected: Expected
    started_s: float
    usual: bool
    """Whether its queue is as the forecast assumes."""


class Foretold(NamedTuple):
    """All forecasts of one study."""

    queue: list[Told]
    """By a simulation, before submission."""
    slurm: list[Told]
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
    sent, at = list[SubmittedAttempt](), START_S + WARM_UP_S
    for _ in range(ARRAYS):
        (nodes, gpus), limit_s = draw.choice(SHAPES), draw.choice((0.5, 1, 2)) * HOUR
        sent.append(SubmittedAttempt(at, jobs(nodes, gpus, limit_s, _runs(draw, limit_s, TASKS))))
        at += draw.uniform(3, 9) * HOUR
    return sent


def _runs(draw: random.Random, limit_s: float, count: int) -> tuple[float, ...]:
    return tuple(limit_s * draw.uniform(0.4, 0.9) for _ in range(count))


def foretold(seed: int) -> Foretold:
    """The forecasts of a study in one queue."""
    world = World(seed)
    played = world.play(arrays(seed))
    usual = world.flat_shares and world.in_order
    made = Foretold([], [])
    for sent, entry in played.ours:
        at, started = sent.submit_s, entry.stays[0].start_s
        (tasks,) = from_queue(played.look(at), [sent.wanted])
        assert isinstance(tasks, tuple), tasks
        made.queue.append(_told(tasks[0], started, made.queue, usual))
        start = promised(played.look(at, with_new=True))[handle_of(entry)]
        if start is not None:
            made.slurm.append(_told(from_slurm(at, start), started, made.slurm, usual))
    return made


def _told(said: RawForecast, started_s: float, earlier: Sequence[Told], usual: bool) -> Told:
    past = [PastForecast(one.forecast, one.started_s) for one in earlier if one.started_s < said.at_s]
    return Told(said, corrected(said, past), started_s, usual)


def sending(seed: int) -> Sending:
    """What is foreseen, and what comes, of cells that are sent in jobs of so many."""
    draw, world = random.Random(f"strategy {seed}"), World(seed)
    (nodes, gpus), minutes = draw.choice(SHAPES), draw.choice((15, 30, 60))
    runs, at = _runs(draw, minutes * 60.0, draw.choice((8, 24, 48))), START_S + WARM_UP_S
    seconds = {f"cell-{number}": run for number, run in enumerate(runs)}
    look = world.play([SubmittedAttempt(at, jobs(nodes, gpus, minutes * 60.0, runs))]).look(at)
    ways = []
    for pack in PACKS:
        batches = _batches(list(seconds), Shape(nodes=nodes, gpus_per_node=gpus, minutes=minutes), pack)
        foreseen = expected(look, pack, batches, seconds)
        assert isinstance(foreseen, Strategy), foreseen
        played = world.play([SubmittedAttempt(at, one) for one in wanted(batches, seconds)])
        ends = [stay.end_s for _, entry in played.ours for stay in entry.stays]
        ways.append(Way(foreseen, max(ends) - at))
    taken = choose([way.foreseen for way in ways]).pack
    return Sending(ways, next(way for way in ways if way.foreseen.pack == taken), world.in_order)


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


def accuracy_table(studies: Sequence[Foretold]) -> tuple[Table, dict[str, Any]]:
    """How far off forecasts are, and how often their intervals hold."""
    queue = [told for study in studies for told in study.queue]
    slurm = [told for study in studies for told in study.slurm]
    at_once = [told for told in queue if told.forecast.start_s == told.forecast.at_s]
    began = sum(told.started_s - told.forecast.at_s < LEAST_S for told in at_once)
    rows = []
    figures: dict[str, Any] = {"expected at once": len(at_once), "began at once": began}
    for name, told in (
        ("a look at the queue", queue),
        ("... others as assumed", [one for one in queue if one.usual]),
        ("... others not so", [one for one in queue if not one.usual]),
        ("Slurm's plan", slurm),
    ):
        for least, most in LOOKS:
            some = [
                one for one in told if least <= one.expected.looks <= most and one.forecast.start_s > one.forecast.at_s
            ]
            if some:
                words = f"{least} to {most}" if least < most < 10**6 else f"{least}" + (" or more" if least else "")
                row, numbers = _row(some)
                rows.append((name, words, *row))
                figures[f"{name}, {words}"] = numbers
    head = ("forecast by", "earlier looks", "arrays", "wait", "off by", "corrected", "factor", "corrected ",
            "inside", "corrected  ", "interval")  # fmt: skip
    title = (
        f"First starts in {len(studies)} queues, medians; {began} of {len(at_once)} that were expected at once began "
        f"at once and are left out; of {len(queue) - len(slurm)} of {len(queue)} Slurm says nothing"
    )
    return Table(title, head, rows), figures


def _row(told: Sequence[Told]) -> tuple[tuple[str, ...], dict[str, float]]:
    starts_s = [[one.forecast.start_s for one in told], [one.expected.start_s for one in told]]
    wait = median(one.started_s - one.forecast.at_s for one in told) / 60
    errors = [
        median(abs(start - one.started_s) for start, one in zip(some, told, strict=True)) / 60 for some in starts_s
    ]
    factors = [exp(median(abs(_off(start, one)) for start, one in zip(some, told, strict=True))) for some in starts_s]
    inside = [
        fmean(low <= one.started_s <= high for low, high, one in ends)
        for ends in (
            [(one.forecast.earliest_s, one.forecast.latest_s, one) for one in told],
            [(one.expected.earliest_s, one.expected.latest_s, one) for one in told],
        )
    ]
    width = median(one.expected.latest_s - one.expected.earliest_s for one in told) / 60
    row = (
        str(len(told)), f"{wait:.0f} min", *(f"{one:.0f} min" for one in errors), *(f"{one:.1f}" for one in factors),
        *(f"{one:.0%}" for one in inside), f"{width:.0f} min",
    )  # fmt: skip
    return row, {"arrays": len(told), "factor": factors[0], "corrected": factors[1], "inside": inside[1]}


def _off(start_s: float, told: Told) -> float:
    """By what factor a wait is off, as a logarithm."""
    at = told.forecast.at_s
    return log(told.started_s - at + LEAST_S) - log(start_s - at + LEAST_S)


def strategy_table(made: Sequence[Sending]) -> tuple[Table, dict[str, Any]]:
    """What each way, and `auto`, comes to beside one job a cell."""
    rows, figures = [], {}
    for order, queues in (
        ("in their order", [one for one in made if one.in_order]),
        ("by users' priorities", [one for one in made if not one.in_order]),
    ):
        ways = [("one job a cell" if pack == 1 else f"pack={pack}", [one.ways[place] for one in queues])
                for place, pack in enumerate(PACKS)]  # fmt: skip
        ways.append(("pack=auto", [one.auto for one in queues]))
        ways.append(("the best, seen afterwards", [min(one.ways, key=lambda way: way.real_s) for one in queues]))
        for name, taken in ways if queues else ():
            row, figures[f"{name}, {order}"] = _beside_alone([one.ways[0] for one in queues], taken)
            rows.append((order, name, *row))
    head = ("jobs are taken", "cells sent as", "packed", "sooner", "by at most", "later", "by at most ",
            "makespans, in all", "GPU-hours", "forecast off by")  # fmt: skip
    return Table(f"Makespans beside one job a cell, {len(made)} queues", head, rows), figures


def _beside_alone(alone: Sequence[Way], taken: Sequence[Way]) -> tuple[tuple[str, ...], dict[str, float]]:
    gains = [base.real_s - way.real_s for base, way in zip(alone, taken, strict=True)]
    won, lost = [[sign * gain for gain in gains if sign * gain > ALIKE_S] for sign in (1, -1)]
    total, hours = (
        sum(map(measure, taken)) / sum(map(measure, alone)) - 1
        for measure in (lambda way: way.real_s, lambda way: way.foreseen.gpu_hours)
    )
    off = median(abs(way.foreseen.makespan_s / way.real_s - 1) for way in taken)
    packed = sum(way.foreseen.pack > 1 for way in taken)
    row = (f"{packed} of {len(taken)}", str(len(won)), _hours(won), str(len(lost)), _hours(lost), f"{total:+.1%}",
           f"{hours:+.1%}", f"{off:.0%}")  # fmt: skip
    return row, {"packed": packed, "sooner": len(won), "later": len(lost), "all": total, "forecast off by": off}


def _hours(seconds: Sequence[float]) -> str:
    return f"{max(seconds) / HOUR:.1f} h" if seconds else ""


def main() -> None:
    """Print both tables."""
    parser = options(__doc__)
    parser.add_argument("--queues", type=int, default=100, help="seeded queues")
    asked = parser.parse_args()
    seeds, figures = range(asked.queues), {}
    for name, (made, numbers) in (
        ("accuracy", accuracy_table([foretold(seed) for seed in seeds])),
        ("strategies", strategy_table([sending(seed) for seed in seeds])),
    ):
        figures[name] = numbers
        print(made.markdown())
    report(figures, asked)


if __name__ == "__main__":
    main()
