"""When a study's scheduler is asked again, and what is known of its cells in between. An edge but for `due_at`.

Starts and good ends are seen in the study's own files, which costs the controller nothing. It is asked for what only it
knows: why a cell waits, that a job is gone without a word, and how one ended that did not end well.
"""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from launchers.backend import TaskState, TaskStatus
from launchers.choose import launcher_of
from launchers.profile import Scheduler
from vit_sweep.outcome.result import Result, Status
from vit_sweep.outcome.verdict import Attempt
from vit_sweep.plan.waiting.forecast_file import seconds
from vit_sweep.study.journal import SubmittedAttempt
from vit_sweep.study.lock import now
from vit_sweep.study.store import Study

SOON_S = 2.0
FIRST_S = 10.0
"""After news of a cell: its reason to wait has settled by then, and most jobs that die at once have."""
START_S = 20.0
"""What a rank takes to import on most file systems."""
GROWTH = 3.0
"""By how much a cell's silence grows from one question to the next."""
LONGEST_S = 180.0
LONGEST_AWAY_S = 25.0
"""While something is known to be about to change: an end, or a controller that is back."""


class Silence(NamedTuple):
    """An open cell as the schedule sees it; seconds of one clock."""

    since: float
    """When there was last news of it, from its files or from the scheduler; or when there is to be some."""
    overdue: bool = False
    """Whether news is expected at any moment: it has ended, or the scheduler did not answer."""


def due_at(asked_at: float, cells: Iterable[Silence]) -> float:
    """Return when to ask the scheduler again, which was asked last at `asked_at`.

    Seconds after the last question where an answer is overdue, ever less often the longer it stays so; else when the
    silence of a cell has grown to `GROWTH` times of what it was; after `LONGEST_S` in any case. What is not to be heard
    of yet is silent from a moment that is to come.
    """
    moments = (
        asked_at + min(LONGEST_AWAY_S, (asked_at - cell.since) / 2)
        if cell.overdue
        else cell.since + max(FIRST_S, GROWTH * (asked_at - cell.since))
        for cell in cells
    )
    return max(asked_at + SOON_S, min([asked_at + LONGEST_S, *moments]))


