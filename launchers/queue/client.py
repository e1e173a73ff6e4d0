"""What clients do with our queues: start one, find one again, read its states, end some of its tasks. An edge.

The lock of `launchers.submission_lock` lives as long as the queue, so a client can tell a queue that has not come up
yet from one that never was.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from launchers.atomic import opened, read
from launchers.backend import (
    Ended,
    Rendered,
    Submission,
    SubmitError,
    SubmitProblem,
    TaskState,
    TaskStatus,
    Unconfirmed,
)
from launchers.batch import importing_from
from launchers.errors import UserError
from launchers.queue.files import STATES, ask_to_cancel, forget, read_handle, read_states
from launchers.queue.handle import handle_of, host_of, no_process, process_of
from launchers.submission_lock import under_way, wait_until_settled

_FIND_S = 30.0
"""How long a queue may take to come up before the batch is left out."""
_CANCEL_S = 30.0
"""How long a queue may take to end tasks; more than it gives their ranks."""
_LOOK_AGAIN_S = 0.1


class QueueClient:
    """A backend whose batches our own queue works off, but for `render` and `submit`."""

    name: str
    """Of the queue, for people."""

    def find(self, unconfirmed: Iterable[Unconfirmed], *, wait_s: float = _FIND_S) -> dict[str, Submission | None]:
        """Look up batches by the `queue.json` that their queue writes first; None: no queue ever had it.

        A queue that was started and has not written it yet is waited for, for `wait_s`; after that it is left out.
        """
        submissions: dict[str, Submission | None] = {}
        sought = list(unconfirmed)
        deadline = time.monotonic() + wait_s
        while True:
            sought = [batch for batch in sought if not _look_up(batch, submissions)]
            if not sought or time.monotonic() >= deadline:
                return submissions
            time.sleep(_LOOK_AGAIN_S)

    def states(
        self, submissions: Iterable[Submission], *, max_age_s: float | None = None
    ) -> dict[tuple[str, int], TaskStatus]:
        """Read what queues wrote; without a living queue, whatever it did not finish has ended. It is never old."""
        del max_age_s
        this_host = host_of(no_process())
        states: dict[tuple[str, int], TaskStatus] = {}
        for submission in submissions:
            # In this order: a queue that is gone now writes nothing later.
            alive = process_of(submission.handle) is not None
            written = read_states(Path(submission.folder))
            host = host_of(submission.handle)
            for index in range(submission.tasks):
                status = written.get(index, TaskStatus(state=TaskState.QUEUED))
                if status.state is not TaskState.ENDED and not alive and host == this_host:
                    detail = f"{self.name} is gone"
                    status = replace(status, state=TaskState.ENDED, detail=detail, ended=Ended.UNREPORTED)
                elif status.state is not TaskState.ENDED and not alive:
                    status = replace(status, state=TaskState.UNKNOWN, detail=f"its queue is on {host}")
                states[submission.batch_name, index] = status
        return states

    def earlier_starts(self, _submission: Submission, _index: int, /) -> tuple[Ended, ...]:
        """None: our queues start a task again only where its job asks for that, which its own files say."""
        return ()

    def require_ours(self, submissions: Sequence[Submission], /) -> None:
        """Whoever may write into the study asks its queue, which runs as whoever started it."""

    def cancel(self, targets: Iterable[tuple[Submission, Sequence[int] | None]], *, wait_s: float = _CANCEL_S) -> None:
        """Ask queues to end tasks, and wait until those have ended. A queue that is gone has none.

        Raises `UserError` when one still runs after `wait_s`.
        """
        requested: list[tuple[Submission, set[int]]] = []
        for submission, indices in targets:
            to_cancel = _not_ended(submission, range(submission.tasks) if indices is None else indices)
            if to_cancel and not _is_gone(submission):
                ask_to_cancel(Path(submission.folder), to_cancel)
                requested.append((submission, to_cancel))
        deadline = time.monotonic() + wait_s
        for submission, to_cancel in requested:
            while (remaining := _not_ended(submission, to_cancel)) and not _is_gone(submission):
                if time.monotonic() >= deadline:
                    raise _not_cancelled(submission, remaining, self.name, wait_s)
                time.sleep(_LOOK_AGAIN_S)


def start_queue(
    rendered: Sequence[Rendered], command: list[str], *, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[Submission]:
    """Start `command BATCH_FOLDER...` apart from this process; `name` is for people.

    Raises `SubmitError` when it ends at once, and (as busy: look it up) when a living queue has one of the batches.
    """
    folders = [Path(item.batch.folder) for item in rendered]
    for folder in folders:
        _refuse_second_queue(folder, name)
    # The queue itself runs the code that its ranks will run; `python -m` would import from the study first.
    environment_of_queue = importing_from(rendered[0].batch.code, os.environ if environment is None else environment)
    log = folders[0] / "queue.log"
    with ExitStack() as stack:
        # The queue inherits the locks and never closes them. It inherits nothing else of this process.
        locks = [stack.enter_context(under_way(folder)) for folder in folders]
        for folder in folders:
            forget(folder)
        log_file = stack.enter_context(os.fdopen(opened(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab"))
        process = subprocess.Popen(
            [*command, *map(str, folders)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the client's terminal must not reach it
            cwd=rendered[0].batch.study_dir,
            env=environment_of_queue,
            pass_fds=locks,
        )
    import psutil

    try:
        handle = handle_of(process.pid)
    except psutil.NoSuchProcess:
        raise SubmitError(f"{name} ended at once: {read(log).decode(errors='replace')[-500:]}") from None
    for item in rendered:
        yield Submission(
            batch_name=item.batch.name, folder=item.batch.folder, handle=handle, tasks=len(item.batch.tasks)
        )


def _refuse_second_queue(folder: Path, name: str) -> None:
    """A batch's name is unique to its attempts, so this is only seen where two clients submit the same thing."""
    settled = wait_until_settled(folder, _FIND_S if read_handle(folder) is None else 0)
    handle = read_handle(folder)
    process = process_of(handle) if handle is not None else None
    if process is not None:
        problem = f"{name} (process {process.pid}) works on this batch already"
    elif not settled:
        problem = "another client submits this batch, or a queue has it and says nothing"
    else:
        return
    raise SubmitError(f"{folder}: {problem}; it was not submitted again", SubmitProblem.BUSY)


