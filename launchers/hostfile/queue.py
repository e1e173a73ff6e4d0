"""The hostfile queue: `python -m launchers.hostfile.queue BATCH_FOLDER...` works batches off over their hosts.

It runs apart from the client, on the control host, one task at a time. A task starts when all of its hosts
are free of this user's other studies: a lock for each host, on this machine.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from launchers.atomic import opened, read, remove
from launchers.hostfile.backend import hosts_of
from launchers.queue.exits import job_code, sentence, shell_code
from launchers.queue.loop import run_queue
from launchers.queue.signals import send
from launchers.queue.slots import SharedSlots, Slots, slot_folder
from launchers.queue.task import QueueTask, Run
from launchers.queue.wakeup import Bell

_GRACE_S = 25.0
"""How long mpirun may take to end its ranks: twice what it grants them (measured), and less than a client waits."""
_PR_SET_PDEATHSIG = 1


def main(folders: list[str]) -> int:
    """Work off the batches in `folders`, widest first."""
    return run_queue(folders, lambda _, shared, bell: _Hosts(shared, bell).start_ranks, name="hostfile-")


class _Hosts:
    """All hosts of the profile, of which one task at a time takes some."""

    def __init__(self, shared_slots: SharedSlots, bell: Bell) -> None:
        self._shared_slots = shared_slots
        with suppress(OSError):  # a full disk
            bell.watches.file(Slots([], slot_folder()).returned())
        self._current: _Mpirun | None = None
        self._slots: dict[tuple[str, ...], Slots] = {}
        self._die_with_us = _death_signal()

    def start_ranks(self, task: QueueTask, variables: dict[str, str]) -> "_Mpirun | None":
        """Start the task's script, if no other task runs and its hosts are free."""
        if self._current is not None and not self._current.is_over:
            return None
        hosts = tuple(host.name for host in hosts_of(task.batch))
        locks = tuple(f"host-{quote(name, safe='')}" for name in hosts)
        if locks not in self._slots:
            self._slots[locks] = Slots(list(locks), slot_folder())
        slots = self._slots[locks]
        shared = task.batch.shared

        def take() -> list[str] | None:
            return slots.take(len(slots))

        locked = self._shared_slots.of(task, take, slots.release) if shared else take()
        if locked is None:
            task.detail = "its hosts are taken by another study"
            return None
        to_release = [] if shared else locked
        try:
            process = self._start(task, variables)
        except OSError:
            slots.release(to_release)
            raise
        used = " ".join(hosts[: task.shape.nodes])
        self._current = _Mpirun(process, task, used, lambda: slots.release(to_release))
        return self._current

    def _start(self, task: QueueTask, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        for stale in task.folder.glob(f"ended/{task.index}-*"):
            remove(stale, pattern=r"\d+-\d+")
        with os.fdopen(opened(_log(task), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as log:
            return subprocess.Popen(
                ["bash", str(task.folder / "job.sh"), str(task.index)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=task.folder.parent.parent,
                env=os.environ | variables,
                preexec_fn=self._die_with_us,  # noqa: PLW1509 - this process has one thread
            )


class _Mpirun(Run):
    """One mpirun and its ranks; see `launchers.queue.task.Run`."""

    grace_s = _GRACE_S

    def __init__(
        self, process: subprocess.Popen[bytes], task: QueueTask, hosts: str, release: Callable[[], None]
    ) -> None:
        self.hosts = hosts
        self.is_over = False
        self._process = process
        self._folder, self._index, self._log = task.folder, task.index, _log(task)
        self._release = release

    def code(self) -> int | None:
        code = self._process.poll()
        return None if code is None else (job_code(self._codes()) if code else 0) or shell_code(code)

    def failure(self) -> str:
        code = self.code()
        return failure_text(code or 0, self._codes(), self._log.read_text(errors="replace"))

    def send(self, number: signal.Signals) -> None:
        """Mpirun hands SIGUSR2 on; told to end it ends its ranks; killed, the daemons on the hosts end theirs."""
        send(self._process, number)

    def release(self) -> None:
        self.is_over = True
        self._release()

    def _codes(self) -> dict[int, int]:
        """Exit codes of the ranks that ended badly, as their wrappers noted them."""
        codes: dict[int, int] = {}
        for path in self._folder.glob(f"ended/{self._index}-*"):
            text = read(path, max_bytes=100).decode(errors="replace").strip()
            if text.isdigit():
                codes[int(path.name.split("-")[1])] = int(text)
        return codes


def failure_text(code: int, ranks: dict[int, int], output: str) -> str:
    """Say how a task ended; `code` and `ranks` are shell exit codes. Where no rank left one, by mpirun's output."""
    if code == 0 or ranks:
        return sentence(ranks)
    lines = [line.strip() for line in output.splitlines() if line.strip(" -")]
    return f"mpirun ended with code {code}: {lines[0] if lines else 'it said nothing'}"


def _log(task: QueueTask) -> Path:
    """What mpirun prints; numbered like attempts, `0` and then `0.1`."""
    return task.folder / f"mpirun-{task.index}{f'.{task.restart}' if task.restart else ''}.log"


def _death_signal() -> Callable[[], None]:
    """Return what a child calls so that it is told to end when this process is gone, even by SIGKILL."""
    libc, queue = ctypes.CDLL(None), os.getpid()

    def in_the_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM.value)
        if os.getppid() != queue:  # it was gone before
            os._exit(143)

    return in_the_child


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
