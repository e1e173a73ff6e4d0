"""The study's folder: every file written in one place. An edge.

Each file is written aside and renamed.
"""

import json
import os
import re
import socket
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from launchers.atomic import ThroughLinkError, make_folder, new_folders, on_disk, opened, remove, write, write_of_many
from launchers.backend import Rendered
from launchers.batch import Batch
from launchers.checked import to_json, to_plain
from launchers.errors import UserError, closest
from launchers.references import masked
from launchers.text import indented
from vit_sweep.outcome.ending import Exit
from vit_sweep.outcome.policy import Stop
from vit_sweep.plan.cell import Cell, CellFile, JobOptions, Series
from vit_sweep.plan.deciding.candidates_file import CandidatesFile
from vit_sweep.plan.deciding.decision import DecisionEntry
from vit_sweep.plan.deciding.question import DecideRule
from vit_sweep.plan.engine.ds_config import ds_config
from vit_sweep.plan.engine.kinds import machinery
from vit_sweep.plan.plan import Plan, PlannedCell, merge_series
from vit_sweep.plan.plan_file import NO_LIMITS, JobLimits, PlanFile, plan_file, with_cells
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.plan.specs import DEEPSPEED
from vit_sweep.plan.waiting.forecast_file import ForecastFile
from vit_sweep.study.code.provenance import git_commit, versions
from vit_sweep.study.journal import Event, JobEntry, entry_of
from vit_sweep.study.lock import changing, now
from vit_sweep.study.reading import DROPPED, StudyReader
from vit_sweep.study.schema_file import LET_READ
from vit_sweep.study.trust import programs, remember

SCHEMA_VERSION = 1
Watched = Callable[[Iterable[PlannedCell], int], Iterable[PlannedCell]]
"""Passes so many cells on, and may tell a person how far they are."""


def unwatched(cells: Iterable[PlannedCell], _total: int) -> Iterable[PlannedCell]:
    """Tells nobody."""
    return cells


def cell_file(planned: PlannedCell, previous: CellFile | None, *, data_root: str, options: JobOptions) -> CellFile:
    """What a job is told of a cell; `previous`: what an earlier sweep had for it, whose curves it keeps."""
    return CellFile(
        cell_id=planned.cell.cell_id,
        cell=planned.cell,
        series=merge_series(previous.series if previous else (), planned.series),
        data_root=data_root,
        options=replace(options, scratch=planned.profile.scratch, nvme=planned.profile.nvme),
    )


class CellTexts:
    """The files of new cells; of those that `Cell.repeated` made of one another the texts are worked out once."""

    def __init__(self, data_root: str, options: JobOptions) -> None:
        self._data_root, self._options = data_root, options
        self._first: dict[tuple[object, ...], tuple[CellFile, tuple[str, ...], str]] = {}

    def of(self, planned: PlannedCell) -> tuple[CellFile, dict[str, str]]:
        """What the job of a cell is told, and the files of its folder by their names."""
        cell, profile = planned.cell, planned.profile
        kind = (id(cell.around), planned.series, profile.scratch, profile.nvme)
        if kind in self._first:
            template, _, _ = self._first[kind]
            file = replace(template, cell_id=cell.cell_id, cell=cell)
        else:
            file = cell_file(planned, None, data_root=self._data_root, options=self._options)
            # Sorted and indented by one: a cell's own seed is two deep, its name one.
            head, tail = to_json(file).split(f'\n  "seed": {cell.seed},')
            between, behind = tail.split(f'\n "cell_id": "{file.cell_id}",')
            self._first[kind] = file, (head, between, behind), _ds_text(cell)
        _, (head, between, behind), ds_text = self._first[kind]
        text = f'{head}\n  "seed": {cell.seed},{between}\n "cell_id": "{file.cell_id}",{behind}'
        return file, {"cell.json": text} | ({"ds_config.json": ds_text} if ds_text else {})


def _ds_text(cell: Cell) -> str:
    """DeepSpeed's configuration, which knows of no seed; empty for an engine that is not DeepSpeed's."""
    return indented(ds_config(cell)) + "\n" if machinery(cell.engine) == DEEPSPEED else ""


def _is_foreign(path: Path) -> bool:
    """Whether a folder with this in it, and no study.json, is somebody else's: not a study cut off at its start."""
    return path.name not in ("cells", "jobs", ".code", ".lock", ".lock.owner") and not path.name.endswith(".tmp")


