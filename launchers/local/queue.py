"""The local queue: `python -m launchers.local.queue BATCH_FOLDER...` works batches off on this machine.

It runs apart from the client. Ranks are forked from one server process that has imported the batch's
`preload` modules once (torch and the like cost seconds in every fresh process). A task starts when its
cores or GPUs are free on the whole machine; one with more ranks than cores, and every task of an `exclusive`
profile, gets the machine for itself.
"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from datetime import datetime
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from launchers.batch import Batch
from launchers.local.rank import run_rank
from launchers.process.environment import LOCAL_JOB
from launchers.profile import Device
from launchers.queue.exits import job_code, sentence, shell_code
from launchers.queue.loop import run_queue
from launchers.queue.signals import send
from launchers.queue.slots import SharedSlots, Slots, slot_folder, slots_of
from launchers.queue.sockets import make_room_for_sockets
from launchers.queue.task import QueueTask, Run, StartRanks
from launchers.queue.wakeup import Bell
from launchers.references import resolved
from launchers.text import some

_IMPORTS = ("launchers.queue.loop", "launchers.local.rank", "launchers.queue.slots")


def main(folders: list[str]) -> int:
    """Work off the batches in `folders`, widest first."""
    make_room_for_sockets()
    return run_queue(folders, _starter, name=LOCAL_JOB)


def _starter(batches: list[tuple[Path, Batch]], shared_slots: SharedSlots, bell: Bell) -> StartRanks:
    first_batch = batches[0][1]
    # The fork server inherits it; OpenMP reads it at import.
    os.environ.update(resolved(first_batch.rank_environment, os.environ))
    if first_batch.code is not None:
        sys.path.insert(0, first_batch.code)  # the fork server's as well: PYTHONPATH alone would come after it
    # What ranks run imports what is heavy itself, and later: the preloaded modules come first.
    preload = dict.fromkeys(
        [*(name for _, batch in batches for name in batch.preload), *(batch.module for _, batch in batches)]
    )
    context = multiprocessing.get_context("forkserver")
    # A forked rank runs this module again for its names, and shall find its imports done.
    context.set_forkserver_preload([*_IMPORTS, *preload])
    slots = Slots(slots_of(first_batch.profile), slot_folder())
    with suppress(OSError):  # a full disk
        bell.watches.file(slots.returned())
    return _Machine(slots, shared_slots, context, bell).start_ranks


class _Machine:
    """Cores or GPUs, and the server that forks ranks."""

    def __init__(self, slots: Slots, shared_slots: SharedSlots, context: ForkServerContext, bell: Bell) -> None:
        self._slots, self._shared_slots = slots, shared_slots
        self._context, self._bell = context, bell
        self._can_fork = threading.Event()
        # Apart, since whoever asks the server to fork waits until its imports are done, deaf to clients.
        threading.Thread(target=self._wait_for_the_server, daemon=True).start()

    def _wait_for_the_server(self) -> None:
        try:
            self._context.Process(target=os.getpid, daemon=True).start()
        finally:
            self._can_fork.set()  # if it cannot, the first task will say why
            self._bell.ring()

    def start_ranks(self, task: QueueTask, variables: dict[str, str]) -> "_Ranks | None":
        """Start all ranks of a task, if its slots are free. Raises `OSError` where no process can be started."""
        profile, world = task.batch.profile, task.shape.gpus
        per_rank = profile.cpus_per_gpu if profile.device is Device.CPU else 1
        if not self._can_fork.is_set():
            # The server's imports take a while, and whose cores these are is known at once.
            self._slots.look(self._wanted(task, per_rank))
            self._say_for_whom(task)
            return None
        slots = self._take(task, per_rank)
        if slots is None:
            self._say_for_whom(task)
            return None
        ranks = _Ranks(self._slots, [] if task.batch.shared else slots)
        used = slots[: world * per_rank] if task.batch.shared else slots
        numbers = [name.split("-", 1)[1] for name in used]
        environment = task.environment | variables | {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
        if profile.device is Device.CUDA:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(numbers)
        # A rank keeps to its own cores, unless there are too few: then the kernel shares them out.
        own_cores = profile.device is Device.CPU and len(numbers) >= world * per_rank
        try:
            for rank in range(world):
                cores = [int(n) for n in numbers[rank * per_rank : (rank + 1) * per_rank]] if own_cores else []
                arguments = (
                    environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    cores,
                    task.batch.module,
                    str(task.folder),
                )
                process = self._context.Process(target=run_rank, args=arguments)
                process.start()
                ranks.add(process)
        except (OSError, EOFError) as error:
            ranks.send(signal.SIGKILL)
            ranks.release()
            raise OSError(f"the server that forks ranks does not answer ({error!r})") from error
        return ranks

    def _take(self, task: QueueTask, per_rank: int) -> list[str] | None:
        """The slots of a task, or all those of its batch where that shares them; None if they are not free now."""
        count = self._wanted(task, per_rank)
        started = datetime.now().astimezone()
        owner = f"study {task.batch.study_dir} (process {os.getpid()}) since {started:%Y-%m-%d %H:%M}"
        if not task.batch.shared:
            return self._slots.take(count, owner)
        return self._shared_slots.of(task, lambda: self._slots.take(count, owner), self._slots.release)

    def _wanted(self, task: QueueTask, per_rank: int) -> int:
        """How many slots a task takes, or the whole batch where that shares them."""
        return len(self._slots) if task.batch.profile.exclusive else task.batch.shape.gpus * per_rank

    def _say_for_whom(self, task: QueueTask) -> None:
        """Tell clients, and once the log, whose cores or GPUs a task waits for; nothing of this queue's own."""
        other_owners = [owner for owner in self._slots.waits_for if f"(process {os.getpid()})" not in owner]
        resource = "GPUs" if task.batch.profile.device is Device.CUDA else "cores"
        detail = f"waits for {resource} of {some(other_owners, 2)}" if other_owners else ""
        if detail and detail != task.detail:
            sys.stderr.write(f"vit_sweep: task {task.index} {detail}\n")
        task.detail = detail


