"""What a study's folder says: every file of it read in one place. An edge.

A truncated or foreign file is named in `problems` and passed over, never fatal, never silently dropped.
"""

import fnmatch
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from launchers.atomic import guard, read
from launchers.backend import Submission
from launchers.batch import Batch
from launchers.checked import CONTROLS, checked, parse_json
from launchers.errors import UserError
from vit_sweep.outcome.ending import Claim, Exit, Progress, RankFile
from vit_sweep.outcome.policy import Stop
from vit_sweep.outcome.result import Status
from vit_sweep.outcome.verdict import Attempt
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.deciding.candidates_file import CandidatesFile
from vit_sweep.plan.deciding.decision import DecisionEntry
from vit_sweep.plan.deciding.question import DecideRule
from vit_sweep.plan.plan import PlannedCell, PlannedPoint
from vit_sweep.plan.plan_file import NO_LIMITS, JobLimits, PlanFile, planned_cells
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.plan.waiting.forecast_file import ForecastFile
from vit_sweep.record.record import Record, mismatches
from vit_sweep.study.journal import JobEntry, SubmittedAttempt
from vit_sweep.study.schema_file import LET_READ, Reader

DROPPED = "dropped.json"
"""Of a cell that was taken out of its study; the same sweep's command brings it back, with all that it has."""
A_JOB = "?"
"""Whoever has claimed an attempt in a file that makes no sense."""
_ATTEMPT = re.compile(r"[1-9][0-9]*(\.[1-9][0-9]*)?")


@checked
class RecordProblem:
    """A `record.json` that is no row: the status that its cell gets, and why."""

    status: Status
    text: str


def smallest_first(file: CellFile) -> tuple[int, int, int, int, str]:
    """What puts cells in the order in which people see them."""
    cell = file.cell
    return cell.gpus, cell.nodes, cell.micro_batch, cell.accum, file.cell_id


def _is_cut_off(line: bytes) -> bool:
    """Whether a line of the journal ends in the middle: its writer was killed, and did nothing of what it says.

    >>> [_is_cut_off(line) for line in (b"", b'{"at": "2025', b'{"at": 7}', b"x")]
    [True, True, False, False]
    """
    try:
        from_json(line)
    except ValueError:
        with suppress(ValueError):
            if line:
                from_json(line, allow_partial=True)
            return True
    return False


