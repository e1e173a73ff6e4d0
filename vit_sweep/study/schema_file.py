"""The files of a study, checked against their schemas and the schemas' versions. An edge.

A file that makes no sense is named and passed over. One that is there and cannot be read (too large, not allowed, a
pipe, a broken disk) is named too, and remembered: it counts as absent nowhere.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from launchers.atomic import read
from launchers.checked import parse_json
from launchers.errors import UserError

T = TypeVar("T")
LET_READ = "let it be read, or put a sound copy in its place, and give the same command again"


class Reader:
    """Reads files, and holds what was wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.unread: dict[Path, str] = {}
        """Files and folders that are there and could not be read when it was last tried, and why."""

    def read(self, path: Path, kind: type[T]) -> T | None:
        """The value of a file; None where there is none, or none of that kind."""
        return self.value(path, kind)[0]

    def value(self, path: Path, kind: type[T]) -> tuple[T | None, str]:
        """The value of a file, and what is wrong with it; both empty where there is none."""
        with self.noting(path):
            parsed, problem = _read_file(path, kind)
            if problem:
                self.problem(problem)
            return parsed, problem
        return None, self.unread.get(path, "")

    def known(self, path: Path, kind: type[T]) -> T | None:
        """The value of a file that is to be written anew; raises where it cannot be read, since it would be lost."""
        value, problem = self.value(path, kind)
        if path in self.unread:
            if not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            raise UserError(f"{problem}; it is not written anew: {LET_READ}")
        return value

    def names_in(self, folder: Path) -> list[str]:
        """Names in a folder, sorted; none where there is no folder."""
        with self.noting(folder):
            return sorted(entry.name for entry in os.scandir(folder))
        return []

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Go on where a file or a folder is absent or cannot be read; the latter is remembered until it can be."""
        self.unread.pop(path, None)
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.problem(f"{path} cannot be read ({error.strerror}); it is passed over")
            self.unread[path] = f"{path} is there and cannot be read ({error.strerror})"

    def problem(self, text: str) -> None:
        """Add what is wrong, once."""
        if text not in self.problems:
            self.problems.append(text)


def _read_file(path: Path, kind: type[T]) -> tuple[T | None, str]:
    """Read a JSON file as `kind`: the value, or None and what is wrong with the file; empty words if there is none.

    Raises `OSError` for one that is there and cannot be read.
    """
    try:
        text = read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    try:
        parsed = parse_json(kind, text, source=str(path))
    except UserError as error:
        return None, f"{_other_schema(path, kind, text) or error}; this file is passed over"
    if getattr(parsed, "schema_version", None) != _schema_of(kind):
        return None, f"{_other_schema(path, kind, text)}; this file is passed over"
    return parsed, ""


def _schema_of(kind: type[Any]) -> int | None:
    """The version of a file's schema that this code writes and reads; None for files without one."""
    field = kind.__dataclass_fields__.get("schema_version")
    return None if field is None else field.default


def _other_schema(path: Path, kind: type[Any], text: bytes) -> str:
    """Say that a file follows another version of its schema; empty if that is not what is wrong with it."""
    expected = _schema_of(kind)
    try:
        version = from_json(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        return ""
    if expected is None or version == expected:
        return ""
    return (
        f"{path} has schema_version={version} and this vit_sweep reads {expected}: another version of vit_sweep wrote "
        "it; look at it with that version"
    )
