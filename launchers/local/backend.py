"""The local backend: a queue process that outlives the client runs the cells on this machine. An edge."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence

from launchers.backend import Rendered, Submission, TaskStatus, Unconfirmed
from launchers.batch import Batch
from launchers.checked import to_json
from launchers.queue.client import cancel_queues, find_queues, queue_states, start_queue

NAME = "the local queue"


class LocalLauncher:
    """Cells one after another, or side by side where cores and GPUs allow."""

    def render(self, batch: Batch) -> Rendered:
        """Render the list of tasks and the command that works it off."""
        command = shlex.join([batch.profile.python or sys.executable, "-m", "launchers.local.queue", batch.folder])
        script = f"#!/bin/sh\n# vit_sweep study: {batch.study}, {len(batch.tasks)} cell(s)\nexec {command}\n"
        return Rendered(batch=batch, files={"batch.json": to_json(batch), "job.sh": script}, script="job.sh")

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Start one detached queue for all batches, so that the heavy imports are paid once."""
        if rendered:
            python = rendered[0].batch.profile.python or sys.executable
            yield from start_queue(rendered, [python, "-m", "launchers.local.queue"], name=NAME)

    def find(self, unconfirmed: Iterable[Unconfirmed]) -> dict[str, Submission | None]:
        """Look for the queue's own files in the folder of each batch."""
        return find_queues(unconfirmed)

    def states(self, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskStatus]:
        """Read what the queue wrote; without a living queue, whatever it did not finish has ended."""
        return queue_states(submissions, name=NAME)

    def cancel(self, targets: Iterable[tuple[Submission, Sequence[int] | None]]) -> None:
        """Ask the queues to end these cells, and wait until they have; the queue's other cells go on."""
        cancel_queues(targets, name=NAME)
