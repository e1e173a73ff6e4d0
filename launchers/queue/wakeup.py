"""What wakes whoever waits, so that they need not ask all the time. An edge: signals, pipes and inotify.

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


class Watches:
    """Files and folders in which something is about to happen; hears nothing where the kernel has no inotify."""

    def __init__(self) -> None:
        self._inotify = _inotify()

    @property
    def descriptors(self) -> list[int]:
        """What becomes readable with an event; none where nothing can be heard."""
        return [] if self._inotify is None else [self._inotify]

    def folder(self, folder: Path) -> bool:
        """Watch for files that appear in a folder; returns whether that can be heard."""
        return self._watch(folder, _IN_CREATE | _IN_MOVED_TO)

    def file(self, file: Path) -> bool:
        """Watch for whoever has a file open for writing to close it, or die; returns whether that can be heard."""
        return self._watch(file, _IN_CLOSE_WRITE)

    def forget(self) -> None:
        """Take note of the events so far."""
        for descriptor in self.descriptors:
            drain(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self._inotify = None

    def _watch(self, path: Path, events: int) -> bool:
        if self._inotify is None:
            return False
        return bool(_libc().inotify_add_watch(self._inotify, os.fsencode(path), events) >= 0)


class Bell:
    """Rings for whoever waits; to be used in a `with` of the main thread, which alone hears of signals and children."""

    def __init__(self) -> None:
        self._heard, self._rope = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watches = Watches()
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """From now on the end of a child, and every signal with a handler, rings."""
        # Without a handler of its own the end of a child is no event.
        previous_handler: Any = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._undo.callback(signal.signal, signal.SIGCHLD, previous_handler)
        self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._rope, warn_on_full_buffer=False))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._undo.close()
        self.watches.close()
        os.close(self._heard)
        os.close(self._rope)

    def ring(self) -> None:
        """Wake the queue, from any thread."""
        with suppress(BlockingIOError):  # it is ringing already
            os.write(self._rope, b"!")

    def wait(self, sentinels: Iterable[int], timeout_s: float) -> bool:
        """Wait for a ring, the end of a process (`sentinels`) or the time; returns whether there was an event."""
        ready = wait([self._heard, *self.watches.descriptors, *sentinels], timeout=timeout_s)
        drain(self._heard)
        self.watches.forget()
        return bool(ready)


def drain(descriptor: int) -> None:
    """Read what is there, without waiting for more."""
    with suppress(BlockingIOError):
        while len(os.read(descriptor, _AT_ONCE)) == _AT_ONCE:
            pass


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _inotify() -> int | None:
    """A descriptor for watches; None where the kernel has none, or none is left for this user."""
    try:
        descriptor = int(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except AttributeError:
        return None
    return descriptor if descriptor >= 0 else None
