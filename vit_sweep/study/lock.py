"""One process at a time changes a study: its plan, its journal, its jobs. An edge."""

import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from launchers.atomic import opened, read, remove, write
from launchers.errors import UserError


class BusyError(UserError):
    """Another process is changing the study now."""


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the study in `folder`; raises `BusyError`, with who has it, if another process does."""
    owner = folder / ".lock.owner"
    with ExitStack() as resources:
        descriptor = opened(folder / ".lock", os.O_RDWR | os.O_CREAT)  # no link and no pipe
        resources.callback(os.close, descriptor)
        if not _locked(descriptor, folder / ".lock", resources):
            holder = (
                read(owner, max_bytes=1000).decode(errors="replace").strip() if owner.is_file() else "another process"
            )
            raise BusyError(
                f"study {folder.name} is being changed by {holder}; wait until it has submitted, or use "
                "study=OTHER_NAME"
            )
        try:
            write(owner, f"process {os.getpid()} on {socket.gethostname()} since {now()}\n")
            yield
        finally:
            remove(owner, pattern=re.escape(owner.name))


def _locked(descriptor: int, path: Path, resources: ExitStack) -> bool:
    """Take the lock, until the file is closed or `resources` ends; False: another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        # A file system without locks: filelock, which locks like this where it can, has another way there.
        from filelock import FileLock, Timeout

        try:
            resources.enter_context(FileLock(path).acquire(timeout=0))
        except Timeout:
            return False
    return True


def now() -> str:
    """The time of a line or file: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
