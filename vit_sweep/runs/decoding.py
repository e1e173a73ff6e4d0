"""From the bytes of somebody's table to text: gzip, UTF-8, UTF-16, older encodings by detection. An edge."""

import codecs
import gzip
import io
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from launchers.atomic import LARGEST, read
from launchers.errors import UserError
from launchers.text import some

_GZIP, _ZIP, _OLE = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, longer ones first where one begins with another."""


class Content(NamedTuple):
    """What a file holds: a text, or the bytes of a workbook."""

    text: str
    workbook: bytes = b""
    notes: tuple[str, ...] = ()
    """How it was read, where that is not plain UTF-8."""


def content_of(path: Path) -> Content:
    """Read a file; raises `UserError` where it is neither a text nor an .xlsx workbook."""
    try:
        data = read(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    notes = []
    if data.startswith(_GZIP):
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: its gzip data are damaged ({error}); compress it again") from None
        _refuse_bomb(path, len(data))
        notes.append("read through gzip")
    if data.startswith(_ZIP):
        with suppress(zipfile.BadZipFile):  # whoever reads it will say so
            parts = zipfile.ZipFile(io.BytesIO(data)).infolist()
            _refuse_bomb(path, sum(part.file_size for part in parts))
            if not any(part.filename.startswith("xl/") for part in parts):
                raise UserError(f"{path}: an archive of {some(part.filename for part in parts)}; unpack it first")
        return Content("", data, tuple(notes))
    if data.startswith(_OLE):
        raise UserError(f"{path}: a workbook of Excel before 2007; save it as .xlsx or as CSV")
    text, encoding = _decode(path, data)
    return Content(text, b"", (*notes, *([f"read as {encoding}, by detection"] if encoding else [])))


def _refuse_bomb(path: Path, unpacked: int) -> None:
    """Raise `UserError` for a few bytes that stand for more than memory holds."""
    if unpacked > LARGEST:
        raise UserError(f"{path}: unpacked it has more than {LARGEST / 2**20:g} MiB; cut it into several files")


def _decode(path: Path, data: bytes) -> tuple[str, str]:
    """The text, and its encoding where that had to be guessed."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), None)
    if mark is None and b"\0" in data:
        # Letters of two bytes: of names and numbers one of both is zero.
        for encoding, letters, zeros in (("utf-16-le", data[::2], data[1::2]), ("utf-16-be", data[1::2], data[::2])):
            if 0 not in letters and zeros.count(0) > len(zeros) / 2:
                with suppress(UnicodeDecodeError):
                    return data.decode(encoding), encoding
    try:
        return data.decode(_MARKS[mark] if mark is not None else "utf-8"), ""
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    # Names of columns and numbers: whatever its language, most of a table is ASCII.
    if best is None or sum(letter.isascii() and letter != "\0" for letter in str(best)) < len(str(best)) / 2:
        raise UserError(f"{path} is not a text; a CSV file or .xlsx workbook is expected, see docs/results/import.md")
    return str(best).removeprefix("\ufeff"), best.encoding
