"""The study's folder: every file read and written in one place. An edge.

Each file is written aside and renamed. A truncated or foreign file is named in `problems` and passed
over, never fatal, never silently dropped.
"""

import fnmatch
import json
import os
import re
import socket
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from launchers.atomic import ThroughLinkError, guard, make_folder, opened, read, remove, write, write_if_new
from launchers.backend import Rendered, Submission
from launchers.batch import Batch
from launchers.checked import CONTROLS, checked, parse_json, to_json, to_plain
from launchers.errors import UserError, closest
from launchers.references import masked
from vit_sweep.outcome.ending import Claim, Exit, Progress, RankFile
from vit_sweep.outcome.policy import Stop
from vit_sweep.outcome.result import Status
from vit_sweep.outcome.verdict import Attempt
from vit_sweep.plan.cell import CellFile, JobOptions, Series
from vit_sweep.plan.engine.ds_config import ds_config
from vit_sweep.plan.engine.kinds import machinery
from vit_sweep.plan.plan import Plan, PlannedCell, PlannedPoint, merge_series
from vit_sweep.plan.plan_file import PlanFile, plan_file, planned_cells, with_cells
from vit_sweep.plan.point import DEEPSPEED
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.record.record import Record, mismatches
from vit_sweep.study.journal import Event, JobEntry, Sent, entry_of
from vit_sweep.study.lock import changing, now
from vit_sweep.study.provenance import git_commit, versions
from vit_sweep.study.schema_file import LET_READ, Reader
from vit_sweep.study.trust import programs, remember

T = TypeVar("T")
SCHEMA_VERSION = 1
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


def cell_file(planned: PlannedCell, known: CellFile | None, *, data_root: str, options: JobOptions) -> CellFile:
    """What a job is told of a cell; `known`: what an earlier sweep had for it, whose curves it keeps."""
    return CellFile(
        cell_id=planned.cell.cell_id,
        cell=planned.cell,
        series=merge_series(known.series if known else (), planned.series),
        data_root=data_root,
        options=replace(options, scratch=planned.profile.scratch, nvme=planned.profile.nvme),
    )


def _is_foreign(path: Path) -> bool:
    """Whether a folder with this in it, and no study.json, is somebody else's: not a study cut off at its start."""
    return path.name not in ("cells", "jobs", ".code", ".lock", ".lock.owner") and not path.name.endswith(".tmp")


