"""What became of every cell, for people: one table by cell, and the scaling tables as far as they are filled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vit_sweep.analysis.series.grouping import group
from vit_sweep.cli.terminal import show
from vit_sweep.outcome.eta import Forecast
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.point import Scaling
from vit_sweep.report.tables.form.counting import in_pairs
from vit_sweep.report.tables.scaling import scaling_table
from vit_sweep.report.tables.status import clock, counted, left, left_row, status_row
from vit_sweep.runs.of_study import runs_of

_WORKING = (Status.RUNNING, Status.SUSPENDED, Status.RETRY, Status.UNKNOWN, Status.QUEUED)
_COLUMNS = ("cell", "state", "attempt", "node", "epoch", "elapsed", "left", "")
_LONG = ("node", "")
"""Columns whose values may be broken over lines."""


def status(name: str, results: Sequence[Result], expected: Forecast, *, now: datetime) -> RenderableType:
    """Every cell: state, attempt, node, epoch, time since the attempt began, time that is left, and why it waits or how
    it ended; below, what is left of them all."""
    table = _table(f"study {name}: {counted(results)}")
    for result in results:
        table.add_row(*_fields(result, expected, now), style=show.STYLES.get(result.status, ""))
    return _above(table, left(expected, now=now))


def as_data(
    name: str, results: Sequence[Result], expected: Forecast, problems: Sequence[str], *, now: datetime
) -> dict[str, Any]:
    """The same for programs: counts by state, what is left (seconds, and the end in UTC), and an object for each cell;
    null where something is not known."""
    return {
        "study": name,
        **left_row(expected.sweep, now),
        "counts": dict(Counter(str(result.status) for result in results)),
        "cells": [status_row(result, expected.cells.get(result.file.cell_id), now=now) for result in results],
        "problems": list(problems),
    }


def running(results: Sequence[Result], expected: Forecast, *, rows: int, now: datetime) -> RenderableType:
    """The first `rows` cells at work, and why the first queued ones wait; below, what is left of them all."""
    table = _table(None)
    ordered = [r for state in _WORKING for r in results if r.status == state]
    for result in ordered[:rows]:
        table.add_row(*_fields(result, expected, now), style=show.STYLES.get(result.status, ""))
    if len(ordered) > rows:
        table.add_row(f"... and {len(ordered) - rows} more")
    return _above(table, left(expected, now=now))


def filling(results: Sequence[Result], *, rows: int | None = None) -> list[Table]:
    """The scaling tables so far, their last `rows`: what has a time, against the baseline that was planned."""
    runs = runs_of(results)
    tables = []
    for mode in Scaling:
        table = scaling_table(group(runs, mode), (), mode, timed_only=True)
        if table is not None:
            table = in_pairs(table, runs)
            some = replace(table, rows=table.rows[-rows:] if rows else table.rows)
            tables.append(show.scaling(some, title=f"{mode.value} scaling so far"))
    return tables


def _above(table: Table, line: str) -> RenderableType:
    return Group(table, Text(line)) if line else table


def _table(title: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, collapse_padding=True)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name not in _LONG)
    return table


def _fields(result: Result, expected: Forecast, now: datetime) -> tuple[str, ...]:
    at = result.progress
    alive = result.status in (Status.RUNNING, Status.SUSPENDED) and at is not None
    last = result.history[-1] if result.history and result.record is None else None
    node = at.host if alive and at else (last.host if last else _hosts(result))
    rest = expected.cells.get(result.file.cell_id)
    epoch = f"{at.epoch}/{at.epochs}" if alive and at else (str(last.epoch) if last and last.epoch else "")
    return (
        result.file.cell_id,
        result.status,
        result.attempt,
        node,
        epoch,
        _since(at.started_at, now) if alive and at else "",
        clock(rest.seconds) if rest else "",
        result.detail,
    )


def _hosts(result: Result) -> str:
    return " ".join(result.record.resolved.hosts) if result.record else ""


def _since(started_at: str, now: datetime) -> str:
    """Time since then as h:mm:ss; empty where nobody noted it."""
    if not started_at:
        return ""
    return clock((now - datetime.fromisoformat(started_at)).total_seconds())
