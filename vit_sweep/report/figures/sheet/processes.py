"""Figures drawn side by side by forked processes. An edge.

Fonts, styles and what is drawn are there already in a forked process, so that it begins at once. Where a fork is no
safe thing, since other threads of this process may hold a lock meanwhile, all is drawn here.
"""

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 4
"""Processes: a machine where people log in is not one person's."""
_WORTH = 4
"""Figures from which on it pays."""
_inherited: list[Callable[[], Any]] = []
"""What a forked process may be asked to draw, by its number."""


def side_by_side(draw: Sequence[Callable[[], T]]) -> list[T]:
    """What each of them returns, in their order, by as many processes as there are cores for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if cores < 2 or len(draw) < _WORTH or threading.active_count() > 1:
        return [draw_one() for draw_one in draw]
    return shared(draw, processes=min(_MOST, cores))


def shared(draw: Sequence[Callable[[], T]], *, processes: int) -> list[T]:
    """Draw by so many other processes; what one of them did not bring to its end is drawn here."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, fork, initializer=_inherited.extend, initargs=(draw,)) as pool:
        with warnings.catch_warnings():
            # Of threads that wait for products of numpy, which forked processes do not ask for.
            warnings.simplefilter("ignore", DeprecationWarning)
            drawn = [pool.submit(_draw, number) for number in range(len(draw))]
        return [_result(future, draw_one) for future, draw_one in zip(drawn, draw, strict=True)]


def _draw(number: int) -> Any:
    return _inherited[number]()


def _result(drawn: Future[T], draw_one: Callable[[], T]) -> T:
    try:
        return drawn.result()
    except Exception:  # whatever it was: it is drawn again, and raises here
        return draw_one()
