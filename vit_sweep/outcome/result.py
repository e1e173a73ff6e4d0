"""Results: a cell and what is known of its run, now. Pure."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from launchers.checked import checked
from vit_sweep.outcome.ending import Exit, Progress
from vit_sweep.plan.cell import PADDING_WORTH_SAYING, CellFile, crowd, oversubscribed
from vit_sweep.plan.waiting.forecast_file import StartForecast
from vit_sweep.record.brief import Brief, brief_of
from vit_sweep.record.record import Record


class Status(StrEnum):
    """What became of a cell so far."""

    DONE = "done"
    OUT_OF_MEMORY = "out_of_memory"
    """A GPU's memory was full."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Certain to fail as another cell did."""
    MISSING = "missing"
    """Never submitted, or its record is gone."""
    UNREADABLE = "unreadable"
    """A file that says what became of it is there and cannot be read: nobody knows, and it does not run again."""
    RETRY = "retry"
    """It ended and will run again."""
    RUNNING = "running"
    SUSPENDED = "suspended"
    """Its scheduler has stopped it for a while."""
    QUEUED = "queued"
    UNKNOWN = "unknown"
    """Its scheduler does not say."""

    @property
    def under_way(self) -> bool:
        """Whether the cell may still get a record without its user's help."""
        return self is Status.RETRY or self.has_job

    @property
    def has_job(self) -> bool:
        """Whether a job of it runs or waits, as far as anybody knows; of one that is to be retried it has ended."""
        return self in (Status.RUNNING, Status.SUSPENDED, Status.QUEUED, Status.UNKNOWN)


@checked
class Result:
    """A cell and what is known of its run."""

    file: CellFile
    record: Record | None
    status: Status
    detail: str = ""
    attempt: str = ""
    """The attempt that this is about: `2.1` is the second, started again once by the scheduler."""
    progress: Progress | None = None
    """Where a running attempt is."""
    history: tuple[Exit, ...] = ()
    """How its attempts ended, oldest first, without the one that gave the record."""
    exclude: tuple[str, ...] = ()
    """Hosts that a retry must not get."""
    expected: StartForecast | None = None
    """Of one that waits in a queue: when it starts, as far as something says it."""
    noted: Brief | None = None
    """In place of the record of one that was done when somebody looked before (`study.cache.done_cells`)."""

    @property
    def brief(self) -> Brief | None:
        """Where and when its job ran; None of one that has no record."""
        return brief_of(self.record) if self.record is not None else self.noted

    @property
    def cause(self) -> str:
        """Why it has no record, in one word."""
        return self.history[-1].cause.value if self.history and self.record is None else ""

    @property
    def story(self) -> str:
        """Its earlier ends, for the tables: `preempted, time_limit x 2`."""
        return story_of(self.history)


def is_idle(results: Iterable[Result]) -> bool:
    """Whether no job of theirs is queued or running."""
    return not any(result.status.has_job for result in results)


def story_of(history: Iterable[Exit]) -> str:
    """Count the causes of ends, in the order in which they first came."""
    counted = Counter(end.cause.value for end in history)
    return ", ".join(cause if count == 1 else f"{cause} x {count}" for cause, count in counted.items())


def note_of(result: Result, cores: int | None) -> str:
    """What a reader of this run's times must know, in every table that shows them.

    `cores`: fewest that ranks of a host had together, as the job itself counted them; None of one without a record.
    """
    cell, is_done = result.file.cell, cores is not None
    remarks = [cell.origin.sentence] if cell.origin is not None else []
    remarks += [result.detail] if result.detail else []
    if is_done and result.history:
        remarks.append(f"ended before by {result.story}")
    if cores is not None and oversubscribed(cell, cores):
        remarks.append(crowd(cell, cores))
    if is_done and cell.padding > PADDING_WORTH_SAYING:
        remarks.append(f"{cell.padding:.0%} repeated images")
    return "; ".join(remarks)
