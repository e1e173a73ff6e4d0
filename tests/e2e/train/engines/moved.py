"""Trainings that stop in the middle of an epoch and go on, in the same ranks or others: forked, many in a process."""

import gc
import json
import os
import sys
from pathlib import Path

from launchers.checked import parse_json
from tests.e2e.train.ranks import run_all
from vit_sweep.plan.continuing.rules import origin_of

EPOCH, STEP = 2, 3
"""Where they stop."""


def train(folder, ranks, cells, origins=None):
    """Train each of `cells` (by name) on `ranks` ranks, all in the same processes; returns losses and weights by name.

    Without `origins` each stops on its way, leaves a checkpoint and goes on; else it begins at its origin's.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    arguments = [(str(folder), rank, ranks, cells, origins or {}) for rank in range(ranks)]
    run_all(_rank, arguments, folder=folder, seconds=300)
    losses = json.loads((folder / "losses.json").read_text())
    return {name: (losses[name], torch.load(folder / f"{name}.pt")) for name in cells}


def left_in(folder, name, cell):
    """The origin that `train` left in `folder`."""
    from vit_sweep.record.position import Position
    from vit_sweep.study.checkpoints import POSITION, content_of

    (checkpoint,) = _checkpoints(folder, name).iterdir()
    position = parse_json(Position, (checkpoint / POSITION).read_text(), source=name)
    return origin_of(
        cell,
        checkpoint=checkpoint.name,
        content=content_of(checkpoint, position),
        folder=str(checkpoint),
        epoch=position.epoch,
        step=position.step,
    )


def _checkpoints(folder, name):
    return Path(folder) / "cells" / name / "checkpoint"


def _rank(folder, rank, ranks, cells, origins):
    log = os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    losses = {}
    for name, cell in cells.items():
        go_on = _go_on if name in origins else _stop_and_go_on
        engine, losses[name] = go_on(folder, name, cell, rank, origins.get(name))
        weights = engine.weights()
        if rank == 0:
            torch.save(weights, f"{folder}/{name}.pt")
        del engine
        gc.collect()
    if rank == 0:
        Path(folder, "losses.json").write_text(json.dumps(losses))
    dist.barrier()
    dist.destroy_process_group()
    sys.exit(0)


def _rest(trainer, cell):
    reports = [trainer.epoch() for _ in range(trainer.number, cell.epochs + 1)]
    return [[report.train_loss, report.test_loss, report.test_accuracy] for report in reports]


def _stop_and_go_on(folder, name, cell, rank, _):
    from tests.e2e.train.trainers import trainer_of
    from vit_sweep.job.train.checkpoint import Checkpoints
    from vit_sweep.job.train.stopping import StopAgreed
    from vit_sweep.outcome.ending import Cause
    from vit_sweep.outcome.failure import StopRequest
    from vit_sweep.record.position import Position

    trainer, engine = trainer_of(cell, rank)
    reports = [trainer.epoch() for _ in range(1, EPOCH)]

    def enter():
        if trainer.step == STEP:
            raise StopAgreed(StopRequest(cause=Cause.PREEMPTED, message="enough", signal="SIGUSR2"))

    trainer._enter = enter
    try:
        trainer.epoch()
    except StopAgreed:
        trainer._enter = lambda: None
    position = Position(
        cell_id=cell.cell_id,
        code="x",
        world_size=cell.gpus,
        zero_stage=cell.engine.zero_stage,
        epoch=trainer.number,
        step=trainer.step,
        part=trainer.part(),
        epochs=tuple(reports),
        attempts=("1",),
        files={},
    )
    Checkpoints(_checkpoints(folder, name), attempt="1").save(engine, position)
    return engine, _rest(trainer, cell)


def _go_on(_folder, _name, cell, rank, origin):
    from tests.e2e.train.trainers import trainer_of
    from vit_sweep.job.train.continuing.begin import begin

    trainer, engine = trainer_of(cell, rank)
    position = begin(cell, origin, engine)
    trainer.resume(position.epoch, position.step, position.part)
    return engine, _rest(trainer, cell)
