"""Going on from another cell's checkpoint, whatever ranks and engine left it: checked, read, taken over."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist

from launchers.atomic import read
from launchers.checked import parse_json
from launchers.errors import UserError
from vit_sweep.job.rank_log import say
from vit_sweep.job.train.continuing.whole_state import TrainingState, scale_of_torch
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.engines.plain_torch import STATE
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, cause_of, one_line
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.continuing.origin import Origin
from vit_sweep.plan.specs import DEEPSPEED
from vit_sweep.record.position import Position, moved, refusal
from vit_sweep.study.checkpoints import POSITION, content_of, files_of, link_in


@runtime_checkable
class _Movable(Protocol):
    """An engine that can become what another left."""

    def load_state(self, state: TrainingState) -> None:
        """Take over weights, moments and the loss scale; a collective."""


def begin(cell: Cell, origin: Origin, engine: Engine) -> Position:
    """Load the checkpoint into a fresh engine, and say where the training goes on.

    Raises `JobError` where it is not the one that was planned any more, or cannot be read.
    """
    findings: list[tuple[str, str]] = [("", "")]
    if dist.get_rank() == 0:
        findings = [_looked_at(origin)]
    dist.broadcast_object_list(findings, src=0)
    text, problem = findings[0]
    if problem:
        raise JobError(Cause.CONFIGURATION, f"continue_from: {origin.folder} {problem}")
    position = parse_json(Position, text, source=POSITION)
    if not isinstance(engine, _Movable):
        raise JobError(Cause.CONFIGURATION, f"engine={cell.engine.name}: it cannot take over what other ranks left")
    try:
        engine.load_state(_state(cell, origin, engine))
    except Exception as error:  # pickle, zipfile and torch each have their own
        if cause_of(error) is not Cause.BUG:
            raise
        raise JobError(
            Cause.STORAGE,
            f"continue_from: {origin.folder} cannot be taken over ({one_line(error)}); nothing was trained",
        ) from error
    say(f"goes on from checkpoint {origin.checkpoint} of {origin.cell_id}, written by {origin.gpus} ranks")
    return moved(position, ranks=cell.gpus, zero_stage=cell.engine.zero_stage, sequence=cell.sequence / origin.sequence)


def _looked_at(origin: Origin) -> tuple[str, str]:
    """The text of its position, and why it is not what was planned; of rank 0."""
    folder = Path(origin.folder)
    # .../STUDY/cells/CELL/checkpoint/NAME
    if link := link_in(folder, below=folder.parents[3]):
        return "", f"is reached through a symbolic link, {link}; put what it leads to in its place"
    problem = f"is not there any more; {origin.cell_id} has gone on, or was removed since this was planned"
    try:
        text = read(folder / POSITION).decode()
        position = parse_json(Position, text, source=POSITION)
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files_of(folder)}
        reason = refusal(
            position,
            cell_id=origin.cell_id,
            world_size=origin.gpus,
            zero_stage=origin.zero_stage,
            sizes=sizes,
        )
        if reason is None and content_of(folder, position) != origin.content:
            reason = "its content is another one than was planned with; give the command again"
    except FileNotFoundError:
        return "", problem
    except (OSError, UserError, ValueError) as error:
        reason = str(error)
    return text if reason is None else "", f"cannot be used: {reason}" if reason else ""


def _state(cell: Cell, origin: Origin, engine: Engine) -> TrainingState:
    """Every rank reads all of it: 12 bytes a parameter with Adam's moments."""
    folder = Path(origin.folder)
    if origin.machinery == DEEPSPEED:
        import vit_sweep.job.train.imports.with_deepspeed  # noqa: F401
        from vit_sweep.job.train.continuing import deepspeed_files
        from vit_sweep.job.train.engines.deepspeed import TAG, tensors_only

        names = [name for name, _ in engine.module.named_parameters()]
        with tensors_only():
            return deepspeed_files.read(
                folder / TAG, stage=origin.zero_stage or 0, ranks=origin.gpus, spec=cell.optimizer, names=names
            )
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return TrainingState(state["model"], state["optimizer"]["state"], scale_of_torch(state.get("scaler")))
