"""Figures drawn side by side: forked processes take one after the other from the same list. An edge.

Fonts, styles and what is drawn are there already in a forked process, so that it begins at once. Where a fork is no
safe thing, since other threads of this process may hold a lock meanwhile, all is drawn here.
"""

import json
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_MOST = 4
"""Processes: a machine where people log in is not one person's."""
_WORTH = 4
"""Figures from which on it pays."""


Draw = Sequence[Callable[[], T]]


class Codec(NamedTuple, Generic[T]):
    """How processes tell one another what they have drawn."""

    encode: Callable[[T], str]
    decode: Callable[[str], T]


def side_by_side(draw: Draw[T], codec: Codec[T]) -> list[T]:
    """What each of them returns, in their order, by as many processes as there are cores for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if cores < 2 or len(draw) < _WORTH or threading.active_count() > 1:
        return [draw_one() for draw_one in draw]
    return shared(draw, codec, others=min(_MOST, cores) - 1)


def shared(draw: Draw[T], codec: Codec[T], *, others: int) -> list[T]:
    """Draw with the help of so many other processes; what one of them did not bring to its end is drawn here."""
    list_of, take = _shared_numbers(len(draw))
    helpers: list[tuple[int, int]] = []
    try:
        helpers = [_forked(draw, codec, take) for _ in range(others)]
        drawn = _draw_taken(draw, take)
        for _, answer in helpers:
            drawn |= _read(answer, codec)
    finally:
        os.close(list_of)
        for pid, answer in helpers:
            os.close(answer)
            os.waitpid(pid, 0)
    return [drawn[number] if number in drawn else draw[number]() for number in range(len(draw))]


def _shared_numbers(count: int) -> tuple[int, Callable[[], int | None]]:
    """Numbers from 0 that several processes take, each once: bytes in a pipe, which are read one at a time.

    Returns the end to be closed, and what takes one: None once there is none left.
    """
    numbers, writer = os.pipe()
    os.write(writer, b"".join(number.to_bytes(2, "big") for number in range(count)))
    os.close(writer)

    def take() -> int | None:
        number = os.read(numbers, 2)
        return int.from_bytes(number, "big") if number else None

    return numbers, take


def _draw_taken(draw: Draw[T], take: Callable[[], int | None]) -> dict[int, T]:
    drawn = {}
    while (number := take()) is not None:
        drawn[number] = draw[number]()
    return drawn


def _forked(draw: Draw[T], codec: Codec[T], take: Callable[[], int | None]) -> tuple[int, int]:
    """Start a process that draws; returns its number and where it answers."""
    answer, writer = os.pipe()
    with warnings.catch_warnings():
        # Of threads that wait for products of numpy, which forked processes do not ask for.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(writer)
        return pid, answer
    with suppress(BaseException), os.fdopen(writer, "w") as file:  # it is drawn again, and raises there
        json.dump({number: codec.encode(drawn) for number, drawn in _draw_taken(draw, take).items()}, file)
    os._exit(0)


def _read(answer: int, codec: Codec[T]) -> dict[int, T]:
    """What a helper has drawn; nothing of one that did not come to its end."""
    with os.fdopen(answer, closefd=False) as file:
        text = file.read()
    try:
        return {int(number): codec.decode(text_) for number, text_ in json.loads(text).items()}
    except json.JSONDecodeError:
        return {}
