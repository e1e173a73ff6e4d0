"""The file of a gate's history: each gate adds a line of JSON. An edge.

A line is written in one call and waited for, so that two jobs that end together leave two whole lines; one that a crash
cut off is named and passed over.
"""

import os
from pathlib import Path
from typing import NamedTuple

from launchers.atomic import opened, read
from launchers.checked import parse_json, to_compact_json
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.analysis.gate.history import SCHEMA_VERSION, Entry, ordered

MOST_BYTES = 256 * 2**20


class History(NamedTuple):
    """A file's lines."""

    entries: tuple[Entry, ...]
    """By time."""
    problems: tuple[str, ...]


def with_entry(path: Path, entry: Entry) -> tuple[History, bool]:
    """The history with this entry, and whether it is new: a line is added unless the same runs have one already.

    Raises `UserError` for a file that is no history.
    """
    known = read_history(path)
    if any((old.study, old.at, old.cells) == (entry.study, entry.at, entry.cells) for old in known.entries):
        return known, False
    text = to_compact_json(entry) + b"\n"
    file = opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(file).st_size
        whole = not size or os.pread(file, 1, size - 1) == b"\n"
        os.write(file, text if whole else b"\n" + text)
        os.fsync(file)
    finally:
        os.close(file)
    return known._replace(entries=tuple(ordered([*known.entries, entry]))), True


def read_history(path: Path) -> History:
    """The lines of a file, none where there is no file; raises `UserError` where it has others only."""
    try:
        lines = read(path, max_bytes=MOST_BYTES).splitlines()
    except FileNotFoundError:
        return History((), ())
    except OSError as error:
        raise UserError(f"history {path}: {error.strerror}") from None
    entries: list[Entry] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(Entry, line, source=f"line {number}")
        except UserError:
            wrong.append(f"{number}")
            continue
        if entry.schema_version == SCHEMA_VERSION:
            entries.append(entry)
        else:
            wrong.append(f"{number}, of another version")
    if wrong and not entries:
        raise UserError(
            f"history {path}: none of its lines is a gate's; name another FILE, or one that is not there yet"
        )
    lost = f"{path}: {plural(len(wrong), 'line is|lines are')} no gate's and passed over: {some(wrong)}"
    return History(tuple(ordered(entries)), (lost,) if wrong else ())
