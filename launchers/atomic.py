"""Files that are whole or not there: whatever others may read meanwhile is written aside and renamed. An edge.

What is promised, in a folder where a rename is atomic:

- A reader sees the old content or the new one, never a part: also when the writer raises or is killed in the middle.
- Nor does a crash of the machine leave a part: the content is on disk before it gets its name, unless it is written
  with `durable=False`, which is for what is cheaply made again. (That the new content outlasts the crash is promised
  to a journal, which appends and calls fsync itself.)
- Writers do not disturb each other, whatever their hosts and threads: each has a temporary file of its own.
- What a killed writer leaves behind is hidden and ends with `.tmp`, which no reader looks for.

Folders that several processes fill together, or that the next process goes on with, are renamed by who fills them.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def temporary(path: Path) -> Path:
    """A name beside `path` that nobody else has, for what is to be renamed to `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@contextmanager
def replacing(path: Path, *, durable: bool = True, locked: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` at the end; an exception leaves `path` as it was.

    `locked`: the caller holds a lock, so one name serves all and what a killed writer left is written over.
    """
    partial = path.with_name(f".{path.name}.tmp") if locked else temporary(path)
    with _written_aside(partial, lambda: partial.replace(path), durable=durable) as file:
        yield file


@contextmanager
def _written_aside(partial: Path, publish: Callable[[], object], *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that `publish` gives its name once it is whole; what is left under the old name goes."""
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        publish()
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Replace the content of a file, or make it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same with bytes."""
    with replacing(path) as file:
        file.write(content)


def write_if_new(path: Path, text: str) -> None:
    """Leave a file alone that already says the same."""
    if not path.exists() or path.read_text() != text:
        write(path, text)


def write_first(path: Path, text: str) -> bool:
    """Write a file that only the first writer may write; returns whether this one was the first."""
    partial = temporary(path)
    try:
        with _written_aside(partial, lambda: os.link(partial, path)) as file:
            file.write(text.encode())
    except FileExistsError:
        return False
    return True
