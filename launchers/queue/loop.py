"""The loop of our queues: starts tasks when there is room, attends to those that run, listens to clients."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from launchers.atomic import NO_ROOM, guard, read
from launchers.backend import TaskStatus
from launchers.batch import Batch
from launchers.checked import parse_json
from launchers.queue.files import asked_to_cancel, write_handle, write_states
from launchers.queue.slots import SharedSlots
from launchers.queue.task import QueueTask, StartRanks, attend, begin, cancel

_ROUND_S = 0.5
"""Longest time between two looks at clients' wishes, time limits and slots that other queues give back."""
_QUICK_ROUND_S = 0.1
"""Where the end of a process does not wake the loop."""
_LAST_WRITE_S = 60.0
"""How long a queue whose disk is full goes on trying to write how its last tasks ended."""


Starter = Callable[[list[tuple[Path, Batch]], SharedSlots], StartRanks]
"""Makes a queue ready to start tasks of its batches; shared ones keep their slots in `SharedSlots`."""


def run_queue(folders: Sequence[str], starter: Starter, *, name: str) -> int:
    """Be the queue's process: work off the batches in `folders`; returns 0 once every task has ended, however it ended.

    `name` begins the job ids of its tasks.
    """
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
    batches = read_batches(folders)
    while not _has_written_handle(folders):
        if signals:
            return 1
        time.sleep(_ROUND_S)
    tasks = tasks_of(batches)
    shared_slots = SharedSlots(tasks)
    work_off(
        tasks,
        starter(batches, shared_slots),
        job_id=lambda task: f"{name}{os.getpid()}-{task.index}",
        terminated=lambda: bool(signals),
        tidy=shared_slots.tidy,
    )
    return 0


def _has_written_handle(folders: Sequence[str]) -> bool:
    """Say that this process has the batches; on a full disk there is no room for that, nor for what tasks write."""
    try:
        write_handle(Path(folder) for folder in folders)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return False
    return True


def read_batches(folders: Sequence[str]) -> list[tuple[Path, Batch]]:
    """Read the batches in `folders`, widest first: narrow tasks fill the gaps that wide ones leave.

    From then on nothing of their studies is written through a link. Raises `UserError` for a file that is no batch,
    `OSError` for one that cannot be read.
    """
    for folder in folders:
        guard(Path(folder).parent.parent)
    batches = [(Path(f), parse_json(Batch, read(Path(f) / "batch.json"), what=f)) for f in folders]
    return sorted(batches, key=lambda item: -item[1].shape.gpus)


def tasks_of(batches: Sequence[tuple[Path, Batch]]) -> list[QueueTask]:
    """All tasks in the order in which they are to be started."""
    return [
        QueueTask(batch=batch, folder=folder, index=index, limit_s=batch.shape_of(index).minutes * 60.0)
        for folder, batch in batches
        for index in range(len(batch.tasks))
    ]


def work_off(
    tasks: Sequence[QueueTask],
    start_ranks: StartRanks,
    job_id: Callable[[QueueTask], str],
    *,
    terminated: Callable[[], bool] = lambda: False,
    leave: Callable[[], bool] = lambda: False,
    tidy: Callable[[], None] = lambda: None,
) -> None:
    """Return once every task has ended, however it ended, or once nothing runs and `leave` is true.

    `terminated` cancels all of them. `tidy` is called in every round, after starts.
    """
    unwritten = {folder for folder in {task.folder for task in tasks} if not _write(folder, tasks)}
    over_since: float | None = None
    while True:
        now = time.monotonic()
        to_cancel = {
            folder: asked_to_cancel(folder) for folder in {task.folder for task in tasks if task.ended is None}
        }
        for task in tasks:
            if task.ended is not None:
                continue
            changed = attend(task, now)
            if terminated() or task.index in to_cancel[task.folder]:
                changed |= cancel(task, now)
            if changed:
                unwritten.add(task.folder)
        unwritten |= _start_what_fits(tasks, start_ranks, job_id, now)
        tidy()
        unwritten = {folder for folder in unwritten if not _write(folder, tasks)}
        if all(task.ended is not None or (task.start is None and leave()) for task in tasks):
            over_since = over_since or now
            if not unwritten or now > over_since + _LAST_WRITE_S:
                return
        _wait(tasks)


def _start_what_fits(
    tasks: Sequence[QueueTask], start_ranks: StartRanks, job_id: Callable[[QueueTask], str], now: float
) -> set[Path]:
    """Start tasks in their order; returns the folders of batches that clients should hear of.

    In a shared batch nobody overtakes: it has one running task, and a task that has no room holds up those after it.
    """
    running = Counter(task.folder for task in tasks if task.start is not None)
    changed = set()
    for task in tasks:
        most = 1 if task.batch.shared else task.batch.parallel
        if not task.queued or (most is not None and running[task.folder] >= most):
            continue
        if begin(task, start_ranks, job_id(task), now):
            changed.add(task.folder)
        running[task.folder] += task.start is not None or (task.batch.shared and task.queued)
    return changed


def _write(folder: Path, tasks: Sequence[QueueTask]) -> bool:
    """Write the states of a batch. A full disk must not end the ranks: the queue tries again next time."""
    statuses: dict[int, TaskStatus] = {task.index: task.status for task in tasks if task.folder == folder}
    try:
        write_states(folder, statuses)
    except OSError:
        return False
    return True


def _wait(tasks: Sequence[QueueTask]) -> None:
    """Wait until a rank ends, or for the next round."""
    starts = [task.start for task in tasks if task.start is not None]
    sentinels = [sentinel for start in starts for sentinel in start.run.sentinels()]
    silent = not sentinels or any(start.closing is not None for start in starts)
    if sentinels:
        wait(sentinels, timeout=_QUICK_ROUND_S if silent else _ROUND_S)
    else:
        # Where nothing runs, others have the slots: they are not asked for ten times a second.
        time.sleep(_QUICK_ROUND_S if starts else _ROUND_S)
