"""A short profiled window: how long the collectives of a step last on every rank, and a trace for people."""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._autograd import DeviceType  # where torch's own profiler takes it from
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, record_function

from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.job.train.measure.collectives import counted
from vit_sweep.outcome.failure import one_line
from vit_sweep.record.breakdown import Collective, collective

_WINDOW = "vit_sweep window"
_KERNELS = ("ncclDevKernel", "ncclKernel")


def profile_window(bench: Bench, *, steps: int, trace: Path) -> tuple[Collective | None, str | None, tuple[str, ...]]:
    """Profile `steps` steps; a collective. Returns the collectives (None for one rank), the trace's name, and notes.

    Rank 0 writes its Chrome trace as `trace`, compressed: with `.gz` behind its name. A profiler that does not work
    on some rank is a note: that rank runs the same steps without it.
    """
    bench.enter()
    # Read when the profiler starts first; else it calls a missing GPU an error, in a log that people read.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    note = ""
    profiler: torch.profiler.profile | None = None
    try:
        profiler = torch.profiler.profile(activities=_activities(bench.device))
        profiler.start()
    except Exception as error:  # whatever it is that the profiler lacks, the training is done and its times are known
        profiler, note = None, one_line(error)
    bench.barrier()
    bench.settle()
    with counted() as counts, record_function(_WINDOW):
        for _ in range(steps):
            bench.step()
        bench.settle()
    durations: list[float] = []
    name = None
    if profiler is not None:
        try:
            profiler.stop()
            events = profiler.events()  # type: ignore[no-untyped-call]  # torch's own gap
            durations = _durations(list(events or ()), bench.device)
            if bench.rank == 0:
                name = f"{trace.name}.gz"
                profiler.export_chrome_trace(str(trace.with_name(name)))
        except Exception as error:  # likewise
            note = one_line(error)
    seen: list[Any] = [None] * bench.ranks
    dist.all_gather_object(seen, (durations, note, name))
    notes = tuple(f"rank {rank}: no profile: {why}" for rank, (_, why, _) in enumerate(seen) if why)
    communication = collective([times for times, _, _ in seen], counts.kinds(steps), steps) if bench.ranks > 1 else None
    if bench.ranks > 1 and communication is None and not notes:
        notes = ("the profile shows no collectives",)
    return communication, seen[0][2], notes


def _activities(device: torch.device) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


def _durations(events: list[FunctionEvent], device: torch.device) -> list[float]:
    """Milliseconds of each collective of the window, in order: NCCL's kernels, or gloo's work from call to completion.

    What came before the window is no part of a step: the barrier is a collective too.
    """
    begun = next(event.time_range.start for event in events if event.name == _WINDOW)
    if device.type == "cuda":
        kernels = [e for e in events if e.device_type == DeviceType.CUDA and e.name.startswith(_KERNELS)]
    else:
        kernels = [e for e in events if e.name.startswith("gloo:") and e.device_type == DeviceType.CPU]
    ranges = sorted((e.time_range.start, e.time_range.end) for e in kernels)
    return [(end - start) / 1000 for start, end in ranges if start >= begun]