class Study:
    """One folder of outputs. Holds no state but the path and the problems it met while reading."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or made yet. Raises `UserError` for a path that no line can hold."""
        place = str(folder.absolute())
        if re.search(f"[{CONTROLS}]", place) or os.fsencode(place).decode(errors="replace") != place:
            raise UserError(
                f"{place!r}: a line break, a control character, or bytes that are no UTF-8; rename the folder"
            )
        self.folder = folder
        guard(folder)
        self._files = Reader()
        self.problems = self._files.problems

    @property
    def name(self) -> str:
        """The study's name is its folder's."""
        return self.folder.name

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def create_or_resume(cls, folder: Path) -> "Study":
        """Open a study to add to it; refuses a folder that is not ours or not writable."""
        if folder.is_dir() and not (folder / "study.json").is_file() and any(map(_is_foreign, folder.iterdir())):
            raise UserError(
                f"{folder} exists and is not a study (no study.json in it); choose another name with study=NAME"
            )
        try:
            study = cls(folder)
            for name in ("cells", "jobs"):
                make_folder(folder / name)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except ThroughLinkError:
            raise
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}; choose another place with outputs=FOLDER"
            ) from None
        return study

    def changing(self) -> AbstractContextManager[None]:
        """Hold the study while plan and jobs are written; raises `BusyError` if another process does."""
        return changing(self.folder)

    # -- writing ---------------------------------------------------------------------------------

    def write_command(
        self, arguments: Sequence[str], overrides: Sequence[str], *, code: str, dry_run: bool = False
    ) -> None:
        """Add this command to `study.json`."""
        path = self.folder / "study.json"
        commands = self._commands()
        if commands is None:
            self.problems.append(f"{path} was damaged; its list of commands begins anew")
        command = {
            "at": now(),
            "arguments": list(map(masked, arguments)),
            "overrides": list(map(masked, overrides)),
            "host": socket.gethostname(),
            "git_commit": git_commit(),
            "code": code,
            "versions": versions(),
        } | ({"dry_run": True} if dry_run else {})
        content = {"schema_version": SCHEMA_VERSION, "name": self.name, "commands": [*(commands or []), command]}
        write(path, json.dumps(content, indent=1) + "\n")

    def write_plan(
        self,
        plan: Plan,
        *,
        data_root: str,
        options: JobOptions,
        repeat: RepeatRule | None = None,
        anew: bool = False,
    ) -> None:
        """Write `plan.json` and the folder of each cell, keeping what earlier sweeps asked for.

        `anew`: nobody has asked for what is there, dry runs have only looked at it; this plan takes its place.
        """
        path = self.folder / "plan.json"
        # What its owner keeps to themselves, because of a secret in it, is not to be lost either.
        earlier = None if anew else self._files.known(path, PlanFile)
        if anew:
            self._forget_cells_but(plan.cells)
        for planned in plan.cells.values():
            self._write_cell(planned, data_root, options)
        self.let_run(plan)
        # Last: whoever watches this file then finds every cell that it names.
        self._write_plan_file(plan_file(plan, earlier, repeat=repeat))

    def let_run(self, plan: Plan) -> None:
        """Let this user's own commands run in this study what `plan` names."""
        cells = plan.cells.values()
        remember(self.folder, programs((planned.profile for planned in cells), (planned.cell for planned in cells)))

    def _forget_cells_but(self, wanted: Collection[str]) -> None:
        """Delete the folders of cells that only dry runs looked at; what has more in it than they write stays."""
        cells = self.folder / "cells"
        for name in set(self._files.names_in(cells)) - set(wanted):
            inside = self._files.names_in(cells / name)
            if set(inside) <= {"cell.json", "ds_config.json", "attempts"} and not self.attempts(name):
                remove(cells / name, made=r"n\d.*")

    def drop_cells(self, cell_ids: Iterable[str], why: Sequence[str]) -> None:
        """Take cells out; their folders stay as they are, with a note in them."""
        for cell_id in cell_ids:
            note = {"schema_version": SCHEMA_VERSION, "at": now(), "where": list(why)}
            write(self.cell_dir(cell_id) / DROPPED, json.dumps(note, indent=1) + "\n")

    def rewrite_series(self, file: CellFile, series: tuple[Series, ...]) -> None:
        """Let a cell belong to these curves and no others."""
        if series != file.series:
            write(self.cell_dir(file.cell_id) / "cell.json", to_json(replace(file, series=series)))

    def rewrite_plan(self, plan: PlanFile) -> None:
        """Put a plan in the place of the written one."""
        self._write_plan_file(plan)

    def _write_plan_file(self, plan: PlanFile) -> None:
        private = any(profile.holds_secret for profile in plan.profiles)
        write(self.folder / "plan.json", to_json(plan), private=private)

    def add_cells(self, more: Mapping[str, PlannedCell], *, like: CellFile) -> None:
        """Add repeats to a written plan; their jobs are told what the job of `like` was told."""
        known = self._files.known(self.folder / "plan.json", PlanFile)
        if known is not None:
            for planned in more.values():
                self._write_cell(planned, like.data_root, like.options)
            self._write_plan_file(with_cells(known, more))

    def _write_cell(self, planned: PlannedCell, data_root: str, options: JobOptions) -> None:
        cell_id = planned.cell.cell_id
        folder = self.cell_dir(cell_id)
        make_folder(folder / "attempts")
        remove(folder / DROPPED, made=re.escape(DROPPED))
        known = self._files.known(folder / "cell.json", CellFile)
        file = cell_file(planned, known, data_root=data_root, options=options)
        if file != known:
            write(folder / "cell.json", to_json(file))
        if machinery(planned.cell.engine) == DEEPSPEED:
            write_if_new(folder / "ds_config.json", json.dumps(ds_config(planned.cell), indent=1) + "\n")

    def write_rendered(self, rendered: Rendered) -> Path:
        """Write the files of a batch; returns the path of its script."""
        folder = Path(rendered.batch.folder)
        make_folder(folder)
        for name, text in rendered.files.items():
            write(folder / name, text, private=rendered.batch.profile.holds_secret)
        return folder / rendered.script

    def journal_batch(self, event: Event, batch: Batch, handle: str = "", *, asked: bool = True) -> None:
        """Note what is about to happen, or has happened, to a batch.

        Raises `UserError` before a submission that may be the second one, for all that can be read.
        """
        if event is Event.SUBMITTING:
            for task in batch.tasks:
                if reason := self.why_unknown(task.name):
                    raise UserError(f"{reason}; nothing is submitted that may have run, or may run now: {LET_READ}")
        self.journal(entry_of(batch, event, at=now(), handle=handle, asked=asked))

    def journal(self, entry: JobEntry) -> None:
        """Append one line to `jobs.jsonl` and make sure that it is on disk.

        A line that a crash cut off is closed first, so that it takes no other with it.
        """
        with os.fdopen(opened(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as journal:
            if journal.tell() > 0:
                journal.seek(-1, os.SEEK_END)
                if journal.read(1) != b"\n":
                    journal.write(b"\n")
            journal.write(json.dumps(to_plain(entry)).encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())

    def write_exit(self, cell_id: str, attempt: str, exit: Exit) -> bool:
        """Keep the verdict on an attempt; returns False where it cannot be written: the next client judges again.

        Nor is one kept that rests on files which could not all be read.
        """
        folder = self.cell_dir(cell_id) / "attempts" / attempt
        if folder in self._files.unread or any(folder in path.parents for path in self._files.unread):
            return False
        with suppress(OSError):
            make_folder(folder)
            write(folder / "exit.json", to_json(exit))
            return True
        return False

    def write_stop(self, stop: Stop) -> None:
        """Tell every cell that has not begun how this one ended."""
        make_folder(self.folder / "stops")
        write(self.folder / "stops" / f"{stop.cell_id}.json", to_json(stop))

    def clear_stops(self, cell_ids: Iterable[str]) -> None:
        """Forget how these cells ended: they are run again."""
        for cell_id in cell_ids:
            remove(self.folder / "stops" / f"{cell_id}.json", made=r"n\d.*\.json")

    # -- reading ---------------------------------------------------------------------------------

    @property
    def is_asked_for(self) -> bool:
        """Whether somebody has asked for what is in it: else dry runs have only looked, or nothing is there yet."""
        commands = self._commands()
        return commands is None or any(not command.get("dry_run") for command in commands) or bool(self.jobs())

    def _commands(self) -> list[dict[str, Any]] | None:
        """Every command given so far; None where the file is damaged."""
        path = self.folder / "study.json"
        if not path.is_file():
            return []
        try:
            return [dict(command) for command in from_json(read(path))["commands"]]
        except (ValueError, KeyError, TypeError):
            return None

    def cell_dir(self, cell_id: str) -> Path:
        """Folder of one cell."""
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

    def cell_files(self) -> list[CellFile]:
        """Every planned cell, smallest first."""
        files: dict[str, CellFile] = {}
        cells = self.folder / "cells"
        for name in self._files.names_in(cells):
            if Path(f"{cells}/{name}/{DROPPED}").exists():
                continue
            file = self._files.read(Path(f"{cells}/{name}/cell.json"), CellFile)
            if file is not None and file.cell_id == name:
                files[name] = file
            elif file is not None:
                self._files.problem(f"{cells / name}/cell.json is of another cell, {file.cell_id}; it is passed over")
        return sorted(
            files.values(),
            key=lambda f: (f.cell.gpus, f.cell.nodes, f.cell.micro_batch, f.cell.accum, f.cell_id),
        )

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
        wrong = mismatches(record.requested, record.resolved)
        if wrong:
            return RecordProblem(status=Status.FAILED, text=f"what ran is not what was asked: {'; '.join(wrong)}")
        return record

    def records(self) -> list[Record]:
        """Every sound record of the study; none where there is no study yet."""
        records = (self.record(file) for file in self.cell_files())
        return [record for record in records if isinstance(record, Record)]

    def attempts(self, cell_id: str, *, since: int = 1) -> list[Attempt]:
        """Attempts of a cell from number `since` on, oldest first; ranks are read where there is no verdict."""
        above = self.cell_dir(cell_id) / "attempts"
        folders = [above / name for name in self._files.names_in(above) if _ATTEMPT.fullmatch(name)]
        numbered = sorted((tuple(int(part) for part in f.name.split(".")), f) for f in folders)
        return [self._attempt(folder) for number, folder in numbered if number[0] >= since and folder.is_dir()]

    def _attempt(self, folder: Path) -> Attempt:
        exit = self._files.read(folder / "exit.json", Exit)
        names = [] if exit else fnmatch.filter(self._files.names_in(folder), "rank*.json")
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

    def submission(self, sent: Sent) -> Submission:
        """A submission as its launcher knows it, with the folder where this client sees it."""
        return Submission(
            batch_name=sent.batch, folder=str(self.batch_dir(sent.batch)), handle=sent.handle, tasks=sent.tasks
        )

    def batch_dir(self, batch: str) -> Path:
        """Folder of a batch of jobs."""
        return self.folder / "jobs" / batch

    def repeat_rule(self) -> RepeatRule | None:
        """When this study's cells have been repeated enough; None: as often as was planned."""
        plan = self._files.read(self.folder / "plan.json", PlanFile)
        return plan.repeat if plan else None

    def planned(self) -> dict[str, PlannedCell]:
        """Every cell that a sweep planned, with what submitting it takes; without a sound `plan.json` none."""
        plan = self._files.read(self.folder / "plan.json", PlanFile)
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
                entries.append(parse_json(JobEntry, line, what=f"{path} line {number}"))
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


def open_study(study: str) -> Study:
    """Find a study by folder or by name; raises `UserError` with the menu of studies."""
    for folder in (Path(study), Path("outputs") / study):
        if (folder / "study.json").is_file():
            return Study(folder.absolute())
    known = [path.parent.name for path in Path("outputs").glob("*/study.json")]
    menu = closest(study, known) if known else "there is no study in outputs/ yet"
    raise UserError(f"{study} is not a study (no study.json in it) – {menu}")
