"""What became of every cell: the job's own files first, then the scheduler's word. An edge."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import TypeGuard

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.choose import launcher_of
from launchers.profile import Scheduler
from launchers.slurm.handle import parts_of
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.outcome.policy import Action, Stop, decide, stopped_by
from vit_sweep.outcome.result import Result, Status, story_of
from vit_sweep.outcome.starting import of_start
from vit_sweep.outcome.verdict import Attempt, is_unasked_restart, verdicts
from vit_sweep.plan.cell import CellFile
from vit_sweep.record.attempt import FIRST, attempt_name
from vit_sweep.record.record import Record
from vit_sweep.study.journal import SubmittedAttempt, latest_attempts
from vit_sweep.study.lock import now
from vit_sweep.study.polling import Poller, ask
from vit_sweep.study.reading import RecordProblem
from vit_sweep.study.store import Study
from vit_sweep.study.waiting import Waiting

ENDING = "ending"
"""What is said of a job whose end is seen for the first time."""
_MAY_CHANGE = (Status.MISSING, Status.UNREADABLE)
"""Ends that are looked into each time."""
RUNS_AGAIN = (Action.AGAIN, Action.ELSEWHERE)

_STATUS = {
    Cause.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
    Cause.SKIPPED: Status.SKIPPED,
    Cause.CANCELLED: Status.CANCELLED,
    Cause.DONE: Status.MISSING,
}
"""Every other cause is a failure."""
_OF_STATE = {
    TaskState.QUEUED: Status.QUEUED,
    TaskState.RUNNING: Status.RUNNING,
    TaskState.SUSPENDED: Status.SUSPENDED,
    TaskState.ENDED: Status.RUNNING,
    TaskState.UNKNOWN: Status.UNKNOWN,
}
"""What has ended is called running until its own files are judged."""
_NO_WORD = (None, Ended.FAILED, Ended.UNREPORTED)


class Watcher:
    """Asks for the state of a study again and again; what has ended for good is read only once."""

    def __init__(self, study: Study, *, files: Iterable[CellFile] | None = None, poller: Poller | None = None) -> None:
        """Watch `study`; of `files` only, if they are given. `poller`: when Slurm is asked; None: at each look."""
        self._study, self._poller, self._waiting = study, poller, Waiting(study)
        self._settled: dict[str, tuple[SubmittedAttempt | None, Result]] = {}
        self._ended_before: set[tuple[str, str]] = set()
        self._starts: dict[tuple[str, str], tuple[Ended, ...]] = {}
        self._files: list[CellFile] = [] if files is None else list(files)
        self._planned_at = -1 if files is None else study.planned_at()

    def results(self) -> list[Result]:
        """One result per planned cell, in the order of `cell_files`."""
        files, latest = self._cell_files(), latest_attempts(self._study.jobs())
        results: dict[str, Result] = {}
        records: dict[str, Record | RecordProblem | None] = {}
        for file in files:
            settled = self._settled.get(file.cell_id)
            if settled is not None and settled[0] == latest.get(file.cell_id):
                results[file.cell_id] = settled[1]
            else:
                records[file.cell_id] = self._study.record(file)
        # A record is the last word, unless its cell was sent again since.
        open_cells = {
            cell: latest[cell]
            for cell, record in records.items()
            if cell in latest and not _is_last(record, latest[cell])
        }
        words = ask(self._study, open_cells) if self._poller is None else self._poller.states(open_cells)
        for file in files:
            # A job that ended while the scheduler was asked has left its record since: whose end is known before its
            # record is read has all of it, the other way round it seems to have none.
            if file.cell_id in open_cells and words[file.cell_id].state in (TaskState.ENDED, TaskState.UNKNOWN):
                records[file.cell_id] = self._study.record(file)
        stops = self._study.stops() if len(results) < len(files) else ()
        for file in files:
            if file.cell_id not in results:
                result = self._result(file, records[file.cell_id], latest.get(file.cell_id), words, stops)
                result = results[file.cell_id] = self._unless_unknown(result)
                if not result.status.under_way and result.status not in _MAY_CHANGE:
                    self._settled[file.cell_id] = (latest.get(file.cell_id), result)
        ordered = [results[file.cell_id] for file in files]
        if self._poller is not None:
            self._poller.note(ordered)
        return ordered

    def _unless_unknown(self, result: Result) -> Result:
        """No end is believed that rests on a file which is there and cannot be read."""
        reason = (
            ""
            if result.status.has_job or result.status is Status.DONE
            else self._study.why_unknown(result.file.cell_id)
        )
        return replace(result, status=Status.UNREADABLE, detail=reason, exclude=()) if reason else result

    def _cell_files(self) -> list[CellFile]:
        """The planned cells, read again only after another sweep has changed the plan."""
        planned_at = self._study.planned_at()
        if planned_at != self._planned_at:
            self._files, self._planned_at = self._study.cell_files(), planned_at
            by_id = {file.cell_id: file for file in self._files}
            self._settled = {
                cell: (attempt, replace(result, file=by_id[cell]))
                for cell, (attempt, result) in self._settled.items()
                if cell in by_id
            }
        return self._files

    def _result(
        self,
        file: CellFile,
        record: Record | RecordProblem | None,
        latest: SubmittedAttempt | None,
        words: Mapping[str, TaskStatus],
        stops: Iterable[Stop],
    ) -> Result:
        if isinstance(record, Record):
            finished = self.done(file, record)
            if latest is None or _is_last(record, latest):
                return finished
            later = self._unfinished(file, None, latest, words[file.cell_id])
            if later.status.under_way:
                return replace(later, detail=f"run again: {later.detail}")
            return replace(finished, detail=f"the later attempt {latest.attempt} gave nothing: {later.detail}")
        if latest is None:
            skipped = stopped_by(file.cell, None, stops)
            if skipped:
                return Result(file=file, record=None, status=Status.SKIPPED, detail=skipped)
            return Result(
                file=file, record=None, status=Status.MISSING, detail=record.text if record else "never submitted"
            )
        return self._unfinished(file, record, latest, words[file.cell_id])

    def done(self, file: CellFile, record: Record) -> Result:
        """The result of a cell whose record is the last word."""
        earlier = self._before(file, record)
        return Result(file=file, record=record, status=Status.DONE, attempt=record.attempt, history=earlier)

    def _before(self, file: CellFile, record: Record) -> tuple[Exit, ...]:
        """How the attempts before the one of the record ended; most cells have none."""
        if record.attempt == FIRST:
            return ()
        attempts = self._study.attempts(file.cell_id)
        names = [attempt.name for attempt in attempts]
        if record.attempt not in names:
            return ()
        return self._verdicts(file.cell_id, attempts[: names.index(record.attempt) + 1])

    def _verdicts(
        self, cell_id: str, attempts: list[Attempt], *, status: TaskStatus | None = None, cancelled: bool = False
    ) -> tuple[Exit, ...]:
        """The verdicts on a cell's attempts; what only the scheduler knows, and may forget, is kept in their files.

        Not by whoever only looks at a study of another user.
        """
        starts = self._earlier_starts(cell_id, attempts)
        ends = verdicts(attempts, status=status, cancelled=cancelled, at=now(), earlier_starts=starts)
        for attempt, verdict in zip(attempts, ends, strict=False):
            if attempt.exit != verdict and (starts or status is not None) and self._keeps_verdicts:
                self._study.write_exit(cell_id, attempt.name, verdict)
        return ends

    @property
    def _keeps_verdicts(self) -> bool:
        """Whoever waits for a study tends it, and acts by them."""
        return self._poller is not None or self._study.keeps_verdicts

    def _earlier_starts(self, cell_id: str, attempts: list[Attempt]) -> tuple[Ended, ...]:
        """What the scheduler remembers of the starts of the last attempt's job, asked once where a verdict needs it."""
        last = attempts[-1]
        unexplained = any(
            attempt.number == last.number and attempt.exit_is_open and is_unasked_restart(attempt, successor)
            for attempt, successor in pairwise(attempts)
        )
        if unexplained and (cell_id, last.name) not in self._starts:
            latest = latest_attempts(self._study.jobs()).get(cell_id)
            if latest is None or latest.in_doubt or latest.attempt != last.number:
                return ()
            launcher, submission = launcher_of(latest.scheduler), self._study.submission(latest)
            self._starts[cell_id, last.name] = launcher.earlier_starts(submission, latest.index)
        return self._starts[cell_id, last.name] if unexplained else ()

    def _unfinished(
        self, file: CellFile, problem: RecordProblem | None, latest: SubmittedAttempt, reported: TaskStatus
    ) -> Result:
        attempts = self._study.attempts(file.cell_id, since=latest.since)
        own_attempts = [attempt for attempt in attempts if attempt.number == latest.attempt]
        last = own_attempts[-1] if own_attempts else None
        if last is not None and last.exit is not None and last.exit.cause is Cause.DONE:
            record = self._study.record(file)  # left since it was looked for, before this exit
            if _is_last(record, latest):
                return self.done(file, record)
        if self._poller is not None:
            reported = self._poller.newer(file.cell_id, last, reported)
        result = Result(
            file=file,
            record=None,
            status=_OF_STATE[reported.state],
            detail=reported.detail,
            attempt=last.name if last else str(latest.attempt),
            progress=last.progress if last else None,
            expected=self._waiting.expected(latest, reported),
        )
        if reported.state is TaskState.UNKNOWN and last is not None and last.exit is not None and not last.exit.again:
            # The scheduler cannot be asked, but the job itself has said how it ended.
            reported = TaskStatus(state=TaskState.ENDED, ended=Ended.UNREPORTED)
        if reported.state is not TaskState.ENDED:
            self._ended_before.discard((file.cell_id, result.attempt))
            return self._alive(result, attempts, last, reported)
        return self._ended(result, problem, latest, attempts, reported)

    def _alive(self, result: Result, attempts: list[Attempt], last: Attempt | None, reported: TaskStatus) -> Result:
        """Queued, running or unknown; perhaps for another time."""
        if last and reported.state is TaskState.QUEUED and last.has_ended:
            attempts = [*attempts, Attempt(name=attempt_name(last.number, last.restart + 1))]
        history = self._verdicts(result.file.cell_id, attempts) if attempts else ()
        detail = reported.detail
        if reported.state is TaskState.RUNNING:
            detail = of_start(last.ranks) if last is not None else "starting"
            if last is not None and last.progress is not None:
                detail = last.progress.phase
        if history:
            detail = f"{detail}; again after {story_of(history)}"
        return replace(result, detail=detail, history=history)

    def _ended(
        self,
        result: Result,
        problem: RecordProblem | None,
        latest: SubmittedAttempt,
        attempts: list[Attempt],
        reported: TaskStatus,
    ) -> Result:
        last = next((attempt for attempt in reversed(attempts) if attempt.number == latest.attempt), None)
        key = (result.file.cell_id, result.attempt)
        exit_known = last is not None and last.exit is not None and last.exit.cause is not Cause.DONE
        if not exit_known and not latest.cancelled and key not in self._ended_before:
            # The scheduler, or the job's last word, may be seen before a shared file system shows the record.
            self._ended_before.add(key)
            return replace(result, status=Status.RUNNING, detail=ENDING)
        attempts = attempts if last is not None else [*attempts, Attempt(name=str(latest.attempt))]
        if not latest.cancelled and attempts[-1].is_silent and reported.ended in _NO_WORD:
            attempts[-1], reported = _of_silence(self._study, attempts[-1], latest, reported)
        ends = self._verdicts(result.file.cell_id, attempts, status=reported, cancelled=latest.cancelled)
        end = ends[-1]
        result = replace(result, history=ends)
        if problem is not None:
            return replace(result, status=problem.status, detail=problem.text)
        if end.cause is Cause.DONE:
            return replace(result, status=Status.MISSING, detail="its job ended well, but its record is not there")
        decision = decide(ends)
        if decision.action in RUNS_AGAIN and latest.cancelled:
            return replace(result, status=Status.CANCELLED, detail=f"its user ended it; before that {_words(end)}")
        if decision.action in RUNS_AGAIN:
            return replace(
                result, status=Status.RETRY, detail=f"{_words(end)}; {decision.reason}", exclude=decision.exclude
            )
        status = _STATUS.get(end.cause, Status.FAILED)
        detail = _words(end) if status in (Status.FAILED, Status.OUT_OF_MEMORY) else end.message
        return replace(result, status=status, detail=detail)


