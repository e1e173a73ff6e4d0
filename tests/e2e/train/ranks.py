"""Ranks without a client and without a launcher: a study made by hand, ranks forked from a server that imports once."""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from launchers.batch import Batch, Shape, Task
from launchers.checked import to_json
from launchers.profile import Device, Scheduler
from tests import conftest
from tests.unit.builders import DATA, ENGINE, MODEL, cell, profile, series
from tests.warm import clean_environment
from vit_sweep.plan.cell import CellFile, JobOptions
from vit_sweep.submit.batches import PRELOAD, WITH_DEEPSPEED

FSDP2 = "vit_sweep.job.train.engines.fsdp2"
SMALL = replace(MODEL, image_size=16, patch_size=4, width=32, mlp_width=64)


def small_cell(**changes):
    """Six steps an epoch of 8 images each, on CPU: milliseconds."""
    zero = changes.pop("zero", 0)
    defaults = {
        "device": Device.CPU,
        "micro_batch": 8 // changes.get("gpus", 1),
        "train_images": 48,
        "model": SMALL,
        "epochs": 3,
        "data": replace(DATA, train_images=64, test_images=20, classes=4),
        "engine": replace(ENGINE, zero_stage=zero),
    }
    return cell(**(defaults | changes))


class Job:
    """One cell in a study of its own, and the ranks that run it."""

    def __init__(self, folder, cell, **options):
        self.study, self.cell = folder, cell
        self.dir = folder / "cells" / cell.cell_id
        (self.dir / "attempts").mkdir(parents=True, exist_ok=True)
        # What is measured before and after the training has tests of its own; the profiler takes seconds to start.
        job_options = JobOptions(**({"preflight": False, "exposed": False, "profile_steps": 0} | options))
        file = CellFile(cell_id=cell.cell_id, cell=cell, series=(series(),), data_root="/data", options=job_options)
        (self.dir / "cell.json").write_text(to_json(file))

    def batch(self, attempt):
        """The folder that a launcher would give to the ranks."""
        batch = Batch(
            study="s",
            study_dir=str(self.study),
            module="vit_sweep.job.task",
            profile=profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1),
            shape=Shape(nodes=1, gpus_per_node=self.cell.gpus, minutes=5),
            tasks=(Task(name=self.cell.cell_id, attempt=attempt),),
        )
        folder = self.study / "jobs" / batch.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "batch.json").write_text(to_json(batch))
        return folder

    def start(self, attempt=1, job_id=None, ranks=None, probe=None, **environment):
        """Start ranks (all of them unless told); `probe(dotted name, arguments)` is called in each before it runs."""
        folder = self.batch(attempt)
        started = []
        for rank in range(self.cell.gpus) if ranks is None else ranks:
            variables = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(self.cell.gpus),
                "LOCAL_WORLD_SIZE": str(self.cell.gpus),
                "VIT_SWEEP_TASK_INDEX": "0",
                "VIT_SWEEP_JOB_ID": job_id or f"local-{os.getpid()}-{attempt}",
            }
            process = server().Process(target=_rank, args=(variables | environment, str(folder), probe))
            process.start()
            started.append(process)
        return started

    def run(self, attempt=1, **options):
        """Start ranks and wait for them; returns their exit codes."""
        ranks = self.start(attempt, **options)
        for rank in ranks:
            rank.join(300)
        return [rank.exitcode for rank in ranks]

    def json(self, name):
        """A file of the cell's folder."""
        return json.loads((self.dir / name).read_text())

    def rank(self, rank=0, attempt=1):
        """What a rank says of itself."""
        return self.json(f"attempts/{attempt}/rank{rank}.json")

    def end(self, rank=0, attempt=1):
        """How it says that it ended."""
        return self.rank(rank, attempt)["end"]

    def log(self, rank=0, attempt=1):
        """A rank's log, for the messages of failed assertions and for what people read."""
        return (self.dir / f"attempts/{attempt}/rank{rank}.log").read_text()

    def checkpoints(self):
        """Names of the checkpoints that are there."""
        return sorted(path.name for path in self.dir.glob("checkpoint/*"))


def server():
    """The fork server that has imported the trainer once; the first call starts it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.e2e.train.ranks", PRELOAD, WITH_DEEPSPEED, FSDP2])
    return context


def _rank(environment, folder, probe):
    import importlib

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    if probe is not None:
        name, *arguments = probe
        getattr(importlib.import_module("tests.e2e.train.probes"), name)(*arguments)
    sys.exit(importlib.import_module("vit_sweep.job.task").main([folder]))


class Program:
    """A Python program in a forked process, as a user with a clean environment would start it; its imports are done."""

    def __init__(self, folder, source, *words, **environment):
        """`folder`: where its output goes."""
        self._files = [Path(tempfile.mkstemp(dir=folder, suffix=suffix)[1]) for suffix in (".out", ".err")]
        environment = clean_environment() | environment
        arguments = (source, [str(word) for word in words], environment, *map(str, self._files))
        self._process = server().Process(target=_program, args=arguments)
        self._process.start()

    def wait(self):
        """Its exit code."""
        self._process.join(300)
        return self._process.exitcode

    def kill(self):
        """By SIGKILL; it is gone afterwards."""
        self._process.kill()
        self._process.join()

    @property
    def out(self):
        """What it has printed."""
        return self._files[0].read_text()

    @property
    def err(self):
        """The same of its errors."""
        return self._files[1].read_text()


def _program(source, words, environment, out, err):
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR), number)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = ["-c", *words]
    exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})


@contextmanager
def ended(ranks):
    """Leave no process behind, whatever the test finds."""
    try:
        yield ranks
    finally:
        for rank in ranks:
            if rank.exitcode is None:
                os.kill(rank.pid, signal.SIGCONT)
                rank.kill()
            rank.join()


def run_all(target, arguments, *, folder, seconds):
    """Fork a rank for each of `arguments` and wait until all have ended well; they write their logs into `folder`."""
    started = [server().Process(target=target, args=given) for given in arguments]
    for rank in started:
        rank.start()
    with ended(started) as ranks:
        for rank in ranks:
            rank.join(seconds)
        logs = "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("*.log")))
        assert [rank.exitcode for rank in ranks] == [0] * len(ranks), logs


def be_one_of_two(folder, rank, work):
    """Be a forked rank of two: never returns. What `work()` returns is left in `RANK.json`, what it prints in a log."""
    log = os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(work()))
    dist.barrier()
    dist.destroy_process_group()
    sys.exit(0)


wait_for = partial(conftest.wait_for, interval_s=0.02)
