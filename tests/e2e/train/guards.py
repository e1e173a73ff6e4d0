"""The gradient guard on forked ranks: what it says of cells, and of one with faults in it."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.train.ranks import run_all


def guarded(folder, cells, faults=(), plant=None, measure=None):
    """What the guard says of each cell, then of the first one with each fault; for each rank, by name.

    `plant(patch, fault)` puts a fault in; what `measure()` returns is under `measured`.
    """
    ranks = range(next(iter(cells.values())).gpus)
    planted = (faults, plant)
    folder.mkdir(exist_ok=True)
    run_all(_guard, [(str(folder), rank, cells, planted, measure) for rank in ranks], folder=folder, seconds=300)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in ranks]


def _guard(folder, rank, cells, planted, measure):
    log = os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    first = next(iter(cells.values()))
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(first.gpus), LOCAL_RANK=str(rank))
    import torch
    import torch.distributed as dist

    from vit_sweep.job.train.proof.gradients import check_gradients
    from vit_sweep.outcome.failure import JobError

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=first.gpus)
    verdicts: dict[str, object] = {}
    faults, plant = planted
    for name, cell in cells.items():
        checked = check_gradients(cell, rank=rank, device=torch.device("cpu"))
        verdicts[name] = (checked.difference, checked.loss)
    for fault in faults:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch, fault)
            try:
                check_gradients(first, rank=rank, device=torch.device("cpu"))
            except JobError as error:
                verdicts[fault] = (error.cause.value, str(error))
    if measure is not None:
        verdicts["measured"] = measure()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(verdicts))
    dist.barrier()
    dist.destroy_process_group()
    sys.exit(0)
