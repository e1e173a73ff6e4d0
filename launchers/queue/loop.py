"""The loop of a queue of ours: starts tasks when there is room, attends to those that run, listens to clients."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from launchers.backend import TaskStatus
from launchers.batch import Batch
from launchers.checked import parse_json
from launchers.queue.files import asked_to_cancel, write_states
from launchers.queue.task import Cell, StartRanks, attend, begin, cancel

_ROUND_S = 0.5
"""Longest time between two looks at clients' wishes, time limits and slots that other queues give back."""
_QUICK_ROUND_S = 0.1
"""Where the end of a process does not wake the loop."""
_LAST_WORD_S = 60.0
"""How long a queue whose disk is full goes on trying to say how its last tasks ended."""


def read_batches(folders: Sequence[str]) -> list[tuple[Path, Batch]]:
    """Read the batches in `folders`, widest first: narrow tasks fill the gaps that wide ones leave.

    Raises `UserError` for a file that is no batch, `OSError` for one that cannot be read.
    """
    found = [(Path(f), parse_json(Batch, (Path(f) / "batch.json").read_bytes(), what=f)) for f in folders]
    return sorted(found, key=lambda item: -item[1].shape.gpus)


def cells_of(batches: Sequence[tuple[Path, Batch]], minute_s: float) -> list[Cell]:
    """All tasks in the order in which they are to be started; `minute_s` is the length of a minute."""
    return [
        Cell(batch=batch, folder=folder, index=index, limit_s=batch.shape_of(index).minutes * minute_s)
        for folder, batch in batches
        for index in range(len(batch.tasks))
    ]


def work_off(
    cells: Sequence[Cell],
    start_ranks: StartRanks,
    job_id: Callable[[Cell], str],
    *,
    told_to_end: Callable[[], bool] = lambda: False,
    leave: Callable[[], bool] = lambda: False,
    tidy: Callable[[], None] = lambda: None,
) -> None:
    """Return once every task has ended, however it ended, or once nothing runs and `leave` says so.

    `told_to_end` cancels all of them. `tidy` is called in every round, after starts.
    """
    unwritten = {folder for folder in {cell.folder for cell in cells} if not _write(folder, cells)}
    over_since: float | None = None
    while True:
        now = time.monotonic()
        asked = {folder: asked_to_cancel(folder) for folder in {cell.folder for cell in cells if cell.ended is None}}
        for cell in cells:
            if cell.ended is not None:
                continue
            changed = attend(cell, now)
            if told_to_end() or cell.index in asked[cell.folder]:
                changed |= cancel(cell, now)
            if changed:
                unwritten.add(cell.folder)
        unwritten |= _start_what_fits(cells, start_ranks, job_id, now)
        tidy()
        unwritten = {folder for folder in unwritten if not _write(folder, cells)}
        if all(cell.ended is not None or (cell.start is None and leave()) for cell in cells):
            over_since = over_since or now
            if not unwritten or now > over_since + _LAST_WORD_S:
                return
        _wait(cells)


def _start_what_fits(
    cells: Sequence[Cell], start_ranks: StartRanks, job_id: Callable[[Cell], str], now: float
) -> set[Path]:
    """Start tasks in their order; returns the folders of batches that clients should hear of.

    In a shared batch nobody overtakes: it has one running task, and a task that has no room holds up those after it.
    """
    running = Counter(cell.folder for cell in cells if cell.start is not None)
    changed = set()
    for cell in cells:
        most = 1 if cell.batch.shared else cell.batch.parallel
        if not cell.queued or (most is not None and running[cell.folder] >= most):
            continue
        if begin(cell, start_ranks, job_id(cell), now):
            changed.add(cell.folder)
        running[cell.folder] += cell.start is not None or (cell.batch.shared and cell.queued)
    return changed


def _write(folder: Path, cells: Sequence[Cell]) -> bool:
    """Tell clients about a batch. A full disk must not end the ranks: the queue tries again next time."""
    said: dict[int, TaskStatus] = {cell.index: cell.status for cell in cells if cell.folder == folder}
    try:
        write_states(folder, said)
    except OSError:
        return False
    return True


def _wait(cells: Sequence[Cell]) -> None:
    """Wait until a rank ends, or for the next round."""
    starts = [cell.start for cell in cells if cell.start is not None]
    sentinels = [sentinel for start in starts for sentinel in start.run.sentinels()]
    silent = not sentinels or any(start.closing is not None for start in starts)
    wait(sentinels, timeout=_QUICK_ROUND_S if silent else _ROUND_S) if sentinels else time.sleep(_QUICK_ROUND_S)
