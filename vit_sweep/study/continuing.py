"""Checkpoints that trainings are to go on from, looked at before anything is planned. An edge."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from launchers.checked import parse_json
from launchers.errors import UserError, closest
from launchers.invocation import called
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
    origins: dict[str, Origin] = {}
    resolved = []
    for point in points:
        source = point.continue_from
        if source is not None:
            if source not in origins:
                origins[source] = _looked_at(source)
            point = replace(point, origin=origins[source])  # noqa: PLW2901
        resolved.append(point)
    return resolved


def _looked_at(source: str) -> Origin:
    path, setting = Path(source).expanduser(), f"continue_from={source}"
    above = path.parent.parent if path.parent.name == _CELLS else path.parent
    if above == Path():
        raise UserError(f"{setting}: it names no study; give the cell with it: continue_from=STUDY/CELL")
    try:
        study = open_study(str(above))
    except UserError as error:
        raise UserError(f"{setting}: {error}") from None
    file = _cell(study, path.name, setting)
    _require_at_rest(study, file, setting)
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
        raise UserError(f"{setting}: {why}; run it from the start")
    position = parse_json(Position, text, source=setting)
    checkpoint = folder / position.name
    if link := link_in(checkpoint, below=study.folder):
        raise UserError(
            f"{setting}: {link} is a symbolic link, behind which may lie anything; put what it leads to in its place"
        )
    try:
        content = content_of(checkpoint, position)
    except OSError as error:
        raise UserError(f"{setting}: {checkpoint} cannot be read ({error.strerror or error})") from None
    return origin_of(
        file.cell,
        checkpoint=position.name,
        content=content,
        folder=str(checkpoint.absolute()),
        epoch=position.epoch,
        step=position.step,
    )


def _cell(study: Study, name: str, setting: str) -> CellFile:
    files = {file.cell_id: file for file in study.cell_files()}
    if name not in files:
        raise UserError(f"{setting}: study {study.name} has no such cell – {closest(name, files)}")
    if files[name].cell.cell_id != name:
        raise UserError(f"{setting}: its cell.json is that of {files[name].cell.cell_id}; two studies are mixed")
    return files[name]


def _require_at_rest(study: Study, file: CellFile, setting: str) -> None:
    """A training of which nobody else goes on, and which is not over."""
    (result,) = settled_results(study, [file])
    if result.status is Status.DONE:
        raise UserError(
            f"{setting}: it is done, all {file.cell.epochs} epochs, and its checkpoints are gone with its record; "
            "nothing is left to go on with"
        )
    if result.status in _BUSY:
        detail = f" ({result.detail})" if result.detail else ""
        raise UserError(
            f"{setting}: it is {result.status.value}{detail}, and two trainings must not go on from one place; wait "
            f"for its end, or: {called()} cancel {study.name} first"
        )
