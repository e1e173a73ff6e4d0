"""Summaries that jobs left beside their records, so that a first reading need not parse the records. An edge.

Whoever asks for one gets what reading the record would give, or nothing. A summary is believed only where its file is
this user's own, which nobody else may write, and no link, and its first line is the sha256 of the rest together with

- the content of `record.json`, and that it is the very file that the job wrote: its size, inode, time of change and of
  status change (which nobody can set back, so that a copy, a foreign study too, has others);
- the content of `cell.json`, its name, and the code that made the summary: that of who reads it.
"""

import hashlib
import json
import os
import re
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from launchers.atomic import is_ours_alone, write_bytes
from launchers.checked import Name, checked, parse_json, to_compact_json, to_plain, varied
from launchers.errors import UserError
from vit_sweep.plan.cell import SCHEMA_VERSION, CellFile
from vit_sweep.record.machine import Fingerprint
from vit_sweep.record.record import Record, mismatches
from vit_sweep.record.summary import Field, Summary, summary_of
from vit_sweep.study.cache.unchanged import version_of

SUMMARY = ".summary"
_BETWEEN = b"\t"
"""No JSON on one line has one."""
_MOST_BYTES = 16 * 2**20
"""Of either file: what is larger is read as any record."""


@checked
class _Shared:
    """What many summaries have alike."""

    machine: tuple[Fingerprint, ...]
    columns: tuple[Name, ...]


@checked
class _Own:
    """The rest."""

    summary: Summary
    values: tuple[Field, ...]
    """Of its columns."""


class CellText(NamedTuple):
    """A `cell.json` that was read."""

    file: CellFile
    alike: bytes
    """Its text without seed and name: the same for repeats."""


class CellSummary(NamedTuple):
    """What a job said of its record, and of which cell."""

    cell: CellText
    summary: Summary
    texts: tuple[bytes, bytes]
    """Both on one line: JSON, and what `text_of` says."""


def leave_summary(record: Record, text: str, cell_dir: Path, *, target: float | None) -> None:
    """Say beside `record.json`, just written with `text`, what it comes to; nothing where it cannot be said.

    `target`: test accuracy whose time is wanted.
    """
    # The record is the result: without this file, readers work it out again.
    with suppress(Exception):
        cell, _ = _read(f"{cell_dir}/cell.json")
        asked = cell_in(cell).file
        known = (asked.cell_id, asked.cell) == (record.cell_id, record.requested)
        if not known or mismatches(record.requested, record.resolved):
            return
        body, place = text_of(summary_of(record, target)), (cell_dir / "record.json").lstat()
        seal = _seal(body, record.cell_id, code=record.code, cell=cell, record=text.encode(), place=place)
        write_bytes(cell_dir / SUMMARY, seal + b"\n" + body, private=True, durable=False)


def text_of(summary: Summary) -> bytes:
    """A summary on one line, in two parts of JSON: what many have alike, and its own; NaN is a value of a loss."""
    alike = _Shared(machine=summary.measured.machine, columns=tuple(summary.columns))
    rest = varied(summary, measured=varied(summary.measured, machine=()), columns={})
    own = to_plain(_Own(summary=rest, values=tuple(summary.columns.values())), defaults=False)
    return to_compact_json(alike) + _BETWEEN + json.dumps(own).encode()


def summary_in(text: bytes) -> Summary:
    """What `text_of` said; raises `UserError` or `ValueError`. What many have alike is checked and held once."""
    first, _, rest = text.partition(_BETWEEN)
    alike, own = _shared(first), parse_json(_Own, rest, source="a summary")
    # Nobody else has seen these objects yet, and to copy them takes as long as to check them.
    object.__setattr__(own.summary.measured, "machine", alike.machine)
    object.__setattr__(own.summary, "columns", dict(zip(alike.columns, own.values, strict=True)))
    return own.summary


@lru_cache(maxsize=1024)
def _shared(text: bytes) -> _Shared:
    return parse_json(_Shared, text, source="a summary")


def summary_beside(folder: str, name: str, *, code: str) -> CellSummary | None:
    """What the job of the cell of this name said of its record, where that is to be believed; `folder`: the cell's."""
    with suppress(OSError, UserError, ValueError):
        text, info = _read(f"{folder}/{SUMMARY}")
        seal, _, body = text.partition(b"\n")
        cell, _ = _read(f"{folder}/cell.json")
        record, place = _read(f"{folder}/record.json")
        if is_ours_alone(info) and seal == _seal(body, name, code=code, cell=cell, record=record, place=place):
            read = cell_in(cell)
            if read.file.cell_id == name:
                return CellSummary(read, summary_in(body), (cell.replace(b"\n", b""), body))
    return None


def cell_in(text: bytes) -> CellText:
    """What a `cell.json` says, on one line too; raises `UserError`, or `ValueError` for one of another version. What
    repeats have alike is checked and held once."""
    seed = _SEED.search(text)
    name = _NAME.search(text, seed.end()) if seed else None
    if seed is not None and name is not None:
        parts = text[: seed.start(1)], text[seed.end(1) : name.start(1)], text[name.end(1) :]
        alike = _STAND_IN.encode().join(parts)
        file = _alike(alike)
        if (file.cell_id, file.cell.seed) == (_STAND_IN, int(_STAND_IN)):
            return CellText(varied(file, cell_id=name[1].decode(), cell=varied(file.cell, seed=int(seed[1]))), alike)
    return CellText(_checked(text), text)


_STAND_IN = "918273645"
"""For seed and name of a cell whose file is checked for all of its repeats."""
_SEED = re.compile(rb'"seed": (0|[1-9][0-9]{0,14})(?=,)')
_NAME = re.compile(rb'"cell_id": "([A-Za-z0-9][A-Za-z0-9._+-]{0,199})"')
"""As `study.store` writes them."""


@lru_cache(maxsize=1024)
def _alike(text: bytes) -> CellFile:
    return _checked(text)


def _checked(text: bytes) -> CellFile:
    file = parse_json(CellFile, text, source="cell.json")
    if file.schema_version != SCHEMA_VERSION:
        raise ValueError("cell.json of another version")
    return file


def _seal(body: bytes, name: str, *, code: str, cell: bytes, record: bytes, place: os.stat_result) -> bytes:
    """The first line."""
    sealed = hashlib.sha256(f"{name} {code} {version_of(place)} {len(cell)} {len(record)}\n".encode())
    for content in (cell, record, body):
        sealed.update(content)
    return sealed.hexdigest().encode()


def _read(path: str) -> tuple[bytes, os.stat_result]:
    """All of a file, and what it is; raises `OSError` for a link and for what is no file. Thousands are read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_size > _MOST_BYTES:
            raise OSError(f"{path} is no small file")
        return os.read(descriptor, info.st_size + 1), info
    finally:
        os.close(descriptor)
