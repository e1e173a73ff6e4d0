"""Whether a study's folder is consistent: read everything, change nothing, say what is wrong. An edge."""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.atomic import opened, read, remove
from launchers.checked import checked
from launchers.process.environment import JOB_ID
from launchers.queue.files import read_handle
from launchers.queue.handle import process_of
from launchers.slurm.handle import parts_of
from vit_sweep.record.record import Record
from vit_sweep.study.code.snapshot import is_altered
from vit_sweep.study.consistency import LEFTOVER, Kind, kind_of, of_attempts, of_cells, of_journal
from vit_sweep.study.journal import JobEntry, in_doubt
from vit_sweep.study.reading import RecordProblem
from vit_sweep.study.store import Study

if TYPE_CHECKING:
    import psutil

_NOT_ENTERED = re.compile(r"\.code/[^/]+|tables|figures|tensorboard|wandb|mlflow|cells/[^/]+/checkpoint")
"""Folders whose content has rules of its own."""
_READ = {"plan.json", "cell.json", "record.json", "exit.json", "progress.json"}
"""What is read for what it says, and named with what is wrong with it."""


@checked
class Consistency:
    """What a check has seen."""

    cells: int
    records: int
    wrong: tuple[str, ...]
    """One sentence each; none: the folder is consistent."""
    notes: tuple[str, ...] = ()
    """What is as it should be and may surprise."""


def check(study: Study) -> Consistency:
    """Compare plan, journal, cells, records, files and this host's processes with one another."""
    entries = study.jobs()
    files = study.cell_files()
    findings = [*of_cells(_planned(study), {file.cell_id: file.cell.cell_id for file in files}), *of_journal(entries)]
    findings += [
        f"jobs/{batch}/batch.json is absent, and jobs.jsonl says that it was submitted"
        for batch in dict.fromkeys(entry.batch for entry in entries)
        if not (study.batch_dir(batch) / "batch.json").is_file()
    ]
    submitted = {task for entry in entries for task in entry.tasks}
    records, busy = 0, _is_locked(study)
    for file in files:
        record = study.record(file)
        attempts = study.attempts(file.cell_id)
        if isinstance(record, RecordProblem):
            findings.append(f"cells/{file.cell_id}: {record.text}")
        sound = isinstance(record, Record)
        records += sound
        recorded = record.attempt if isinstance(record, Record) else None
        if not study.journal_problem:  # which is said, and nothing contradicts what nobody can read
            findings += of_attempts(file.cell_id, [a.name for a in attempts], submitted, recorded=recorded)
        busy |= bool(attempts and attempts[-1].exit is None and not sound)
    of_study, unknown = _processes(study, entries)
    findings += [
        f"process {process.pid} ({process.name()}) runs this study's code, and no living queue or job has it"
        for process in unknown
    ]
    leftovers, strangers, known = _names(study.folder)
    findings += _damaged(study.folder, known)
    findings += [
        f".code/{folder.name} is not the code that its name stands for: files in it were changed, are missing or were "
        "added; put it away, and the same command writes it anew"
        for folder in sorted(study.folder.glob(".code/*"))
        if kind_of(f".code/{folder.name}") is Kind.KNOWN and is_altered(folder)
    ]
    findings += [f"{path} is nothing that vit_sweep writes" for path in strangers]
    notes = [f"{entry.batch}: its submission is in doubt; resume looks it up" for entry in in_doubt(entries)]
    if busy or of_study:
        notes += [f"{path} may be of a writer at work" for path in leftovers]
    else:
        findings += [f"{path} was left by a writer that was killed, and may be deleted" for path in leftovers]
    return Consistency(
        cells=len(files), records=records, wrong=tuple(dict.fromkeys([*study.problems, *findings])), notes=tuple(notes)
    )


def remove_leftovers(study: Study) -> None:
    """Delete what killed writers left. Only for who holds the study's lock while no job of it is under way."""
    for path in _names(study.folder)[0]:
        # A report is drawn without the lock.
        if not path.startswith(".report."):
            remove(study.folder / path, pattern=LEFTOVER)


def _planned(study: Study) -> set[str]:
    return {cell for point in study.points() if (cell := point.cell_id) is not None}


def _damaged(folder: Path, paths: Iterable[str]) -> Iterator[str]:
    """The JSON files that make no sense, of those that nothing else here reads."""
    for path in paths:
        if not path.endswith(".json") or path.rpartition("/")[2] in _READ:
            continue
        try:
            json.loads(read(folder / path))
        except FileNotFoundError:
            continue  # of a job that goes on
        except OSError as error:
            yield f"{path} cannot be read: {error.strerror}"
        except (ValueError, RecursionError):
            yield f"{path} is not valid JSON: it was cut off or changed"


def _names(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Leftovers, what is not known, and the rest, relative to the folder."""
    by_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for directory, folders, files in os.walk(folder):
        relative = os.path.relpath(directory, folder)
        paths = {name: name if relative == "." else f"{relative}/{name}" for name in sorted((*folders, *files))}
        for path in paths.values():
            by_kind[kind_of(path)].append(path)
        folders[:] = [
            name for name in folders if kind_of(paths[name]) is Kind.KNOWN and not _NOT_ENTERED.fullmatch(paths[name])
        ]
    return by_kind[Kind.LEFTOVER], by_kind[Kind.UNKNOWN], by_kind[Kind.KNOWN]


def _is_locked(study: Study) -> bool:
    """Whether a client is changing the study now; where the lock may not be opened nobody here can say."""
    try:
        descriptor = opened(study.folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _processes(study: Study, entries: list[JobEntry]) -> "tuple[list[psutil.Process], list[psutil.Process]]":
    """This host's processes that run the study's code: those of living queues and jobs, and those of nobody."""
    import psutil

    queues: set[int] = set()
    for folder in study.folder.glob("jobs/*"):
        handle = read_handle(folder)
        if handle is not None and (queue := process_of(handle)) is not None:
            queues.add(queue.pid)
    jobs = {parts_of(entry.handle)[0] for entry in entries if entry.handle}
    of_study: list[psutil.Process] = []
    unknown: list[psutil.Process] = []
    for process, environment in _running(f"{study.folder}/.code/"):
        queue_of_rank = re.match(r"[a-z]+(\d+)-", environment.get(JOB_ID, ""))
        job = environment.get("SLURM_ARRAY_JOB_ID", environment.get("SLURM_JOB_ID"))
        try:
            line = {process.pid, *(parent.pid for parent in process.parents())}
        except psutil.Error:
            continue
        is_of_study = line & queues or job in jobs or (queue_of_rank and int(queue_of_rank[1]) in queues)
        (of_study if is_of_study else unknown).append(process)
    return of_study, unknown


def _running(code: str) -> "Iterator[tuple[psutil.Process, dict[str, str]]]":
    import psutil

    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if code in environment.get("PYTHONPATH", "") and process.status() != psutil.STATUS_ZOMBIE:
                yield process, environment
        except psutil.Error:
            continue  # gone, or another user's
