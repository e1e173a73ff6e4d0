"""What became of every cell, for people: one table by cell, and the scaling tables as far as they are filled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from launchers.checked import to_plain
from launchers.text import grouped, plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role, columns_of
from vit_sweep.outcome.eta import Forecast
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.identity import readers
from vit_sweep.plan.waiting.wording import start_of
from vit_sweep.report.tables.form.table import Table as Data
from vit_sweep.report.tables.status import clock, counted, detail_of, left, left_row, status_row

if TYPE_CHECKING:
    from vit_sweep.submit.deciding import QuestionStatus

_WORKING = (Status.RUNNING, Status.SUSPENDED, Status.RETRY, Status.UNKNOWN, Status.QUEUED)
_COLUMNS = (
    Column("cell", (), Role.KEY, is_text=True),
    Column("state", (), Role.KEY, is_text=True),
    Column("attempt", (), rank=3, is_text=True),
    Column("node", (), rank=4, is_text=True),
    Column("epoch", (), rank=2),
    Column("elapsed", (), rank=1),
    Column("left", ()),
    Column("", (), Role.REMARK),
)
"""An attempt is named from the second on."""
_FOLDED = 50
"""Cells from which on there is no row for each, as in a plan."""
_NAMED = 20
"""Cells that are named all the same."""
_VALUES = 9
"""Values of an axis by which cells are counted, as in a plan."""
_LONG, _AGAIN = 40, "as above"
"""Characters of a remark that is not repeated in the next row; what stands there."""
_UNEVENTFUL = (Status.DONE, Status.QUEUED, Status.MISSING, Status.SKIPPED)
_AXES = (
    "gpus",
    "nodes",
    "micro_batch",
    "accum",
    "precision",
    "engine",
    "optimizer",
    "model",
    "data",
    "partition",
    "seed",
)


def status(
    name: str, results: Sequence[Result], expected: Forecast, *, now: datetime, question: "QuestionStatus | None" = None
) -> RenderableType:
    """Every cell: state, attempt, node, epoch, time since the attempt began, time that is left, and why it waits or how
    it ended; below, what is left of them all, and of a study that decides its question and the answer by now."""
    table = _table(results, expected, now, title=f"study {name}: {counted(results)}")
    return _with_footer(table, _footer(expected, now, question))


def is_folded(results: Sequence[Result]) -> bool:
    """Whether there are too many cells for a row each."""
    return len(results) >= _FOLDED


def folded(
    name: str, results: Sequence[Result], expected: Forecast, *, now: datetime, question: "QuestionStatus | None" = None
) -> RenderableType:
    """The cells counted by each value of what varies, and those that are at work or went wrong by name; below, as for
    all rows, what is left and what was asked."""
    title = f"study {name}: {counted(results)}"
    eventful = [result for result in results if result.status not in _UNEVENTFUL]
    eventful.sort(key=lambda result: result.status in _WORKING)  # what went wrong comes first
    parts: list[RenderableType] = [_by_axis(results, title)]
    if eventful:
        parts.append(_table(eventful[:_NAMED], expected, now))
    others = len(results) - len(eventful[:_NAMED])
    parts.append(Text(f"{plural(others, 'cell')} in short; --all shows a row for each, and the tables so far"))
    return _with_footer(Group(*parts), _footer(expected, now, question))


def _footer(expected: Forecast, now: datetime, question: "QuestionStatus | None") -> str:
    """What is left of the sweep, and the question of one that decides."""
    return "\n".join(filter(None, [left(expected, now=now), question.sentence if question else ""]))


def _by_axis(results: Sequence[Result], title: str) -> Fitted:
    states = [state for state in Status if any(result.status is state for result in results)]
    rows = [("all", *_counts(results, states))]
    read = readers(Cell)
    for axis in _AXES:
        members = grouped((read[axis](result.file.cell), result) for result in results)
        if 1 < len(members) <= _VALUES:
            rows += [
                (f"{axis.replace('_', ' ')} {value}", *_counts(matching, states))
                for value, matching in sorted(members.items())
            ]
    columns = [Column("cells", (), Role.KEY, is_text=True), *(Column(str(state), ()) for state in states)]
    return Fitted(columns_of(columns, rows), title=title)


def _counts(results: Sequence[Result], states: Sequence[Status]) -> list[str]:
    """So many cells in each of these states; empty for none."""
    counts = Counter(result.status for result in results)
    return [str(counts[state] or "") for state in states]


def as_data(
    name: str,
    results: Sequence[Result],
    expected: Forecast,
    problems: Sequence[str],
    *,
    now: datetime,
    question: "QuestionStatus | None" = None,
) -> dict[str, Any]:
    """The same for programs: counts by state, what is left (seconds, and the end in UTC), the question of a study that
    decides (`submit.deciding.QuestionStatus`), and an object for each cell; null where something is not known."""
    return {
        "study": name,
        **left_row(expected.sweep, now),
        "question": to_plain(question) if question is not None else None,
        "counts": dict(Counter(str(result.status) for result in results)),
        "cells": [status_row(result, expected.cells.get(result.file.cell_id), now=now) for result in results],
        "problems": list(problems),
    }


def running(results: Sequence[Result], expected: Forecast, *, rows: int, now: datetime) -> RenderableType:
    """The first `rows` cells: those at work, the first queued ones and why they wait, those that have ended, the last
    first; below, what is left of them all."""
    ordered = [r for state in _WORKING for r in results if r.status == state]
    ended = [r for r in results if r.status not in _WORKING]
    ordered += sorted(ended, key=_ended_at, reverse=True)
    table = _table(ordered[:rows], expected, now)
    more = f"... and {len(ordered) - rows} more" if len(ordered) > rows else ""
    return _with_footer(table, "\n".join(filter(None, [more, left(expected, now=now)])))


def _ended_at(result: Result) -> float:
    """When its job ended, as far as its record says it (seconds since 1970)."""
    brief = result.brief
    if brief is None or not brief.started_at:
        return 0.0
    return datetime.fromisoformat(brief.started_at).timestamp() + (brief.job_s or 0.0)


def unfinished_tables(results: Sequence[Result]) -> list[Data]:
    """The scaling tables so far: what has a time, against the baseline that was planned."""
    # They stand on the whole analysis, which a study of many cells is shown without.
    from vit_sweep.analysis.series.grouping import group
    from vit_sweep.report.tables.form.counting import in_pairs
    from vit_sweep.report.tables.scaling import scaling_table
    from vit_sweep.runs.of_study import runs_of

    runs = runs_of(results)
    tables = (scaling_table(group(runs, mode), (), mode, timed_only=True) for mode in Scaling)
    return in_pairs(filter(None, tables), runs)


def partial_table(table: Data, *, rows: int | None = None) -> Fitted:
    """A scaling table that fills; its last `rows`, without its notes, which the whole table says in the end."""
    last_rows = replace(table.part(slice(-rows, None)), notes=()) if rows else table
    return show.scaling(last_rows, title=f"{table.name} scaling so far")


def _with_footer(table: RenderableType, line: str) -> RenderableType:
    return Group(table, Text(line)) if line else table


def _table(results: Sequence[Result], expected: Forecast, now: datetime, *, title: str = "") -> Fitted:
    rows = [_fields(result, expected, now) for result in results]
    # What holds for the row above as well, and takes lines of its own, is said once.
    repeated = [n for n in range(1, len(rows)) if rows[n][-1] == rows[n - 1][-1] and len(rows[n][-1]) > _LONG]
    for n in repeated:
        rows[n] = (*rows[n][:-1], _AGAIN)
    columns = [c for c in columns_of(_COLUMNS, rows) if c.role is not Role.MEASURE or any(c.values)]
    return Fitted(
        columns=tuple(columns), title=title, styles=tuple(show.STYLES.get(result.status, "") for result in results)
    )


def _fields(result: Result, expected: Forecast, now: datetime) -> tuple[str, ...]:
    progress = result.progress
    alive = result.status in (Status.RUNNING, Status.SUSPENDED) and progress is not None
    last = result.history[-1] if result.history and result.record is None else None
    node = progress.host if alive and progress else (last.host if last else _hosts(result))
    remaining = expected.cells.get(result.file.cell_id)
    epoch = (
        f"{progress.epoch}/{progress.epochs}"
        if alive and progress
        else (str(last.epoch) if last and last.epoch else "")
    )
    return (
        result.file.cell_id,
        result.status,
        result.attempt if result.attempt != "1" else "",
        node,
        epoch,
        _since(progress.started_at, now) if alive and progress else _job_time(result),
        clock(remaining.seconds) if remaining else "",
        "; ".join(filter(None, [detail_of(result), start_of(result.expected, now=now) if result.expected else ""])),
    )


def _job_time(result: Result) -> str:
    """How long a job took that is done, from its first line to its last."""
    brief = result.brief
    return clock(brief.job_s) if brief is not None and brief.job_s is not None else ""


def _hosts(result: Result) -> str:
    return " ".join(result.brief.hosts) if result.brief else ""


def _since(started_at: str, now: datetime) -> str:
    """Time since then as h:mm:ss; empty where nobody noted it."""
    if not started_at:
        return ""
    return clock((now - datetime.fromisoformat(started_at)).total_seconds())
