"""Files that are whole or not there: whatever others may read meanwhile is written aside and renamed. An edge.

What is promised, in a folder where a rename is atomic:

- A reader sees the old content or the new one, never a part: also when the writer raises or is killed in the middle.
- Nor does a crash of the machine leave a part: the content is on disk before it gets its name, unless it is written
  with `durable=False`, which is for what is cheaply made again. (That the new content outlasts the crash is promised
  to a journal, which appends and calls fsync itself.)
- Writers do not disturb each other, whatever their hosts and threads: each has a temporary file of its own.
- What a killed writer leaves behind is hidden and ends with `.tmp`, which no reader looks for.
- Below a folder that was given to `guard` nothing is written, made or deleted through a symbolic link: whoever can put
  one there would else choose what of ours is overwritten. Folders are opened one by one, each in the one before.

Folders that several processes fill together, or that the next process goes on with, are renamed by who fills them.
"""

import errno
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from launchers.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a used-up quota, a file beyond the limit of its size."""
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_GUARDED: set[str] = set()
LARGEST = 256 * 2**20
"""Bytes of the largest file of a study that is read at once: the record of a thousand ranks has a tenth of it."""


class ThroughLinkError(UserError, OSError):
    """Something inside a guarded folder is a symbolic link."""

    def __init__(self, path: Path) -> None:
        """`path` is the link."""
        self.sentence = (
            f"{path} is a symbolic link, and nothing is written or deleted through one here; put what it "
            "leads to in its place"
        )
        super().__init__(errno.ELOOP, self.sentence, str(path))

    def __str__(self) -> str:
        """The sentence alone."""
        return self.sentence


def guard(root: Path) -> None:
    """From now on this process writes and deletes nothing below `root` through a symbolic link.

    What leads to `root` may be one: where a study lies is its user's choice, what lies in it may be another's.
    """
    _GUARDED.add(os.path.normpath(root.absolute()))


def temporary(path: Path) -> Path:
    """A name beside `path` that nobody else has, for what is to be renamed to `path`."""
    return path.with_name(f".{path.name}.{os.urandom(16).hex()}.tmp")


@contextmanager
def replacing(path: Path, *, durable: bool = True, locked: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` at the end; an exception leaves `path` as it was.

    `locked`: the caller holds a lock, so one name serves all and what a killed writer left is written over.
    `private`: for its owner's eyes only.
    """
    with _placed(path) as (name, folder):
        partial = str(Path(name).with_name(f".{path.name}.tmp") if locked else temporary(Path(name)))

        def publish() -> None:
            os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)

        try:
            with _written_aside(partial, folder, publish, durable=durable, private=private) as file:
                yield file
        except OSError as error:
            # As written to, a file has no name; before, one that nobody has typed, except where it is a link.
            if error.filename in (None, partial) and error.errno not in (None, errno.ELOOP):
                raise _of(error, path) from None
            raise


@contextmanager
def _written_aside(
    partial: str, folder: int | None, publish: Callable[[], object], *, durable: bool = True, private: bool = False
) -> Iterator[BinaryIO]:
    """Open a file that `publish` gives its name once it is whole; what is left under the old name goes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(partial, flags, 0o600 if private else 0o666, dir_fd=folder), "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        publish()
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)


def write(path: Path, text: str, *, private: bool = False, durable: bool = True) -> None:
    """Replace the content of a file, or make it."""
    write_bytes(path, text.encode(), private=private, durable=durable)


def write_bytes(path: Path, content: bytes, *, private: bool = False, durable: bool = True) -> None:
    """The same with bytes."""
    with replacing(path, private=private, durable=durable) as file:
        file.write(content)


def write_of_many(path: Path, text: str) -> bool:
    """Write one of many files that `on_disk` follows, unless it says the same already; returns whether it was written.

    A new one is not waited for; one that replaces another is, or a crash would take both.
    """
    exists = path.exists()
    if exists and read(path) == text.encode():
        return False
    write(path, text, durable=exists)
    return True


@contextmanager
def new_folders(parent_folder: Path) -> Iterator[Callable[[str, Sequence[str], Mapping[str, str]], bool]]:
    """Make many folders in `parent_folder`, which is opened once for all; `on_disk` follows.

    Yields what makes one, by its name, with these empty folders and these files in it, and says whether it did: nothing
    is done where there is something of that name. Each file is written aside and renamed.
    """
    with _placed(parent_folder / "in it", make=True) as (_, parent):
        above = "" if parent is not None else f"{parent_folder}/"

        def make(name: str, folders: Sequence[str], files: Mapping[str, str]) -> bool:
            try:
                os.mkdir(above + name, dir_fd=parent)
                descriptor = os.open(above + name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    for folder in folders:
                        os.mkdir(folder, dir_fd=descriptor)
                    for file, text in files.items():
                        _put_new(file, text.encode(), descriptor)
                finally:
                    os.close(descriptor)
            except FileExistsError:
                return False
            except OSError as error:
                raise _of(error, parent_folder / name) from None
            return True

        yield make


def _put_new(name: str, content: bytes, folder: int) -> None:
    """Write a file into a folder that was just made: its temporary name is nobody else's."""
    partial = f".{name}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o666, dir_fd=folder), "wb", buffering=0) as file:
        unwritten = memoryview(content)
        while unwritten:
            unwritten = unwritten[file.write(unwritten) :]
    os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)


