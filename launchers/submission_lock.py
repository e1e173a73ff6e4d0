"""A submission that is under way: a lock that outlives the client that began it. An edge: it locks a file.

The program that submits (sbatch, one of our queues) inherits the lock's file. A client may be killed at any moment; the
lock is held until that program has ended as well, so another client can wait for the outcome instead of guessing.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launchers.atomic import opened, read
from launchers.checked import CLUSTER

CLUSTERS = re.compile(f"{CLUSTER}(,{CLUSTER})*")
"""One or more clusters as sbatch's `--clusters` takes them, or `all`."""
_FILE = ".submitting"
_LOOK_AGAIN_S = 0.05


@contextmanager
def under_way(folder: Path, *, clusters: str | None = None) -> Iterator[int]:
    """Hold the lock of the batch in `folder`; yields the descriptor that the submitting child must inherit.

    `clusters`, as sbatch is told, are noted for whoever looks the submission up: another client may have other
    variables. Waits while somebody else holds it. Raises `OSError` on a file system without locks.
    """
    descriptor = opened(marker(folder), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if clusters_of(folder) != clusters:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, (clusters or "").encode(), 0)
        yield descriptor
    finally:
        # Never unlocked, only closed: a child that still has it keeps the lock.
        os.close(descriptor)


def wait_until_settled(folder: Path, timeout_s: float) -> bool:
    """Wait until no submission of the batch in `folder` is under way; False if one still is after `timeout_s`.

    A batch whose submission never began is settled.
    """
    try:
        descriptor = opened(marker(folder), os.O_RDONLY)
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
        return marker(folder).stat().st_mtime
    except FileNotFoundError:
        return None


def marker(folder: Path) -> Path:
    """The file whose owner began the submission of the batch in `folder`."""
    return folder / _FILE


def clusters_of(folder: Path) -> str | None:
    """The clusters that the last submission of the batch in `folder` named; None: none."""
    try:
        noted = read(marker(folder)).decode(errors="replace")
    except FileNotFoundError:
        return None
    return noted if CLUSTERS.fullmatch(noted) else None


def _free(descriptor: int) -> bool:
    """A shared lock, so that clients who wait do not see each other."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
