"""Data files copied to a node once, by the first of its processes that asks, and verified meanwhile. An edge."""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.atomic import own_folder, reading, replacing
from vit_sweep.data.datasets import Expected, Unusable, digest_of, files_of, has_stamp, needs_files, remember
from vit_sweep.plan.specs import DataSpec

_COPY_WAIT_S = 600.0
"""How long a rank waits for one that copies and makes no progress; then it reads in place."""
_LOOK_S = 1.0
_CHUNK = 1 << 20


def staged(data: DataSpec, root: Path, scratch: str | None, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The folder to read `data` from: a node's copy below `scratch`, made by the first process that asks, or `root`.

    `scratch` may name variables of the job (`$SLURM_TMPDIR`). Staging is a convenience and never fails a job: where
    it cannot be done the answer is `root`, and a line on stderr says why; `tell` gets, again and again, what is copied
    or waited for. Whether the files of the answer are whole
    is `problem_of`'s to say.
    """
    if scratch is None or not needs_files(data):
        return root
    try:
        files = files_of(data, root)
        folder = _scratch_folder(data, files, scratch)
        if not _stamped(files, folder):
            with _alone(folder, data.name, tell):
                for file in files:
                    _copy_if_missing(file, root, folder, tell)
        return folder
    except Timeout:
        reason = f"another process that copies it has added nothing for {_COPY_WAIT_S / 60:g} minutes"
    except (_NotStaged, Unusable, OSError, NotImplementedError) as error:  # the last: a file system without locks
        reason = str(error)
    sys.stderr.write(f"data={data.name}: not copied to scratch={scratch} ({reason}); reading from {root}\n")
    return root


class _NotStaged(Exception):  # noqa: N818 - it is no error, the job reads from the root
    """Why there is no copy on this node."""


def _scratch_folder(data: DataSpec, files: tuple[Expected, ...], scratch: str) -> Path:
    """This user's folder for exactly these files, made if need be."""
    for unbraced, braced in re.findall(r"\$(?:(\w+)|\{(\w+)\})", scratch):
        if not os.environ.get(unbraced or braced):
            raise _NotStaged(f"${unbraced or braced} is not set here")
    folder_of_node = Path(os.path.expandvars(scratch))
    if not folder_of_node.is_absolute():
        raise _NotStaged(f"{folder_of_node} is not an absolute path")
    # By content: another data set, or another version of this one, never meets these files.
    content = hashlib.sha256("\n".join(f"{file.path} {file.digest}" for file in files).encode()).hexdigest()[:8]
    # CIFAR's files are pickles, which can run code: nobody else may have put them there.
    folder = own_folder(folder_of_node / f"vit_sweep-{os.getuid()}") / "data" / f"{data.name}-{content}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _alone(folder: Path, name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, after the process that copies, if any; raises `Timeout` once that makes no progress."""
    lock, size, unchanged_since = FileLock(folder / ".lock"), -1, time.monotonic()
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_LOOK_S)
        except Timeout:
            last_size, size = size, _bytes_below(folder)
            now = time.monotonic()
            if size != last_size:
                unchanged_since = now
            elif now - unchanged_since >= _COPY_WAIT_S:
                raise
            tell(f"waiting for another process of this node to copy {name}")
    try:
        yield
    finally:
        lock.release()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # renamed meanwhile
            total += path.lstat().st_size
    return total


def _copy_if_missing(file: Expected, root: Path, folder: Path, tell: Callable[[str], None]) -> None:
    """Copy one file aside, verify what was read, rename. The caller holds the lock."""
    target = folder / file.path
    with suppress(OSError):
        if digest_of(target, file) == file.digest:
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.new(file.kind, usedforsecurity=False)
    with reading(root / file.path) as source, replacing(target, locked=True) as copy:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
            tell(f"copying {file.path} to this node")
        if digest.hexdigest() != file.digest:
            raise _NotStaged(f"{root / file.path} is damaged")
    remember(target, file)


def _stamped(files: tuple[Expected, ...], folder: Path) -> bool:
    """Whether every file is there and was verified, without reading any of them."""
    try:
        return all(has_stamp(folder / file.path, file) for file in files)
    except OSError:
        return False
