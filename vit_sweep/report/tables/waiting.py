"""How long jobs were expected to wait for their nodes, and how long they did: a row for each forecast. Pure."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from launchers.text import grouped, plural
from vit_sweep.plan.waiting.forecast_file import Waited, seconds
from vit_sweep.report.tables.form.columns import COLUMNS
from vit_sweep.report.tables.form.table import HIGH, LOW, Table, table

WAITING_COLUMNS = (
    *("array", "partition", "nodes", "gpus", "jobs", "strategy", "forecast_by"),
    *("expected_wait_s", "expected_wait_s" + LOW, "expected_wait_s" + HIGH),
    *("wait_s", "wait_error_s", "submitted_at", "note"),
)

_NOTHING_S = 60.0
"""A difference that is none: Slurm looks at its queue twice a minute, and a rank imports before its first line."""


def waiting_table(waited: Sequence[Waited]) -> Table | None:
    """One row for each forecast of each array, in the order of submission; None where nothing was submitted to Slurm.

    Waits are those of the first task, counted from the submission.
    """
    rows = [row for entry in waited for row in _rows(entry)]
    title = "Waiting in the queue: what was expected of each array's first start, and what came"
    notes = (*_notes(waited), *_makespans(waited))
    return table("waiting", title, WAITING_COLUMNS, rows, known=COLUMNS, notes=notes)


def _rows(entry: Waited) -> Iterator[dict[str, Any]]:
    file = entry.forecast
    shared: dict[str, Any] = {
        "array": entry.batch,
        "partition": file.partition,
        "nodes": file.shape.nodes,
        "gpus": file.shape.gpus,
        "jobs": file.tasks,
        "strategy": file.strategy,
        "wait_s": entry.wait_s,
        "submitted_at": entry.submitted_at,
        "note": "" if entry.started_at else "none of its jobs has begun",
    }
    for source, forecast in entry.forecasts:
        yield shared | {
            "forecast_by": source,
            "expected_wait_s": _wait(entry, forecast.start),
            "expected_wait_s" + LOW: _wait(entry, forecast.earliest),
            "expected_wait_s" + HIGH: _wait(entry, forecast.latest),
            "wait_error_s": entry.error_s(forecast),
        }
    if not entry.forecasts:
        yield shared | {"note": "; ".join(filter(None, [file.unknown, shared["note"]]))}


def _wait(entry: Waited, start: str) -> float | None:
    """From the submission to an expected start; none below 0."""
    return max(0.0, seconds(start) - seconds(entry.submitted_at)) if start else None


def _notes(waited: Sequence[Waited]) -> Iterator[str]:
    """How far off the forecasts were, by who made them."""
    errors: dict[str, list[float]] = {}
    inside: dict[str, list[bool]] = {}
    for entry in waited:
        for source, forecast in entry.forecasts:
            error = entry.error_s(forecast)
            if error is not None:
                errors.setdefault(source, []).append(error)
            if error is not None and forecast.earliest and forecast.latest:
                began_s = seconds(entry.started_at)
                inside.setdefault(source, []).append(
                    seconds(forecast.earliest) - _NOTHING_S <= began_s <= seconds(forecast.latest) + _NOTHING_S
                )
    for source, off_s in errors.items():
        middle = median(off_s)
        side = "later" if middle >= 0 else "earlier"
        within = (
            f"; {sum(inside[source])} of {len(inside[source])} inside the interval, give or take a minute"
            if source in inside
            else ""
        )
        yield (
            f"{source}: of {plural(len(off_s), 'array')} the first start came {abs(middle):.0f} s {side} than expected "
            f"(median; {min(off_s):.0f} to {max(off_s):.0f} s){within}"
        )


def _makespans(waited: Sequence[Waited]) -> Iterator[str]:
    """Of `pack=auto`: what was expected of each way to send the cells of a sweep, and when the last of them ended."""
    sweeps = grouped((entry.forecast.strategies, entry) for entry in waited if entry.forecast.strategies)
    for ways, sent in sweeps.items():
        chosen = sent[0].forecast.pack
        expected = ", ".join(
            f"pack={way.pack} {way.makespan_s:.0f} s ({way.low_s:.0f} to {way.high_s:.0f})" for way in ways
        )
        outcome = "the last cell has not ended"
        if all(one.ended_at for one in sent):
            begun = min(seconds(one.submitted_at) for one in sent)
            took = max(seconds(one.ended_at) for one in sent) - begun
            error = took - next(way.makespan_s for way in ways if way.pack == chosen)
            outcome = f"it took {took:.0f} s, {abs(error):.0f} s {'more' if error >= 0 else 'less'} than expected"
        yield f"pack=auto chose pack={chosen}: queue and run were expected to take {expected}; {outcome}"
