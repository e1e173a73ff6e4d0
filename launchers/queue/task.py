"""One task in one of our queues: started, warned, ended, closed, and perhaps started again.

How processes are started is the queue's own business (`Run`); what happens to them, and when, is the same for all.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.batch import RUN_AGAIN, Batch, Shape
from launchers.process.environment import ALLOCATED_GPUS, JOB_ENDS, JOB_ID, RESTART, TASK_INDEX
from launchers.queue.clock import Due, Moments, due
from launchers.queue.signals import send
from launchers.references import resolved

CLOSING_LIMIT_S = 60.0
"""How long a closing module may take."""


class Run(Protocol):
    """All ranks of one start of a task."""

    grace_s: float
    """Between being told to end and being killed, seconds."""
    hosts: str
    """Where it runs, for people."""

    def code(self) -> int | None:
        """Exit code of the whole, as a shell has it; None while a rank lives."""

    def broken(self) -> bool:
        """Whether a rank has failed while others live, and nobody else ends those: srun and mpirun do."""
        return False

    def failure(self) -> str:
        """Say how it ended; empty when well."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every rank that lives."""

    def sentinels(self) -> list[int]:
        """Descriptors that become readable when a rank ends; none where only asking helps."""
        return []

    def release(self) -> None:
        """Let others have its cores, GPUs or hosts."""


@dataclass(kw_only=True)
class Start:
    """One start of a task."""

    run: Run
    variables: dict[str, str]
    """Variables that tell ranks and the closing module which start of which task they belong to."""
    moments: Moments
    end_reason: Ended | None = None
    """Why its ranks were told to end; None: they were not, or because one of them had failed."""
    detail: str = ""
    closing: subprocess.Popen[bytes] | None = None
    """After the ranks ended badly."""
    closing_begun: float = 0.0


@dataclass(kw_only=True)
class QueueTask:
    """A task of a batch, and what has become of it."""

    batch: Batch
    folder: Path
    """The batch's folder as the queue was given it."""
    index: int
    limit_s: float
    """Time limit of one start, seconds."""
    restart: int = 0
    detail: str = ""
    hosts: str = ""
    cancelled: bool = False
    ended: Ended | None = None
    """Only once it is over."""
    start: Start | None = None
    """Only while it runs or is being closed."""
    allocation_ends: float | None = None
    """Unix time at which somebody else ends all that runs here (Slurm: the job's time limit); None: nobody does."""
    taken_away: bool = False
    """Whether its allocation is being taken away: an end from now on is no end, it waits for whoever goes on."""
    environment: dict[str, str] = field(init=False)
    """Variables of its ranks, those resolved that whoever started the queue has."""

    def __post_init__(self) -> None:
        """Resolve now: a queue may later set variables of its own."""
        self.environment = resolved(self.batch.rank_environment, os.environ)

    @property
    def shape(self) -> Shape:
        """What it runs on, and how long at most."""
        return self.batch.shape_of(self.index)

    @property
    def queued(self) -> bool:
        """Whether it waits to be started, for the first time or again."""
        return self.start is None and self.ended is None

    @property
    def status(self) -> TaskStatus:
        """What clients see. A task is not over before its closing module has decided."""
        state = TaskState.RUNNING if self.start else TaskState.ENDED if self.ended else TaskState.QUEUED
        return TaskStatus(state=state, detail=self.detail, ended=self.ended, hosts=self.hosts)


StartRanks = Callable[[QueueTask, dict[str, str]], Run | None]
"""Starts the ranks of a task with the given variables; None while there is no room. It may note why in `detail`."""


def begin(task: QueueTask, start_ranks: StartRanks, job_id: str, now: float) -> bool:
    """Start a queued task if there is room; returns whether clients should hear of it."""
    ends = time.time() + task.limit_s
    variables = {
        TASK_INDEX: str(task.index),
        JOB_ID: job_id,
        RESTART: str(task.restart),
        JOB_ENDS: str(int(ends if task.allocation_ends is None else min(ends, task.allocation_ends))),
    }
    if task.batch.shared:
        variables[ALLOCATED_GPUS] = str(task.batch.held_gpus)
    previous_detail = task.detail
    try:
        run = start_ranks(task, variables)
    except OSError as error:
        task.ended, task.detail = Ended.FAILED, f"it could not be started: {error}"
        return True
    if run is None:
        return task.detail != previous_detail
    moments = Moments(begun=now, limit_s=task.limit_s, grace_s=run.grace_s)
    task.start, task.detail, task.hosts = Start(run=run, variables=variables, moments=moments), "", run.hosts
    return True


