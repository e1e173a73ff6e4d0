"""The code that a study's jobs run: one copy per content, `<study>/.code/<digest>/`. An edge: reads and copies files.

A job imports from the copy (PYTHONPATH), so editing the checkout while jobs are queued changes nothing. The digest
depends on names and contents only: not on times, modes, caches, or on whether this is a checkout or an installed
wheel. Jobs may keep Python's caches inside a copy: they are written aside and renamed, no digest counts them, and the
next client removes them, since nobody can say what code they hold. (Compiling all of it here would save a job 15 ms of
the 100 ms that our imports take, so it is not done.)
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import launchers
import vit_sweep
from launchers.atomic import LARGEST, ThroughLinkError, fill, guard, make_folder, remove, rename, replacing, temporary
from launchers.checked import checked
from launchers.errors import UserError

Contents = dict[str, bytes]
"""File contents by path relative to the folder that holds the packages (`vit_sweep/job/task.py`)."""

_PACKAGES = {"vit_sweep": vit_sweep, "launchers": launchers}
_NOT_CODE = ("vit_sweep/conf",)
"""Configurations, which an installed wheel has inside the package: all that a job needs of them is in its cell.json,
and a mended profile must not look like other code."""
_LEFTOVERS = ("~", "#", ".pyc", ".pyo", ".swp", ".tmp", ".orig", ".rej", ".bak")
_READ_ONLY = 0o444
_PIECE = 2**20


@checked
class Snapshot:
    """A copy of the code."""

    digest: str
    """12 hex digits over names and contents."""
    folder: str
    """Absolute path of the folder that goes in front of PYTHONPATH."""


def take(study_folder: Path) -> Snapshot:
    """Copy the code that this process runs into the study, or find the copy that is there already.

    A damaged copy is mended file by file, since queued jobs may use it. Several clients may do this at once. Raises
    `UserError` when the study cannot be written.
    """
    contents = _running()
    digest = digest_of(contents)
    folder = study_folder.absolute() / ".code" / digest
    guard(study_folder)
    try:
        if folder.is_dir() or not _create(folder, contents):
            _mend(folder, contents)
    except ThroughLinkError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot write the code snapshot {folder}: {error.strerror}: {error.filename}; "
            "make room or rights there, or choose another place with outputs=FOLDER"
        ) from None
    return Snapshot(digest=digest, folder=str(folder))


@cache
def running_digest() -> str:
    """Digest of the code that this process runs: the name of its snapshot, where it runs from one."""
    return digest_of(_running())


def digest_of(contents: Mapping[str, bytes]) -> str:
    """12 hex digits over the sorted paths and contents."""
    digest = hashlib.sha256()
    for path, content in sorted(contents.items()):
        # Lengths keep one file's end and the next one's name apart.
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def is_altered(folder: Path) -> bool:
    """Whether a copy holds other code than its name stands for, or beside it what its jobs would import first."""
    contents: Contents = {}
    try:
        strangers = {path.name for path in folder.iterdir() if path.name[0] != "."} - set(_PACKAGES)
        for package in _PACKAGES:
            contents |= contents_of(folder / package, package)
    except OSError:
        return True
    return bool(strangers) or digest_of(contents) != folder.name


def contents_of(folder: Path, package: str) -> Contents:
    """Everything of one package that is code or its data, read at once; `folder` is the package's own."""
    return {path: _read(place) for path, place in _files(str(folder), package)}


def _files(folder: str, relative: str) -> Iterator[tuple[str, str]]:
    """The files that count, each by its path that begins with the package's name, and where it is."""
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        path = f"{relative}/{entry.name}"
        if entry.name.startswith(".") or entry.name == "__pycache__" or path in _NOT_CODE:
            continue
        if entry.is_dir():
            yield from _files(entry.path, path)
        elif entry.is_file() and not entry.name.endswith(_LEFTOVERS):
            yield path, entry.path


def _read(path: str) -> bytes:
    """All of a file, in one call where it is not large: hundreds are read at each start."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST:
            raise OSError(errno.EINVAL, "not a regular file of this size", path)
        content = os.read(descriptor, info.st_size + 1)
        while len(content) != info.st_size and (piece := os.read(descriptor, _PIECE)):
            content += piece
        return content
    finally:
        os.close(descriptor)


def _running() -> Contents:
    """The code of this process, found from the packages that it has imported."""
    contents: Contents = {}
    for name, package in _PACKAGES.items():
        assert package.__file__ is not None
        contents |= contents_of(Path(package.__file__).parent, name)
    return contents


def _create(folder: Path, contents: Contents) -> bool:
    """Write the whole copy aside and rename it; False: somebody else was faster, and should have written the same."""
    aside = temporary(folder)
    try:
        fill(aside, contents, mode=_READ_ONLY)
        rename(aside, folder.name)
        return True
    except OSError:
        if not folder.is_dir():
            raise
        return False
    finally:
        remove(aside, pattern=r"\.[0-9a-f]{12}\..*\.tmp")


def _mend(folder: Path, contents: Contents) -> None:
    """Make a copy equal to its name again; what is sound is only read."""
    _remove_strangers(folder, contents)
    for path, content in contents.items():
        if _content(f"{folder}/{path}") != content:
            _put(folder / path, content)


def _remove_strangers(folder: Path, contents: Contents) -> None:
    """Remove all that jobs would import beside what was copied, and links, behind which nothing is ours to mend.

    Of a study from elsewhere that may be anything: a `torch.py`, or a cache of other code than its file's. Hidden files
    are no module's; another client may be writing them.
    """
    holders: set[str] = set()
    for path in contents:
        above = path.rpartition("/")[0]
        while above and above not in holders:
            holders.add(above)
            above = above.rpartition("/")[0]
    _remove_from(str(folder), "", contents, holders)


def _remove_from(folder: str, prefix: str, contents: Contents, holders: set[str]) -> None:
    with os.scandir(folder) as entries:
        listed = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in listed:
        path = f"{prefix}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.is_symlink() or path not in (holders if is_folder else contents):
            remove(Path(entry.path), pattern=".*")
        elif is_folder:
            _remove_from(entry.path, f"{path}/", contents, holders)


def _content(path: str) -> bytes | None:
    try:
        return _read(path)
    except OSError:
        return None


def _put(path: Path, content: bytes) -> None:
    """Write one file, read-only so that nobody edits it by mistake; `_mend` makes a damaged copy whole again."""
    make_folder(path.parent)
    with replacing(path, durable=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), _READ_ONLY)
