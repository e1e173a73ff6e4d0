"""Checkpoints: written aside by all ranks, renamed when whole, two kept. `cells/<id>/checkpoint/e0003-s000017/`.

In each folder lie the engine's files (weights, optimizer, loss scale) and `position.json`, written last.
"""

import os
from dataclasses import replace
from pathlib import Path

import torch.distributed as dist

from launchers.atomic import make_folder, remove, rename, write
from launchers.checked import parse_json, to_json
from vit_sweep.job.rank_log import say
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, cause_of
from vit_sweep.record.position import Position
from vit_sweep.study.checkpoints import POSITION, files_of, newest

_MADE = r"e\d+-s\d+|\.partial-\d+(\.\d+)?"
"""Names of the folders that this module makes."""


class Checkpoints:
    """The checkpoints of one cell, as one rank of a run sees them. Every method but `delete` is a collective."""

    def __init__(self, folder: Path, *, attempt: str) -> None:
        """`folder` need not exist. `attempt` names what is written aside."""
        self._folder, self._attempt = folder, attempt
        self._newest: str | None = None

    def load(self, engine: Engine, *, cell_id: str, world_size: int, zero_stage: int | None) -> Position | None:
        """Load the newest sound checkpoint into a fresh engine; None: there is none. Damaged ones are passed over.

        Rank 0 chooses for all: ranks on other hosts may see a shared folder a moment later. Raises `JobError` for
        one that seems whole and cannot be read: the engine is then half loaded.
        """
        newest: list[str | None] = [None]
        if dist.get_rank() == 0:
            newest = [self._choose(cell_id, world_size, zero_stage)]
        dist.broadcast_object_list(newest, src=0)
        if newest[0] is None:
            return None
        position = parse_json(Position, newest[0], source=POSITION)
        folder = self._folder / position.name
        try:
            engine.load(folder)
        except Exception as error:  # pickle, zipfile and torch each have their own
            if cause_of(error) is not Cause.BUG:
                raise
            reason = str(error).strip().split("\n", 1)[0]
            raise JobError(
                Cause.STORAGE,
                f"checkpoint {folder} cannot be read ({type(error).__name__}: {reason}); remove that folder to go on "
                "from the one before",
            ) from error
        self._newest = position.name
        return position

    def save(self, engine: Engine, position: Position) -> None:
        """Save the engine at `position` (whose `files` are filled in here), unless that is the newest one already.

        Raises `OSError`, or torch's own error, when it cannot be written; the earlier ones are then still whole.
        """
        if position.name == self._newest:
            return
        partial = self._folder / f".partial-{self._attempt}"
        if dist.get_rank() == 0:
            remove(partial, pattern=_MADE)
            make_folder(partial)
        dist.barrier()  # behind which the folder is there for all
        engine.save(partial)
        dist.barrier()
        if dist.get_rank() == 0:
            self._publish(partial, position)
        dist.barrier()
        self._newest = position.name

    def delete(self) -> None:
        """Remove them all: the run is done and its record written. For one rank."""
        remove(self._folder, pattern="checkpoint")

    def _publish(self, partial: Path, position: Position) -> None:
        files = {str(path.relative_to(partial)): path.stat().st_size for path in files_of(partial)}
        for name in files:
            _to_disk(partial / name)
        write(partial / POSITION, to_json(replace(position, files=files)))
        for folder in {path.parent for path in files_of(partial)}:
            _to_disk(folder)
        target = self._folder / position.name
        # What is there of that name was passed over when this run began.
        remove(target, pattern=_MADE)
        rename(partial, target.name)
        _to_disk(self._folder)
        for entry in self._folder.iterdir():
            if entry.name not in (position.name, self._newest):
                remove(entry, pattern=_MADE)

    def _choose(self, cell_id: str, world_size: int, zero_stage: int | None) -> str | None:
        """The text of the newest position whose checkpoint is whole and of this cell."""
        text = newest(
            self._folder,
            cell_id=cell_id,
            world_size=world_size,
            zero_stage=zero_stage,
            passed_over=lambda name, reason: say(f"checkpoint {name} is passed over: {reason}"),
        )
        if text is not None:
            say(f"goes on from checkpoint {parse_json(Position, text, source=POSITION).name}")
        return text


def _to_disk(path: Path) -> None:
    """Make a file's content, or a folder's names, outlast a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
