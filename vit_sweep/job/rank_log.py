"""A rank's own file, `attempts/<n>/rank<r>.json`: written when it starts, again when it ends, by two threads. An edge.

On a full disk the end must still be written: a reserve lies beside the file from the start, and is given up
for it.
"""

import os
import resource
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launchers.atomic import remove, write, write_bytes
from launchers.checked import to_json
from vit_sweep.outcome.ending import HostMemory, RankEnd, RankFile

_RESERVE_BYTES = 64 * 1024
_RESERVE = r"\.reserve-rank\d+"


def now() -> str:
    """UTC, ISO 8601, to the millisecond: the first of several ranks to fail is to be found by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def peak_host_mib() -> float:
    """Most resident memory that this process ever had, mapped files included, MiB (Linux counts ru_maxrss in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class RankLog:
    """Holds what the file says now, and writes it; no field is lost when two threads write."""

    def __init__(self, attempt: Path, start: RankFile) -> None:
        self._path = attempt / f"rank{start.rank}.json"
        self._reserve = attempt / f".reserve-rank{start.rank}"
        self._file = start
        self._lock = threading.Lock()
        self._closed = False

    @property
    def file(self) -> RankFile:
        """What was written last."""
        return self._file

    def begin(self) -> None:
        """Say that the rank has started, and put room aside for its end. Raises `OSError`."""
        with self._lock:
            write(self._path, to_json(self._file))
            # Not zeros: a file system that compresses would put nothing aside.
            write_bytes(self._reserve, os.urandom(_RESERVE_BYTES))

    def near_limit(self, memory: HostMemory) -> None:
        """Note that host memory is nearly used up. Never raises."""
        self._note(near_limit=memory)

    def doing(self, activity: str) -> bool:
        """Note what a rank that starts does or waits for; returns whether that is new. Never raises."""
        is_new = activity != self._file.doing
        if is_new:
            self._note(doing=activity)
        return is_new

    def sign(self) -> None:
        """Give others a sign of life: a new time stamp of the file. Never raises."""
        with suppress(OSError, NotImplementedError):
            os.utime(self._path, follow_symlinks=False)

    def _note(self, **changes: Any) -> None:
        with self._lock:
            if not self._closed:
                self._file = replace(self._file, **changes)
                try:
                    write(self._path, to_json(self._file))
                except OSError as error:  # the reserve is for the end
                    say(f"{self._path} cannot be written ({error})")

    def end(self, end: RankEnd, *, last: bool = False) -> None:
        """Say how the rank ended; nothing is written after the `last` one. Never raises: a failure goes to stderr."""
        with self._lock:
            if self._closed:
                return
            self._closed = last
            self._file = replace(self._file, end=end)
            self._write_end()
            if last:
                remove(self._reserve, pattern=_RESERVE)

    def _write_end(self) -> None:
        text = to_json(self._file)
        try:
            write(self._path, text)
        except OSError:
            try:
                remove(self._reserve, pattern=_RESERVE)
                write(self._path, text)
            except OSError as error:
                say(f"{self._path} cannot be written ({error}); it would have said:\n{text}")


def say(text: str) -> None:
    """One line in the rank's log, which may lie on the same full disk."""
    try:
        sys.stderr.write(f"vit_sweep: {text}\n")
        sys.stderr.flush()
    except OSError:
        return
