"""Cells that were done when somebody looked before, so that the next look need not read their records. An edge.

Who looks gets the results that reading would give, but for the record, of which a `Brief` is left: while the cell's two
files are those that were read (`unchanged`), and no later attempt was sent since. Only first attempts that ended well
are noted, of which no other file says anything.

It is one file for each user, `.done-UID`: JSON, checked as any other, with a digest; written aside and renamed.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from launchers.atomic import is_ours_alone, reading, replacing
from launchers.checked import Name, Whole, checked, field_names, parse_json, to_compact_json, varied
from launchers.errors import UserError
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import Cell, CellFile
from vit_sweep.record.attempt import FIRST
from vit_sweep.record.brief import Brief
from vit_sweep.study.cache.unchanged import YOUNG_NS, clock_ns, code_stamp, key_of, version_of
from vit_sweep.study.journal import next_attempts
from vit_sweep.study.reading import smallest_first
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study

NOTE_FROM = 50
"""Cells from which on those that are done are noted."""
_SECOND = 2
"""The attempt that nobody may have asked for since: the first one is noted."""
_OWN = ("gpus", "nodes", "micro_batch", "accum", "train_images", "seed")
"""What tells most cells of a grid apart; all else is written once for those that share it."""
_SHARED = attrgetter(
    "series", "data_root", "options", *(f"cell.{name}" for name in field_names(Cell) if name not in _OWN)
)


@checked
class _Done:
    """One cell."""

    name: Name
    key: str
    like: Whole
    """Place of a file that differs only in its name and in `own`."""
    own: tuple[Whole, ...]
    brief: Brief


@checked
class _Noted:
    """All of them."""

    plan: str
    """The version of `plan.json` that was found sound; empty where none was."""
    files: tuple[CellFile, ...]
    cells: tuple[_Done, ...]


class _Kept(NamedTuple):
    """A note as it is used."""

    plan: str
    results: Mapping[str, tuple[str, Result]]
    """Each cell's key and result."""


def results_in_short(study: Study) -> list[Result]:
    """What `settled_results` gives; of cells that were done before, and are as they were, without the record.

    A damaged plan is among the problems of the study, though nothing is taken of it.
    """
    names = study.cell_names()
    if len(names) < NOTE_FROM:
        study.plan_file()
        return settled_results(study)
    began_ns = clock_ns(study.folder)
    keys: dict[str, tuple[str, int]] = {}
    for name in names:
        with suppress(OSError):
            keys[name] = key_of(f"{study.folder}/cells/{name}", "")
    path = study.folder / f".done-{os.geteuid()}"
    free, kept = next_attempts(study.jobs()), _read(path)
    plan = _sound_plan(study, kept.plan, began_ns)
    cached = {
        name: done
        for name, done in kept.results.items()
        if name in keys and keys[name][0] == done[0] and free.get(name, _SECOND) <= _SECOND
    }
    rest = [name for name in names if name not in cached]
    read = settled_results(study, study.cell_files(rest)) if rest else []
    old = {name: key for name, (key, at_ns) in keys.items() if began_ns is not None and at_ns + YOUNG_NS < began_ns}
    new = {name: (old[name], result) for result in read if (name := result.file.cell_id) in old and _lasts(result)}
    if began_ns is not None and (new or plan != kept.plan):
        _write(path, _Kept(plan, cached | new))
    return sorted([*(result for _, result in cached.values()), *read], key=lambda result: smallest_first(result.file))


def _sound_plan(study: Study, known: str, began_ns: int | None) -> str:
    """The version of the plan, which is read unless it is `known` as sound; empty where it is not, or too young."""
    try:
        info = (study.folder / "plan.json").stat()
    except OSError:
        return ""
    version = version_of(info)
    if version == known:
        return known
    if study.plan_file() is None or began_ns is None:
        return ""
    return version if max(info.st_mtime_ns, info.st_ctime_ns) + YOUNG_NS < began_ns else ""


def _lasts(result: Result) -> bool:
    """Whether it rests on the cell's two files alone."""
    return result == Result(file=result.file, record=result.record, status=Status.DONE, attempt=FIRST)


def _read(path: Path) -> _Kept:
    """What was noted; nothing of a file that is not as we wrote it."""
    with suppress(OSError, UserError, IndexError, ValueError):
        with reading(path) as file:
            info, head, text = os.fstat(file.fileno()), file.readline(), file.read()
        if is_ours_alone(info) and head == _head(text):
            cache = parse_json(_Noted, text, source="cells that were done")
            like = [Result(file=file, record=None, status=Status.DONE, attempt=FIRST) for file in cache.files]
            cells = {done.name: (done.key, _result(done, like[done.like])) for done in cache.cells}
            return _Kept(cache.plan, cells)
    return _Kept("", {})


def _result(done: _Done, like: Result) -> Result:
    cell = varied(like.file.cell, **dict(zip(_OWN, done.own, strict=True)))
    return varied(like, file=varied(like.file, cell_id=done.name, cell=cell), noted=done.brief)


def _write(path: Path, kept: _Kept) -> None:
    """Nothing is said where it cannot be written."""
    files: dict[object, tuple[int, CellFile]] = {}
    cells = []
    for name, (key, result) in kept.results.items():
        like, _ = files.setdefault(_SHARED(result.file), (len(files), result.file))
        values = attrgetter(*_OWN)(result.file.cell)
        assert result.brief is not None
        cells.append(_Done(name=name, key=key, like=like, own=values, brief=result.brief))
    noted = _Noted(plan=kept.plan, files=tuple(file for _, file in files.values()), cells=tuple(cells))
    text = to_compact_json(noted)
    with suppress(OSError), replacing(path, durable=False, private=True) as file:
        file.write(_head(text) + text)


def _head(text: bytes) -> bytes:
    """The first line: which code wrote it, and a digest of the rest."""
    return hashlib.sha256(code_stamp().encode() + text).hexdigest().encode() + b"\n"