class _Ranks(Run):
    """Processes of one start; see `launchers.queue.task.Run`."""

    grace_s = 10.0

    def __init__(self, slots: Slots, names: list[str]) -> None:
        self.processes: list[BaseProcess] = []
        self._proven: list[psutil.Process | None] = []
        """Each with its start time, without which a number may by now be another process's."""
        self.hosts = socket.gethostname()
        self._slots = slots
        self._taken = names
        self._causes: dict[int, int] | None = None
        """Codes of the ranks that had failed before the others were told to end."""

    def add(self, process: BaseProcess) -> None:
        """Take a rank that has just been started."""
        self.processes.append(process)
        try:
            self._proven.append(psutil.Process(process.pid))
        except psutil.NoSuchProcess:  # it has ended already
            self._proven.append(None)

    def code(self) -> int | None:
        if any(process.exitcode is None for process in self.processes):
            return None
        return job_code(self._causes or self._codes())

    def broken(self) -> bool:
        return any(self._codes().values())

    def failure(self) -> str:
        return sentence(self._causes or self._codes())

    def send(self, number: signal.Signals) -> None:
        if number is signal.SIGTERM and self._causes is None:
            self._causes = {rank: code for rank, code in self._codes().items() if code}
        for process, proven in zip(self.processes, self._proven, strict=True):
            if process.exitcode is None and proven is not None:
                with suppress(psutil.NoSuchProcess):
                    send(proven, number)

    def sentinels(self) -> list[int]:
        return [process.sentinel for process in self.processes if process.exitcode is None]

    def release(self) -> None:
        for process in self.processes:
            process.join()
        self._slots.release(self._taken)

    def _codes(self) -> dict[int, int]:
        """Codes of the ranks that have ended."""
        codes = {rank: process.exitcode for rank, process in enumerate(self.processes)}
        return {rank: shell_code(code) for rank, code in codes.items() if code is not None}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
