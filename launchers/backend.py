"""The interface of a backend: render, submit, find, ask for states, cancel."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Protocol

from launchers.batch import Batch
from launchers.checked import Line, checked
from launchers.queue_snapshot import Moment


class TaskState(StrEnum):
    """State of one task as its scheduler reports it. It says nothing of success: only the job's own files do."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    """It was begun and stands still, because of an administrator or of another job."""
    ENDED = "ended"
    """The scheduler no longer knows it, or reports that it ended."""
    UNKNOWN = "unknown"
    """The scheduler did not answer, or this machine cannot ask it."""


class Ended(StrEnum):
    """How a task ended, as its scheduler reports it."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node_failure"
    OUT_OF_MEMORY = "out_of_memory"
    """Of the host: schedulers know nothing of a GPU's memory."""
    REQUEUED = "requeued"
    """Only of an earlier start: somebody had the scheduler start the task again."""
    UNREPORTED = "unsaid"  # the word that queues of earlier versions wrote into their files
    """It is gone, and no record says how."""


@checked
class TaskStatus:
    """State of one task and what a person wants to know of it."""

    state: TaskState
    detail: str = ""
    """Pending reason, node list, or how it ended (`rank 1 died of signal 9`)."""
    ended: Ended | None = None
    """Only of an ended task."""
    hosts: str = ""
    """Where it runs or ran, in the scheduler's own notation (`vector[01-02]`)."""
    expected_s: Moment | None = None
    """When the scheduler expects to start one that waits, as far as it says so."""
    held: Line | None = None
    """Why one that waits would not start though there were room, in the scheduler's word: a limit, a hold."""


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
    folder: str
    """The batch's folder as the asking client sees it (a study may have been moved)."""
    handle: str
    tasks: int


@checked
class Unconfirmed:
    """A batch whose submission was begun and never confirmed: its client went away, or the scheduler did not answer."""

    batch_name: str
    folder: str
    study: str
    tasks: int

    @property
    def comment(self) -> str:
        """What the job carries, so that it can be found without its number."""
        return f"{self.study}/{self.batch_name}"


class Launcher(Protocol):
    """Seven verbs; every one may be called again without harm, except `submit`."""

    def render(self, batch: Batch) -> Rendered:
        """Return the files of a batch, pure: nothing is written, nothing is looked up."""

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Send batches whose files have been written; yield each as soon as the scheduler has it.

        Raises `SubmitError` with the scheduler's words; what was yielded before runs.
        """

    def find(self, unconfirmed: Iterable[Unconfirmed]) -> dict[str, Submission | None]:
        """Look up batches whose submission was begun and never confirmed, by batch name; None: never submitted.

        Waits for a submission that is still under way. A batch whose state cannot be known now is left out.
        """

    def states(
        self, submissions: Iterable[Submission], *, max_age_s: float | None = None
    ) -> dict[tuple[str, int], TaskStatus]:
        """Ask once for all; the answer is by batch name and task index.

        `max_age_s`: an answer of so long ago will do, if another client has one; that a job is gone is never read from
        such an answer. None: ask now.
        """

    def earlier_starts(self, submission: Submission, index: int, /) -> tuple[Ended, ...]:
        """How a task's starts before its last one ended, oldest first; empty where the scheduler does not remember."""

    def require_ours(self, submissions: Sequence[Submission], /) -> None:
        """Raise `UserError` where this user may not end a job of these."""

    def cancel(self, targets: Iterable[tuple[Submission, Sequence[int] | None]]) -> None:
        """End what has not ended: the given task indices of each submission, or all of them (None)."""


class SubmitProblem(StrEnum):
    """Why a submission failed, and so what may be done about it."""

    REFUSED = "refused"
    """The request itself is wrong: the same words again would be refused again."""
    LIMIT = "limit"
    """The user has as many jobs as they may: wait, then submit the rest."""
    BUSY = "busy"
    """The scheduler did not answer, or answered that it cannot now. It may have taken the job all the same."""


class SubmitError(Exception):
    """The scheduler refused or did not answer; carries its words and the script's path."""

    def __init__(self, message: str, problem: SubmitProblem = SubmitProblem.REFUSED) -> None:
        """`message` is for people."""
        super().__init__(message)
        self.problem = problem
