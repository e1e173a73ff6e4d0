"""What a study was asked for: its axes, its points, its commands. Pure."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launchers.invocation import SCRIPT
from launchers.references import masked
from launchers.text import plural
from vit_sweep.outcome.result import Status
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.report.page.content import Command, Failure
from vit_sweep.report.page.layout import MOST_ROWS, cut, table_of
from vit_sweep.report.tables.form.table import Column, Table
from vit_sweep.runs.run import Run

PARTIAL = "partial"
"""What a run is called that has a time and not all of its epochs."""
_UNDER_WAY = {
    Status.RUNNING: "It is running.",
    Status.SUSPENDED: "Its scheduler has suspended it.",
    Status.QUEUED: "It waits for its turn.",
    Status.RETRY: "It will be tried again.",
}


def axes(points: Sequence[PlannedPoint]) -> tuple[tuple[str, str], ...]:
    """Each axis with its values: those that vary first, each value once, numbers by size."""
    by_name: dict[str, list[Any]] = {}
    for point in points:
        for name, value in point.axes.items():
            values = by_name.setdefault(name, [])
            if value not in values:
                values.append(value)
    order = sorted(by_name, key=lambda name: (len(by_name[name]) == 1, list(by_name).index(name)))
    return tuple((name, ", ".join(_word(value) for value in sorted(by_name[name], key=_size))) for name in order)


def points_table(points: Sequence[PlannedPoint], runs: Iterable[Run]) -> tuple[Table, ...]:
    """Every point that was asked, with its cell and what became of it; none without a plan."""
    if not points:
        return ()
    states = {run.run_id: run.status for run in runs}
    names = list(dict.fromkeys(name for point in points for name in point.axes))
    varying = [name for name in names if len({point.axes.get(name) for point in points}) > 1]
    rows = [
        {name: point.axes.get(name) for name in varying}
        | {
            "cell_id": point.cell_id or "no cell",
            "status": "infeasible" if point.cell_id is None else states.get(point.cell_id, "unknown"),
            "remarks": "; ".join((*point.reasons, *point.remarks)) or None,
        }
        for point in points[:MOST_ROWS]
    ]
    return (
        table_of(
            "points",
            "Every point that was asked for: a point is one combination of the axes; points that are physically the "
            "same run share a cell",
            (
                Column(name="cell_id", title="cell"),
                *(Column(name=name) for name in varying),
                Column(name="status"),
                Column(name="remarks"),
            ),
            rows,
            notes=cut(len(points), "plan.json"),
        ),
    )


def failures(points: Iterable[PlannedPoint], runs: Sequence[Run]) -> tuple[Failure, ...]:
    """Each run without a time, each that stopped early, and each combination that cannot run."""
    failed = [
        Failure(
            name=run.run_id,
            status=run.status,
            cause=run.cause,
            sentence=run.note or _UNDER_WAY.get(run.status, "Nothing more is known of it."),
        )
        for run in runs
        if not run.timed and run.status is not Status.DONE
    ]
    failed += [
        Failure(
            name=run.run_id,
            status=PARTIAL,
            cause="",
            sentence=f"It ended after {run.epochs_done} of {run.epochs_requested} epochs; the tables have its time.",
        )
        for run in runs
        if run.timed and run.partial
    ]
    for point in points:
        if point.cell_id is None:
            named = ", ".join(f"{name}={_word(value)}" for name, value in point.axes.items() if value is not None)
            failed.append(Failure(name=named, status="infeasible", cause="", sentence="; ".join(point.reasons)))
    return tuple(failed)


def status_line(points: Sequence[PlannedPoint], runs: Sequence[Run]) -> str:
    """How far the study is, in one sentence."""
    done = sum(run.timed or run.status is Status.DONE for run in runs)
    states = Counter(run.status for run in runs if not run.timed and run.status is not Status.DONE)
    infeasible = sum(point.cell_id is None for point in points)
    verb = "is" if 1 in (done, len(runs)) else "are"
    parts = [f"{done} of {plural(len(runs), 'cell')} {verb} done"]
    parts += [f"{count} {state}" for state, count in sorted(states.items())]
    if infeasible:
        parts.append(f"{infeasible} combinations cannot run" if infeasible > 1 else "1 combination cannot run")
    return ", ".join(parts) + "."


def commands(study: Mapping[str, Any]) -> tuple[Command, ...]:
    """Every command of `study.json`, oldest first; what is not as expected there is left out."""
    rows = []
    for entry in study.get("commands", []):
        if not isinstance(entry, dict):
            continue
        words = [masked(str(argument)) for argument in entry.get("arguments", [])]
        versions = entry.get("versions") or {}
        rows.append(
            Command(
                line=shlex.join([SCRIPT, *words]),
                at=str(entry.get("at", "")),
                host=str(entry.get("host") or ""),
                commit=str(entry.get("git_commit") or ""),
                code=str(entry.get("code") or ""),
                versions=tuple((str(name), str(version)) for name, version in versions.items()),
            )
        )
    return tuple(rows)


def to_type(commands: Sequence[Command], study: str) -> tuple[str, ...]:
    """The lines that run the study again and judge it: the newest commit, every command once, the report."""
    if not commands:
        return ()
    newest = commands[-1]
    lines = [f"git checkout {newest.commit}"] if newest.commit else []
    # Where the packages come from is the reader's business; which versions they were is below.
    lines += list(dict.fromkeys(command.line for command in commands))
    return (*lines, shlex.join([SCRIPT, "report", study]))


def _word(value: object) -> str:
    return "default" if value is None else str(value)


def _size(value: object) -> tuple[int, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, str(value))  # type: ignore[arg-type]
