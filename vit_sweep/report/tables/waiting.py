"""How long jobs were expected to wait for their nodes, and how long they did: a row for each forecast. Pure."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from launchers.text import plural
from vit_sweep.plan.waiting.forecast_file import Strategy, Waited, seconds
from vit_sweep.report.tables.form.columns import COLUMNS
from vit_sweep.report.tables.form.table import HIGH, LOW, Table, table

WAITING_COLUMNS = (
    "array", "partition", "nodes", "gpus", "jobs", "strategy", "forecast_by", "expected_wait_s",
    "expected_wait_s" + LOW, "expected_wait_s" + HIGH, "wait_s", "wait_error_s", "submitted_at", "note",
)  # fmt: skip

_NOTHING_S = 60.0
"""A difference that is none: Slurm looks at its queue twice a minute, and a rank imports before its first line."""


def waiting_table(waited: Sequence[Waited]) -> Table | None:
    """One row for each forecast of each array, in the order of submission; None where nothing was submitted to Slurm.

    Waits are those of the first task, counted from the submission.
    """
    rows = [row for one in waited for row in _rows(one)]
    title = "Waiting in the queue: what was expected of each array's first start, and what came"
    notes = (*_notes(waited), *_makespans(waited))
    return table("waiting", title, WAITING_COLUMNS, rows, known=COLUMNS, notes=notes)


def _rows(one: Waited) -> Iterator[dict[str, Any]]:
    file = one.forecast
    about: dict[str, Any] = {
        "array": one.batch, "partition": file.partition, "nodes": file.shape.nodes, "gpus": file.shape.gpus,
        "jobs": file.tasks, "strategy": file.strategy, "wait_s": one.wait_s, "submitted_at": one.submitted_at,
        "note": "" if one.started_at else "none of its jobs has begun",
    }  # fmt: skip
    for source, forecast in one.forecasts:
        yield about | {
            "forecast_by": source,
            "expected_wait_s": _wait(one, forecast.start),
            "expected_wait_s" + LOW: _wait(one, forecast.earliest),
            "expected_wait_s" + HIGH: _wait(one, forecast.latest),
            "wait_error_s": one.error_s(forecast),
        }
    if not one.forecasts:
        yield about | {"note": "; ".join(filter(None, [file.unknown, about["note"]]))}


def _wait(one: Waited, start: str) -> float | None:
    """From the submission to an expected start; none below 0."""
    return max(0.0, seconds(start) - seconds(one.submitted_at)) if start else None


def _notes(waited: Sequence[Waited]) -> Iterator[str]:
    """How far off the forecasts were, by who made them."""
    errors: dict[str, list[float]] = {}
    held: dict[str, list[bool]] = {}
    for one in waited:
        for source, said in one.forecasts:
            error = one.error_s(said)
            if error is not None:
                errors.setdefault(source, []).append(error)
            if error is not None and said.earliest and said.latest:
                began_s = seconds(one.started_at)
                held.setdefault(source, []).append(
                    seconds(said.earliest) - _NOTHING_S <= began_s <= seconds(said.latest) + _NOTHING_S
                )
    for source, found in errors.items():
        middle = median(found)
        side = "later" if middle >= 0 else "earlier"
        within = (
            f"; {sum(held[source])} of {len(held[source])} inside the interval, give or take a minute"
            if source in held
            else ""
        )
        yield (
            f"{source}: of {plural(len(found), 'array')} the first start came {abs(middle):.0f} s {side} than expected "
            f"(median; {min(found):.0f} to {max(found):.0f} s){within}"
        )


def _makespans(waited: Sequence[Waited]) -> Iterator[str]:
    """Of `pack=auto`: what was expected of each way to send the cells of a sweep, and when the last of them ended."""
    sweeps: dict[tuple[Strategy, ...], list[Waited]] = {}
    for one in waited:
        if one.forecast.strategies:
            sweeps.setdefault(one.forecast.strategies, []).append(one)
    for ways, sent in sweeps.items():
        taken = sent[0].forecast.pack
        told = ", ".join(
            f"pack={way.pack} {way.makespan_s:.0f} s ({way.low_s:.0f} to {way.high_s:.0f})" for way in ways
        )
        came = "the last cell has not ended"
        if all(one.ended_at for one in sent):
            begun = min(seconds(one.submitted_at) for one in sent)
            took = max(seconds(one.ended_at) for one in sent) - begun
            error = took - next(way.makespan_s for way in ways if way.pack == taken)
            came = f"it took {took:.0f} s, {abs(error):.0f} s {'more' if error >= 0 else 'less'} than expected"
        yield f"pack=auto chose pack={taken}: queue and run were expected to take {told}; {came}"
