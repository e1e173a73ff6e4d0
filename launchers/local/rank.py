"""What a process forked by the local queue runs: one rank, which does not outlive its queue."""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait

_GRACE_S = 10.0
"""How long a rank whose queue is gone may go on writing."""


def run_rank(environment: dict[str, str], cores: list[int], module: str, folder: str) -> None:
    """Be one rank: never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    if cores:
        os.sched_setaffinity(0, cores)
    _end_with_the_queue()
    sys.exit(importlib.import_module(module).main([folder]))


def _end_with_the_queue() -> None:
    """End this process when its queue is gone, even by SIGKILL.

    A signal on the parent's death would not do: the parent is the fork server. But of the pipe that every process of
    `multiprocessing` has to its starter, only the queue holds the other end.
    """
    queue = multiprocessing.parent_process()
    if queue is None:
        return
    # The thread must take no signal: those belong to the thread that the rank itself chooses.
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=_watch, args=(queue.sentinel,), daemon=True, name="watch the queue").start()
    signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
