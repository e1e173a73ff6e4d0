"""Trainers without a job around them: forked ranks that run epochs, measure, and say what they found as JSON.

Delays are injected by name, in the rank itself, where a real one would lie: see `DELAYS`. They take no time: the clocks
that the trainer reads are made up (`Clock`), so a busy machine changes no figure.
"""

import json
import os
import sys
import time
from dataclasses import replace
from functools import partial, partialmethod
from types import SimpleNamespace

from launchers.checked import parse, to_plain
from tests.e2e.train.ranks import run_all, small_cell
from tests.unit.builders import DATA
from vit_sweep.record.breakdown import Breakdown
from vit_sweep.record.record import EpochReport

STEPS = 8
PROFILED_DELAY_S = 1.0
"""Of every delay while torch's profiler runs."""


def measured_cell(**changes):
    """Eight optimizer steps an epoch (or `steps`) of 8 images per rank; two epochs: the second is counted."""
    gpus, accum = changes.get("gpus", 1), changes.get("accum", 1)
    images = changes.pop("steps", STEPS) * 8 * gpus * accum
    defaults = {
        "micro_batch": 8,
        "train_images": images,
        "epochs": 2,
        "data": replace(DATA, train_images=images, test_images=8, classes=4),
    }
    return small_cell(**(defaults | changes))


WHOLLY = {"profile_steps": 2}


def run(folder, cell, *, delays=(), probe=None, measure=WHOLLY, **options):
    """Run the cell's ranks; returns their epochs, their breakdown and what each found of the weights.

    `delays`: names of `DELAYS`, with the rank that has it (None: all) and its seconds. `measure`: what is said to
    `Trainer.measure`; False: nothing is measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [(str(folder), rank, cell, delays, probe, measure, options) for rank in range(cell.gpus)]
    run_all(_rank, arguments, folder=folder, seconds=300)
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(cell.gpus)]
    epochs = [parse(EpochReport, epoch, source="epoch") for epoch in ranks[0]["epochs"]]
    breakdown = parse(Breakdown, ranks[0]["breakdown"], source="breakdown") if measure else None
    return epochs, breakdown, ranks


def _rank(folder, rank, cell, delays, *arguments):
    probe, measure, options = arguments
    log = os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(cell.gpus), LOCAL_RANK=str(rank))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=cell.gpus)
    if cell.compile:
        only_trace()
    trainer, engine = trainer_of(cell, rank, **options)
    if probe is not None:
        PROBES[probe](trainer, rank)
    if delays:
        clock = Clock()
        for name, who, seconds in delays:
            if who in (None, rank):
                DELAYS[name](trainer, engine, partial(clock.pass_by, seconds))
    epochs = [to_plain(trainer.epoch()) for _ in range(cell.epochs)]
    written = {"epochs": epochs, "before": weights(engine)}
    if measure:
        from pathlib import Path

        measured = trainer.measure(trace=Path(folder) / "trace.json", **measure)
        written |= {"breakdown": to_plain(measured), "after": weights(engine)}
    with open(f"{folder}/{rank}.json", "w") as file:  # noqa: PTH123 - in a forked rank, without the test's imports
        json.dump(written, file)
    dist.barrier()
    dist.destroy_process_group()
    sys.exit(0)


def only_trace():
    """What is compiled is traced as on a GPU and then run by torch itself, which needs no C++ compiler."""
    import torch

    torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")  # type: ignore[assignment]


def trainer_of(cell, rank, *, engine=None, **options):
    """A trainer and its engine, DeepSpeed's unless another is given; the process group is there."""
    from pathlib import Path

    import torch

    from vit_sweep.job.train.engines.build import engine_of
    from vit_sweep.job.train.images.data import load
    from vit_sweep.job.train.images.pipeline import pipeline_of
    from vit_sweep.job.train.loop import Trainer
    from vit_sweep.job.train.model import DTYPES

    device = torch.device("cpu")
    train, test = load(cell.data, Path("/nowhere"), task=cell.task, text=cell.model.text)
    pipeline = pipeline_of(cell, train=train, device=device, dtype=DTYPES[cell.precision], rank=rank)
    engine = engine_of(cell) if engine is None else engine
    trainer = Trainer(
        cell=cell,
        engine=engine,
        pipeline=pipeline,
        test=test,
        device=device,
        enter=lambda: None,
        beat=lambda *where: None,
        **options,
    )
    return trainer, engine


