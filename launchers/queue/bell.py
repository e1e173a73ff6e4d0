"""What wakes a queue that waits, so that it need not ask all the time. An edge: signals, pipes and inotify.

A bell is heard when a rank or another child ends, when this process gets a signal, when another thread rings, and when
something appears in a watched folder or a watched file is closed by whoever wrote it. What no event tells (a client on
another machine of a shared file system, a kernel without inotify) is what the caller's own slow looks are for.
"""

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_CREATE = 0x8, 0x80, 0x100
"""Of `inotify(7)`: the same numbers on every machine that Linux runs on."""
_AT_ONCE = 65536


class Bell:
    """Rings for whoever waits; to be used in a `with` of the main thread, which alone hears of signals and children."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._heard, self._rope = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watches = _inotify()
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """From now on the end of a child, and every signal with a handler, rings."""
        # Without a handler of its own the end of a child is no event.
        before: Any = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._undo.callback(signal.signal, signal.SIGCHLD, before)
        self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._rope, warn_on_full_buffer=False))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Hear nothing any more."""
        self._undo.close()
        for descriptor in filter(None, (self._heard, self._rope, self._watches)):
            os.close(descriptor)
        self._watches = None

    def ring(self) -> None:
        """Wake the queue, from any thread."""
        with suppress(BlockingIOError):  # it is ringing already
            os.write(self._rope, b"!")

    def watch_folder(self, folder: Path) -> bool:
        """Ring when a file appears in a folder; returns whether that can be heard."""
        return self._watch(folder, _IN_CREATE | _IN_MOVED_TO)

    def watch_file(self, file: Path) -> bool:
        """Ring when somebody who had a file open for writing closes it, or dies; returns whether that can be heard."""
        return self._watch(file, _IN_CLOSE_WRITE)

    def wait(self, sentinels: Iterable[int], timeout_s: float) -> bool:
        """Wait for a ring, the end of a process (`sentinels`) or the time; returns whether there was an event."""
        mine = [self._heard] if self._watches is None else [self._heard, self._watches]
        ready = wait([*mine, *sentinels], timeout=timeout_s)
        for descriptor in mine:
            with suppress(BlockingIOError):
                while len(os.read(descriptor, _AT_ONCE)) == _AT_ONCE:
                    pass
        return bool(ready)

    def _watch(self, path: Path, events: int) -> bool:
        if self._watches is None:
            return False
        return bool(_libc().inotify_add_watch(self._watches, os.fsencode(path), events) >= 0)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _inotify() -> int | None:
    """A descriptor for watches; None where the kernel has none, or none is left for this user."""
    try:
        descriptor = int(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except AttributeError:
        return None
    return descriptor if descriptor >= 0 else None