class StudyReader:
    """One folder of outputs, read. Holds no state but the path and the problems it met."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or made yet. Raises `UserError` for a path that no line can hold."""
        path = str(folder.absolute())
        if re.search(f"[{CONTROLS}]", path) or os.fsencode(path).decode(errors="replace") != path:
            raise UserError(
                f"{path!r}: a line break, a control character, or bytes that are no UTF-8; rename the folder"
            )
        self.folder = folder
        guard(folder)
        self._files = Reader()
        self.problems = self._files.problems

    @property
    def name(self) -> str:
        """The study's name is its folder's."""
        return self.folder.name

    @property
    def is_asked_for(self) -> bool:
        """Whether somebody has asked for what is in it: else dry runs have only looked, or nothing is there yet."""
        commands = self.commands()
        return commands is None or any(not command.get("dry_run") for command in commands) or bool(self.jobs())

    def commands(self) -> list[dict[str, Any]] | None:
        """Every command given so far; None where the file is damaged."""
        path = self.folder / "study.json"
        if not path.is_file():
            return []
        try:
            return [dict(command) for command in from_json(read(path))["commands"]]
        except (ValueError, KeyError, TypeError):
            return None

    def cell_dir(self, cell_id: str) -> Path:
        return self.folder / "cells" / cell_id

    def plan_file(self) -> PlanFile | None:
        """The written plan: every point that this study was asked for, and its partitions; None without a sound one."""
        return self._files.read(self.folder / "plan.json", PlanFile)

    def points(self) -> tuple[PlannedPoint, ...]:
        """Every point that this study was asked for."""
        plan = self.plan_file()
        return plan.points if plan else ()

    def planned_at(self) -> int:
        """When the plan was last written (nanoseconds; 0 without a plan): changes when cells may have been added."""
        try:
            return (self.folder / "plan.json").stat().st_mtime_ns
        except OSError:
            return 0

    def cell_names(self) -> list[str]:
        """Names of the folders of cells, but of those that were dropped; sorted."""
        cells = self.folder / "cells"
        names = self._files.names_in(cells)
        # A path object, or an exception, for each of ten thousand cells would take longer than looking.
        return [name for name in names if not os.access(f"{cells}/{name}/{DROPPED}", os.F_OK)]

    def dropped_names(self) -> list[str]:
        """Names of the folders of cells that were dropped; sorted."""
        return sorted(path.parent.name for path in self.folder.glob(f"cells/*/{DROPPED}"))

    def cell_files(self, names: Iterable[str] | None = None) -> list[CellFile]:
        """Every planned cell, smallest first; of these names only, if they are given."""
        files: dict[str, CellFile] = {}
        cells = self.folder / "cells"
        for name in self.cell_names() if names is None else names:
            file = self._files.read(Path(f"{cells}/{name}/cell.json"), CellFile)
            if file is not None and file.cell_id == name:
                files[name] = file
            elif file is not None:
                self._files.problem(f"{cells / name}/cell.json is of another cell, {file.cell_id}; it is passed over")
        return sorted(files.values(), key=smallest_first)

    def damaged_cells(self, known: Collection[str]) -> list[str]:
        """Cells beside the known ones whose `cell.json` is there and cannot be read, or makes no sense."""
        read = self._files.value
        others = (name for name in self.cell_names() if name not in known)
        return [name for name in others if read(self.cell_dir(name) / "cell.json", CellFile)[1]]

    def record(self, file: CellFile) -> "Record | RecordProblem | None":
        """The cell's record, what is wrong with the file that is there, or None when there is no file."""
        path = Path(f"{self.folder}/cells/{file.cell_id}/record.json")
        record, problem = self._files.value(path, Record)
        if path in self._files.unread:
            return RecordProblem(status=Status.UNREADABLE, text=self._files.unread[path])
        if record is None and not problem:
            return None
        if record is None:
            return RecordProblem(
                status=Status.MISSING, text="its record.json cannot be read; the same command runs it again"
            )
        if record.cell_id != file.cell_id or record.requested != file.cell:
            self._files.problem(
                f"{path} belongs to another cell, {record.cell_id}: two studies are mixed; it is passed over"
            )
            return RecordProblem(
                status=Status.MISSING, text=f"its record.json belongs to another cell, {record.cell_id}"
            )
        differences = mismatches(record.requested, record.resolved)
        if differences:
            return RecordProblem(status=Status.FAILED, text=f"what ran is not what was asked: {'; '.join(differences)}")
        return record

    def records(self) -> list[Record]:
        """Every sound record of the study; none where there is no study yet."""
        records = (self.record(file) for file in self.cell_files())
        return [record for record in records if isinstance(record, Record)]

    def attempts(self, cell_id: str, *, since: int = 1, with_ranks: bool = False) -> list[Attempt]:
        """Attempts of a cell from number `since` on, oldest first; ranks are read where there is no verdict, or all."""
        above = self.cell_dir(cell_id) / "attempts"
        folders = [above / name for name in self._files.names_in(above) if _ATTEMPT.fullmatch(name)]
        numbered = sorted((tuple(int(part) for part in f.name.split(".")), f) for f in folders)
        wanted = [folder for number, folder in numbered if number[0] >= since and folder.is_dir()]
        return [self._attempt(folder, with_ranks) for folder in wanted]

    def _attempt(self, folder: Path, with_ranks: bool) -> Attempt:
        exit = self._files.read(folder / "exit.json", Exit)
        names = [] if exit and not with_ranks else fnmatch.filter(self._files.names_in(folder), "rank*.json")
        ranks = [self._files.read(folder / name, RankFile) for name in names]
        return Attempt(
            name=folder.name,
            exit=exit,
            progress=self._files.read(folder / "progress.json", Progress),
            ranks=tuple(sorted((rank for rank in ranks if rank), key=lambda rank: rank.rank)),
        )

    def claim(self, cell_id: str, attempt: str) -> str | None:
        """The job that runs, or ran, this attempt, by its own word; None where none has begun.

        Of a file that makes no sense only its existence is known: `A_JOB`, which is no job's name.
        """
        path = self.cell_dir(cell_id) / "attempts" / attempt / "claim.json"
        claim, problem = self._files.value(path, Claim)
        return claim.job_id if claim else A_JOB if problem else None

    def stops(self) -> tuple[Stop, ...]:
        """How cells ended that others need not repeat."""
        stops = (self._files.read(path, Stop) for path in sorted(self.folder.glob("stops/*.json")))
        return tuple(stop for stop in stops if stop is not None)

    def submission(self, attempt: SubmittedAttempt) -> Submission:
        """A submission as its launcher knows it, with the folder where this client sees it."""
        return Submission(
            batch_name=attempt.batch,
            folder=str(self.batch_dir(attempt.batch)),
            handle=attempt.handle,
            tasks=attempt.tasks,
        )

    def batch_dir(self, batch: str) -> Path:
        """Folder of a batch of jobs."""
        return self.folder / "jobs" / batch

    def forecast(self, batch: str) -> ForecastFile | None:
        """When a batch of jobs was expected to start."""
        return self._files.read(self.batch_dir(batch) / "forecast.json", ForecastFile)

    def rank_0(self, cell_id: str, attempt: str) -> RankFile | None:
        """What rank 0 of an attempt says of its start and its end; None where it has not begun, or has not said so."""
        return self._files.read(self.cell_dir(cell_id) / "attempts" / attempt / "rank0.json", RankFile)

    def repeat_rule(self) -> RepeatRule | None:
        """When this study's cells have been repeated enough; None: as often as was planned."""
        plan = self.plan_file()
        return plan.repeat if plan else None

    def decide_rule(self) -> DecideRule | None:
        """The question that decides what this study runs; None: all that was planned runs."""
        plan = self.plan_file()
        return plan.decide if plan else None

    def job_limits(self) -> JobLimits:
        """How its latest sweep lets cells share jobs, and jobs run at once."""
        plan = self.plan_file()
        return plan.limits if plan else NO_LIMITS

    def batch(self, name: str) -> Batch | None:
        """A batch of jobs as it was written; None where its file is gone or makes no sense."""
        return self._files.read(self.batch_dir(name) / "batch.json", Batch)

    def candidates(self) -> CandidatesFile | None:
        """What a study that decides may choose from."""
        return self._files.read(self.folder / "deciding.json", CandidatesFile)

    def decisions(self) -> list[DecisionEntry]:
        """What it has decided so far. A last line that a crash cut off was never acted on, and is passed over.

        Raises `UserError` for another line that makes no sense: what follows from it nobody knows.
        """
        lines = read(path).removesuffix(b"\n").split(b"\n") if (path := self._decisions).is_file() else []
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                entries.append(parse_json(DecisionEntry, line, source=f"{path} line {number}"))
            except UserError:
                if not _is_cut_off(line):
                    raise
        return entries

    @property
    def _decisions(self) -> Path:
        return self.folder / "decisions.jsonl"

    def planned(self) -> dict[str, PlannedCell]:
        """Every cell that a sweep planned, with what submitting it takes; without a sound `plan.json` none."""
        plan = self.plan_file()
        files = {}
        for file in self.cell_files():
            digest = file.cell.cell_id
            if digest == file.cell_id:
                files[digest] = file
            else:
                self._files.problem(f"{self.cell_dir(file.cell_id)}/cell.json is that of {digest}; it is not run")
        return planned_cells(plan, files) if plan else {}

    def jobs(self) -> list[JobEntry]:
        """The journal, line by line; a line cut off by a crash is named and passed over.

        What else is no line may have been any submission: then nothing is submitted, as where no line can be read.
        """
        path = self._journal
        text, entries = b"", []
        with self._files.noting(path):
            text = read(path)
        for number, line in enumerate(text.removesuffix(b"\n").split(b"\n") if text else (), start=1):
            try:
                entries.append(parse_json(JobEntry, line, source=f"{path} line {number}"))
            except UserError as error:
                self._files.problem(str(error))
                if not _is_cut_off(line):
                    self._files.unread[path] = f"{error} – if none of its jobs waits or runs, delete that line"
        return entries

    @property
    def _journal(self) -> Path:
        return self.folder / "jobs.jsonl"

    @property
    def journal_problem(self) -> str:
        """Why the journal, when it was last read, did not say what was submitted; else empty."""
        return self._files.unread.get(self._journal, "")

    def require_journal(self) -> None:
        """Raise `UserError` where the journal is there and cannot be read: nobody knows what was submitted."""
        self.jobs()
        if self.journal_problem:
            raise UserError(f"{self.journal_problem}; nothing is submitted or ended: {LET_READ}")

    def why_unknown(self, cell_id: str) -> str:
        """What is there and could not be read when it was last tried, so that a cell may have run; else empty.

        The journal, or something in the cell's folder.
        """
        folder, unread = self.cell_dir(cell_id), self._files.unread
        return next((why for path, why in unread.items() if path == self._journal or folder in path.parents), "")
