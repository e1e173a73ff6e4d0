"""A short profiled window: how long the collectives of a step last on every rank, and a trace for people."""

import gzip
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch._C._autograd import DeviceType  # where torch's own profiler takes it from
from torch.profiler import ProfilerActivity, record_function

from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.outcome.failure import one_line
from vit_sweep.record.breakdown import Collective, collective

_WINDOW = "vit_sweep window"
_STEPS = "vit_sweep steps"
_KERNELS = ("ncclDevKernel", "ncclKernel")
_SYNCHRONISATIONS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize")
_NO_KERNELS = ("Memcpy", "Memset")
_LEVEL = 3
"""Of compression: a trace of some MB is a tenth smaller at 9, and takes four times as long."""


class DeviceCalls(NamedTuple):
    """What a step of this rank makes a GPU do: mean over the steps of the window."""

    kernels: float
    synchronisations: float


class Window(NamedTuple):
    """What was seen in a profiled window."""

    collective: Collective | None
    """None for one rank, and where `notes` says why."""
    trace: str | None
    """The trace's name."""
    on_device: DeviceCalls | None
    """None on a CPU, and without a profiler."""
    notes: tuple[str, ...]


def profile_window(bench: Bench, *, steps: int, trace: Path) -> Window:
    """Profile `steps` steps; a collective.

    Rank 0 writes its Chrome trace as `trace`, compressed: with `.gz` behind its name. A profiler that does not work
    on some rank is a note: that rank runs the same steps without it.
    """
    bench.enter()
    profiler, failure = _started(bench.device)
    bench.barrier()
    bench.settle()
    with bench.counted() as counts, record_function(_WINDOW):
        with record_function(_STEPS):
            for _ in range(steps):
                bench.step()
        bench.settle()
    durations: list[float] = []
    name = on_device = None
    if profiler is not None:
        try:
            profiler.stop()
            events = _events(profiler)
            if bench.ranks > 1:
                durations = _durations(events, bench.device)
            if bench.device.type == "cuda":
                on_device = device_calls(events, steps)
            if bench.rank == 0:
                name = f"{trace.name}.gz"
                _export(profiler, trace.with_name(name))
        except Exception as error:  # as in `_started`
            failure = one_line(error)
    ranks: list[Any] = [None] * bench.ranks
    dist.all_gather_object(ranks, (durations, failure, name))
    notes = tuple(f"rank {rank}: no profile: {why}" for rank, (_, why, _) in enumerate(ranks) if why)
    if bench.ranks == 1:
        return Window(None, name, on_device, notes)
    communication = collective([times for times, _, _ in ranks], counts.kinds(steps), steps)
    if communication is None and not notes:
        notes = ("the profile shows no collectives",)
    return Window(communication, ranks[0][2], on_device, notes)


def _started(device: torch.device) -> tuple[torch.profiler.profile | None, str]:
    """A profiler that runs, or why there is none."""
    # Read when the profiler starts first; else it calls a missing GPU an error, in a log that people read.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    try:
        profiler = torch.profiler.profile(activities=_activities(device))
        profiler.start()
    except Exception as error:  # whatever it is that the profiler lacks, the training is done and its times are known
        return None, one_line(error)
    return profiler, ""


def _events(profiler: torch.profiler.profile) -> list[Any]:
    """As they were recorded: torch's tree of them, who called whom, takes far longer and is not asked for here."""
    recorded = profiler.profiler.kineto_results if profiler.profiler is not None else None
    return list(recorded.events()) if recorded is not None else []


def _export(profiler: torch.profiler.profile, path: Path) -> None:
    """Write the trace, compressed in one go; torch itself compresses it line by line."""
    with tempfile.TemporaryDirectory() as folder:
        uncompressed = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(uncompressed))
        with uncompressed.open("rb") as source, gzip.open(path, "wb", compresslevel=_LEVEL) as target:
            shutil.copyfileobj(source, target, 2**20)


def _activities(device: torch.device) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


def _durations(events: list[Any], device: torch.device) -> list[float]:
    """Milliseconds of each collective of the window, in order: NCCL's kernels, or gloo's work from call to completion.

    What came before the window is no part of a step: the barrier is a collective too.
    """
    begun = min(e.start_ns() for e in events if e.name() == _WINDOW)
    if device.type == "cuda":
        kernels = [e for e in events if e.device_type() == DeviceType.CUDA and e.name().startswith(_KERNELS)]
    else:
        kernels = [e for e in events if e.device_type() == DeviceType.CPU and e.name().startswith("gloo:")]
    ranges = sorted((e.start_ns(), e.end_ns()) for e in kernels)
    return [(end - start) / 1e6 for start, end in ranges if start >= begun]


def device_calls(events: list[Any], steps: int) -> DeviceCalls:
    """Kernels, and calls in which the host waits, of the window's steps; not the one that waits for their end."""
    marked = next(e for e in events if e.name() == _STEPS and e.device_type() == DeviceType.CPU)
    begun, ended = marked.start_ns(), marked.end_ns()
    kernels = [
        e
        for e in events
        if e.device_type() == DeviceType.CUDA
        and e.start_ns() >= begun
        and not e.is_user_annotation()
        and not e.name().startswith(_NO_KERNELS)
    ]
    waits = [e for e in events if e.name() in _SYNCHRONISATIONS and begun <= e.start_ns() < ended]
    return DeviceCalls(kernels=len(kernels) / steps, synchronisations=len(waits) / steps)
