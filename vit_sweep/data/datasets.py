"""Data files before a job reads them: are they there, are they whole, and near. An edge, without torch.

A file is read for its checksum once, not by every rank of every job: beside it lies a stamp that says which file
(size, time, inode) had which checksum. Where no stamp can be written, each process reads the file once.

Which files there are and their checksums is said by the data set's YAML (md5, as torchvision has them), or by the
manifest of its packed form (sha256).
"""

import hashlib
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.atomic import own_folder, read, reading, replacing, write
from launchers.checked import parse_json
from launchers.errors import UserError
from vit_sweep.data.packed import Manifest, disagreement, folder_of, is_packed, spec_of
from vit_sweep.data.request import Request, changed_words, command_of
from vit_sweep.plan.point import DataSource, DataSpec

_COPY_WAIT_S = 600.0
"""How long a rank waits for one that copies and makes no progress; then it reads in place."""
_LOOK_S = 1.0
_CHUNK = 1 << 20


class Unusable(Exception):  # noqa: N818 - a sentence for people, not a failure of ours
    """Why a data set's files cannot even be listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A file that must be there: its place below the root, and its checksum."""

    path: str
    kind: str
    """md5 or sha256."""
    digest: str


def needs_files(data: DataSpec) -> bool:
    """Whether `data` is read from files at all."""
    return bool(data.files) or is_packed(data)


def files_of(data: DataSpec, root: Path) -> tuple[Expected, ...]:
    """The files that a job reads; raises `Unusable` where a packed form is missing or another one than asked."""
    if not is_packed(data):
        return tuple(Expected(path=file.path, kind="md5", digest=file.md5) for file in data.files)
    path = root / folder_of(data) / "manifest.json"
    text = _manifest_text(data, path)
    manifest = _manifest(data, path, text)
    return (
        # Itself too, so that a copy of the files is complete.
        Expected(path=f"{folder_of(data)}/{path.name}", kind="sha256", digest=hashlib.sha256(text).hexdigest()),
        *(Expected(path=f"{folder_of(data)}/{f.name}", kind="sha256", digest=f.sha256) for f in manifest.files),
    )


def manifest_of(data: DataSpec, root: Path) -> Manifest:
    """What the packed form of `data` says of itself; raises `Unusable`."""
    path = root / folder_of(data) / "manifest.json"
    return _manifest(data, path, _manifest_text(data, path))


def known(request: Request, root: Path) -> DataSpec:
    """What the packed form of somebody's own data says of it.

    Raises `UserError` with the command that packs it, where it is not packed, or in another way.
    """
    path = root / folder_of(request) / "manifest.json"
    try:
        manifest = parse_json(Manifest, _manifest_text(request, path), what=f"data={request.name}: {path}")
    except Unusable as reason:
        raise UserError(f"{reason}; pack them: {command_of(request, root)}") from None
    if manifest.request is None:
        raise UserError(f"data={request.name}: {path.parent} is of a YAML's data set; give another data.name")
    if changed := changed_words(manifest.request, request):
        raise UserError(
            f"data={request.name}: it was packed with {', '.join(changed)}; pack it anew: {command_of(request, root)}, "
            "or give another data.name"
        )
    return spec_of(manifest, request)


def packed_requests(root: Path) -> list[Request]:
    """What was packed below `root` from paths, by name; a manifest that cannot be read is passed over."""
    requests = []
    for path in sorted(root.glob("[!.]*-packed-*/manifest.json")):
        with suppress(UserError, OSError):
            manifest = parse_json(Manifest, read(path), what=str(path))
            if manifest.request is not None and folder_of(manifest.request) == path.parent.name:
                requests.append(manifest.request)
    return requests


def problem_of(data: DataSpec, root: Path) -> str | None:
    """Say what is wrong with the files of `data` below `root`, or None when they are whole."""
    try:
        files = files_of(data, root)
    except Unusable as reason:
        return str(reason)
    for file in files:
        path = root / file.path
        try:
            digest = _digest(path, file)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return f"data={data.name}: {path} is missing"
        except OSError as error:
            return f"data={data.name}: {path} cannot be read ({error.strerror})"
        if digest != file.digest:
            return f"data={data.name}: {path} is damaged ({file.kind} {digest}, expected {file.digest})"
    return None


def remember(path: Path, file: Expected) -> None:
    """Leave a stamp: whoever calls has just read or written exactly this."""
    with suppress(OSError):
        write(_stamp(path, file.kind), _stamp_text(path.stat(), file.digest))


