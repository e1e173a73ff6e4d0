"""Checkpoints that trainings are to go on from, looked at before anything is planned. An edge."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from launchers.calling import called
from launchers.checked import parse_json
from launchers.errors import UserError, closest
from vit_sweep.outcome.result import Status
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.continuing.origin import Origin
from vit_sweep.plan.continuing.rules import origin_of
from vit_sweep.plan.point import Point
from vit_sweep.record.position import Position
from vit_sweep.study.checkpoints import content_of, link_in, newest
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study, open_study

_CELLS = "cells"
_BUSY = (Status.RUNNING, Status.SUSPENDED, Status.QUEUED, Status.UNKNOWN, Status.UNREADABLE)


def continued(points: Iterable[Point]) -> list[Point]:
    """The points, those with `continue_from` with the checkpoint that it leads to; raises `UserError` for one that
    leads to none."""
    known: dict[str, Origin] = {}
    made = []
    for point in points:
        given = point.continue_from
        if given is not None:
            if given not in known:
                known[given] = _looked_at(given)
            point = replace(point, origin=known[given])  # noqa: PLW2901
        made.append(point)
    return made


def _looked_at(given: str) -> Origin:
    place, what = Path(given).expanduser(), f"continue_from={given}"
    above = place.parent.parent if place.parent.name == _CELLS else place.parent
    if above == Path():
        raise UserError(f"{what}: it names no study; give the cell with it: continue_from=STUDY/CELL")
    try:
        study = open_study(str(above))
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    file = _cell(study, place.name, what)
    _require_at_rest(study, file, what)
    folder = study.cell_dir(file.cell_id) / "checkpoint"
    passed: list[str] = []
    text = newest(
        folder,
        cell_id=file.cell_id,
        world_size=file.cell.gpus,
        zero_stage=file.cell.engine.zero_stage,
        passed_over=lambda name, reason: passed.append(f"{name} ({reason})"),
    )
    if text is None:
        why = f"none of its checkpoints is whole: {', '.join(passed)}" if passed else "it left no checkpoint"
        raise UserError(f"{what}: {why}; run it from the start")
    position = parse_json(Position, text, what=what)
    checkpoint = folder / position.name
    if link := link_in(checkpoint, below=study.folder):
        raise UserError(
            f"{what}: {link} is a symbolic link, behind which may lie anything; put what it leads to in its place"
        )
    try:
        content = content_of(checkpoint, position)
    except OSError as error:
        raise UserError(f"{what}: {checkpoint} cannot be read ({error.strerror or error})") from None
    return origin_of(
        file.cell,
        checkpoint=position.name,
        content=content,
        folder=str(checkpoint.absolute()),
        epoch=position.epoch,
        step=position.step,
    )


def _cell(study: Study, name: str, what: str) -> CellFile:
    files = {file.cell_id: file for file in study.cell_files()}
    if name not in files:
        raise UserError(f"{what}: study {study.name} has no such cell – {closest(name, files)}")
    if files[name].cell.cell_id != name:
        raise UserError(f"{what}: its cell.json is that of {files[name].cell.cell_id}; two studies are mixed")
    return files[name]


def _require_at_rest(study: Study, file: CellFile, what: str) -> None:
    """A training of which nobody else goes on, and which is not over."""
    (result,) = settled_results(study, [file])
    if result.status is Status.DONE:
        raise UserError(
            f"{what}: it is done, all {file.cell.epochs} epochs, and its checkpoints are gone with its record; nothing "
            "is left to go on with"
        )
    if result.status in _BUSY:
        detail = f" ({result.detail})" if result.detail else ""
        raise UserError(
            f"{what}: it is {result.status.value}{detail}, and two trainings must not go on from one place; wait for "
            f"its end, or: {called()} cancel {study.name} first"
        )
