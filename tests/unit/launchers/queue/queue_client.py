"""A client that submits batches to the local queue and is killed on its way: `queue_client.py POINT FOLDER...`.

Points, in their order: `before` anything is done, `locked` (the queue is not started yet), `forked` (it is a process,
but not yet its program), `started` (it may not have said a word), `yielded` (after the first batch, not journaled).
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from launchers.backend import Rendered
from launchers.batch import Batch
from launchers.checked import parse_json
from launchers.local.backend import LocalLauncher


def main(point, folders):
    """Submit, and die at `point`."""
    real: Any = subprocess.Popen

    def die_at_fork():
        """In the child, which is slow to become the queue, so that whoever looks must wait for it."""
        die(os.getppid())
        time.sleep(1)

    def popen(*words, **how):
        if point == "locked":
            die(os.getpid())
        process = real(*words, preexec_fn=die_at_fork if point == "forked" else None, **how)
        if point == "started":
            die(os.getpid())
        return process

    subprocess.Popen = popen  # type: ignore[misc, assignment]  # whoever starts a program
    if point == "before":
        die(os.getpid())
    batches = [parse_json(Batch, Path(f, "batch.json").read_bytes(), source=f) for f in folders]
    for _ in LocalLauncher().submit([Rendered(batch=b, files={}, script="job.sh") for b in batches]):
        if point == "yielded":
            die(os.getpid())


def die(pid):
    """Without a last word."""
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
