"""Expected starts as people read them: a time of day, between when, and what says so. Never a promise. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from launchers.batch import Batch
from launchers.text import plural
from vit_sweep.plan.waiting.forecast_file import ForecastFile, StartForecast, seconds

_SHOWN = 8
"""Shapes that are named."""
_AT_ONCE_S = 60.0


def moment(instant: str, now: datetime) -> str:
    """The time of day by this machine's clock; a day is named where it is not today's."""
    at = datetime.fromisoformat(instant).astimezone()
    day = "" if at.date() == now.astimezone().date() else f"{at:%Y-%m-%d} "
    return f"{day}{at:%H:%M}"


def start_of(said: StartForecast, *, now: datetime) -> str:
    """When a job is expected to start, in a clause."""
    return f"expected to start {_between(said, now)}: {said.basis}"


def _between(said: StartForecast, now: datetime) -> str:
    """A start with its interval: `about 10:42 (10:20 to 10:55)`, or that it is now."""
    if said.latest and seconds(said.latest) < now.timestamp() + _AT_ONCE_S:
        return "at once"
    told = f"about {moment(said.start, now)}"
    if not said.earliest:
        return told
    end = f"to {moment(said.latest, now)}" if said.latest else "or later"
    return f"{told} ({moment(said.earliest, now)} {end})"


def lines_of(batches: Iterable[Batch], forecasts: Sequence[ForecastFile], *, now: datetime) -> list[str]:
    """When batches about to be submitted are expected to start, a line for each shape; else why nobody knows."""
    shapes = dict[tuple[str, str], list[int]]()
    for batch, file in zip(batches, forecasts, strict=True):
        told = _between(file.before, now) if file.before is not None else f"not known: {file.unknown}"
        shapes.setdefault((batch.shape.label, told), []).append(len(batch.tasks))
    bases = dict.fromkeys(file.before.basis for file in forecasts if file.before is not None)
    if not bases:
        reasons = dict.fromkeys(file.unknown for file in forecasts)
        return [f"expected starts: not known – {'; '.join(reasons)}"]
    lines = [f"  {label} x {sum(counts)}: {told}" for (label, told), counts in shapes.items()]
    more = [f"  ... and {plural(len(lines) - _SHOWN, 'more shape')}"] if len(lines) > _SHOWN else []
    return [f"expected starts, never a promise ({'; '.join(bases)}):", *lines[:_SHOWN], *more]
