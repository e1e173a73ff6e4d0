"""Whether the files of a cell are those that were read before, so that what was made of them still holds. An edge.

- What is kept stands under a key: of `cell.json` and `record.json` the size, inode, time of change and of status change
  (which nobody can set back), and all else that it is made of. Another key is another run.
- A file that was young when it was read may be changed once more within the same tick of its file system's clock, so
  what rests on it is not kept. How young it is that clock says, not this machine's.
- The code that made it is part of what is kept: another version, or a changed source file, keeps nothing.
"""

import hashlib
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from launchers.atomic import remove, temporary

YOUNG_NS = 2_000_000_000
"""Age below which a file is not trusted: the coarsest clock of a file system ticks every two seconds."""


def version_of(info: os.stat_result) -> str:
    """What a file with other content has otherwise: size, inode, time of change and of status change."""
    return f"{info.st_size} {info.st_ino} {info.st_mtime_ns} {info.st_ctime_ns}"


def key_of(folder: str, also: str) -> tuple[str, int]:
    """The key of a cell's run: its two files, and `also` all else that it is made of; and when they last changed, in
    nanoseconds of their file system's clock.

    Raises `OSError` where one of them cannot be looked at.
    """
    # A path object for each of ten thousand cells would take longer than looking.
    cell = os.stat(f"{folder}/cell.json")  # noqa: PTH116
    record = os.stat(f"{folder}/record.json")  # noqa: PTH116
    changed_ns = max(cell.st_mtime_ns, cell.st_ctime_ns, record.st_mtime_ns, record.st_ctime_ns)
    return f"{version_of(cell)} {version_of(record)} {also}", changed_ns


def clock_ns(folder: Path) -> int | None:
    """What the clock of the study's file system shows; None where nothing is to be kept for the next time: in a study
    of another user, who wants no files of whoever looks, and where nothing can be written."""
    probe = temporary(folder / f"runs-{os.geteuid()}")
    try:
        if folder.stat().st_uid != os.geteuid():
            return None
        with os.fdopen(
            os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        ) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None
    finally:
        with suppress(OSError):
            remove(probe, pattern=r"\..*\.tmp")


@cache
def code_stamp() -> str:
    """What changes when the code or the Python does that turns a record into a run: sizes and times of its sources."""
    root = Path(__file__).parents[3]
    digest = hashlib.sha256(sys.version.encode())
    for package in ("launchers", "vit_sweep"):
        for directory, folders, files in os.walk(root / package):
            folders.sort()
            for name in sorted(name for name in files if name.endswith(".py")):
                info = os.stat(f"{directory}/{name}")  # noqa: PTH116
                digest.update(f"{directory}/{name} {info.st_size} {info.st_mtime_ns} {info.st_ino}\n".encode())
    return digest.hexdigest()