def prepare_command(data: DataSpec, root: Path) -> str:
    """The command that fetches or packs `data`, and verifies it."""
    if data.source is DataSource.PACKED:
        return f"python -m vit_sweep data prepare DATA --root {shlex.quote(str(root))}, with its sweep's words of data"
    return f"python -m vit_sweep data prepare {shlex.quote(data.name)} --root {shlex.quote(str(root))}"


def require(data: DataSpec, root: Path) -> None:
    """Raise `UserError` with the command that helps, unless the files of `data` are whole."""
    problem = problem_of(data, root)
    if problem is not None:
        way = "pack its images" if is_packed(data) else "fetch it on a machine with internet"
        raise UserError(f"{problem}; {way}: {prepare_command(data, root)}")


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
    for plain, braced in re.findall(r"\$(?:(\w+)|\{(\w+)\})", scratch):
        if not os.environ.get(plain or braced):
            raise _NotStaged(f"${plain or braced} is not set here")
    place = Path(os.path.expandvars(scratch))
    if not place.is_absolute():
        raise _NotStaged(f"{place} is not an absolute path")
    # By content: another data set, or another version of this one, never meets these files.
    content = hashlib.sha256("\n".join(f"{file.path} {file.digest}" for file in files).encode()).hexdigest()[:8]
    # CIFAR's files are pickles, which can run code: nobody else may have put them there.
    folder = own_folder(place / f"vit_sweep-{os.getuid()}") / "data" / f"{data.name}-{content}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _alone(folder: Path, name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, after the process that copies, if any; raises `Timeout` once that makes no progress."""
    lock, size, since = FileLock(folder / ".lock"), -1, time.monotonic()
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_LOOK_S)
        except Timeout:
            before, size = size, _bytes_below(folder)
            now = time.monotonic()
            if size != before:
                since = now
            elif now - since >= _COPY_WAIT_S:
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
        if _digest(target, file) == file.digest:
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
        return all(_has_stamp(folder / file.path, file) for file in files)
    except OSError:
        return False


def _digest(path: Path, file: Expected) -> str:
    """The checksum of the file at `path`, by its stamp if that says the expected one. Raises OSError."""
    if _has_stamp(path, file):
        return file.digest
    # Looked at before it is read: a file that changes meanwhile does not fit its stamp.
    about = path.stat()
    digest = _read_digest(path, file.kind, about.st_ino, about.st_size, about.st_mtime_ns)
    if digest == file.digest:
        with suppress(OSError):
            write(_stamp(path, file.kind), _stamp_text(about, digest))
    return digest


@cache
def _read_digest(path: Path, kind: str, *_what: int) -> str:
    """Read a file once per process, as long as it stays the same file."""
    with reading(path) as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def _has_stamp(path: Path, file: Expected) -> bool:
    """Whether a stamp says that this very file has this checksum."""
    about, stamp = path.stat(), _stamp(path, file.kind)
    try:
        # An md5 is of a file as it was published: CIFAR's are pickles, which run what whoever wrote them likes.
        trusted = file.kind != "md5" or (_only_ours(about) and _only_ours(stamp.stat()))
        return trusted and read(stamp, most=1000) == _stamp_text(about, file.digest).encode()
    except OSError:
        return False


def _only_ours(about: os.stat_result) -> bool:
    """Whether nobody else can have put this file there."""
    return about.st_uid in (0, os.getuid()) and not about.st_mode & 0o022


def _stamp(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}ok")


def _stamp_text(about: os.stat_result, digest: str) -> str:
    """A stamp's text. The inode too: a copied folder brings its stamps along, and a copy is not yet verified."""
    return f"{digest} size={about.st_size} mtime_ns={about.st_mtime_ns} inode={about.st_ino}\n"


def _manifest_text(data: DataSpec | Request, path: Path) -> bytes:
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable(f"data={data.name}: {path} is missing: the images are not packed") from None
    except OSError as error:
        raise Unusable(f"data={data.name}: {path} cannot be read ({error.strerror})") from None


def _manifest(data: DataSpec, path: Path, text: bytes) -> Manifest:
    try:
        parsed = parse_json(Manifest, text, what=f"data={data.name}: {path}")
    except UserError as error:
        raise Unusable(str(error)) from None
    wrong = disagreement(data, parsed)
    if wrong is not None:
        raise Unusable(f"{wrong} ({path.parent})")
    return parsed
