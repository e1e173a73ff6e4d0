"""Who watches a study also tends it: feeds what had no room yet, and retries what is to be retried. An edge."""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from launchers.backend import TaskState
from launchers.choose import launcher_of
from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.text import plural
from vit_sweep.outcome.result import Result, Status, is_idle
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.deciding.candidates_file import alike
from vit_sweep.record.attempt import attempt_of
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.journal import latest_attempts, next_attempts
from vit_sweep.study.lock import BusyError, now
from vit_sweep.study.spending import lost_gpu_hours
from vit_sweep.study.store import Study
from vit_sweep.submit.batches import Todo
from vit_sweep.submit.deciding import lines, look
from vit_sweep.submit.next import write
from vit_sweep.submit.repeats import repeats_to_add
from vit_sweep.submit.submission import Say, Submitter, resolve
from vit_sweep.submit.waiting.in_flight import in_flight

_LOOKUP_PERIOD_S = 30.0
"""How often submissions in doubt are looked up while somebody watches."""


class Keeper:
    """One of them acts at a time: whoever gets the study's lock; the others only look."""

    def __init__(self, study: Study, *, say: Say, waiting: Submitter | None = None) -> None:
        """Tend `study`; `waiting` holds what could not be submitted yet."""
        self._study, self._say = study, say
        self._waiting: list[Submitter] = [waiting] if waiting is not None and waiting.waiting else []
        self._next_lookup = 0.0
        self.given_up: dict[str, str] = {}
        """Cells that cannot be retried, with the scheduler's reason: no other node is left, say."""
        self.added: set[str] = set()
        """Repeats and cells that were decided since this process began to look, by it or by another."""
        self.postponed = False
        """Whether another client held the study when there was something to do."""
        self._decided = -1
        """Cells of the study when nothing more was to be decided."""

    @property
    def waiting(self) -> frozenset[str]:
        """Cells that are still to be submitted by this process."""
        return frozenset(cell for submitter in self._waiting for cell in submitter.waiting)

    def follows(self, result: Result, only: Container[str] | None) -> bool:
        """Whether a cell is one of `only`, if given, or was added since."""
        return only is None or result.file.cell_id in only or result.file.cell_id in self.added

    def tend(self, results: Sequence[Result], only: Container[str] | None = None) -> None:
        """Do what is to be done after a look. Raises `UserError` where the scheduler refuses.

        `only`: the cells that are followed, beside those that are added; None: all. Once these have ended, repeats and
        decisions wait for no other.
        """
        to_retry = [r for r in results if r.status == Status.RETRY and r.file.cell_id not in self.given_up]
        lookup_due = any(result.status == Status.UNKNOWN for result in results) and time.monotonic() > self._next_lookup
        settled = not any(result.status.under_way for result in results if self.follows(result, only))
        rule = self._study.repeat_rule() if settled else None
        repeats = repeats_to_add(results, rule) if rule is not None else {}
        asks = settled and len(results) != self._decided and self._study.decide_rule() is not None
        self.postponed = False
        if not to_retry and not self._waiting and not lookup_due and not repeats and not asks:
            return
        try:
            with self._study.changing():
                if lookup_due:
                    resolve(self._study)
                    self._next_lookup = time.monotonic() + _LOOKUP_PERIOD_S
                self._retry(to_retry, results)
                self._repeat(results, repeats)
                if asks:
                    self._decide(results)
                for submitter in self._waiting:
                    submitter.submit(idle=is_idle(results))
                self._waiting = [submitter for submitter in self._waiting if submitter.waiting]
        except BusyError:
            self.postponed = True

    def end_needless(self, results: Sequence[Result]) -> None:
        """End what still waits for a cell that is done: a job that Slurm put back after its record was written.

        Where it cannot start that job it holds it, for ever.
        """
        done = {result.file.cell_id for result in results if result.status is Status.DONE}
        attempts = [
            attempt
            for cell, attempt in latest_attempts(self._study.jobs()).items()
            if cell in done and attempt.scheduler == Scheduler.SLURM and not attempt.in_doubt
        ]
        launcher = launcher_of(Scheduler.SLURM)
        submissions = {attempt.batch: self._study.submission(attempt) for attempt in attempts}
        states = launcher.states(submissions.values()) if attempts else {}
        waiting = [a for a in attempts if states[a.batch, a.index].state is TaskState.QUEUED]
        if waiting:
            why = states[waiting[0].batch, waiting[0].index].detail
            self._say(
                f"{plural(len(waiting), 'job')} of finished cells still waited in the queue ({why}): now cancelled"
            )
            try:
                launcher.cancel([(submissions[attempt.batch], [attempt.index]) for attempt in waiting])
            except UserError as error:
                self._say(str(error))

    def _retry(self, to_retry: Sequence[Result], results: Sequence[Result]) -> None:
        """Send them, as far as `max_gpus_in_flight` allows beside what runs; the others follow after a later look."""
        if not to_retry:
            return
        entries = self._study.jobs()
        latest, free, planned = latest_attempts(entries), next_attempts(entries), self._study.planned()
        todo: dict[str, Todo] = {}
        limit, held = self._study.job_limits().max_gpus, 0
        if limit is not None:
            held = in_flight(self._study, results, planned, unsent=self.waiting).gpus
        for result in to_retry:
            cell_id = result.file.cell_id
            attempt = latest.get(cell_id)
            if attempt is None or attempt.cancelled or cell_id not in planned:
                continue
            # Somebody else may have been faster between our look and our lock.
            if attempt.attempt != attempt_of(result.attempt):
                continue
            if limit is not None and held and held + planned[cell_id].held_gpus > limit:
                continue
            held += planned[cell_id].held_gpus
            todo[cell_id] = Todo(
                planned=planned[cell_id], attempt=free[cell_id], since=attempt.since, exclude=result.exclude
            )
            self._say(f"{cell_id} runs again: {result.detail}")
        self._submit(todo, results, asked=False)

    def _repeat(self, results: Sequence[Result], repeats: Mapping[str, tuple[Cell, ...]]) -> None:
        """Add the repeats that are still wanted now that the lock is held."""
        if not repeats:
            return
        planned, files = self._study.planned(), {result.file.cell_id: result.file for result in results}
        todo: dict[str, Todo] = {}
        for origin, cells in repeats.items():
            added = {c.cell_id: replace(planned[origin], cell=c) for c in cells if c.cell_id not in planned}
            if added:
                self._study.add_cells(added, like=files[origin])
                todo |= {cell_id: Todo(planned=cell, attempt=1, since=1) for cell_id, cell in added.items()}
                self._say(f"{origin}: its interval is too wide, {plural(len(added), 'more repeat')}")
        self.added |= set(todo)
        self._submit(todo, results, asked=True)

    def _decide(self, results: Sequence[Result]) -> None:
        """Look at what is known, write down what follows, and add its cells; follow those that another has added."""
        rule, offered = self._study.decide_rule(), self._study.candidates()
        if rule is None or offered is None:
            return
        candidates = offered.planned
        upcoming = look(
            rule,
            candidates,
            offered.hours,
            self._study.decisions(),
            results,
            at=now(),
            lost=lost_gpu_hours(self._study, results, candidates),
            dropped=self._study.dropped_names(),
        )
        if upcoming.new and upcoming.entry is not None:
            self._study.journal_decision(upcoming.entry)
        if upcoming.entry is not None and (upcoming.new or upcoming.cells):
            for line in lines(upcoming.entry):
                self._say(line)
        existing = self._study.planned()  # another client may have been faster between our look and our lock
        added = {
            cell_id: replace(candidates[cell.gpus], cell=cell)
            for cell_id, cell in upcoming.cells.items()
            if cell_id not in existing
        }
        if added:
            self._study.add_cells(added, like=next(r.file for r in results if alike(r.file.cell, candidates)))
        elif upcoming.entry is not None:
            self._decided = len(results)
        running = [r.file for r in results if r.status.under_way]
        self.added |= {*upcoming.cells, *(file.cell_id for file in running if alike(file.cell, candidates))}
        todo = {cell_id: Todo(planned=cell, attempt=1, since=1) for cell_id, cell in added.items()}
        self._submit(todo, results, asked=True)

    def _submit(self, todo: Mapping[str, Todo], results: Sequence[Result], *, asked: bool) -> None:
        if not todo:
            return
        try:
            code, limits = take(self._study.folder), self._study.job_limits()
            written = write(self._study, todo, code, limits=limits, results=results)
            for remark in written.remarks if written.choice is not None else ():
                self._say(remark)
            submitter = Submitter(self._study, written.rendered, say=self._say, asked=asked)
            submitter.submit(idle=False)
        except UserError as error:
            # The other cells are still to be watched.
            self.given_up |= dict.fromkeys(todo, str(error))
            return
        self._waiting.append(submitter)
