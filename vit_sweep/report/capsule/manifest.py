"""Checksums of a capsule, as `sha256sum -c` reads them, and whether all is as they say. An edge."""

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from launchers.atomic import LARGEST, reading
from launchers.checked import CONTROLS, checked
from launchers.errors import UserError
from launchers.invocation import called
from launchers.text import short

MANIFEST = "manifest-sha256.txt"
METADATA = "ro-crate-metadata.json"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_PIECE = 2**20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError)
"""What reading a broken .zip, or a file that is none, raises."""
_Opener = Callable[[], "IO[bytes]"]


@checked
class Verified:
    """What a look at all bytes of a capsule has found."""

    files: int
    """That the manifest names."""
    digest: str
    """sha256 of the manifest: of the whole capsule, for whoever cites it."""
    wrong: tuple[str, ...]
    """A sentence each: changed, missing, added."""


def line_of(path: str, content: bytes) -> str:
    """A file's line of the manifest."""
    return f"{hashlib.sha256(content).hexdigest()}  {path}\n"


def is_capsule(path: Path) -> bool:
    """Whether this is a folder or a file that must be a capsule, since it can be no study."""
    if path.is_dir():
        return (path / METADATA).is_file() or (path / MANIFEST).is_file()
    return path.is_file()


def verify(path: Path) -> Verified:
    """Hash every file of a capsule, a folder or a .zip, which is not unpacked.

    Raises `UserError` for what is no capsule, and for a .zip with names that lead out of it.
    """
    with _files(path) as files:
        if MANIFEST not in files:
            raise UserError(f"{path} is not a capsule (no {MANIFEST} in it); {called()} capsule STUDY makes one")
        text = _read(path, files, MANIFEST)
        checksums = _checksums(text, path)
        wrong = []
        for name, digest in checksums.items():
            if name not in files:
                wrong.append(f"{name} is missing")
            elif difference := _difference(files[name], digest):
                wrong.append(f"{name} {difference}")
        wrong += [
            f"{name} was added: {MANIFEST} does not name it" for name in files if name not in {*checksums, MANIFEST}
        ]
    return Verified(files=len(checksums), digest=hashlib.sha256(text).hexdigest(), wrong=tuple(wrong))


def content_of(path: Path, name: str) -> bytes:
    """One file of a capsule; raises `UserError` where it is not there or cannot be read."""
    with _files(path) as files:
        if name not in files:
            raise UserError(f"{path} has no {name}: get the capsule anew, or make it with {called()} capsule STUDY")
        return _read(path, files, name)


def contents_of(path: Path, names: str) -> dict[str, bytes]:
    """Files of a capsule whose names match an expression as a whole; raises `UserError` for an unreadable one."""
    with _files(path) as files:
        return {name: _read(path, files, name) for name in files if re.fullmatch(names, name)}


def _read(path: Path, files: Mapping[str, _Opener], name: str) -> bytes:
    try:
        with files[name]() as file:
            return file.read(LARGEST)
    except _DAMAGED as error:
        raise UserError(f"{path}: {name} cannot be read ({error}); get the capsule anew") from None


def _checksums(text: bytes, path: Path) -> dict[str, str]:
    checksums: dict[str, str] = {}
    for number, line in enumerate(text.decode(errors="replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or _escapes(match[2]) or match[2] in checksums:
            raise UserError(
                f"{path}: {MANIFEST} line {number} is no checksum of a file of its own: {short(line)!r}; get the "
                "capsule anew"
            )
        checksums[match[2]] = match[1]
    return checksums


def _escapes(name: str) -> bool:
    """Whether a name is no plain path below the capsule.

    >>> [_leads_out(name) for name in ("a/b.json", "../b", "/b", "a//b", "C:/b", "a\\\\b", "a/./b")]
    [False, True, True, True, True, True, True]
    """
    parts = name.split("/")
    return bool(re.search(rf"[{CONTROLS}\\]|^[A-Za-z]:", name)) or any(part in ("", ".", "..") for part in parts)


@contextmanager
def _files(path: Path) -> Iterator[dict[str, _Opener]]:
    """What opens each file, by its name in the capsule; sorted."""
    if path.is_dir():
        yield dict(sorted(_of_folder(path)))
        return
    try:
        packed = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such capsule; {called()} capsule STUDY --out {path} makes one") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is not a capsule (neither a folder nor a whole .zip file: {error})") from None
    with packed:
        yield dict(sorted(_of_zip(packed, path)))


def _of_folder(folder: Path, inside: str = "") -> Iterator[tuple[str, _Opener]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _of_folder(folder / entry.name, f"{name}/")
            else:
                yield name, _opener_of(folder / entry.name)


def _opener_of(path: Path) -> _Opener:
    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        if path.is_symlink():
            raise UserError(f"{path} is a symbolic link, and a capsule has none; get it anew")
        with reading(path) as file:
            yield file

    return opened  # type: ignore[return-value]


def _of_zip(packed: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, _Opener]]:
    seen = set()
    for entry in packed.infolist():
        name = entry.filename
        mode = stat.S_IFMT(entry.external_attr >> 16)
        if _escapes(name.removesuffix("/")) or mode not in (0, stat.S_IFREG, stat.S_IFDIR) or name in seen:
            raise UserError(
                f"{path} is refused: its entry {short(name)!r} leads out of it, is no file, or is there twice; no "
                "capsule has such"
            )
        if entry.flag_bits & 1 or entry.file_size > LARGEST:
            raise UserError(
                f"{path} is refused: its entry {short(name)!r} is encrypted or unpacks to more than "
                f"{LARGEST // 2**20} MiB; no capsule has such"
            )
        seen.add(name)
        if not entry.is_dir():
            yield name, lambda entry=entry: packed.open(entry)  # type: ignore[misc]


def _difference(opened: _Opener, expected: str) -> str:
    digest = hashlib.sha256()
    try:
        with opened() as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except _DAMAGED as error:
        return f"cannot be unpacked ({error})"
    actual = digest.hexdigest()
    return "" if actual == expected else f"has changed: its sha256 is {actual[:12]}... and not {expected[:12]}..."