def on_disk(folder: Path) -> None:
    """Wait until all that was written to the file system of `folder` is on disk: once for thousands of files.

    Of `fsync` for each, a disk that answers in 5 ms makes a minute for 10,000.
    """
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux only
        if sync is None or sync(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)


def write_first(path: Path, text: str) -> bool:
    """Write a file that only the first writer may write; returns whether this one was the first."""
    with _placed(path) as (name, folder):
        partial = str(temporary(Path(name)))

        def publish() -> None:
            os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)

        try:
            with _written_aside(partial, folder, publish) as file:
                file.write(text.encode())
        except FileExistsError:
            return False
    return True


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """Open a file that somebody else may have made; raises `OSError` for a pipe or a device, which might never end."""
    with _regular(path, _at_once) as file:
        yield file


@contextmanager
def _regular(path: Path, opener: Callable[[str, int], int]) -> Iterator[BufferedReader]:
    with open(path, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read(path: Path, *, max_bytes: int = LARGEST) -> bytes:
    """The content of such a file; raises `OSError` where it is too much, too."""
    return _all_of(path, _at_once, max_bytes)


def _all_of(path: Path, opener: Callable[[str, int], int], max_bytes: int) -> bytes:
    with _regular(path, opener) as file:
        too_much = os.fstat(file.fileno()).st_size > max_bytes
        content = b"" if too_much else file.read(max_bytes + 1)
    if too_much or len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes / 2**20:g} MiB, which no such file has", str(path))
    return content


def read_inside(path: Path) -> bytes:
    """The same through no symbolic link below a folder that was given to `guard`: nothing from outside of it."""
    with _placed(path) as (name, folder):

        def opener(_: str, flags: int) -> int:
            return os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)

        try:
            return _all_of(path, opener, LARGEST)
        except OSError as error:
            raise _of(error, path) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there."""
    with _placed(path / "in it", make=True):
        pass


def fill(folder: Path, contents: Mapping[str, bytes], *, mode: int) -> None:
    """Write files into a new folder, by their paths in it, that becomes whole by being renamed: none is written aside.

    Each folder is opened once for all of its files, not once for each.
    """
    by_place: dict[str, list[tuple[str, bytes]]] = {}
    for file_path, content in contents.items():
        place, _, name = file_path.rpartition("/")
        by_place.setdefault(place, []).append((name, content))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for place, files in by_place.items():
        parent = folder / place
        with _placed(parent / "in it", make=True) as (path, descriptor):
            prefix = path.removesuffix("in it")
            for name, content in files:
                try:
                    opened_file = os.open(prefix + name, flags, dir_fd=descriptor)
                    with os.fdopen(opened_file, "wb") as file:
                        file.write(content)
                        os.fchmod(opened_file, mode)
                except OSError as error:
                    raise _of(error, parent / name) from None


def own_folder(path: Path) -> Path:
    """Make a folder that only this user may write, or take the one that is there; returns it.

    Raises `OSError` with a sentence where another user made it first, others may write into it, or it is no folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        problem = "is a symbolic link" if stat.S_ISLNK(info.st_mode) else "is not a folder"
    elif info.st_uid != os.geteuid():
        problem = f"belongs to another user (uid {info.st_uid})"
    elif info.st_mode & 0o022:
        problem = f"may be written by others (mode {stat.S_IMODE(info.st_mode):o})"
    else:
        return path
    raise PermissionError(f"{path} {problem}, so it is not a folder that only you can write")


def user_folder(variable: str, otherwise: str) -> Path:
    """Where this user keeps one sort of file: as `XDG_..._HOME` says, or `otherwise` in the home.

    Raises `RuntimeError` for a user without a home.
    """
    folder = Path(os.environ.get(variable, ""))  # what is not absolute counts as not said
    return folder if folder.is_absolute() else Path.home() / otherwise


