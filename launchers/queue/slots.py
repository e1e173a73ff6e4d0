"""Cores and GPUs of this machine as locks, so that no two cells of any study share one."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.profile import Device, PartitionProfile


def slot_folder() -> Path:
    """One folder for all queues of this user on this machine."""
    folder = Path(tempfile.gettempdir()) / f"vit_sweep-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def slots_of(profile: PartitionProfile) -> list[str]:
    """Names of the slots that a profile's ranks take: GPUs, or the cores that this process may use."""
    if profile.device is Device.CUDA:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        ids = map(str, range(profile.gpus_per_node)) if visible is None else visible.split(",")
        return [f"gpu-{i}" for i in ids if i]
    return [f"core-{i}" for i in sorted(os.sched_getaffinity(0))]


class Slots:
    """All-or-nothing holder of slots. Not fair between queues: a wide cell waits for a quiet moment."""

    def __init__(self, names: list[str], folder: Path) -> None:
        """Name the slots and the folder of their lock files."""
        self._names = names
        self._folder = folder
        self._held: dict[str, FileLock] = {}

    def __len__(self) -> int:
        """How many there are, taken or not."""
        return len(self._names)

    def take(self, count: int) -> list[str] | None:
        """Take `count` free slots (all of them if there are fewer); None if they are not free now."""
        if not self._names:
            return None
        wanted = min(count, len(self._names))
        taken: list[str] = []
        for name in self._names:
            if len(taken) == wanted:
                break
            if name in self._held:
                continue
            lock = FileLock(self._folder / f"{name}.lock")
            with suppress(Timeout):
                lock.acquire(timeout=0)
                self._held[name] = lock
                taken.append(name)
        if len(taken) < wanted:
            self.give_back(taken)
            return None
        return taken

    def give_back(self, names: list[str]) -> None:
        """Release slots."""
        for name in names:
            self._held.pop(name).release()
