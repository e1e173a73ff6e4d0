"""Data files before a job reads them: are they there, are they whole, and near. An edge, without torch.

A file is read for its checksum once, not by every rank of every job: beside it lies a stamp that says which file
(size, time, inode) had which checksum. Where no stamp can be written, each process reads the file once.

Which files there are and their checksums is said by the data set's YAML (md5, as torchvision has them), or by the
manifest of its packed form (sha256).
"""

import hashlib
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from launchers.atomic import read, reading, write
from launchers.checked import parse_json
from launchers.errors import UserError
from launchers.invocation import called
from vit_sweep.data.class_folders import splits_of
from vit_sweep.data.packed import Manifest, disagreement, folder_of, is_packed, spec_of
from vit_sweep.data.request import Kind, Request, changed_words, command_of
from vit_sweep.plan.choices import DataSource
from vit_sweep.plan.specs import DataSpec


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


def packed_spec(request: Request, root: Path) -> DataSpec:
    """What the packed form of somebody's own data says of it.

    Raises `UserError` with the command that packs it, where it is not packed, or in another way; with what is wrong in
    a folder that cannot be packed.
    """
    path = root / folder_of(request) / "manifest.json"
    try:
        manifest = parse_json(Manifest, _manifest_text(request, path), source=f"data={request.name}: {path}")
    except Unusable as reason:
        raise UserError(_not_packed(request, root, reason)) from None
    if manifest.request is None:
        raise UserError(f"data={request.name}: {path.parent} is of a YAML's data set; give another data.name")
    if changed := changed_words(manifest.request, request):
        raise UserError(
            f"data={request.name}: it was packed with {', '.join(changed)}; pack it anew: {command_of(request, root)}, "
            "or give another data.name"
        )
    return spec_of(manifest, request)


def _not_packed(request: Request, root: Path, reason: Unusable) -> str:
    """What to do about it: another path, the words of a packed form that is there, or the command that packs it."""
    # MedMNIST's are fetched into a folder, and names with braces stand for several.
    if request.source is not Kind.MEDMNIST and "{" not in request.path and not Path(request.path).exists():
        return (
            f"data={request.name}: {request.path} is not there, and no {folder_of(request)} in {root}; data.path names "
            "a file or a folder"
        )
    if request.source is Kind.IMAGEFOLDER:
        splits_of(request)
    packed_forms = [
        other for other in packed_requests(root) if (other.name, other.path) == (request.name, request.path)
    ]
    sides = " or ".join(f"data.side={other.side or 'null'}" for other in packed_forms)
    hint = f" (with {sides} they are)" if sides else ""
    return f"{reason}{hint}; pack them: {command_of(request, root)}"


def packed_requests(root: Path) -> list[Request]:
    """What was packed below `root` from paths, by name; a manifest that cannot be read is passed over."""
    requests = []
    for path in sorted(root.glob("[!.]*-packed-*/manifest.json")):
        with suppress(UserError, OSError):
            manifest = parse_json(Manifest, read(path), source=str(path))
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
            digest = digest_of(path, file)
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
        return f"{called()} data prepare DATA --root {shlex.quote(str(root))}, with its sweep's words of data"
    return f"{called()} data prepare {shlex.quote(data.name)} --root {shlex.quote(str(root))}"


def require(data: DataSpec, root: Path) -> None:
    """Raise `UserError` with the command that helps, unless the files of `data` are whole."""
    problem = problem_of(data, root)
    if problem is not None:
        remedy = "pack its images" if is_packed(data) else "fetch it on a machine with internet"
        raise UserError(f"{problem}; {remedy}: {prepare_command(data, root)}")


def digest_of(path: Path, file: Expected) -> str:
    """The checksum of the file at `path`, by its stamp if that says the expected one. Raises OSError."""
    if has_stamp(path, file):
        return file.digest
    # Looked at before it is read: a file that changes meanwhile does not fit its stamp.
    info = path.stat()
    digest = _read_digest(path, file.kind, info.st_ino, info.st_size, info.st_mtime_ns)
    if digest == file.digest:
        with suppress(OSError):
            write(_stamp(path, file.kind), _stamp_text(info, digest))
    return digest


@cache
def _read_digest(path: Path, kind: str, *_what: int) -> str:
    """Read a file once per process, as long as it stays the same file."""
    with reading(path) as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def has_stamp(path: Path, file: Expected) -> bool:
    """Whether a stamp says that this very file has this checksum."""
    info, stamp = path.stat(), _stamp(path, file.kind)
    try:
        # An md5 is of a file as it was published: CIFAR's are pickles, which run what whoever wrote them likes.
        trusted = file.kind != "md5" or (_only_ours(info) and _only_ours(stamp.stat()))
        return trusted and read(stamp, max_bytes=1000) == _stamp_text(info, file.digest).encode()
    except OSError:
        return False


def _only_ours(info: os.stat_result) -> bool:
    """Whether nobody else can have put this file there."""
    return info.st_uid in (0, os.getuid()) and not info.st_mode & 0o022


def _stamp(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}ok")


def _stamp_text(info: os.stat_result, digest: str) -> str:
    """A stamp's text. The inode too: a copied folder brings its stamps along, and a copy is not yet verified."""
    return f"{digest} size={info.st_size} mtime_ns={info.st_mtime_ns} inode={info.st_ino}\n"


def _manifest_text(data: DataSpec | Request, path: Path) -> bytes:
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable(f"data={data.name}: {path} is missing: the images are not packed") from None
    except OSError as error:
        raise Unusable(f"data={data.name}: {path} cannot be read ({error.strerror})") from None


def _manifest(data: DataSpec, path: Path, text: bytes) -> Manifest:
    try:
        parsed = parse_json(Manifest, text, source=f"data={data.name}: {path}")
    except UserError as error:
        raise Unusable(str(error)) from None
    problem = disagreement(data, parsed)
    if problem is not None:
        raise Unusable(f"{problem} ({path.parent})")
    return parsed
