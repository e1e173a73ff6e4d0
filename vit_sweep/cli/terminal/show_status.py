"""What became of every cell, for people: one table by cell, and the scaling tables as far as they are filled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from vit_sweep.analysis.series.grouping import group
from vit_sweep.cli.terminal import show
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.point import Scaling
from vit_sweep.report.tables.scaling import scaling_table
from vit_sweep.runs.of_study import runs_of

_WORKING = (Status.RUNNING, Status.SUSPENDED, Status.RETRY, Status.UNKNOWN, Status.QUEUED)
_COLUMNS = ("cell", "state", "attempt", "node", "epoch", "elapsed", "")


def status(name: str, results: Sequence[Result], *, now: datetime) -> Table:
    """Every cell: state, attempt, node, epoch, time since the attempt began, and why it waits or how it ended."""
    table = _table(f"study {name}: {counted(results)}")
    for result in results:
        table.add_row(*_fields(result, now), style=show.STYLES.get(result.status, ""))
    return table


def counted(results: Sequence[Result]) -> str:
    """How many cells are in each state: `7 done, 1 failed`."""
    counts = Counter(result.status for result in results)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def as_data(name: str, results: Sequence[Result], problems: Sequence[str]) -> dict[str, Any]:
    """The same for programs: counts by state, and an object for each cell; null where something is not known."""
    return {
        "study": name,
        "counts": dict(Counter(str(result.status) for result in results)),
        "cells": [
            {
                "cell": result.file.cell_id,
                "state": str(result.status),
                "attempt": result.attempt or None,
                "hosts": list(result.record.resolved.hosts) if result.record else [],
                "epoch": result.progress.epoch if result.progress else None,
                "epochs": result.progress.epochs if result.progress else None,
                "started_at": (result.progress.started_at if result.progress else "") or None,
                "detail": result.detail,
            }
            for result in results
        ],
        "problems": list(problems),
    }


def running(results: Sequence[Result], *, rows: int) -> Table:
    """The first `rows` cells at work, and why the first queued ones wait."""
    table, now = _table(None), datetime.now(UTC)
    ordered = [r for state in _WORKING for r in results if r.status == state]
    for result in ordered[:rows]:
        table.add_row(*_fields(result, now), style=show.STYLES.get(result.status, ""))
    if len(ordered) > rows:
        table.add_row(f"... and {len(ordered) - rows} more")
    return table


def filling(results: Sequence[Result], *, rows: int | None = None) -> list[Table]:
    """The scaling tables so far, their last `rows`: what has a time, against the baseline that was planned."""
    runs = runs_of(results)
    tables = []
    for mode in Scaling:
        table = scaling_table(group(runs, mode), (), mode, timed_only=True)
        if table is not None:
            some = replace(table, rows=table.rows[-rows:] if rows else table.rows)
            tables.append(show.scaling(some, title=f"{mode.value} scaling so far"))
    return tables


def _table(title: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name == "cell")
    return table


def _fields(result: Result, now: datetime) -> tuple[str, ...]:
    at = result.progress
    alive = result.status in (Status.RUNNING, Status.SUSPENDED) and at is not None
    last = result.history[-1] if result.history and result.record is None else None
    node = at.host if alive and at else (last.host if last else _hosts(result))
    epoch = f"{at.epoch}/{at.epochs}" if alive and at else (str(last.epoch) if last and last.epoch else "")
    return (
        result.file.cell_id,
        result.status,
        result.attempt,
        node,
        epoch,
        _since(at.started_at, now) if alive and at else "",
        result.detail,
    )


def _hosts(result: Result) -> str:
    return " ".join(result.record.resolved.hosts) if result.record else ""


def _since(started_at: str, now: datetime) -> str:
    """Time since then as h:mm:ss; empty where nobody noted it."""
    if not started_at:
        return ""
    seconds = max(0, int((now - datetime.fromisoformat(started_at)).total_seconds()))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
