"""What became of every cell of a study, cells under way included: a row each. Pure."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from vit_sweep.outcome import eta
from vit_sweep.outcome.eta import Forecast, Left
from vit_sweep.outcome.result import Result
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.plan.waiting.forecast_file import StartForecast
from vit_sweep.plan.waiting.wording import moment
from vit_sweep.report.tables.form.table import Cells, Column, Table, by_column

STATUS_COLUMNS = tuple(
    Column(name=name, title=name, unit=unit, meaning=meaning)
    for name, unit, meaning in (
        ("cell", "", "Id of the cell."),
        ("state", "", "done, running, queued, missing (never submitted), or how it ended."),
        ("attempt", "", "The attempt that this is said of: 2.1 is the second, started again once."),
        ("hosts", "", "Where it ran; empty before it has a record."),
        ("epoch", "", "Epochs that it has finished, of one that runs."),
        ("epochs", "", "Epochs that it was asked for, of one that runs."),
        ("started_at", "", "When the attempt began (UTC)."),
        (
            "expected_start",
            "",
            "When one that waits in a queue is expected to start (UTC), if something says it.",
        ),
        ("expected_start_low", "", "Lower bound of that; empty where nothing says how far off it may be."),
        ("expected_start_high", "", "Upper bound of that."),
        ("expected_start_basis", "", "What says so: Slurm's plan, or a look at the queue before it was submitted."),
        ("seconds_left", "s", "Time until it ends, as far as something says it."),
        ("eta", "", "When that is over (UTC)."),
        ("basis", "", "What says so: the plan's estimate, its own epochs, cells that ended."),
        ("detail", "", "Why it waits, what it does, or how it ended."),
    )
)


def status_row(result: Result, left: Left | None, *, now: datetime) -> Cells:
    """One cell, by the names of `STATUS_COLUMNS`, its hosts as a list; None where something is not known."""
    return {
        "cell": result.file.cell_id,
        "state": str(result.status),
        "attempt": result.attempt or None,
        "hosts": list(result.brief.hosts) if result.brief else [],
        "epoch": result.progress.epoch if result.progress else None,
        "epochs": result.progress.epochs if result.progress else None,
        "started_at": (result.progress.started_at if result.progress else "") or None,
        **_start_row(result.expected),
        **left_row(left, now),
        "detail": detail_of(result),
    }


def _start_row(forecast: StartForecast | None) -> dict[str, str | None]:
    return {
        "expected_start": forecast.start if forecast is not None else None,
        "expected_start_low": forecast.earliest or None if forecast is not None else None,
        "expected_start_high": forecast.latest or None if forecast is not None else None,
        "expected_start_basis": forecast.basis if forecast is not None else None,
    }


def detail_of(result: Result) -> str:
    """What its user must know of it: also that another cell began it."""
    origin = result.file.cell.origin
    return "; ".join(filter(None, [result.detail, f"goes on from {origin.cell_id}" if origin is not None else ""]))


def left_row(left: Left | None, now: datetime) -> dict[str, Any]:
    """The seconds that are left, the end in UTC, and what says so."""
    if left is None:
        return {"seconds_left": None, "eta": None, "basis": None}
    end = (now + timedelta(seconds=left.seconds)).astimezone(UTC)
    return {"seconds_left": round(left.seconds, 1), "eta": end.isoformat(timespec="seconds"), "basis": left.basis}


def status_table(results: Sequence[Result], expected: Forecast, *, now: datetime) -> Table:
    """The same of all cells, their hosts as words; it may be empty."""
    rows = [status_row(result, expected.cells.get(result.file.cell_id), now=now) for result in results]
    return Table(
        name="status",
        title="What became of every cell",
        columns=STATUS_COLUMNS,
        values=by_column(
            (column.name for column in STATUS_COLUMNS), (row | {"hosts": " ".join(row["hosts"])} for row in rows)
        ),
    )


def forecast(
    results: Sequence[Result], plan: PlanFile | None, *, now: datetime, core_flops: float | None = None
) -> Forecast:
    """What is left of the cells, by what `plan` expected of them and what has been measured since.

    `core_flops`: of a core of this machine, for cells that run here and of which the plan has no estimate.
    """
    if not any(result.status.under_way for result in results):
        return Forecast(cells={}, sweep=None)
    from vit_sweep.outcome.eta_jobs import jobs_of  # with all that predicts; of a finished study nothing is

    return eta.forecast(jobs_of(results, plan, core_flops=core_flops), now.timestamp())


def left(expected: Forecast, *, now: datetime) -> str:
    """What is left of the sweep, when that is over by this machine's clock, and what says so; empty where nothing does.

    A day is named where it is not today's.
    """
    if expected.sweep is None:
        return ""
    until = moment((now + timedelta(seconds=expected.sweep.seconds)).isoformat(), now)
    return f"about {clock(expected.sweep.seconds)} left, until {until}: {expected.sweep.basis}"


def counted(results: Sequence[Result]) -> str:
    """How many cells are in each state: `7 done, 1 failed`."""
    counts = Counter(result.status for result in results)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def clock(seconds: float) -> str:
    """A length of time as h:mm:ss, never below 0."""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