class Study(StudyReader):
    """One folder of outputs, read and written."""

    _held = False

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

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the study while plan and jobs are written; raises `BusyError` if another process does."""
        with changing(self.folder):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    @property
    def keeps_verdicts(self) -> bool:
        """Whether this user's looks may leave verdicts: it is theirs, or they are changing it."""
        with suppress(OSError):  # somebody may delete it meanwhile
            return self._held or self.folder.stat().st_uid == os.geteuid()
        return False

    def write_command(
        self, arguments: Sequence[str], overrides: Sequence[str], *, code: str, dry_run: bool = False
    ) -> None:
        """Add this command to `study.json`."""
        path = self.folder / "study.json"
        commands = self.commands()
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
        decide: DecideRule | None = None,
        limits: JobLimits = NO_LIMITS,
        anew: bool = False,
        watched: Watched = unwatched,
    ) -> list[CellFile]:
        """Write `plan.json` and the folder of each cell, keeping what earlier sweeps asked for; returns the new cells.

        `anew`: nobody has asked for what is there, dry runs have only looked at it; this plan takes its place.
        """
        path = self.folder / "plan.json"
        # What its owner keeps to themselves, because of a secret in it, is not to be lost either.
        earlier = None if anew else self._files.known(path, PlanFile)
        if anew:
            self._forget_cells_but(plan.cells)
        new = self._write_cells(watched(plan.cells.values(), len(plan.cells)), data_root, options)
        self.let_run(plan)
        # Last: whoever watches this file then finds every cell that it names.
        self._write_plan_file(plan_file(plan, earlier, repeat=repeat, decide=decide, limits=limits))
        return new

    def let_run(self, plan: Plan) -> None:
        """Let this user's own commands run in this study what `plan` names."""
        cells = plan.cells.values()
        remember(self.folder, programs((planned.profile for planned in cells), (planned.cell for planned in cells)))

    def _forget_cells_but(self, cell_ids: Collection[str]) -> None:
        """Delete the folders of cells that only dry runs looked at; what has more in it than they write stays."""
        cells = self.folder / "cells"
        for name in set(self._files.names_in(cells)) - set(cell_ids):
            entries = self._files.names_in(cells / name)
            if set(entries) <= {"cell.json", "ds_config.json", "attempts"} and not self.attempts(name):
                remove(cells / name, pattern=r"n\d.*")

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

    def add_cells(self, added: Mapping[str, PlannedCell], *, like: CellFile) -> None:
        """Add repeats to a written plan; their jobs are told what the job of `like` was told."""
        plan = self._files.known(self.folder / "plan.json", PlanFile)
        if plan is not None:
            self._write_cells(added.values(), like.data_root, like.options)
            self._write_plan_file(with_cells(plan, added))

    def _write_cells(self, cells: Iterable[PlannedCell], data_root: str, options: JobOptions) -> list[CellFile]:
        """Write their folders, on disk before a plan names them; returns the new ones."""
        files, new, changed = CellTexts(data_root, options), [], False
        with new_folders(self.folder / "cells") as make:
            for planned in cells:
                file, texts = files.of(planned)
                if make(file.cell_id, ["attempts"], texts):
                    new.append(file)
                else:
                    changed |= self._write_cell(planned, data_root, options)
        if new or changed:
            on_disk(self.folder)
        return new

    def _write_cell(self, planned: PlannedCell, data_root: str, options: JobOptions) -> bool:
        cell_id = planned.cell.cell_id
        folder = self.cell_dir(cell_id)
        make_folder(folder / "attempts")
        remove(folder / DROPPED, pattern=re.escape(DROPPED))
        previous = self._files.known(folder / "cell.json", CellFile)
        file = cell_file(planned, previous, data_root=data_root, options=options)
        written = file != previous and write_of_many(folder / "cell.json", to_json(file))
        if text := _ds_text(planned.cell):
            written |= write_of_many(folder / "ds_config.json", text)
        return written

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
        """Append one line to `jobs.jsonl` and make sure that it is on disk."""
        _append(self._journal, to_plain(entry))

    def write_forecast(self, batch: str, forecast: ForecastFile) -> None:
        """Write when a batch of jobs is expected to start; raises `OSError` where that cannot be written."""
        write(self.batch_dir(batch) / "forecast.json", to_json(forecast))

    def write_candidates(self, candidates: CandidatesFile) -> None:
        """Write what the study may choose from."""
        private = any(profile.holds_secret for profile in candidates.profiles)
        write(self.folder / "deciding.json", to_json(candidates), private=private)

    def journal_decision(self, entry: DecisionEntry) -> None:
        """Append one line to `decisions.jsonl` and make sure that it is on disk: before its cells are added."""
        _append(self._decisions, to_plain(entry))

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
            remove(self.folder / "stops" / f"{cell_id}.json", pattern=r"n\d.*\.json")


def _append(path: Path, content: object) -> None:
    """Append one line and make sure that it is on disk.

    A line that a crash cut off is closed first, so that it takes no other with it.
    """
    with os.fdopen(opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as journal:
        if journal.tell() > 0:
            journal.seek(-1, os.SEEK_END)
            if journal.read(1) != b"\n":
                journal.write(b"\n")
        journal.write(json.dumps(content).encode() + b"\n")
        journal.flush()
        os.fsync(journal.fileno())


def is_study(study: str) -> bool:
    """Whether `open_study` finds it."""
    return any((folder / "study.json").is_file() for folder in _where(study))


def _where(study: str) -> tuple[Path, Path]:
    return Path(study), Path("outputs") / study


def open_study(study: str) -> Study:
    """Find a study by folder or by name; raises `UserError` with the menu of studies."""
    for folder in _where(study):
        if (folder / "study.json").is_file():
            return Study(folder.absolute())
    names = [path.parent.name for path in Path("outputs").glob("*/study.json")]
    menu = closest(study, names) if names else "there is no study in outputs/ yet"
    raise UserError(f"{study} is not a study (no study.json in it) – {menu}")
