"""One answer of squeue for all clients of a user on one machine: a file that only this user may write. An edge.

A client that wants to know takes the file's lock. If another one has asked late enough meanwhile, its answer serves
both; else this one asks, and leaves its answer for the others. Times are of the clock that counts from the machine's
start, so no change of its date makes an old answer young, and an answer of an earlier start counts for nothing.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pydantic_core import from_json

from launchers.atomic import private_folder, read, replacing
from launchers.queue.slots import places


class Answer(NamedTuple):
    """What squeue printed."""

    asked_at: float
    """Before it was run: seconds since the machine's start."""
    text: str
    error: str | None
    """Its words where it did not answer."""


def newest(question: str, query: Callable[[], tuple[str, str | None]], *, not_before: float) -> Answer:
    """An answer to `question` that was asked for no earlier than `not_before`: another client's, else our own.

    `ask` returns squeue's text and None, or nothing and its error; an error is shared as well, since a controller that
    is away costs each who asks its whole patience. Where no place is this user's alone nothing is shared.
    """
    with _kept(question) as file:
        shared = _read(file) if file is not None else None
        if shared is not None and not_before <= shared.asked_at <= time.monotonic():
            return shared
        asked_at = time.monotonic()
        answer = Answer(asked_at, *query())
        if file is not None:
            with suppress(OSError), replacing(file, durable=False, locked=True, private=True) as answer_file:
                answer_file.write(json.dumps({"boot": _boot(), **answer._asdict()}).encode())
        return answer


@contextmanager
def _kept(question: str) -> Iterator[Path | None]:
    """The file of the answer, locked; None where there is no place for it."""
    digest = hashlib.sha256(f"{os.environ.get('SLURM_CONF', '')}\n{question}".encode()).hexdigest()[:16]
    for candidate in places(f"vit_sweep-{os.getuid()}"):
        try:
            opened = private_folder(candidate)
            folder = opened.__enter__()
        except OSError:
            continue
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(folder / f"squeue-{digest}.lock", flags, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield folder / f"squeue-{digest}.json"
            finally:
                os.close(lock)
        finally:
            with suppress(OSError):
                opened.__exit__(None, None, None)
        return
    yield None


def _read(file: Path) -> Answer | None:
    try:
        fields = from_json(read(file))
        if fields["boot"] != _boot():
            return None
        asked_at, text, error = fields["asked_at"], fields["text"], fields["error"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = isinstance(asked_at, float) and isinstance(text, str) and isinstance(error, str | None)
    return Answer(asked_at, text, error) if sound else None


def _boot() -> str:
    """Which start of the machine this is."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
