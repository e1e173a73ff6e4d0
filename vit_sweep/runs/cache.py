"""What was read of a study's records, kept beside them so that the next reading need not work it out again. An edge.

Whoever reads a kept run gets what reading its record would give, or nothing:

- A run is kept under a key of its two files (`study.unchanged`) and of all else that it is made of.
- Each part has its digest. A file that was cut off, is another user's or may be written by others is passed over.

It is one file for each user, `.runs-UID`: JSON, in blocks of columns; never a pickle. It is written aside and renamed.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from pydantic_core import from_json

from launchers.atomic import is_ours_alone, reading, replacing
from launchers.checked import checked, parse_json, to_compact_json
from launchers.errors import UserError
from vit_sweep.record.learning import Reached
from vit_sweep.runs.run import Run
from vit_sweep.study.cache.unchanged import code_stamp

BLOCK = 500
"""Runs that are decoded at once."""
_MOST_BYTES = 4 * 2**30
_SCALARS = {str, int, float, bool, type(None)}
_Unreadable = (OSError, ValueError, KeyError, TypeError, IndexError, UserError)
"""What reading a file that is not as we wrote it raises."""


class Read(NamedTuple):
    """What is kept of one cell: its record is not."""

    run: Run
    columns: tuple[str, ...]
    """Of the row that the row-maker made while the record was at hand, shared by most cells; empty without one."""
    values: tuple[Any, ...]
    """In their order: a dict for each of many cells would take several times the room."""
    reached: tuple[float, Reached] | None
    """A target accuracy, and when it was reached."""

    @property
    def row(self) -> dict[str, Any]:
        """The values by column."""
        return dict(zip(self.columns, self.values, strict=True))


@checked
class _Block:
    """Some runs, column by column."""

    runs: tuple[Run, ...]
    reached: tuple[tuple[float, Reached] | None, ...]


class _Place(NamedTuple):
    """Where a block lies."""

    at: int
    size: int
    digest: str


class RunCache:
    """The runs that were kept of one study, by cell."""

    stamp: str
    """Of the code and of all that every run of the study is made of."""

    def __init__(self, folder: Path, stamp: str) -> None:
        """Look what the file holds; `stamp`: all that every run of the study is made of."""
        self._path = folder / f".runs-{os.geteuid()}"
        self.stamp = _digest(f"{code_stamp()} {stamp}".encode())
        self._places: list[_Place] = []
        self._cells: list[list[tuple[str, str]]] = []
        """Cells and keys of each block."""
        self._undecodable: set[int] = set()
        """Blocks that could not be decoded."""
        with suppress(*_Unreadable):
            self._look()
        self.keys = {cell: key for block in self._cells for cell, key in block}

    def _look(self) -> None:
        with reading(self._path) as file:
            stat = os.fstat(file.fileno())
            if not is_ours_alone(stat) or stat.st_size > _MOST_BYTES:
                return
            head = from_json(file.readline())
            text = file.read(int(head["index_bytes"]))
            if head["stamp"] != self.stamp or _digest(text) != head["index"]:
                return
            index, start = from_json(text), file.tell()
        places = [_Place(start + int(at), int(size), str(digest)) for at, size, digest in index["places"]]
        cells = [[(str(cell), str(key)) for cell, key in block] for block in index["cells"]]
        if len(places) == len(cells):
            self._places, self._cells = places, cells

    def read(self, cells: Mapping[str, str]) -> Iterator[Read]:
        """The runs of these cells that are kept under these keys; a block that makes no sense gives none."""
        for number, (block, place) in enumerate(zip(self._cells, self._places, strict=True)):
            indices = [i for i, (cell, key) in enumerate(block) if cells.get(cell) == key]
            decoded: list[Read] = []
            if indices:
                with suppress(*_Unreadable):
                    decoded = _decoded(self._bytes(place), [cell for cell, _ in block])
                if not decoded:
                    self._undecodable.add(number)
            yield from (decoded[i] for i in indices if decoded)

    def _bytes(self, place: _Place) -> bytes:
        with reading(self._path) as file:
            file.seek(place.at)
            text = file.read(place.size)
        if _digest(text) != place.digest:
            raise ValueError("cut off, or not ours")
        return text

    def write(self, reads: Mapping[str, Read], keys: Mapping[str, str]) -> None:
        """Keep the runs of these cells under these keys, and nothing else. Nothing is written, and nothing said, where
        the folder cannot be written."""
        sound = (number for number in range(len(self._cells)) if number not in self._undecodable)
        unchanged = [i for i in sound if all(keys.get(cell) == key for cell, key in self._cells[i])]
        in_blocks = {cell for i in unchanged for cell, _ in self._cells[i]}
        if keys.keys() == in_blocks and len(unchanged) == len(self._cells):
            return
        with suppress(OSError, ValueError):
            self._replace(
                chain(((self._cells[i], self._bytes(self._places[i])) for i in unchanged), _new(reads, keys, in_blocks))
            )

    def _replace(self, blocks: Iterable[tuple[list[tuple[str, str]], bytes]]) -> None:
        """Write the blocks, of which one at a time is held: together they are 8 KB a cell."""
        places, all_cells = [], []
        with TemporaryFile() as aside:
            for cells, text in blocks:
                places.append((aside.tell(), len(text), _digest(text)))
                all_cells.append(cells)
                aside.write(text)
            index = json.dumps({"places": places, "cells": all_cells}).encode()
            head = {"stamp": self.stamp, "index_bytes": len(index), "index": _digest(index)}
            aside.seek(0)
            with replacing(self._path, durable=False, private=True) as file:
                file.write(json.dumps(head).encode() + b"\n" + index)
                copyfileobj(aside, file)


def _new(
    reads: Mapping[str, Read], keys: Mapping[str, str], in_blocks: Set[str]
) -> Iterator[tuple[list[tuple[str, str]], bytes]]:
    """Blocks of the cells that are in none yet."""
    new = iter(sorted(keys.keys() - in_blocks))
    while names := list(islice(new, BLOCK)):
        yield [(cell, keys[cell]) for cell in names], _encoded([reads[cell] for cell in names])


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _encoded(reads: Sequence[Read]) -> bytes:
    """A block: names of the rows' columns, their values, and the runs. NaN is a value of a row, never of a run."""
    layouts: dict[tuple[str, ...], int] = {}
    rows = [(layouts.setdefault(read.columns, len(layouts)), *read.values) for read in reads]
    if not _SCALARS.issuperset(map(type, chain.from_iterable(rows))):
        raise OSError("a row with what JSON cannot keep")
    block = _Block(runs=tuple(read.run for read in reads), reached=tuple(read.reached for read in reads))
    head = json.dumps({"layouts": list(layouts), "rows": rows}).encode()
    return head + b"\n" + to_compact_json(block)


def _decoded(text: bytes, cells: Sequence[str]) -> list[Read]:
    head, _, body = text.partition(b"\n")
    table, block = json.loads(head), parse_json(_Block, body, source="kept runs")
    layouts, rows = [tuple(map(sys.intern, layout)) for layout in table["layouts"]], table["rows"]
    reads = [
        Read(run, layouts[row[0]], tuple(row[1:]), reached)
        for run, row, reached in zip(block.runs, rows, block.reached, strict=True)
    ]
    if [read.run.run_id for read in reads] != list(cells):
        raise ValueError("other runs than the index says")
    return reads
