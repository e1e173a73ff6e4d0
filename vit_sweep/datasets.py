"""Data files before a job reads them: are they there, are they whole, and near. An edge, without torch.

A file is read for its checksum once, not by every rank of every job: beside it lies a stamp that says which file
(size, time, inode) had which md5. Where no stamp can be written, each process reads the file once.
"""

import hashlib
import os
import re
import shlex
import stat
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.errors import UserError
from vit_sweep.files import write
from vit_sweep.point import DataFile, DataSpec

_COPY_WAIT_S = 600.0
"""How long a rank waits for the one that copies; then it reads in place."""
_CHUNK = 1 << 20


def problem_of(data: DataSpec, root: Path) -> str | None:
    """Say what is wrong with the files of `data` below `root`, or None when they are whole."""
    for file in data.files:
        path = root / file.path
        try:
            found = _md5(path, expected=file.md5)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return f"data={data.name}: {path} is missing"
        except OSError as error:
            return f"data={data.name}: {path} cannot be read ({error.strerror})"
        if found != file.md5:
            return f"data={data.name}: {path} is damaged (md5 {found}, expected {file.md5})"
    return None


def prepare_command(data: DataSpec, root: Path) -> str:
    """The command that fetches and verifies `data`."""
    return f"python -m vit_sweep data prepare {shlex.quote(data.name)} --root {shlex.quote(str(root))}"


def require(data: DataSpec, root: Path) -> None:
    """Raise `UserError` with the command that helps, unless the files of `data` are whole."""
    problem = problem_of(data, root)
    if problem is not None:
        raise UserError(f"{problem}; fetch it on a machine with internet: {prepare_command(data, root)}")


def staged(data: DataSpec, root: Path, scratch: str | None) -> Path:
    """The folder to read `data` from: a node's copy below `scratch`, made by the first process that asks, or `root`.

    `scratch` may name variables of the job (`$SLURM_TMPDIR`). Staging is a convenience and never fails a job: where
    it cannot be done the answer is `root`, and a line on stderr says why. Whether the files of the answer are whole
    is `problem_of`'s to say.
    """
    if scratch is None or not data.files:
        return root
    try:
        folder = _scratch_folder(data, scratch)
        if not _stamped(data, folder):
            with FileLock(folder / ".lock", timeout=_COPY_WAIT_S):
                for file in data.files:
                    _copy_if_missing(file, root, folder)
        return folder
    except Timeout:
        reason = f"another process has been copying for {_COPY_WAIT_S / 60:g} minutes"
    except (_NotStaged, OSError, NotImplementedError) as error:  # the last: a file system without locks
        reason = str(error)
    sys.stderr.write(f"data={data.name}: not copied to scratch={scratch} ({reason}); reading from {root}\n")
    return root


class _NotStaged(Exception):  # noqa: N818 - it is no error, the job reads from the root
    """Why there is no copy on this node."""


def _scratch_folder(data: DataSpec, scratch: str) -> Path:
    """This user's folder for exactly these files, made if need be."""
    for plain, braced in re.findall(r"\$(?:(\w+)|\{(\w+)\})", scratch):
        if not os.environ.get(plain or braced):
            raise _NotStaged(f"${plain or braced} is not set here")
    place = Path(os.path.expandvars(scratch))
    if not place.is_absolute():
        raise _NotStaged(f"{place} is not an absolute path")
    # By content: another data set, or another version of this one, never meets these files.
    content = hashlib.sha256("\n".join(f"{file.path} {file.md5}" for file in data.files).encode()).hexdigest()[:8]
    mine = place / f"vit_sweep-{os.getuid()}"
    place.mkdir(parents=True, exist_ok=True)
    mine.mkdir(mode=0o700, exist_ok=True)
    about = mine.lstat()
    # CIFAR's files are pickles, which can run code: nobody else may have put them there.
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise _NotStaged(f"{mine} is not a folder that only you can write")
    folder = mine / "data" / f"{data.name}-{content}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copy_if_missing(file: DataFile, root: Path, folder: Path) -> None:
    """Copy one file aside, verify what was read, rename. The caller holds the lock."""
    target = folder / file.path
    with suppress(OSError):
        if _md5(target, expected=file.md5) == file.md5:
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    # One name for all: what a killed copier left behind is written over by the next one.
    aside = target.with_name(f".{target.name}.partial")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with (root / file.path).open("rb") as source, aside.open("wb") as copy:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != file.md5:
            raise _NotStaged(f"{root / file.path} is damaged")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    with suppress(OSError):
        write(_stamp(target), _said(target.stat(), file.md5))


def _stamped(data: DataSpec, folder: Path) -> bool:
    """Whether every file is there and was verified, without reading any of them."""
    try:
        return all(_has_stamp(folder / file.path, file.md5) for file in data.files)
    except OSError:
        return False


def _md5(path: Path, *, expected: str) -> str:
    """The md5 of a file, by its stamp if that says `expected`. Raises OSError when it cannot be read."""
    if _has_stamp(path, expected):
        return expected
    # Looked at before it is read: a file that changes meanwhile does not fit its stamp.
    about = path.stat()
    found = _read_md5(path, about.st_ino, about.st_size, about.st_mtime_ns)
    if found == expected:
        with suppress(OSError):
            write(_stamp(path), _said(about, expected))
    return found


@cache
def _read_md5(path: Path, *_what: int) -> str:
    """Read a file once per process, as long as it stays the same file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def _has_stamp(path: Path, md5: str) -> bool:
    """Whether a stamp says that this very file has this md5."""
    expected = _said(path.stat(), md5).encode()
    try:
        return _stamp(path).read_bytes() == expected
    except OSError:
        return False


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.md5ok")


def _said(about: os.stat_result, md5: str) -> str:
    """A stamp's text. The inode too: a copied folder brings its stamps along, and a copy is not yet verified."""
    return f"{md5} size={about.st_size} mtime_ns={about.st_mtime_ns} inode={about.st_ino}\n"
