"""From batches to jobs: journal first, never twice, and fed where the site sets limits. An edge."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from launchers.backend import Rendered, Submission, SubmitError, SubmitProblem, Unconfirmed
from launchers.batch import Batch
from launchers.choose import launcher_of
from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.slurm.handle import handle_of
from launchers.submission_lock import clusters_of
from launchers.text import plural
from vit_sweep.plan.waiting.forecast_file import ForecastFile, forecast_file
from vit_sweep.study.journal import Event, JobEntry, in_doubt
from vit_sweep.study.lock import now
from vit_sweep.study.reading import A_JOB
from vit_sweep.study.store import Study
from vit_sweep.submit import interrupt

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
_AWAY_S = 6 * 3600.0
"""How long a scheduler that does not answer is waited for; nothing is decided meanwhile."""

Say = Callable[[str], None]


def resolve(study: Study) -> list[str]:
    """Look up every submission that was begun and never confirmed; returns those of which nothing can be said yet.

    Called under the study's lock, before anything else is submitted or ended. Raises `UserError` where the journal
    cannot be read.
    """
    study.require_journal()
    open_lines = in_doubt(study.jobs())
    unclear: list[str] = []
    for scheduler in {entry.scheduler for entry in open_lines}:
        open_entries = {entry.batch: entry for entry in open_lines if entry.scheduler == scheduler}
        submissions = [
            Unconfirmed(batch_name=e.batch, folder=str(study.batch_dir(e.batch)), study=study.name, tasks=len(e.tasks))
            for e in open_entries.values()
        ]
        handles = launcher_of(scheduler).find(submissions)
        for batch, entry in open_entries.items():
            handle = _handle(study, entry, handles)
            if handle is None:
                unclear.append(batch)
            else:
                event = Event.SUBMITTED if handle else Event.NEVER
                study.journal(replace(entry, at=now(), event=event, handle=handle))
    return unclear


def _handle(study: Study, entry: JobEntry, handles: dict[str, Submission | None]) -> str | None:
    """The job's handle, empty when there is no job, None when nobody knows."""
    if entry.batch not in handles:
        return None
    submission = handles[entry.batch]
    if submission is not None:
        return submission.handle
    # The scheduler may have forgotten a job that its own files remember.
    claims = [study.claim(cell, str(attempt)) for cell, attempt in entry.tasks]
    if A_JOB in claims:
        return None
    jobs = {match[1] for claim in claims if claim and (match := re.fullmatch(r"([0-9]{1,20})_[0-9]+", claim))}
    if entry.scheduler != Scheduler.SLURM or len(jobs) != 1:
        return ""
    # Of several clusters that were named, nobody knows now which one took it.
    clusters = clusters_of(study.batch_dir(entry.batch))
    several = clusters is not None and ("," in clusters or clusters == "all")
    return None if several else handle_of(jobs.pop(), clusters)


