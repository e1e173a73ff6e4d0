"""The interface of a backend: render, submit, ask, cancel."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Protocol

from launchers.checked import checked
from launchers.job import Batch


class TaskState(StrEnum):
    """What a scheduler says of one task. It says nothing of success: only the job's own files do."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    """The scheduler no longer knows it, or says that it ended."""
    UNKNOWN = "unknown"
    """The scheduler did not answer, or this machine cannot ask it."""


@checked
class TaskStatus:
    """State of one task and what a person wants to know of it."""

    state: TaskState
    detail: str = ""
    """Pending reason, node list, or how it ended (`rank 1 died of signal 9`)."""


@checked
class Rendered:
    """A batch and the exact files that submitting it needs."""

    batch: Batch
    files: dict[str, str]
    """Text by file name below `batch.folder`."""
    script: str
    """Name of the file that a person reads and that a scheduler gets."""


@checked
class Submission:
    """A submitted batch: `handle` finds it again, from any process that can reach the scheduler."""

    batch_name: str
    handle: str
    tasks: int


class Launcher(Protocol):
    """Four verbs; every one may be called again without harm, except `submit`."""

    def render(self, batch: Batch) -> Rendered:
        """Return the files of a batch, pure: nothing is written, nothing is looked up."""

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Send batches whose files have been written; yield each as soon as the scheduler has it.

        Raises `SubmitError` with the scheduler's words; what was yielded before runs.
        """

    def states(self, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskStatus]:
        """Ask once for all; the answer is by batch name and task index."""

    def cancel(self, submissions: Iterable[Submission]) -> None:
        """End what has not ended."""


class SubmitError(Exception):
    """The scheduler refused or did not answer; carries its words and the script's path."""
