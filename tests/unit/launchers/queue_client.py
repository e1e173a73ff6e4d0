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

import launchers.queue.client
from launchers.backend import Rendered
from launchers.batch import Batch
from launchers.checked import parse_json
from launchers.local.backend import LocalLauncher


def main(point, folders):
    """Submit, and die at `point`."""
    real = subprocess.Popen

    def popen(*words, **how):
        if point == "locked":
            die(os.getpid())
        # What runs in the child: it is slow to become the queue, so that whoever looks must wait for it.
        preexec = (lambda: (die(os.getppid()), time.sleep(1))) if point == "forked" else None
        process = real(*words, preexec_fn=preexec, **how)
        if point == "started":
            die(os.getpid())
        return process

    launchers.queue.client.subprocess.Popen = popen
    if point == "before":
        die(os.getpid())
    batches = [parse_json(Batch, Path(f, "batch.json").read_bytes(), what=f) for f in folders]
    for _ in LocalLauncher().submit([Rendered(batch=b, files={}, script="job.sh") for b in batches]):
        if point == "yielded":
            die(os.getpid())


def die(pid):
    """Without a last word."""
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
