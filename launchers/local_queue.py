"""The local queue: `python -m launchers.local_queue BATCH_FOLDER...` works batches off on this machine.

It runs apart from the client. Ranks are forked from one server process that has imported the batch's
`preload` modules once (torch and its kin cost seconds in every fresh process). A cell starts when its
cores or GPUs are free on the whole machine; one with more ranks than cores, and every cell of an `exclusive`
profile, gets the machine for itself.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from launchers.backend import TaskState, TaskStatus
from launchers.checked import parse_json
from launchers.job import Batch
from launchers.profile import Device
from launchers.queue_states import write_states
from launchers.slots import Slots, slot_folder, slots_of

_SIBLING_GRACE_S = 10.0
"""How long the other ranks may go on writing after one has failed."""


@dataclass
class _Cell:
    batch: Batch
    index: int
    state: TaskState = TaskState.QUEUED
    detail: str = ""
    ranks: list[BaseProcess] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)
    failed_at: float | None = None


class _Stopped(Exception):  # noqa: N818 - it is no error
    """SIGTERM arrived."""


def main(folders: list[str]) -> int:
    """Work off the batches in `folders`; returns 0 once every task has ended, however it ended."""
    signal.signal(signal.SIGTERM, _on_term)
    batches = [parse_json(Batch, (Path(f) / "batch.json").read_bytes(), what=f) for f in folders]
    first = batches[0]
    os.environ.update(first.rank_environment)  # the fork server inherits it; OpenMP reads it at import
    context = multiprocessing.get_context("forkserver")
    # This module too: a forked rank runs it again for its names, and finds its imports done.
    context.set_forkserver_preload(["launchers.local_queue", *first.preload])
    slots = Slots(slots_of(first.profile), slot_folder())
    # Widest first: narrow cells fill the gaps that wide ones leave, not the other way round.
    cells = [_Cell(batch=b, index=i) for b in sorted(batches, key=lambda b: -b.shape.gpus) for i in range(len(b.tasks))]
    _write_all(cells)
    try:
        while any(cell.state is not TaskState.ENDED for cell in cells):
            if _start_what_fits(cells, slots, context) | _reap(cells, slots):
                _write_all(cells)
            sentinels = [r.sentinel for c in cells for r in c.ranks if r.exitcode is None]
            # The timeout serves slots that another queue of this machine may give back.
            wait(sentinels, timeout=1.0) if sentinels else time.sleep(0.2)
    except _Stopped:
        for cell in cells:
            _kill(cell.ranks)
            if cell.state is not TaskState.ENDED:
                cell.state, cell.detail = TaskState.ENDED, "cancelled"
        _write_all(cells)
    return 0


def _start_what_fits(cells: list[_Cell], slots: Slots, context: "multiprocessing.context.ForkServerContext") -> bool:
    started = False
    for cell in cells:
        if cell.state is not TaskState.QUEUED:
            continue
        profile = cell.batch.profile
        per_rank = profile.cpus_per_gpu if profile.device is Device.CPU else 1
        taken = slots.take(len(slots) if profile.exclusive else cell.batch.shape.gpus * per_rank)
        if taken is None:
            continue
        cell.slots, cell.state, started = taken, TaskState.RUNNING, True
        cell.ranks = [_start_rank(cell, rank, per_rank, context) for rank in range(cell.batch.shape.gpus)]
    return started


def _start_rank(
    cell: _Cell, rank: int, per_rank: int, context: "multiprocessing.context.ForkServerContext"
) -> BaseProcess:
    world = cell.batch.shape.gpus
    numbers = [int(name.split("-", 1)[1]) for name in cell.slots if name.startswith("core-")]
    environment = cell.batch.rank_environment | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "VIT_SWEEP_TASK_INDEX": str(cell.index),
        "VIT_SWEEP_JOB_ID": f"local-{os.getpid()}-{cell.index}",
    }
    if not numbers:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(name.split("-", 1)[1] for name in cell.slots)
    # A rank keeps to its own cores, unless there are too few: then the kernel shares them out.
    cores = numbers[rank * per_rank : (rank + 1) * per_rank] if len(numbers) >= world * per_rank else []
    process = context.Process(target=_run_rank, args=(environment, cores, cell.batch.module, cell.batch.folder))
    process.start()
    return process


def _run_rank(environment: dict[str, str], cores: list[int], module: str, folder: str) -> None:
    """Be one rank: in the forked process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    if cores:
        os.sched_setaffinity(0, cores)
    sys.exit(importlib.import_module(module).main([folder]))


def _reap(cells: list[_Cell], slots: Slots) -> bool:
    """Note ended ranks; when one fails, end its siblings, which would wait for it for ever."""
    changed = False
    for cell in cells:
        if cell.state is not TaskState.RUNNING:
            continue
        codes = [rank.exitcode for rank in cell.ranks]
        if any(codes) and None in codes:
            cell.failed_at = cell.failed_at or time.monotonic()
            if time.monotonic() - cell.failed_at < _SIBLING_GRACE_S:
                continue
            cell.detail = _how(codes)
            _kill(cell.ranks)
        elif None in codes:
            continue
        cell.state, changed = TaskState.ENDED, True
        cell.detail = cell.detail or _how(codes)
        for rank in cell.ranks:
            rank.join()
        slots.give_back(cell.slots)
    return changed


def _how(codes: list[int | None]) -> str:
    """Say how ranks ended, the ones that died of a signal first: they are the cause, not the echo."""
    died = [f"rank {r} died of signal {signal.Signals(-c).name}" for r, c in enumerate(codes) if c and c < 0]
    failed = [f"rank {r} ended with code {c}" for r, c in enumerate(codes) if c and c > 0]
    return "; ".join(died or failed)


def _kill(ranks: list[BaseProcess]) -> None:
    for rank in ranks:
        if rank.exitcode is None:
            rank.terminate()
    deadline = time.monotonic() + 5
    for rank in ranks:
        rank.join(timeout=max(0.0, deadline - time.monotonic()))
        if rank.exitcode is None:
            rank.kill()
            rank.join()


def _write_all(cells: list[_Cell]) -> None:
    for folder in {cell.batch.folder for cell in cells}:
        mine = {c.index: TaskStatus(state=c.state, detail=c.detail) for c in cells if c.batch.folder == folder}
        write_states(Path(folder), mine)


def _on_term(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
