"""Summaries that jobs left beside their records, so that a first reading need not parse the records. An edge.

Whoever asks for one gets what reading the record would give, or nothing. A summary is believed only where

- its file is this user's own, which nobody else may write, and no link, and its first line is the sha256 of the rest:
  what it speaks of, and the summary;
- `record.json` is the very file that the job wrote: of its size, inode, time of change and of status change (which
  nobody can set back, so that a copy, a foreign study too, has others), and with its sha256;
- the cell is the one that ran, and the code that made the summary is the code that reads it.
"""

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from launchers.atomic import is_ours_alone, write_bytes
from launchers.checked import Name, checked, parse_json, to_compact_json, to_plain
from launchers.errors import UserError
from vit_sweep.plan.cell import SCHEMA_VERSION, CellFile
from vit_sweep.record.record import Record, mismatches
from vit_sweep.record.summary import Summary, requested_digest, summary_of
from vit_sweep.study.cache.unchanged import version_of

SUMMARY = ".summary"
_HEAD = 65
"""Bytes of the first line."""
_MOST_BYTES = 16 * 2**20
"""Of either file: what is larger is read as any record."""


@checked
class SummaryHead:
    """Of which record a summary is."""

    cell_id: Name
    requested: str
    """sha256 of what was asked of the cell."""
    code: str
    """Digest of the code that made it."""
    record: str
    """sha256 of `record.json`."""
    place: str
    """Its size, inode, time of change and of status change."""


class CellSummary(NamedTuple):
    """What a job said of its record, and of which cell."""

    file: CellFile
    summary: Summary
    texts: tuple[bytes, bytes]
    """Both as JSON on one line."""


def leave_summary(record: Record, text: str, cell_dir: Path, *, target: float | None) -> None:
    """Say beside `record.json`, just written with `text`, what it comes to; nothing where it cannot be said.

    `target`: test accuracy whose time is wanted.
    """
    # The record is the result: without this file, readers work it out again.
    with suppress(Exception):
        if mismatches(record.requested, record.resolved):
            return
        head = SummaryHead(
            cell_id=record.cell_id,
            requested=requested_digest(record.requested),
            code=record.code,
            record=hashlib.sha256(text.encode()).hexdigest(),
            place=version_of((cell_dir / "record.json").lstat()),
        )
        content = to_compact_json(head) + b"\n" + text_of(summary_of(record, target))
        write_bytes(cell_dir / SUMMARY, _head(content) + content, private=True, durable=False)


def text_of(summary: Summary) -> bytes:
    """A summary as JSON on one line; NaN is a value of a loss."""
    return json.dumps(to_plain(summary, defaults=False)).encode()


def summary_beside(folder: str, name: str, *, code: str) -> CellSummary | None:
    """What the job of the cell of this name said of its record, where that is to be believed; `folder`: the cell's."""
    with suppress(OSError, UserError, ValueError):
        text, info = _read(f"{folder}/{SUMMARY}")
        digest, content = text[:_HEAD], text[_HEAD:]
        if not is_ours_alone(info) or digest != _head(content):
            return None
        first, _, body = content.partition(b"\n")
        head = parse_json(SummaryHead, first, source=SUMMARY)
        cell, _ = _read(f"{folder}/cell.json")
        file = parse_json(CellFile, cell, source="cell.json")
        if head.code != code or not head.cell_id == file.cell_id == name or file.schema_version != SCHEMA_VERSION:
            return None
        record, info = _read(f"{folder}/record.json")
        if head.place != version_of(info) or head.record != hashlib.sha256(record).hexdigest():
            return None
        if head.requested == requested_digest(file.cell):
            summary = parse_json(Summary, body, source=SUMMARY)
            return CellSummary(file, summary, (cell.replace(b"\n", b""), body))
    return None


def _head(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n"


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
