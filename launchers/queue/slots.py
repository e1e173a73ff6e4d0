"""Cores, GPUs and hosts as locks on this machine, so that no two tasks of any study share one."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.atomic import own_folder, read, replacing
from launchers.profile import Device, PartitionProfile
from launchers.queue.task import QueueTask

Take = Callable[[], list[str] | None]
Release = Callable[[list[str]], None]


def slot_folder() -> Path:
    """One folder for all queues of this user on this machine; a line on stderr for each place that is not ours.

    The runtime folder comes after the temporary one: it goes when its user logs out, while detached queues go on, and
    theirs must stay the locks that the next queue meets. Raises `OSError` where no place is ours.
    """
    problems = []
    for folder in places(f"vit_sweep-{os.getuid()}"):
        try:
            return own_folder(folder)
        except OSError as error:
            problems.append(str(error))
            sys.stderr.write(f"vit_sweep: no locks of cores, GPUs and hosts there: {error}\n")
    raise PermissionError(f"no place for locks: {'; '.join(problems)}; set TMPDIR to a folder of your own")


def places(name: str) -> Iterator[Path]:
    """Where a folder of this name, for what this user shares on this machine alone, may lie: the best place first."""
    yield Path(tempfile.gettempdir()) / name
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / name
    with suppress(RuntimeError):  # a user without a home
        # Which several machines may share, and cores are one machine's.
        yield Path.home() / ".cache" / f"{name}-{socket.gethostname()}"


def slots_of(profile: PartitionProfile) -> list[str]:
    """Names of the slots that a profile's ranks take: GPUs, or the cores that this process may use."""
    if profile.device is Device.CUDA:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        ids = _installed_gpus(profile.gpus_per_node) if visible is None else visible.split(",")
        return [f"gpu-{i}" for i in ids if i]
    return [f"core-{i}" for i in sorted(os.sched_getaffinity(0))]


def _installed_gpus(count: int) -> list[str]:
    """Numbers of this machine's GPUs, at most `count`; just so many where `nvidia-smi` fails."""
    try:
        smi = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return [str(i) for i in range(count)]
    return smi.stdout.split()[:count]


class Slots:
    """All-or-nothing holder of slots. Not fair between queues: a wide task waits for a quiet moment."""

    def __init__(self, names: list[str], folder: Path) -> None:
        self._names = names
        self._folder = folder
        self._held: dict[str, FileLock] = {}
        self._open_until_the_end: int | None = None
        self.waits_for: tuple[str, ...] = ()
        """Who had slots that the last call of `take` or `look` would have needed: queues of other studies, one line
        each."""

    def __len__(self) -> int:
        return len(self._names)

    def take(self, count: int, owner: str = "") -> list[str] | None:
        """Take `count` free slots (all of them if there are fewer); None if they are not free now.

        `owner`: what others who wait for them are to read.
        """
        if not self._names:
            return None
        needed = min(count, len(self._names))
        taken: list[str] = []
        busy: list[str] = []
        for name, lock in self._tried():
            if lock is None:
                busy.append(name)
                continue
            self._held[name] = lock
            taken.append(name)
            if len(taken) == needed:
                break
        if len(taken) < needed:
            self.release(taken)
            self.waits_for = self._owners(busy)
            return None
        self.waits_for = ()
        with suppress(OSError):  # a full disk keeps nobody from working
            if self._open_until_the_end is None:
                # Closed by the kernel where this process is killed.
                self._open_until_the_end = os.open(self.returned(), os.O_WRONLY | os.O_CLOEXEC)
            for name in taken:
                # Words for people, of no use after a crash: no wait for the disk.
                with replacing(self._owner_file(name), durable=False) as file:
                    file.write(owner.encode())
        return taken

    def look(self, count: int) -> None:
        """Note for whom a later `take` of `count` would wait, and take nothing."""
        free, busy = len(self._held), list[str]()
        for name, lock in self._tried():
            if lock is None:
                busy.append(name)
                continue
            lock.release()
            free += 1
        enough = free >= min(count, len(self._names))
        self.waits_for = () if enough else self._owners(busy)

    def _tried(self) -> Iterator[tuple[str, FileLock | None]]:
        """Each slot that is not ours, with its lock, which is taken now; None where another queue has it."""
        for name in self._names:
            if name in self._held:
                continue
            lock = FileLock(self._folder / f"{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                yield name, None
            else:
                yield name, lock

    def _owners(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, map(self._owner, names))))

    def _owner_file(self, name: str) -> Path:
        return self._folder / f"{name}.owner"

    def _owner(self, name: str) -> str:
        with suppress(OSError):
            return read(self._owner_file(name), max_bytes=1000).decode(errors="replace").strip()
        return ""

    def release(self, names: list[str]) -> None:
        """Release slots."""
        for name in names:
            self._held.pop(name).release()
        if names:
            with suppress(OSError):
                os.close(os.open(self.returned(), os.O_WRONLY | os.O_CLOEXEC))

    def returned(self) -> Path:
        """A file that whoever gives slots back, or is killed with some, closes after it: what others may watch.

        The locks themselves would not do: whoever tries one in vain closes it too. Raises `OSError`.
        """
        path = self._folder / "returned"
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        return path


class SharedSlots:
    """Slots of shared batches: taken for the largest task at once, kept until the last task is over.

    So no other study comes in between two tasks, and every task runs on the first of the same cores, GPUs or hosts.
    """

    def __init__(self, tasks: Sequence[QueueTask]) -> None:
        """Keep the slots of the shared batches among those of `tasks`."""
        self._tasks = tasks
        self._held: dict[str, tuple[list[str], Release]] = {}

    def of(self, task: QueueTask, take: Take, release: Release) -> list[str] | None:
        """The slots of the batch of `task`, taken now if it holds none yet; None if they are not free."""
        key = str(task.folder)
        if key not in self._held:
            names = take()
            if names is None:
                return None
            self._held[key] = (names, release)
        return self._held[key][0]

    def tidy(self) -> None:
        """Give back what batches held whose tasks are all over."""
        for key in [k for k in self._held if all(c.ended is not None for c in self._tasks if str(c.folder) == k)]:
            names, release = self._held.pop(key)
            release(names)
