"""What benchmarks of the trainer share: a process group of one rank, and a trainer that nobody watches."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.images.data import Split
from vit_sweep.job.train.images.pipeline import Pipeline
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.model import device_of
from vit_sweep.plan.cell import Cell


@contextmanager
def one_rank(*, cuda: bool) -> Iterator[None]:
    """The process group of this process alone, and what libraries ask the environment for."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("nccl" if cuda else "gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        yield
        dist.destroy_process_group()


def trainer_of(cell: Cell, engine: Engine, pipeline: Pipeline, test: Split, **options: Any) -> Trainer:
    """The loop that studies run, stopped by nobody and told to nobody; `options` as `Trainer` has them."""
    device = device_of(cell)
    return Trainer(
        cell=cell,
        engine=engine,
        pipeline=pipeline,
        test=test.to(device),
        device=device,
        enter=lambda: None,
        beat=lambda *_: None,
        **options,
    )