def owner_of(path: Path) -> str:
    """Name of the user whom a file belongs to, or the folder that it would be in; `uid N` for one without a name."""
    while not os.access(path, os.F_OK) and path != path.parent:
        path = path.parent
    return name_of(path.stat().st_uid)


def name_of(uid: int) -> str:
    """Name of a user; `uid N` for one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def opened(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file that is written in place (a log, a journal, a lock).

    A pipe or a link in its stead is refused, a hard link too: what is written would be in another's file as well.
    """
    with _placed(path) as (name, folder):
        try:
            # Without O_NONBLOCK a pipe would hold us until somebody reads it.
            safe_flags = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(name, safe_flags, mode, dir_fd=folder)
        except OSError as error:
            raise _of(error, path) from None
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        os.close(descriptor)
        problem = f"has {info.st_nlink} names (hard links)" if stat.S_ISREG(info.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, problem, str(path))
    if flags & os.O_TRUNC:
        os.ftruncate(descriptor, 0)
    return descriptor


def remove(path: Path, *, pattern: str) -> None:
    """Delete a file, or a folder with all in it, if its name matches `pattern`: the names that we give.

    Of a link, the link goes and not what it leads to. What cannot be deleted stays.
    """
    if not re.fullmatch(pattern, path.name):
        return
    try:
        with _placed(path) as (name, folder):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                import shutil

                shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return


def rename(path: Path, name: str) -> None:
    """Give a file or a folder another name beside the one that it has."""
    with _placed(path) as (old, folder):
        new = str(Path(old).with_name(name))
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def put(source: Path, path: Path) -> None:
    """Give a file of the same file system the name `path`; folders above it are made."""
    make_folder(path.parent)
    with _placed(path) as (name, folder):
        os.replace(source, name, dst_dir_fd=folder)


def is_ours_alone(info: os.stat_result) -> bool:
    """Whether what was looked at is this user's, and nobody else may write it."""
    return info.st_uid == os.geteuid() and not info.st_mode & 0o022


@contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """A folder as `own_folder` makes it, by a path that leads to it whatever others put in its place meanwhile.

    Raises `OSError` as that does, in the end too where it is no longer the folder of that name.
    """
    descriptor = os.open(own_folder(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    by_number = Path(f"/proc/self/fd/{descriptor}")
    try:
        info = os.fstat(descriptor)
        swapped = PermissionError(errno.EPERM, "was swapped for another by somebody else", str(path))
        if not is_ours_alone(info):
            raise swapped
        yield by_number
        if not os.path.samestat(info, path.lstat()):
            raise swapped
    except OSError as error:
        if isinstance(error.filename, str):  # for people
            error.filename = error.filename.replace(str(by_number), str(path))
        raise
    finally:
        os.close(descriptor)


@contextmanager
def _placed(path: Path, *, make: bool = False) -> Iterator[tuple[str, int | None]]:
    """What to call `path` and the open folder that it is in; without a guard its whole name, and none."""
    full = os.path.normpath(path.absolute())
    root = min((root for root in _GUARDED if full.startswith(f"{root}{os.sep}")), key=len, default=None)
    if make:
        parent = Path(root or path.parent)
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):  # a file is there, or a file system that has no folders of ours
            raise NotADirectoryError(errno.ENOTDIR, "no folder can be made", str(parent)) from None
    if root is None:
        yield str(path), None
        return
    *folders, name = Path(full).relative_to(root).parts
    descriptor = os.open(root, _FOLDER)
    try:
        for depth, folder in enumerate(folders, start=1):
            inner = _entered(folder, descriptor, Path(root, *folders[:depth]), make=make)
            os.close(descriptor)
            descriptor = inner
        yield name, descriptor
    finally:
        os.close(descriptor)


def _entered(folder: str, parent: int, path: Path, *, make: bool) -> int:
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(folder, dir_fd=parent)
        return os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        # Of a link that should be a folder Linux says that it is no folder.
        is_link = error.errno == errno.ENOTDIR and stat.S_ISLNK(
            os.stat(folder, dir_fd=parent, follow_symlinks=False).st_mode
        )
        raise ThroughLinkError(path) if is_link else _of(error, path) from None


def _of(error: OSError, path: Path) -> OSError:
    """The same with the whole path."""
    if error.errno == errno.ELOOP:
        return ThroughLinkError(path)
    return OSError(error.errno, error.strerror, str(path))
