"""What was read of a study's records, kept beside them so that the next reading need not parse them. An edge.

Whoever reads what was kept gets what reading the record would give, or nothing:

- A summary is kept under a key of its cell's two files (`study.cache.unchanged`) and of all else that its run is made
  of.
- Each part has its digest. A file that was cut off, is another user's or may be written by others is passed over.

It is one file for each user, `.runs-UID`: lines of JSON, two for each cell, in blocks; never a pickle. It is written
aside and renamed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, NamedTuple, TypeVar

from pydantic_core import from_json

from launchers.atomic import is_ours_alone, reading, replacing
from launchers.errors import UserError
from vit_sweep.study.cache.unchanged import code_stamp

T = TypeVar("T")

BLOCK = 500
"""Cells that are read at once."""
_MOST_BYTES = 4 * 2**30
_Unreadable = (OSError, ValueError, KeyError, TypeError, IndexError, UserError)
"""What reading a file that is not as we wrote it raises."""


class Texts(NamedTuple):
    """What a finished cell's run is made of, on one line each."""

    cell: bytes
    """A `CellFile` as JSON."""
    summary: bytes
    """What its record comes to (`study.cache.summaries.text_of`)."""


class _Block(NamedTuple):
    """Where some cells' texts lie, two lines each."""

    at: int
    size: int
    digest: str
    cells: list[tuple[str, str]]
    """With their keys."""


class RunCache:
    """What was kept of one study, by cell; and what is kept from now on."""

    stamp: str
    """Of the code and of all that every run of the study is made of."""

    def __init__(self, folder: Path, stamp: str) -> None:
        """Look what the file holds; `stamp`: all that every run of the study is made of."""
        self._path = folder / f".runs-{os.geteuid()}"
        self.stamp = _digest(f"{code_stamp()} {stamp}".encode())
        self._blocks: list[_Block] = []
        with suppress(*_Unreadable):
            self._look()
        self.keys = {cell: key for block in self._blocks for cell, key in block.cells}
        self._still: list[_Block] = []
        """Blocks of which everything is kept on."""
        self._new: list[tuple[str, str, Texts]] = []
        self._aside: _Aside | None = _Aside()

    def _look(self) -> None:
        with reading(self._path) as file:
            about = os.fstat(file.fileno())
            if not is_ours_alone(about) or about.st_size > _MOST_BYTES:
                return
            head = from_json(file.readline())
            text = file.read(int(head["index_bytes"]))
            if head["stamp"] != self.stamp or _digest(text) != head["index"]:
                return
            at = file.tell()
        blocks = []
        for size, digest, cells in from_json(text):
            blocks.append(_Block(at, int(size), str(digest), [(str(cell), str(key)) for cell, key in cells]))
            at += blocks[-1].size
        self._blocks = blocks

    def read(self, cells: Mapping[str, str], made_of: Callable[[Texts], T]) -> Iterator[T]:
        """What is made of the texts that are kept of these cells under these keys, which are kept on; a block that
        makes no sense gives nothing."""
        for block in self._blocks:
            wanted = [i for i, (cell, key) in enumerate(block.cells) if cells.get(cell) == key]
            items: list[T] = []
            if wanted:
                with suppress(*_Unreadable):
                    lines = self._bytes(block).split(b"\n")
                    texts = [Texts(lines[2 * i], lines[2 * i + 1]) for i in wanted]
                    items = [made_of(each) for each in texts]
            if len(items) == len(block.cells):
                self._still.append(block)
            elif items:
                for i, each in zip(wanted, texts, strict=True):
                    self.keep(*block.cells[i], each)
            yield from items

    def _bytes(self, block: _Block) -> bytes:
        with reading(self._path) as file:
            file.seek(block.at)
            text = file.read(block.size)
        if _digest(text) != block.digest:
            raise ValueError("cut off, or not ours")
        return text

    def keep(self, cell: str, key: str, texts: Texts) -> None:
        """Keep the texts of a cell under a key, once all is written."""
        self._new.append((cell, key, texts))
        if len(self._new) == BLOCK:
            self._put_aside()

    def _put_aside(self) -> None:
        """Thousands of cells are not held until all are read: together they are 6 KB each."""
        some, self._new = self._new, []
        try:
            if some and self._aside is not None:
                self._aside.add([(cell, key) for cell, key, _ in some], [texts for _, _, texts in some])
        except OSError:
            self._aside = None

    def write(self) -> None:
        """Keep what was kept on and what is new, and nothing else. Nothing is written, and nothing said, where the
        folder cannot be written."""
        self._put_aside()
        if self._aside is None or (not self._aside.blocks and self._still == self._blocks):
            return
        blocks = [*self._still, *self._aside.blocks]
        index = json.dumps([(block.size, block.digest, block.cells) for block in blocks]).encode()
        head = {"stamp": self.stamp, "index_bytes": len(index), "index": _digest(index)}
        with self._aside, suppress(OSError, ValueError), replacing(self._path, durable=False, private=True) as file:
            file.write(json.dumps(head).encode() + b"\n" + index)
            for block in self._still:
                file.write(self._bytes(block))
            self._aside.copy_to(file)


class _Aside:
    """Blocks that were not kept before, in a file of no name until all are known."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self._file: IO[bytes] | None = None

    def add(self, cells: list[tuple[str, str]], texts: Iterable[Texts]) -> None:
        """Put a block there; raises `OSError` where there is no room."""
        self._file = self._file or TemporaryFile()  # noqa: SIM115  # closed by `write`
        text = b"".join(b"%b\n%b\n" % each for each in texts)
        self.blocks.append(_Block(0, len(text), _digest(text), cells))
        self._file.write(text)

    def copy_to(self, file: IO[bytes]) -> None:
        """Write all of them there."""
        if self._file is not None:
            self._file.seek(0)
            copyfileobj(self._file, file, 2**20)

    def __enter__(self) -> None:
        """It ends with its only use."""

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
