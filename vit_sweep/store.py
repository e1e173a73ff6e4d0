"""The study's folder: every file read and written in one place. An edge.

Each file is written aside and renamed. A truncated or foreign file is named in `problems` and passed
over, never fatal, never silently dropped.
"""

import json
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from launchers.backend import Rendered, Submission
from launchers.checked import checked, parse_json, to_json, to_plain
from launchers.errors import UserError
from vit_sweep.cell import CellFile
from vit_sweep.ds_config import ds_config
from vit_sweep.files import write, write_if_new
from vit_sweep.plan import Plan, PlanFile, PlannedPoint, merge_series, plan_file
from vit_sweep.provenance import git_commit, versions
from vit_sweep.record import Exit, Progress, Record, mismatches

T = TypeVar("T")
SCHEMA_VERSION = 1


@checked
class JobEntry:
    """A line of `jobs.jsonl`: the intention before a submission, the handle after it."""

    at: str
    event: str
    """submitting, submitted, cancelled."""
    scheduler: str
    batch: str
    tasks: tuple[tuple[str, int], ...]
    """Cell id and attempt, by task index."""
    handle: str = ""

    @property
    def submission(self) -> Submission:
        """The submission as the launcher knows it."""
        return Submission(batch_name=self.batch, handle=self.handle, tasks=len(self.tasks))


@checked
class Attempt:
    """What one attempt left in its folder."""

    name: str
    exit: Exit | None
    progress: Progress | None


@checked
class RecordProblem:
    """A `record.json` that is no row: the status that its cell gets, and why."""

    status: str
    text: str


