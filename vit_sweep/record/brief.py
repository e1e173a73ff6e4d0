"""What is told of a finished run without its record at hand: where and when its job ran. Pure."""

from launchers.checked import Instant, Quantity, Whole, checked
from vit_sweep.record.record import Record


@checked
class Brief:
    """What `status` says of a record, and what a forecast learns of it."""

    hosts: tuple[str, ...]
    started_at: Instant
    """When its last attempt began (UTC, ISO 8601)."""
    startup_s: Quantity
    """Of its last attempt, before the first step."""
    job_s: Quantity | None
    """Of its last attempt, from the first line to the record."""
    trained_s: Quantity | None
    """From the first touch of the data to the end of the last evaluation; None after a restart."""
    restarts: Whole


def brief_of(record: Record) -> Brief:
    """Of one record."""
    return Brief(
        hosts=record.resolved.hosts,
        started_at=record.started_at,
        startup_s=record.startup_s,
        job_s=record.job_s,
        trained_s=record.epochs[-1].wall_s,
        restarts=record.restarts,
    )
