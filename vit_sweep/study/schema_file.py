"""One file of a study, checked against its schema and the schema's version. An edge."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from launchers.atomic import read
from launchers.checked import parse_json
from launchers.errors import UserError

T = TypeVar("T")


def read_file(path: Path, kind: type[T]) -> tuple[T | None, str]:
    """Read a JSON file as `kind`: the value, or None and what is wrong with the file; empty words if there is none."""
    try:
        text = read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, f"{error}; this file is passed over"
    try:
        parsed = parse_json(kind, text, what=str(path))
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
    known = _schema_of(kind)
    try:
        version = from_json(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        return ""
    if known is None or version == known:
        return ""
    return (
        f"{path} has schema_version={version} and this vit_sweep reads {known}: another version of vit_sweep wrote it; "
        "look at it with that version"
    )
