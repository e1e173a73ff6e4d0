"""The local backend: a queue process that outlives the client runs the cells on this machine. An edge."""

import shlex
import sys
from collections.abc import Iterator, Sequence

from launchers.backend import Rendered, Submission
from launchers.batch import Batch
from launchers.checked import to_json
from launchers.queue.client import QueueClient, start_queue
from launchers.text import plural


class LocalLauncher(QueueClient):
    """Cells one after another, or side by side where cores and GPUs allow."""

    name = "the local queue"

    def render(self, batch: Batch) -> Rendered:
        """Render the list of tasks and the command that works it off."""
        command = shlex.join([batch.profile.python or sys.executable, "-m", "launchers.local.queue", batch.folder])
        script = f"#!/bin/sh\n# vit_sweep study: {batch.study}, {plural(len(batch.tasks), 'cell')}\nexec {command}\n"
        return Rendered(batch=batch, files={"batch.json": to_json(batch), "job.sh": script}, script="job.sh")

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Start one detached queue for all batches, so that the heavy imports are paid once."""
        if rendered:
            python = rendered[0].batch.profile.python or sys.executable
            yield from start_queue(rendered, [python, "-m", "launchers.local.queue"], name=self.name)
