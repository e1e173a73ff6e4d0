"""The loop of our queues: starts tasks when there is room, attends to those that run, listens to clients.

It sleeps until its bell rings or something is due, and looks by itself only for what no event tells.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from launchers.atomic import NO_ROOM, guard, read
from launchers.backend import TaskStatus
from launchers.batch import Batch
from launchers.checked import parse_json
from launchers.queue.clock import next_due
from launchers.queue.files import asked_to_cancel, cancel_folder, write_handle, write_states
from launchers.queue.slots import SharedSlots
from launchers.queue.task import CLOSING_LIMIT_S, QueueTask, Start, StartRanks, attend, begin, cancel
from launchers.queue.wakeup import Bell

_LOOK_S = 1.0
"""Longest time between two looks at clients' wishes: one on another machine makes no event here."""
_TRY_S = 5.0
"""Longest time between two tries to start what had no room: another queue may be killed before it can say anything."""
_LAST_WRITE_S = 60.0
"""How long a queue whose disk is full goes on trying to write how its last tasks ended."""


Starter = Callable[[list[tuple[Path, Batch]], SharedSlots, Bell], StartRanks]
"""Makes a queue ready to start tasks of its batches; shared ones keep their slots in `SharedSlots`.

It has the bell ring when there may be room where there was none.
"""


def run_queue(folders: Sequence[str], starter: Starter, *, name: str) -> int:
    """Be the queue's process: work off the batches in `folders`; returns 0 once every task has ended, however it ended.

    `name` begins the job ids of its tasks.
    """
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
    batches = read_batches(folders)
    with Bell() as bell:
        while not _has_written_handle(folders):
            if signals:
                return 1
            bell.wait((), _LOOK_S)
        tasks = tasks_of(batches)
        shared_slots = SharedSlots(tasks)
        work_off(
            tasks,
            starter(batches, shared_slots, bell),
            job_id=lambda task: f"{name}{os.getpid()}-{task.index}",
            bell=bell,
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
    batches = [(Path(f), parse_json(Batch, read(Path(f) / "batch.json"), source=f)) for f in folders]
    return sorted(batches, key=lambda item: -item[1].shape.gpus)


def tasks_of(batches: Sequence[tuple[Path, Batch]]) -> list[QueueTask]:
    """All tasks in the order in which they are to be started.

    Where each has the machine for itself, the first of each batch comes before the second of any: what is compared runs
    close together, and the first two can be compared already. No narrow task would fill a gap there.
    """
    tasks = [
        QueueTask(batch=batch, folder=folder, index=index, limit_s=batch.shape_of(index).minutes * 60.0)
        for folder, batch in batches
        for index in range(len(batch.tasks))
    ]
    one_by_one = all(batch.profile.exclusive and batch.profile.nodes == 1 and not batch.shared for _, batch in batches)
    return sorted(tasks, key=lambda task: task.index) if one_by_one else tasks


def work_off(
    tasks: Sequence[QueueTask],
    start_ranks: StartRanks,
    job_id: Callable[[QueueTask], str],
    *,
    bell: Bell,
    terminated: Callable[[], bool] = lambda: False,
    leave: Callable[[], bool] = lambda: False,
    tidy: Callable[[], None] = lambda: None,
) -> None:
    """Return once every task has ended, however it ended, or once nothing runs and `leave` is true.

    `terminated` cancels all of them. `tidy` is called in every round, after starts.
    """
    unwritten = {folder for folder in {task.folder for task in tasks} if not _write(folder, tasks)}
    for folder in {task.folder for task in tasks}:
        with suppress(OSError):  # a full disk
            bell.watches.folder(cancel_folder(folder))
    over_since: float | None = None
    stirred, next_try = True, 0.0
    while True:
        now = time.monotonic()
        changed = _attend_all(tasks, now, terminated=terminated())
        # What has ended is written before anything else starts: a queue that goes on after this one starts it no more.
        unwritten = {folder for folder in unwritten | changed if not _write(folder, tasks)}
        if stirred or changed or now >= next_try:
            unwritten |= _start_what_fits(tasks, start_ranks, job_id, now)
            next_try = now + _TRY_S
        tidy()
        unwritten = {folder for folder in unwritten if not _write(folder, tasks)}
        if all(task.ended is not None or (task.start is None and leave()) for task in tasks):
            over_since = over_since or now
            if not unwritten or now > over_since + _LAST_WRITE_S:
                return
        starts = [task.start for task in tasks if task.start is not None]
        sentinels = [sentinel for start in starts for sentinel in start.run.sentinels()]
        stirred = bell.wait(sentinels, _patience_s(starts, now))


def _attend_all(tasks: Sequence[QueueTask], now: float, *, terminated: bool) -> set[Path]:
    """Do what is due for tasks that run, and what clients wish; returns the folders of batches with news for them."""
    open_tasks = [task for task in tasks if task.ended is None]
    to_cancel = {folder: asked_to_cancel(folder) for folder in {task.folder for task in open_tasks}}
    changed = set()
    for task in open_tasks:
        news = attend(task, now)
        if terminated or task.index in to_cancel[task.folder]:
            news |= cancel(task, now)
        if news:
            changed.add(task.folder)
    return changed


def _start_what_fits(
    tasks: Sequence[QueueTask], start_ranks: StartRanks, job_id: Callable[[QueueTask], str], now: float
) -> set[Path]:
    """Start tasks in their order; returns the folders of batches that clients should hear of.

    Where one task has no room, others of its batch, which want the same, are not tried. In a shared batch nobody
    overtakes: it has one running task, and a task that has no room holds up those after it.
    """
    running = Counter(task.folder for task in tasks if task.start is not None)
    without_room: dict[Path, tuple[str, str]] = {}
    changed = set()
    for task in tasks:
        limit = 1 if task.batch.shared else task.batch.parallel
        if not task.queued or (limit is not None and running[task.folder] >= limit):
            continue
        detail = task.detail
        if task.folder in without_room:
            # The reason of the one that was tried holds for those that had the same detail before.
            old_detail, new_detail = without_room[task.folder]
            task.detail = new_detail if detail == old_detail else detail
        elif begin(task, start_ranks, job_id(task), now):
            changed.add(task.folder)
        if task.queued:
            without_room.setdefault(task.folder, (detail, task.detail))
        running[task.folder] += task.start is not None or (task.batch.shared and task.queued)
    return changed


def _patience_s(starts: Sequence[Start], now: float) -> float:
    """How long a queue may wait for its bell: until something is due, at most until its next look."""
    moments = [
        next_due(start.moments) if start.closing is None else start.closing_begun + CLOSING_LIMIT_S for start in starts
    ]
    return max(0.0, min([_LOOK_S, *(moment - now for moment in moments if moment is not None)]))


def _write(folder: Path, tasks: Sequence[QueueTask]) -> bool:
    """Write the states of a batch. A full disk must not end the ranks: the queue tries again next time."""
    statuses: dict[int, TaskStatus] = {task.index: task.status for task in tasks if task.folder == folder}
    try:
        write_states(folder, statuses)
    except OSError:
        return False
    return True
