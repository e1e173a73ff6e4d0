"""The local backend: a queue process that outlives the client runs the cells on this machine. An edge."""

import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from launchers.backend import Rendered, Submission, SubmitError, TaskState, TaskStatus
from launchers.checked import to_json
from launchers.job import Batch
from launchers.queue_states import read_states


class LocalLauncher:
    """Cells one after another, or side by side where cores and GPUs allow."""

    def render(self, batch: Batch) -> Rendered:
        """Render the list of tasks and the command that works it off."""
        command = shlex.join([batch.profile.python or sys.executable, "-m", "launchers.local_queue", batch.folder])
        script = f"#!/bin/sh\n# vit_sweep study: {batch.study}, {len(batch.tasks)} cell(s)\nexec {command}\n"
        return Rendered(batch=batch, files={"batch.json": to_json(batch), "job.sh": script}, script="job.sh")

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Start one detached queue for all batches, so that the heavy imports are paid once."""
        if rendered:
            python = rendered[0].batch.profile.python or sys.executable
            yield from start_queue(rendered, [python, "-m", "launchers.local_queue"], name="the local queue")

    def states(self, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskStatus]:
        """Read what the queue wrote; without a living queue, whatever it did not finish has ended."""
        return queue_states(submissions, name="the local queue")

    def cancel(self, submissions: Iterable[Submission]) -> None:
        """Tell the queues to end their cells and themselves."""
        cancel_queues(submissions)


def start_queue(
    rendered: Sequence[Rendered], command: list[str], *, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[Submission]:
    """Start `command BATCH_FOLDER...` apart from this process; `name` is for people.

    Raises `SubmitError` when it ends at once.
    """
    log = Path(rendered[0].batch.folder) / "queue.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, *(item.batch.folder for item in rendered)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the client's terminal must not reach it
            cwd=rendered[0].batch.study_dir,
            env=environment,
        )
    try:
        handle = _handle(psutil.Process(process.pid))
    except psutil.NoSuchProcess:
        raise SubmitError(f"{name} ended at once: {log.read_text()[-500:]}") from None
    for item in rendered:
        yield Submission(
            batch_name=item.batch.name,
            handle=f"{handle}|{item.batch.folder}",
            tasks=len(item.batch.tasks),
        )


def queue_states(submissions: Iterable[Submission], *, name: str) -> dict[tuple[str, int], TaskStatus]:
    """Read what queues wrote; without a living queue, whatever it did not finish has ended."""
    states: dict[tuple[str, int], TaskStatus] = {}
    for submission in submissions:
        handle, folder = submission.handle.split("|", 1)
        alive = _find(handle) is not None
        here = handle.split("/")[0] == socket.gethostname()
        written = read_states(Path(folder))
        for index in range(submission.tasks):
            status = written.get(index, TaskStatus(state=TaskState.QUEUED))
            if not here and status.state is not TaskState.ENDED:
                status = TaskStatus(state=TaskState.UNKNOWN, detail=f"its queue is on {handle.split('/')[0]}")
            elif not alive and status.state is not TaskState.ENDED:
                status = TaskStatus(state=TaskState.ENDED, detail=f"{name} is gone")
            states[submission.batch_name, index] = status
    return states


def cancel_queues(submissions: Iterable[Submission]) -> None:
    """Tell queues to end their cells and themselves; wait for each, 30 s at most."""
    for handle in {s.handle.split("|", 1)[0] for s in submissions}:
        process = _find(handle)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
                process.wait(timeout=30)


def _handle(process: psutil.Process) -> str:
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}"


def _find(handle: str) -> psutil.Process | None:
    """The queue's process, unless it ended or its number was given to another process."""
    pid = int(handle.split("/")[1])
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if _handle(process) == handle and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
