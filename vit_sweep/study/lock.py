"""One process at a time changes a study: its plan, its journal, its jobs. An edge."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.atomic import opened, read, remove, write
from launchers.errors import UserError


class BusyError(UserError):
    """Another process is changing the study now."""


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the study in `folder`; raises `BusyError`, with who has it, if another process does."""
    owner = folder / ".lock.owner"
    os.close(opened(folder / ".lock", os.O_RDWR | os.O_CREAT))  # no link and no pipe
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = read(owner, most=1000).decode(errors="replace").strip() if owner.is_file() else "another process"
        raise BusyError(
            f"study {folder.name} is being changed by {who}; wait until it has submitted, or use study=OTHER_NAME"
        ) from None
    try:
        write(owner, f"process {os.getpid()} on {socket.gethostname()} since {now()}\n")
        yield
    finally:
        remove(owner, made=re.escape(owner.name))
        lock.release()


def now() -> str:
    """The time of a line or file: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