def settled_results(study: Study, files: Iterable[CellFile] | None = None) -> list[Result]:
    """The state now, for a table that is made once: what has ended is not called running. Of `files` only, if given."""
    watcher = Watcher(study, files=files)
    results = watcher.results()
    return watcher.results() if any(result.detail == ENDING for result in results) else results


def finished(study: Study, files: Iterable[CellFile], latest: Mapping[str, SubmittedAttempt]) -> Iterator[Result]:
    """The cells whose record is the last word, one by one, so that nobody need hold all records at once.

    `latest`: the latest submission of each cell.
    """
    watcher = Watcher(study, files=())
    for file in files:
        record = study.record(file)
        if isinstance(record, Record) and (file.cell_id not in latest or _is_last(record, latest[file.cell_id])):
            yield watcher.done(file, record)


def _of_silence(
    study: Study, attempt: Attempt, latest: SubmittedAttempt, reported: TaskStatus
) -> tuple[Attempt, TaskStatus]:
    """What is known of an attempt that left no file and of which its scheduler says no more than that it is over."""
    with suppress(OSError):
        disk = os.statvfs(study.folder)
        if disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0):
            message = f"it left no file: the disk of {study.folder} is full ({reported.detail})"
            return replace(attempt, exit=Exit(cause=Cause.STORAGE, message=message, judged_by="client")), reported
    # The scheduler opens a job's log when it starts it: this one began, and was not cancelled before.
    number, _ = parts_of(latest.handle)
    logs = study.batch_dir(latest.batch).glob(f"logs/{number}_{latest.index}_*")
    if latest.scheduler == Scheduler.SLURM and any(logs):
        detail = f"its job began and left no file ({reported.detail})"
        return attempt, replace(reported, ended=Ended.FAILED, detail=detail)
    return attempt, reported


def _is_last(record: Record | RecordProblem | None, latest: SubmittedAttempt) -> TypeGuard[Record]:
    return isinstance(record, Record) and record.attempt_number >= latest.attempt


def _words(end: Exit) -> str:
    """One end in one line: the cause, what was said, who said it."""
    location = "" if end.rank is None else f" (rank {end.rank} on {end.host})"
    memory = end.device_memory
    figures = (
        f"; {memory.allocated_mib:.0f} MiB allocated, {memory.reserved_mib:.0f} reserved, {memory.others_mib:.0f} of "
        f"others, of {memory.total_mib:.0f}"
        if memory is not None
        else ""
    )
    message = end.message if end.host and end.host in end.message else f"{end.message}{location}"
    return f"{end.cause.value}: {message}{figures}"
