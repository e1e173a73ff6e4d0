"""A submission that is under way: a lock that outlives the client that began it. An edge: it locks a file.

The program that submits (sbatch, one of our queues) inherits the lock's file. A client may be killed at any moment; the
lock is held until that program has ended as well, so another client can wait for the outcome instead of guessing.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launchers.atomic import opened

_FILE = ".submitting"
_LOOK_AGAIN_S = 0.05


@contextmanager
def under_way(folder: Path) -> Iterator[int]:
    """Hold the lock of the batch in `folder`; yields the descriptor that the submitting child must inherit.

    Waits while somebody else holds it. Raises `OSError` on a file system without locks.
    """
    descriptor = opened(folder / _FILE, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        # Never unlocked, only closed: a child that still has it keeps the lock.
        os.close(descriptor)


def wait_until_settled(folder: Path, timeout_s: float) -> bool:
    """Wait until no submission of the batch in `folder` is under way; False if one still is after `timeout_s`.

    A batch whose submission never began is settled.
    """
    try:
        descriptor = opened(folder / _FILE, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        deadline = time.monotonic() + timeout_s
        while not _free(descriptor):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True
    finally:
        os.close(descriptor)


def begun_at(folder: Path) -> float | None:
    """When a submission of the batch in `folder` was first begun (unix seconds); None: never."""
    try:
        return (folder / _FILE).stat().st_mtime
    except FileNotFoundError:
        return None


def _free(descriptor: int) -> bool:
    """A shared lock, so that clients who wait do not see each other."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
