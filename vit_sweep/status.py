"""What became of every cell: the job's own files first, then the scheduler's word. An edge."""

from collections.abc import Mapping
from dataclasses import replace

from launchers.backend import Launcher, TaskState, TaskStatus
from launchers.hostfile import HostfileLauncher
from launchers.local import LocalLauncher
from launchers.profile import Scheduler
from launchers.slurm import SlurmLauncher
from vit_sweep.cell import CellFile
from vit_sweep.record import Cause, Record
from vit_sweep.scaling import Result
from vit_sweep.store import Attempt, JobEntry, RecordProblem, Study

ACTIVE = frozenset({"queued", "running", "unknown"})
"""States of a cell that may still get a record without anybody's help."""


def launcher_of(scheduler: Scheduler) -> Launcher:
    """The backend of a scheduler."""
    launchers: dict[Scheduler, Launcher] = {
        Scheduler.SLURM: SlurmLauncher(),
        Scheduler.HOSTFILE: HostfileLauncher(),
        Scheduler.LOCAL: LocalLauncher(),
    }
    return launchers[scheduler]


class Watcher:
    """Asks for the state of a study again and again; finished cells are read only once."""

    def __init__(self, study: Study) -> None:
        """Watch `study`."""
        self._study = study
        self._done: dict[str, Result] = {}
        self._ended_before: set[str] = set()
        self._files: list[CellFile] = []
        self._planned_at = -1

    def results(self) -> list[Result]:
        """One result per planned cell, in the order of `cell_files`."""
        files = self._cell_files()
        problems: dict[str, RecordProblem] = {}
        for file in files:
            if file.cell_id not in self._done:
                found = self._study.record(file)
                if isinstance(found, Record):
                    self._done[file.cell_id] = Result(file=file, record=found, status="done")
                elif found is not None:
                    problems[file.cell_id] = found
        jobs = latest_jobs(self._study.jobs())
        missing = [f for f in files if f.cell_id not in self._done]
        statuses = _ask({f.cell_id: jobs[f.cell_id] for f in missing if f.cell_id in jobs})
        return [
            self._done.get(f.cell_id) or self._unfinished(f, problems.get(f.cell_id), jobs, statuses) for f in files
        ]

    def _cell_files(self) -> list[CellFile]:
        """The planned cells, read again only after another sweep has changed the plan."""
        planned_at = self._study.planned_at()
        if planned_at != self._planned_at:
            self._files, self._planned_at = self._study.cell_files(), planned_at
            self._done = {
                f.cell_id: replace(self._done[f.cell_id], file=f) for f in self._files if f.cell_id in self._done
            }
        return self._files

    def _unfinished(
        self,
        file: CellFile,
        problem: RecordProblem | None,
        jobs: Mapping[str, tuple[JobEntry, int]],
        statuses: Mapping[str, TaskStatus],
    ) -> Result:
        if file.cell_id not in jobs:
            detail = problem.text if problem is not None else "never submitted"
            return Result(file=file, record=None, status="missing", detail=detail)
        entry, index = jobs[file.cell_id]
        status = statuses[file.cell_id]
        if problem is not None and status.state is TaskState.ENDED:
            return Result(file=file, record=None, status=problem.status, detail=problem.text)
        asked = entry.tasks[index][1]
        attempts = [a for a in self._study.attempts(file.cell_id) if a.name.split(".")[0] == str(asked)]
        last = attempts[-1] if attempts else None
        if (
            last is not None
            and last.exit is not None
            and last.exit.cause is not Cause.DONE
            and entry.event != "cancelled"
        ):
            detail = f"{last.exit.cause.value}: {last.exit.message} (rank {last.exit.rank} on {last.exit.host})"
            died = status.detail if status.detail.startswith("rank ") and "signal" in status.detail else ""
            return Result(file=file, record=None, status="failed", detail=died or detail)
        if status.state is TaskState.ENDED:
            if entry.event == "cancelled":
                return Result(file=file, record=None, status="cancelled", detail="the same command runs it again")
            # The scheduler may know of the end before a shared file system shows the record.
            if file.cell_id not in self._ended_before:
                self._ended_before.add(file.cell_id)
                return Result(file=file, record=None, status="running", detail="ending")
            why = status.detail or "the scheduler does not say why"
            return Result(file=file, record=None, status="failed", detail=f"ended without a word: {why}")
        self._ended_before.discard(file.cell_id)
        detail = _where(last) if last is not None and status.state is TaskState.RUNNING else status.detail
        return Result(file=file, record=None, status=status.state.value, detail=detail)


def settled_results(study: Study) -> list[Result]:
    """The state now, for a table that is made once: what has ended is not called running."""
    watcher = Watcher(study)
    first = watcher.results()
    return watcher.results() if any(result.detail == "ending" for result in first) else first


def latest_jobs(entries: list[JobEntry]) -> dict[str, tuple[JobEntry, int]]:
    """The latest submission of each cell (or its cancellation) and its task index there."""
    latest: dict[str, tuple[JobEntry, int]] = {}
    for entry in entries:
        if entry.event in ("submitted", "cancelled"):
            for index, (cell_id, _) in enumerate(entry.tasks):
                latest[cell_id] = (entry, index)
    return latest


def _ask(jobs: dict[str, tuple[JobEntry, int]]) -> dict[str, TaskStatus]:
    """Ask each scheduler once for all of its cells."""
    statuses: dict[str, TaskStatus] = {}
    for scheduler in {entry.scheduler for entry, _ in jobs.values()}:
        mine = {cell: job for cell, job in jobs.items() if job[0].scheduler == scheduler}
        submissions = {(e.batch, e.handle): e.submission for e, _ in mine.values()}
        states = launcher_of(Scheduler(scheduler)).states(submissions.values())
        for cell_id, (entry, index) in mine.items():
            statuses[cell_id] = states[entry.batch, index]
    return statuses


def _where(attempt: Attempt) -> str:
    """Say where a running attempt is, for people."""
    if attempt.progress is None:
        return "starting"
    progress = attempt.progress
    return f"{progress.phase}, epoch {progress.epoch}/{progress.epochs} on {progress.host}"