def weights(engine):
    """Every weight of the model, as one digest."""
    import hashlib

    digest = hashlib.sha256()
    for parameter in engine.module.parameters():
        own = getattr(parameter, "ds_tensor", getattr(parameter, "_local_tensor", parameter))
        digest.update(own.detach().float().clone().numpy().tobytes())
    return digest.hexdigest()


class Clock:
    """A rank's time: it goes on by injected delays alone, and by those that others had where ranks meet.

    While torch's profiler runs time is real, since the profiler's own is; a delay is then far above what a busy machine
    adds.
    """

    def __init__(self):
        import torch.distributed as dist

        from vit_sweep.job.train import clock
        from vit_sweep.job.train.measure import exposed

        self.seconds = 0.0
        self._reduce = dist.all_reduce
        for module in (clock, exposed):
            vars(module)["time"] = SimpleNamespace(perf_counter=lambda: self.seconds)
        dist.all_reduce, dist.barrier = self._meeting(dist.all_reduce), self._meeting(dist.barrier)

    def pass_by(self, seconds):
        """So much later."""
        if _is_profiled():
            time.sleep(PROFILED_DELAY_S)
        self.seconds += seconds

    def _meeting(self, collective):
        """Whoever comes early has waited for the last."""

        def meet(*args, **options):
            import torch
            import torch.distributed as dist

            outcome = collective(*args, **options)
            if not _is_profiled():
                latest = torch.tensor([self.seconds], dtype=torch.float64)
                self._reduce(latest, op=dist.ReduceOp.MAX)
                self.seconds = latest.item()
            return outcome

        return meet


def _is_profiled():
    import torch

    return torch._C._autograd._profiler_enabled()


def _in_forward(_trainer, engine, delay):
    """The model takes longer, whether it trains or is tested."""
    engine.module.register_forward_pre_hook(lambda *_: delay())


def _in_data(trainer, _engine, delay):
    """Each batch comes late."""
    epoch = trainer._pipeline.epoch

    def late(*args, **options):
        for raw in epoch(*args, **options):
            delay()
            yield raw

    trainer._pipeline.epoch = late


def _in_copy(trainer, _engine, delay):
    """Getting a batch ready takes longer."""
    ready = trainer._pipeline.ready

    def slow(raw):
        delay()
        return ready(raw)

    trainer._pipeline.ready = slow


def _in_backward(_trainer, engine, delay):
    """The gradients take longer: once per backward, at the last layer."""
    engine.module.heads.register_full_backward_hook(lambda *_: delay())


def _in_all_reduce(_trainer, _engine, delay):
    """The network is slow: every all-reduce of DeepSpeed's takes longer on all ranks."""
    import torch.distributed as dist

    reduce = dist.all_reduce

    def throttled(tensor, *args, **options):
        if tensor.numel() > 2:  # not the loop's own sums
            delay()
        return reduce(tensor, *args, **options)

    dist.all_reduce = throttled


def _in_optimizer(_trainer, engine, delay):
    """The update takes longer."""
    step = engine.optimizer.step

    def slow(*args, **options):
        delay()
        return step(*args, **options)

    engine.optimizer.step = slow


DELAYS = {
    "forward": _in_forward,
    "data": _in_data,
    "copy": _in_copy,
    "backward": _in_backward,
    "all_reduce": _in_all_reduce,
    "optimizer": _in_optimizer,
}


def _no_profiler(_trainer, rank):
    """The profiler of rank 1 does not start."""
    import torch

    if rank != 1:
        return

    class Broken(torch.profiler.profile):
        def start(self):
            raise RuntimeError("CUPTI is in use by another process")

    torch.profiler.profile = Broken  # type: ignore[misc]


def _stop_in_measuring(trainer, _rank):
    """All ranks are told to stop before the same block of measuring, as the stopper would."""
    from vit_sweep.job.train.stopping import StopAgreed
    from vit_sweep.outcome.ending import Cause
    from vit_sweep.outcome.failure import StopRequest

    measure, units = trainer.measure, []

    def enter():
        units.append(1)
        if len(units) == 5:
            raise StopAgreed(StopRequest(cause=Cause.TERMINATED, message="told to end", signal="SIGTERM"))

    def measure_with(**options):
        trainer._enter = enter
        return measure(**options)

    trainer.measure = measure_with


PROBES = {"no_profiler": _no_profiler, "stop_in_measuring": _stop_in_measuring}