class Study:
    """One folder of outputs. Holds no state but the path and the problems it met while reading."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or made yet."""
        self.folder = folder
        self.problems: list[str] = []

    @property
    def name(self) -> str:
        """The study's name is its folder's."""
        return self.folder.name

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def create_or_resume(cls, folder: Path) -> "Study":
        """Open a study to add to it; refuses a folder that is not ours or not writable."""
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "study.json").is_file():
            raise UserError(
                f"{folder} exists and is not a study (no study.json in it); choose another name with study=NAME"
            )
        try:
            (folder / "cells").mkdir(parents=True, exist_ok=True)
            (folder / "jobs").mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}; choose another place with outputs=FOLDER"
            ) from None
        return cls(folder)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the study while its plan is written and its jobs are submitted: one sweep at a time."""
        owner = self.folder / ".lock.owner"
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text().strip() if owner.is_file() else "another process"
            raise UserError(
                f"study {self.name} is being changed by {who}; wait until it has submitted, or use study=OTHER_NAME"
            ) from None
        try:
            write(owner, f"process {os.getpid()} on {socket.gethostname()} since {_now()}\n")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    # -- writing ---------------------------------------------------------------------------------

    def write_command(self, arguments: Sequence[str], overrides: Sequence[str]) -> None:
        """Add this command to `study.json`."""
        path = self.folder / "study.json"
        commands: list[Any] = []
        if path.is_file():
            try:
                commands = json.loads(path.read_text())["commands"]
            except (ValueError, KeyError, TypeError):
                self.problems.append(f"{path} was damaged; its list of commands begins anew")
        command = {
            "at": _now(),
            "arguments": list(arguments),
            "overrides": list(overrides),
            "host": socket.gethostname(),
            "git_commit": git_commit(),
            "versions": versions(),
        }
        content = {"schema_version": SCHEMA_VERSION, "name": self.name, "commands": [*commands, command]}
        write(path, json.dumps(content, indent=1) + "\n")

    def write_plan(self, plan: Plan, *, data_root: str) -> None:
        """Write `plan.json` and the folder of each cell, keeping what earlier sweeps asked for."""
        earlier = self.points()
        for cell_id, planned in plan.cells.items():
            folder = self.cell_dir(cell_id)
            (folder / "attempts").mkdir(parents=True, exist_ok=True)
            known = self._read(folder / "cell.json", CellFile)
            series = merge_series(known.series if known else (), planned.series)
            file = CellFile(cell_id=cell_id, cell=planned.cell, series=series, data_root=data_root)
            if file != known:
                write(folder / "cell.json", to_json(file))
            write_if_new(folder / "ds_config.json", json.dumps(ds_config(planned.cell), indent=1) + "\n")
        # Last: whoever watches this file then finds every cell that it names.
        write(self.folder / "plan.json", to_json(plan_file(plan, earlier)))

    def write_rendered(self, rendered: Rendered) -> Path:
        """Write the files of a batch; returns the path of its script."""
        folder = Path(rendered.batch.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in rendered.files.items():
            write(folder / name, text)
        return folder / rendered.script

    def journal_batch(self, event: str, rendered: Rendered, handle: str = "") -> None:
        """Note what is about to happen, or has happened, to a batch."""
        batch = rendered.batch
        entry = JobEntry(
            at=_now(),
            event=event,
            scheduler=batch.profile.scheduler.value,
            batch=batch.name,
            tasks=tuple((task.name, task.attempt) for task in batch.tasks),
            handle=handle,
        )
        self.journal(entry)

    def journal_cancelled(self, entry: JobEntry) -> None:
        """Note that the jobs of an earlier entry were ended by their user."""
        self.journal(replace(entry, at=_now(), event="cancelled"))

    def journal(self, entry: JobEntry) -> None:
        """Append one line to `jobs.jsonl` and make sure that it is on disk."""
        line = json.dumps(to_plain(entry)) + "\n"
        with (self.folder / "jobs.jsonl").open("a") as journal:
            journal.write(line)
            journal.flush()
            os.fsync(journal.fileno())

    # -- reading ---------------------------------------------------------------------------------

    def cell_dir(self, cell_id: str) -> Path:
        """Folder of one cell."""
        return self.folder / "cells" / cell_id

    def points(self) -> tuple[PlannedPoint, ...]:
        """Every point that this study was asked for."""
        plan = self._read(self.folder / "plan.json", PlanFile)
        return plan.points if plan else ()

    def planned_at(self) -> int:
        """When the plan was last written (nanoseconds; 0 without a plan): changes when cells may have been added."""
        path = self.folder / "plan.json"
        return path.stat().st_mtime_ns if path.exists() else 0

    def cell_files(self) -> list[CellFile]:
        """Every planned cell, smallest first."""
        files = [self._read(path, CellFile) for path in sorted(self.folder.glob("cells/*/cell.json"))]
        return sorted(
            (file for file in files if file is not None),
            key=lambda f: (f.cell.gpus, f.cell.nodes, f.cell.micro_batch, f.cell.accum, f.cell_id),
        )

    def record(self, file: CellFile) -> "Record | RecordProblem | None":
        """The cell's record, what is wrong with the file that is there, or None when there is no file."""
        path = self.cell_dir(file.cell_id) / "record.json"
        if not path.exists():
            return None
        record = self._read(path, Record)
        if record is None:
            return RecordProblem(
                status="missing", text="its record.json cannot be read; the same command runs it again"
            )
        if record.cell_id != file.cell_id or record.requested != file.cell:
            return RecordProblem(status="missing", text=f"its record.json belongs to another cell, {record.cell_id}")
        wrong = mismatches(record.requested, record.resolved)
        if wrong:
            return RecordProblem(status="failed", text=f"what ran is not what was asked: {'; '.join(wrong)}")
        return record

    def records(self) -> list[Record]:
        """Every sound record of the study; none where there is no study yet."""
        found = (self.record(file) for file in self.cell_files())
        return [record for record in found if isinstance(record, Record)]

    def attempts(self, cell_id: str) -> list[Attempt]:
        """Attempts of a cell, oldest first."""
        folders = sorted(
            (f for f in self.cell_dir(cell_id).glob("attempts/*") if f.is_dir()),
            key=lambda f: _attempt_key(f.name),
        )
        return [
            Attempt(
                name=f.name,
                exit=self._read(f / "exit.json", Exit),
                progress=self._read(f / "progress.json", Progress),
            )
            for f in folders
        ]

    def jobs(self) -> list[JobEntry]:
        """The journal, line by line; a line cut off by a crash is named and passed over."""
        path = self.folder / "jobs.jsonl"
        if not path.is_file():
            return []
        entries = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                entries.append(parse_json(JobEntry, line, what=f"{path} line {number}"))
            except UserError as error:
                self._problem(str(error))
        return entries

    def _read(self, path: Path, kind: type[T]) -> T | None:
        if not path.exists():
            return None
        try:
            return parse_json(kind, path.read_bytes(), what=str(path))
        except (UserError, OSError) as error:
            self._problem(f"{error}; this file is passed over")
            return None

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


def attempt_name(attempt: int, restart: int) -> str:
    """`2`, or `2.1` after the scheduler started the second attempt's job again."""
    return f"{attempt}.{restart}" if restart else str(attempt)


def _attempt_key(name: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in name.split("."))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
