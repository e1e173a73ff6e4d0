"""What gates of earlier commits saw: the lines of a history, and since when something is otherwise. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Annotated, NamedTuple

from launchers.checked import Gt, Instant, Line, Quantity, Whole, checked
from vit_sweep.analysis.gate.changes import Change, change_points
from vit_sweep.outcome.result import Status
from vit_sweep.record.machine import hardware_words
from vit_sweep.runs.run import Run

SCHEMA_VERSION = 1


@checked
class Point:
    """One cell at one commit."""

    cell: Line
    key: Line
    """Of all that a cell is but its seed: the same in every line."""
    epoch_s: Annotated[Quantity, Gt(0)] | None
    """Median over its runs; None where none has a time that counts."""
    runs: Whole
    counts: dict[Line, Quantity]
    """Of a step; where runs differ, the most."""


@checked
class Entry:
    """One line."""

    schema_version: Whole
    at: Instant
    """When the last of its runs began."""
    commit: Line
    study: Line
    verdict: Line
    """Empty where nothing was held against it."""
    machine: Line
    cells: tuple[Point, ...]


class Moment(NamedTuple):
    """One value of a series."""

    line: int
    """Number of its entry."""
    entry: Entry
    value: float


class Times(NamedTuple):
    """The epoch times of one cell on one kind of machine, by commit."""

    cell: str
    machine: str
    moments: tuple[Moment, ...]
    changes: tuple[Change, ...]


class Step(NamedTuple):
    """A count that was another one from an entry on."""

    cell: str
    name: str
    line: int
    entry: Entry
    before: float
    after: float


def entry_of(
    study: str, names: Sequence[str], cells: Sequence[Sequence[Run]], *, commit: str, verdict: str = ""
) -> Entry:
    """The line of a study: of each cell the runs, and what it is called."""
    done = [[run for run in cell if run.status is Status.DONE] for cell in cells]
    runs = [run for cell in done for run in cell]
    return Entry(
        schema_version=SCHEMA_VERSION,
        at=max((run.started_at for run in runs), default=""),
        commit=commit,
        study=study,
        verdict=verdict,
        machine=hardware_words(rank for run in runs for rank in run.machine),
        cells=tuple(_point(name, cell) for name, cell in zip(names, done, strict=True) if cell),
    )


def _point(name: str, runs: Sequence[Run]) -> Point:
    timed = [run for run in runs if run.timed and not run.oversubscribed]
    counts: dict[str, float] = {}
    for run in runs:
        counts |= {count: max(value, counts.get(count, value)) for count, value in run.counts}
    first = runs[0]
    identity = (first.gpus, first.nodes, first.micro_batch, first.accum, first.sequence, first.work, first.conditions)
    return Point(
        cell=name,
        key=hashlib.sha256(repr(identity).encode()).hexdigest()[:8],
        epoch_s=median([median(run.epoch_s) for run in timed]) if timed else None,
        runs=len(timed),
        counts=dict(sorted(counts.items())),
    )


def times_of(entries: Sequence[Entry]) -> list[Times]:
    """A series for each cell and kind of machine, with its change points; those of the last entry first."""
    series: dict[tuple[str, str], list[tuple[Moment, str]]] = {}
    for line, entry in enumerate(entries):
        for point in entry.cells:
            if point.epoch_s is not None:
                moment = Moment(line, entry, point.epoch_s)
                series.setdefault((point.key, entry.machine), []).append((moment, point.cell))
    histories = [
        Times(
            cell=moments[-1][1],
            machine=machine,
            moments=tuple(moment for moment, _ in moments),
            changes=tuple(change_points([moment.value for moment, _ in moments], series=len(series))),
        )
        for (_, machine), moments in series.items()
    ]
    return sorted(histories, key=lambda times: -times.moments[-1].line)


def steps_of(entries: Sequence[Entry]) -> list[Step]:
    """Where a count is another one than the last time that its cell was counted."""
    last: dict[tuple[str, str], float] = {}
    steps = []
    for line, entry in enumerate(entries):
        for point in entry.cells:
            for name, value in point.counts.items():
                before = last.get((point.key, name), value)
                if before != value:
                    steps.append(Step(point.cell, name, line, entry, before, value))
                last[point.key, name] = value
    return steps


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """By the time at which they were measured."""
    return sorted(entries, key=lambda entry: entry.at)
