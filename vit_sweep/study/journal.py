"""`jobs.jsonl`: what was sent to a scheduler, in the order in which it happened. Pure; the store reads and writes it.

A line is written before a submission and one after it. A batch with the first line only is in doubt: it is looked up
before anything else is sent, never submitted twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from launchers.batch import Batch
from launchers.checked import Handle, Instant, Name, checked
from launchers.profile import Count, Scheduler


class Event(StrEnum):
    """What a line says."""

    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    """The scheduler would not have it."""
    NEVER = "never"
    """Its client went away before the scheduler had it."""
    CANCELLED = "cancelled"
    """Its user ended the tasks of this line."""


@checked
class JobEntry:
    """One line."""

    at: Instant
    """UTC, ISO 8601."""
    event: Event
    scheduler: Scheduler
    batch: Name
    tasks: tuple[tuple[Name, Count], ...]
    """Cell id and attempt, by task index; of a cancellation: those that it ended."""
    handle: Handle = ""
    """The scheduler's name of the job, once there is one."""
    asked: bool = True
    """Whether a person asked for these attempts, or a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedAttempt:
    """The latest submission of a cell, out of checked lines: of which attempt, and where it went."""

    batch: str
    scheduler: Scheduler
    handle: str
    """Empty while the submission is in doubt."""
    index: int
    tasks: int
    """Tasks of the whole batch."""
    attempt: int
    since: int
    """First attempt since a person last asked for this cell."""
    cancelled: bool = False
    at: str = ""
    """When its line was written; empty where nobody knows."""

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows yet if the scheduler has it."""
        return not self.handle


def entry_of(batch: Batch, event: Event, *, at: str, handle: str = "", asked: bool = True) -> JobEntry:
    """The line for what is about to happen, or has happened, to a batch."""
    return JobEntry(
        at=at,
        event=event,
        scheduler=batch.profile.scheduler,
        batch=batch.name,
        tasks=tuple((task.name, task.attempt) for task in batch.tasks),
        handle=handle,
        asked=asked,
    )


def latest_attempts(entries: Iterable[JobEntry]) -> dict[str, SubmittedAttempt]:
    """The latest attempt of each cell that a scheduler has, or may have."""
    latest: dict[str, SubmittedAttempt] = {}
    superseded: dict[str, dict[str, SubmittedAttempt]] = {}
    for entry in entries:
        match entry.event:
            case Event.SUBMITTING:
                superseded[entry.batch] = {cell: latest[cell] for cell, _ in entry.tasks if cell in latest}
                for index, (cell, attempt) in enumerate(entry.tasks):
                    since = attempt if entry.asked or cell not in latest else latest[cell].since
                    latest[cell] = _submitted(entry, index, since)
            case Event.SUBMITTED:
                for index, (cell, attempt) in enumerate(entry.tasks):
                    current = latest.get(cell)
                    since = current.since if current and current.attempt == attempt else attempt
                    latest[cell] = _submitted(entry, index, since)
            case Event.REFUSED | Event.NEVER:
                for cell, _ in entry.tasks:
                    if cell in latest and latest[cell].batch == entry.batch:
                        del latest[cell]
                latest |= superseded.get(entry.batch, {})
            case Event.CANCELLED:
                for cell, attempt in entry.tasks:
                    current = latest.get(cell)
                    if current is not None and current.attempt == attempt:
                        latest[cell] = replace(current, cancelled=True)
    return latest


def _submitted(entry: JobEntry, index: int, since: int) -> SubmittedAttempt:
    """The attempt of one task of a line; before the scheduler's answer the line has no handle."""
    return SubmittedAttempt(
        batch=entry.batch,
        scheduler=entry.scheduler,
        handle=entry.handle,
        index=index,
        tasks=len(entry.tasks),
        attempt=entry.tasks[index][1],
        since=since,
        at=entry.at,
    )


def in_doubt(entries: Iterable[JobEntry]) -> list[JobEntry]:
    """The `submitting` lines that nothing answers, oldest first."""
    open_lines: dict[str, JobEntry] = {}
    for entry in entries:
        if entry.event is Event.SUBMITTING:
            open_lines[entry.batch] = entry
        elif entry.event is not Event.CANCELLED:
            open_lines.pop(entry.batch, None)
    return list(open_lines.values())


def next_attempts(entries: Iterable[JobEntry]) -> dict[str, int]:
    """The first attempt number of each cell that no line has used."""
    free: dict[str, int] = {}
    for entry in entries:
        for cell, attempt in entry.tasks:
            free[cell] = max(free.get(cell, 1), attempt + 1)
    return free