def _look_up(batch: Unconfirmed, submissions: dict[str, Submission | None]) -> bool:
    """Note what is known of a batch; returns whether that is final."""
    folder = Path(batch.folder)
    # In this order: once the lock is free, no queue will come up any more, but one may have come and gone.
    settled = wait_until_settled(folder, 0)
    handle = read_handle(folder)
    if handle is None and settled and (folder / STATES).exists():
        handle = no_process()  # its queue.json was lost; that it had the batch is certain
    if handle is not None and (settled or handle != no_process()):
        submissions[batch.batch_name] = Submission(
            batch_name=batch.batch_name, folder=batch.folder, handle=handle, tasks=batch.tasks
        )
        return True
    if settled:
        submissions[batch.batch_name] = None
    return settled


def _not_ended(submission: Submission, indices: Iterable[int]) -> set[int]:
    written = read_states(Path(submission.folder))
    return {i for i in indices if i not in written or written[i].state is not TaskState.ENDED}


def _is_gone(submission: Submission) -> bool:
    """Whether the queue is certainly gone; of one on another host nobody here can say."""
    return host_of(submission.handle) == host_of(no_process()) and process_of(submission.handle) is None


def _not_cancelled(submission: Submission, remaining: set[int], name: str, waited_s: float) -> UserError:
    host, pid = submission.handle.split("/")[:2]
    tasks = ", ".join(map(str, sorted(remaining)))
    return UserError(
        f"cancel: {name} (process {pid} on {host}) has not ended task {tasks} of {submission.batch_name} within "
        f"{waited_s:.0f} s – the request stays and is followed if the queue lives; look again with the same command, "
        f"read {submission.folder}/queue.log, or end the whole queue on {host} with: kill {pid}"
    )