class Submitter:
    """Batches that the scheduler does not have yet, and the way to hand them over."""

    def __init__(
        self,
        study: Study,
        rendered: Sequence[Rendered],
        *,
        say: Say,
        asked: bool = True,
        forecasts: Mapping[str, ForecastFile] | None = None,
        first: str = "",
    ) -> None:
        """Hold `rendered`, whose files have been written; `say` tells a person why it waits.

        `forecasts`: when batches, by their names, are expected to start. `first`: why other jobs of the study have to
        end before these begin.
        """
        self._first, self._said = first, False
        self._study, self._say, self._asked, self._forecasts = study, say, asked, forecasts or {}
        self._waiting = list(rendered)
        self._next_try, self._pause = 0.0, _FIRST_PAUSE_S
        self._away_since: float | None = None

    @property
    def waiting(self) -> tuple[str, ...]:
        """Cells that are not submitted yet."""
        return tuple(task.name for item in self._waiting for task in item.batch.tasks)

    def submit(self, *, idle: bool) -> None:
        """Hand over as much as the scheduler takes now; call again for the rest, under the study's lock.

        `idle`: no job of this study is queued or running, so that a batch above the user's limit can never fit
        whole. Raises `UserError` with the scheduler's words where it refuses, `KeyboardInterrupt` after a submission
        during which Ctrl-C was pressed.
        """
        if time.monotonic() < self._next_try:
            return
        if self._first and not idle and self._waiting:
            if not self._said:
                waits = plural(len(self.waiting), "cell waits|cells wait")
                self._say(f"{waits} until the study's other jobs have ended, {self._first}")
            self._said = True
            return
        self._first = ""
        while self._waiting:
            error = self._hand_over(self._next())
            if error is None:
                idle = False
                self._answered()
                interrupt.heed()
                continue
            item = self._waiting[0]
            match error.problem:
                case SubmitProblem.LIMIT if idle and len(item.batch.tasks) > 1 and not item.batch.shared:
                    self._halve(item)
                case SubmitProblem.LIMIT:
                    self._say(f"{plural(len(self.waiting), 'cell waits|cells wait')} for room in the queue: {error}")
                    self._next_try = time.monotonic() + self._longer_pause()
                    return
                case SubmitProblem.BUSY:
                    self._settle(item, error)
                case _:
                    raise UserError(
                        f"{error}; what was submitted before goes on; put that right and give the same command again "
                        "for the rest"
                    )

    def _next(self) -> list[Rendered]:
        """What is handed over together: our queues get all of their batches, Slurm one array at a time."""
        scheduler = self._waiting[0].batch.profile.scheduler
        if scheduler is Scheduler.SLURM:
            return self._waiting[:1]
        return [item for item in self._waiting if item.batch.profile.scheduler is scheduler]

    def _hand_over(self, items: list[Rendered]) -> SubmitError | None:
        for item in items:
            self._foretell(item.batch)
            self._study.journal_batch(Event.SUBMITTING, item.batch, asked=self._asked)
        open_lines = list(items)
        try:
            submissions = launcher_of(items[0].batch.profile.scheduler).submit(items)
            for item, submission in zip(items, submissions, strict=True):
                self._study.journal_batch(Event.SUBMITTED, item.batch, submission.handle, asked=self._asked)
                open_lines.remove(item)
                self._waiting.remove(item)
        except (SubmitError, UserError) as error:
            if isinstance(error, SubmitError) and error.problem is SubmitProblem.BUSY:
                return error  # the scheduler may have it all the same: the line stays open until it is looked up
            for item in open_lines:
                self._study.journal_batch(Event.REFUSED, item.batch, asked=self._asked)
            if isinstance(error, UserError):
                raise
            return error
        return None

    def _foretell(self, batch: Batch) -> None:
        """Write when it is expected to start, to be compared with what comes; no sweep fails for that."""
        if batch.profile.scheduler is Scheduler.SLURM:
            with suppress(OSError):
                self._study.write_forecast(batch.name, self._forecasts.get(batch.name) or forecast_file(batch))

    def _settle(self, item: Rendered, error: SubmitError) -> None:
        """After no answer: wait until the scheduler says whether it has this batch; sent again is only what it has not.

        Raises `UserError` once it has been away for `_AWAY_S`.
        """
        self._wait(error)
        while item.batch.name in resolve(self._study):
            self._wait(f"it is not known whether {item.batch.name} was submitted: the scheduler does not answer")
        if all(entry.batch != item.batch.name for entry in self._missed()):
            self._waiting.remove(item)
            self._answered()

    def _wait(self, reason: object) -> None:
        now_s = time.monotonic()
        if self._away_since is None:
            self._away_since = now_s
        away_s = now_s - self._away_since
        if away_s > _AWAY_S:
            raise UserError(
                f"{reason}, for {away_s / 3600:.0f} hours; what was submitted before goes on; give the same command "
                "again later – it looks up what is in doubt before it submits anything"
            )
        seconds = self._longer_pause()
        self._say(f"{reason}; looking again in {seconds:.0f} s")
        interrupt.pause(seconds)

    def _answered(self) -> None:
        self._away_since, self._pause = None, _FIRST_PAUSE_S

    def _missed(self) -> list[JobEntry]:
        """The batches whose last line says that the scheduler never had them."""
        last = {entry.batch: entry for entry in self._study.jobs()}
        return [entry for entry in last.values() if entry.event is Event.NEVER]

    def _halve(self, item: Rendered) -> None:
        tasks = item.batch.tasks
        middle = len(tasks) // 2
        parts = [replace(item.batch, tasks=some) for some in (tasks[:middle], tasks[middle:])]
        items = [launcher_of(part.profile.scheduler).render(part) for part in parts]
        for part in items:
            self._study.write_rendered(part)
        position = self._waiting.index(item)
        self._waiting[position : position + 1] = items

    def _longer_pause(self) -> float:
        now_s, self._pause = self._pause, min(_LONGEST_PAUSE_S, 1.5 * self._pause)
        return now_s