def cancel(task: QueueTask, now: float) -> bool:
    """End a task because somebody asked for it; returns whether clients should hear of it."""
    if task.cancelled or task.ended is not None:
        return False
    task.cancelled = True
    if task.start is None:
        task.ended, task.detail = Ended.CANCELLED, "cancelled"
        return True
    if task.start.closing is None:
        _terminate(task.start, Ended.CANCELLED, "cancelled", now)
    return False


def attend(task: QueueTask, now: float) -> bool:
    """Do what is due for a task that has been started; returns whether clients should hear of it."""
    if task.start is None:
        return False
    if task.start.closing is not None:
        return _attend_closing(task, task.start, task.start.closing, now)
    code = task.start.run.code()
    if code is not None:
        return _ranks_ended(task, task.start, code, now)
    _attend_ranks(task, task.start, now)
    return False


def _attend_ranks(task: QueueTask, start: Start, now: float) -> None:
    if start.moments.broken is None and start.run.broken():
        start.moments = replace(start.moments, broken=now)
    match due(start.moments, now):
        case Due.WARN:
            start.run.send(signal.SIGUSR2)
            start.moments = replace(start.moments, warned=now)
        case Due.TIME_LIMIT:
            _terminate(start, Ended.TIME_LIMIT, f"its time limit of {task.shape.minutes} min was over", now)
        case Due.END_THE_REST:
            _terminate(start, None, start.run.failure(), now)
        case Due.KILL:
            start.run.send(signal.SIGKILL)
            start.moments = replace(start.moments, killed=now)
        case Due.NOTHING:
            pass


def _terminate(start: Start, why: Ended | None, detail: str, now: float) -> None:
    """Tell the ranks to end. The first reason is the one that counts."""
    if start.moments.terminated is None:
        start.end_reason, start.detail = why, detail
        start.run.send(signal.SIGTERM)
        start.moments = replace(start.moments, terminated=now)


def _ranks_ended(task: QueueTask, start: Start, code: int, now: float) -> bool:
    if code == 0:
        # Even if it was told to end: it had finished before it heard.
        _leave(task, start, Ended.COMPLETED, "")
        return True
    start.detail = start.detail or start.run.failure()
    if task.batch.closing is None:
        _leave(task, start, start.end_reason or Ended.FAILED, start.detail)
        return True
    # Its cores stay taken: the closing module must neither disturb a neighbour's timing nor lose its task its place.
    command = [sys.executable, "-m", task.batch.closing, str(task.folder), str(code)]
    environment = os.environ | task.environment | start.variables
    try:
        start.closing = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, cwd=task.folder.parent.parent, env=environment
        )
        start.closing_begun = now
    except OSError as error:
        _after_closing(task, start, run_again=False, problem=f"its closing module did not start: {error}")
    task.detail = start.detail
    return True


def _attend_closing(task: QueueTask, start: Start, closing: subprocess.Popen[bytes], now: float) -> bool:
    code, problem = closing.poll(), ""
    if code is None:
        if now < start.closing_begun + CLOSING_LIMIT_S:
            return False
        send(closing, signal.SIGKILL)
        closing.wait()
        problem = f"its closing module took longer than {CLOSING_LIMIT_S:.0f} s and was killed"
    elif code not in (0, RUN_AGAIN):
        problem = f"its closing module ended with code {code}"
    _after_closing(task, start, run_again=code == RUN_AGAIN, problem=problem)
    return True


def _after_closing(task: QueueTask, start: Start, *, run_again: bool, problem: str) -> None:
    how, detail = start.end_reason or Ended.FAILED, "; ".join(filter(None, [start.detail, problem]))
    if run_again and task.cancelled:
        how, detail = Ended.CANCELLED, "cancelled"
    _leave(task, start, how, detail)
    if run_again and not task.cancelled:
        task.ended, task.hosts = None, ""
        task.restart, task.detail = task.restart + 1, f"starts again: {start.detail}"


def _leave(task: QueueTask, start: Start, how: Ended, detail: str) -> None:
    start.run.release()
    task.start, task.ended, task.detail = None, how, detail
    if task.taken_away and not task.cancelled:
        # Not even a good end counts: srun ends with 0 when its node was taken. The next start sees what was done.
        task.ended, task.detail = None, "its allocation was taken away"
