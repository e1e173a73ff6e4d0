"""Expected starts as people read them: a time of day, between when, and what says so. Never a promise. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from launchers.batch import Batch
from launchers.profile import PartitionProfile
from launchers.queue_snapshot import OwnerLimit
from launchers.text import plural
from vit_sweep.plan.waiting.forecast_file import ForecastFile, StartForecast, seconds

_SHOWN = 8
"""Shapes that are named."""
_AT_ONCE_S = 60.0


def moment(instant: str, now: datetime) -> str:
    """The time of day by this machine's clock; a day is named where it is not today's."""
    local_time = datetime.fromisoformat(instant).astimezone()
    day = "" if local_time.date() == now.astimezone().date() else f"{local_time:%Y-%m-%d} "
    return f"{day}{local_time:%H:%M}"


def start_of(forecast: StartForecast, *, now: datetime) -> str:
    """When a job is expected to start, in a clause."""
    return f"expected to start {_between(forecast, now)}: {forecast.basis}"


def _between(forecast: StartForecast, now: datetime) -> str:
    """A start with its interval: `about 10:42 (10:20 to 10:55)`, or that it is now."""
    if forecast.latest and seconds(forecast.latest) < now.timestamp() + _AT_ONCE_S:
        return "at once"
    start = f"about {moment(forecast.start, now)}"
    if not forecast.earliest:
        return start
    end = f"to {moment(forecast.latest, now)}" if forecast.latest else "or later"
    return f"{start} ({moment(forecast.earliest, now)} {end})"


def lines_of(
    batches: Sequence[Batch],
    forecasts: Sequence[ForecastFile],
    limits: Sequence[OwnerLimit] | None = None,
    *,
    now: datetime,
) -> list[str]:
    """When batches about to be submitted are expected to start, a line for each shape; else why nobody knows.

    `limits`: of this user's accounts and QOS; None: not known.
    """
    shapes = dict[tuple[str, str], list[int]]()
    for batch, file in zip(batches, forecasts, strict=True):
        expectation = _between(file.before, now) if file.before is not None else f"not known: {file.unknown}"
        shapes.setdefault((batch.shape.label, expectation), []).append(len(batch.tasks))
    bases = dict.fromkeys(file.before.basis for file in forecasts if file.before is not None)
    if not bases:
        reasons = dict.fromkeys(file.unknown for file in forecasts)
        return [f"expected starts: not known – {'; '.join(reasons)}"]
    lines = [f"  {label} x {sum(counts)}: {told}" for (label, told), counts in shapes.items()]
    omitted = [f"  ... and {plural(len(lines) - _SHOWN, 'more shape')}"] if len(lines) > _SHOWN else []
    basis = "; ".join(filter(None, [*bases, not_counted(batches, limits)]))
    return [f"expected starts, never a promise ({basis}):", *lines[:_SHOWN], *omitted]


def not_counted(batches: Iterable[Batch], limits: Sequence[OwnerLimit] | None) -> str:
    """What no forecast counts: how many jobs or GPUs a user, an account or a QOS may have at once; empty for none."""
    profiles = [batch.profile for batch in batches]
    stated = [f"max_submit={profile.max_submit}" for profile in profiles if profile.max_submit is not None]
    if limits is not None:
        holding = [limit for limit in limits if any(_holds(limit, profile) for profile in profiles)]
        stated += [f"{_owner(limit)} {limit.allows}" for limit in holding]
        return f"it does not count limits: {', '.join(dict.fromkeys(stated))}" if stated else ""
    stated += [f"qos={profile.qos}" for profile in profiles if profile.qos]
    named = f", here {', '.join(dict.fromkeys(stated))}" if stated else ""
    return f"it does not know limits of a user or a QOS{named}"


def _holds(limit: OwnerLimit, profile: PartitionProfile) -> bool:
    """Whether jobs of a profile are under a limit, as far as the profile says whose they are."""
    inside = set(limit.partitions) & set((profile.partition or "").split(","))
    if limit.qos:
        return bool(inside) or (limit.default if profile.qos is None else limit.qos == profile.qos)
    return profile.account in (None, limit.account) and (not limit.partitions or bool(inside))


def _owner(limit: OwnerLimit) -> str:
    return f"QOS {limit.qos}" if limit.qos else f"account {limit.account}"
