"""What `collect` wrote last of a study, so that nothing is made again of records that have not changed. An edge.

It counts only while every file that was written is still there, byte for byte, and everything that they were made of
is the same: the records (`Reader.stamp`), the plan, this package's code, the packages that draw, the wanted formats.
Like `.runs-UID` it is its user's own file, and JSON.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from launchers.atomic import is_ours_alone, read, reading, replacing
from launchers.checked import checked, parse_json, to_compact_json
from launchers.errors import UserError
from vit_sweep.report.figure import formats
from vit_sweep.report.tables.form.table import Table

_PACKAGES = ("matplotlib", "seaborn", "pyarrow", "numpy", "scipy", "pandas")


@checked
class Remembered:
    """One `collect`: what it said, and what it wrote."""

    stamp: str
    """Of all that it was made of."""
    tables: tuple[Table, ...]
    """Those that a person sees."""
    sentences: tuple[str, ...]
    problems: tuple[str, ...]
    written: tuple[tuple[str, str], ...]
    """Paths below the folder, in the order of writing, and the sha256 of each."""


def stamp_of(records: str | None) -> str | None:
    """The stamp of a `collect` of these records, `Reader.stamp`; None where they have none."""
    if records is None:
        return None
    words = [records, *formats(os.environ)]
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            words.append(f"{package} {version(package)}")
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def remembered(folder: Path, stamp: str | None) -> Remembered | None:
    """What was made of the same before, where all of it still lies in `folder`; else None."""
    if stamp is None:
        return None
    with suppress(OSError, UserError):
        with reading(_path(folder)) as file:
            stat, text = os.fstat(file.fileno()), file.read()
        if is_ours_alone(stat):
            previous = parse_json(Remembered, text, source="what was collected last")
            if previous.stamp == stamp and all(_digest(folder / name) == digest for name, digest in previous.written):
                return previous
    return None


def remember(
    folder: Path,
    stamp: str | None,
    *,
    tables: Sequence[Table],
    sentences: Sequence[str],
    problems: Sequence[str],
    written: Sequence[Path],
) -> None:
    """Note what was made; nothing is said where it cannot be noted."""
    if stamp is None:
        return
    with suppress(OSError, ValueError):
        files = tuple((path.relative_to(folder).as_posix(), _digest(path)) for path in written)
        remembered_ = Remembered(
            stamp=stamp, tables=tuple(tables), sentences=tuple(sentences), problems=tuple(problems), written=files
        )
        with replacing(_path(folder), durable=False, private=True) as file:
            file.write(to_compact_json(remembered_))


def _path(folder: Path) -> Path:
    return folder / f".collected-{os.geteuid()}"


def _digest(path: Path) -> str:
    return hashlib.sha256(read(path)).hexdigest()
