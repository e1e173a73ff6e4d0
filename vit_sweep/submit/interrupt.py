"""Ctrl-C, so that one press is always enough. An edge: it takes the process's SIGINT.

Python raises `KeyboardInterrupt` wherever it happens to be. In a finaliser or in the callback of a weak reference
(every import runs one) it drops the exception, and the press is lost. So each press is noted as well. While jobs are
submitted and waited for, the first press is only noted, and heeded between two submissions or two looks. A second one
is raised at once, so that a scheduler that does not answer can be left.
"""

import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


class _Presses:
    """What is known of SIGINT in this process."""

    noted = False
    held = False
    """Whether a first press is only noted."""
    woken: int | None = None
    """Readable from the first press on: a signal that comes just before a wait begins would not end it."""

    def press(self, _signal: int, _frame: FrameType | None) -> None:
        """The signal's handler."""
        was_noted, self.noted = self.noted, True
        if was_noted or not self.held:
            raise KeyboardInterrupt


_presses = _Presses()


@contextmanager
def handled() -> Iterator[None]:
    """Take SIGINT for one command; a SIGINT that is ignored, as in a script's background, stays so."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous_fd = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    _presses.noted, _presses.held, _presses.woken = False, False, woken
    signal.signal(signal.SIGINT, _presses.press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _presses.noted, _presses.held, _presses.woken = False, False, None
        signal.set_wakeup_fd(previous_fd)
        os.close(woken)
        os.close(wakes)


def hold() -> None:
    """From here on a first press is only noted. Raises `KeyboardInterrupt` if there was one before."""
    _presses.held = True
    heed()


def release() -> None:
    """From here on every press is raised at once. Raises `KeyboardInterrupt` if one was noted."""
    _presses.held = False
    heed()


def heed() -> None:
    """Raise `KeyboardInterrupt` if a press was noted."""
    if _presses.noted:
        raise KeyboardInterrupt


def pause(seconds: float, wakes: Sequence[int] = ()) -> None:
    """Sleep, until one of the descriptors `wakes` is readable.

    Raises `KeyboardInterrupt` as soon as a press is noted, or at once if one was.
    """
    select.select([*wakes] if _presses.woken is None else [*wakes, _presses.woken], [], [], seconds)
    heed()