class Poller:
    """The scheduler's states of the cells of one study, for one client that looks repeatedly."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._asked_at: float | None = None
        self._now = self._due = 0.0
        self._fresh = True
        """Whether this look has asked."""
        self._states: dict[str, tuple[SubmittedAttempt, TaskStatus]] = {}
        self._began_before: dict[str, str] = {}
        """By cell, the last start of its attempt that there was when the scheduler was asked."""
        self._overdue: set[str] = set()
        self._seen: dict[str, tuple[object, float]] = {}
        """By cell, what was last seen of it, and when that was news."""
        self._moved: dict[str, float] = {}
        """By partition, when there was last news of a cell there: those that wait for it come after that one."""

    def states(self, latest: Mapping[str, SubmittedAttempt]) -> dict[str, TaskStatus]:
        """The states at the start of a look: asked of the scheduler if that is due, else the last ones."""
        self._now = time.monotonic()
        on_slurm = {cell: attempt for cell, attempt in latest.items() if attempt.scheduler == Scheduler.SLURM}
        if self._asked_at is None and on_slurm and all(map(_is_young, on_slurm.values())):
            # Slurm has taken them, and has not looked yet whether they can start.
            self._asked_at, self._due = self._now, self._now + FIRST_S
            self._states = {cell: (attempt, _SUBMITTED) for cell, attempt in on_slurm.items()}
        self._fresh = (
            self._asked_at is None
            or self._now >= self._due
            or any(self._is_changed(cell, attempt) for cell, attempt in on_slurm.items())
        )
        max_age_s, self._overdue = self._max_age_s(), set()
        statuses = ask(self._study, {cell: attempt for cell, attempt in latest.items() if cell not in on_slurm})
        if not on_slurm:
            self._asked_at, self._fresh = None, True
            return statuses
        if not self._fresh:
            return statuses | {cell: self._last_status(cell, attempt) for cell, attempt in on_slurm.items()}
        reported = ask(self._study, on_slurm, max_age_s=max_age_s)
        self._states = {cell: (on_slurm[cell], status) for cell, status in reported.items()}
        self._asked_at, self._began_before = self._now, {}
        return statuses | reported

    def newer(self, cell: str, last: Attempt | None, status: TaskStatus) -> TaskStatus:
        """A cell's status, or what its files say since the last question: that its last attempt began."""
        began = last.name if last is not None else ""
        if self._fresh:
            self._began_before[cell] = began
        elif status.state is TaskState.QUEUED and began and began != self._began_before.get(cell, ""):
            status = TaskStatus(state=TaskState.RUNNING)
        is_over = last is not None and last.is_over and status.state is not TaskState.QUEUED
        if is_over or status.state in (TaskState.ENDED, TaskState.UNKNOWN):
            self._overdue.add(cell)
        return status

    def note(self, results: Iterable[Result]) -> None:
        """The end of a look: when to ask again, by what it found."""
        if self._asked_at is None:
            return
        previous, self._seen = self._seen, {}
        open_cells = list[Result]()
        for result in results:
            cell, seen = result.file.cell_id, (result.status, result.attempt, result.detail, result.progress)
            last_seen = previous.get(cell)
            self._seen[cell] = last_seen if last_seen is not None and last_seen[0] == seen else (seen, self._now)
            if last_seen is not None and last_seen[0] != seen:
                self._moved[result.file.cell.partition] = self._now
            if result.status.has_job:
                open_cells.append(result)
        self._due = due_at(self._asked_at, map(self._silence, open_cells))

    def _silence(self, result: Result) -> Silence:
        """Of an open cell: one that waits behind others of its partition has news when they begin and end, and one that
        runs is to be heard of once it trains, and at the end of its epoch."""
        cell = result.file.cell_id
        since = self._seen[cell][1] + _busy_s(result)
        if result.status is Status.QUEUED:
            since = max(since, self._moved.get(result.file.cell.partition, since))
        return Silence(since, overdue=cell in self._overdue)

    def due_in_s(self) -> float:
        """Seconds until the scheduler is to be asked again; infinite where it never was."""
        return max(0.0, self._due - time.monotonic()) if self._asked_at is not None else float("inf")

    def _last_status(self, cell: str, attempt: SubmittedAttempt) -> TaskStatus:
        """The last known status of this attempt; one that was submitted since then is in the queue."""
        known = self._states.get(cell)
        if attempt.in_doubt or known is None or known[0] != attempt:
            return _IN_DOUBT if attempt.in_doubt else _SUBMITTED
        return known[1]

    def _is_changed(self, cell: str, attempt: SubmittedAttempt) -> bool:
        """Whether something was done to an attempt that we know: it was cancelled, or is in doubt no more."""
        known = self._states.get(cell)
        return known is not None and known[0] != attempt and known[0].attempt == attempt.attempt

    def _max_age_s(self) -> float:
        """How old another client's answer may be: it must be younger than ours, and than what it is asked for."""
        news = [self._seen[cell][1] for cell in self._overdue if cell in self._seen]
        asked_at = self._now if self._asked_at is None else self._asked_at
        return min([(self._now - asked_at) / 2, *(self._now - since for since in news)])


def _busy_s(result: Result) -> float:
    """Seconds after its last news for which nothing has to be heard of a cell that runs: until its ranks have imported
    what they need, then to the end of its epoch, as fast as it was so far."""
    progress = result.progress
    if result.status is not Status.RUNNING:
        return 0.0
    if progress is None or not progress.trained_steps:
        return START_S
    epoch_steps = result.file.cell.steps_per_epoch
    return (epoch_steps - progress.steps % epoch_steps) * progress.trained_s / progress.trained_steps


_IN_DOUBT = TaskStatus(state=TaskState.UNKNOWN, detail="its submission is in doubt: the same command looks it up")
_SUBMITTED = TaskStatus(state=TaskState.QUEUED, detail="submitted")


def _is_young(attempt: SubmittedAttempt) -> bool:
    """Whether it was submitted so short a time ago that its reason to wait has not settled; by this machine's clock,
    so what another one with a clock ahead of ours wrote is not."""
    return not attempt.in_doubt and bool(attempt.at) and 0 <= seconds(now()) - seconds(attempt.at) < FIRST_S


def ask(study: Study, latest: Mapping[str, SubmittedAttempt], **options: float) -> dict[str, TaskStatus]:
    """Ask each scheduler once for all of its cells; `options`: see `Launcher.states`."""
    statuses = {cell: _IN_DOUBT for cell, attempt in latest.items() if attempt.in_doubt}
    for scheduler in {attempt.scheduler for attempt in latest.values() if not attempt.in_doubt}:
        of_scheduler = {cell: a for cell, a in latest.items() if a.scheduler == scheduler and not a.in_doubt}
        submissions = {(attempt.batch, attempt.handle): study.submission(attempt) for attempt in of_scheduler.values()}
        states = launcher_of(scheduler).states(submissions.values(), **options)
        statuses |= {cell: states[attempt.batch, attempt.index] for cell, attempt in of_scheduler.items()}
    return statuses
