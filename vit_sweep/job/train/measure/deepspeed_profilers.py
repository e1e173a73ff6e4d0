"""DeepSpeed's own instruments, after the timed epochs: its FLOPs profiler for one forward, its communication logger for
one short window. Both are off in every timed step, and one that does not work is a note.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import deepspeed.comm as communication
import deepspeed.comm.comm
import torch
from deepspeed.profiling.flops_profiler.profiler import FlopsProfiler
from torch import nn

from launchers.atomic import write
from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.job.train.measure.readback import Notes, agreed, gathered
from vit_sweep.plan.cell import Cell
from vit_sweep.record.breakdown import CountedFlop, counted_flop

COMMS_STEPS = 3
"""Optimizer steps of the communication logger's window, after one that is not counted."""


def log_collectives(bench: Bench, *, file: Path) -> tuple[str | None, Notes]:
    """Write what DeepSpeed's logger says of `COMMS_STEPS` steps; a collective. Returns the file's name, and notes.

    The logger waits for the device after every call, so these steps are slower than others. All ranks agree after each
    part whether it worked, since the logger's summary is a collective of its own.
    """
    bench.enter()
    notes = agreed("no communication log", _switch_on)
    if not notes:
        with _each_call_alone():
            notes = agreed("no communication log", lambda: _window(bench))
    communication.configure(enabled=False, prof_all=False)
    if notes:
        return None, notes
    shapes = {kind: sorted(sizes) for kind, sizes in communication.comms_logger.get_raw_data().items()}
    alike = len({str(sorted(shape.items())) for shape in gathered(shapes)}) == 1
    text = io.StringIO()
    # Comparing ranks takes a reduction for every line: only where all have the same lines.
    with redirect_stdout(text):
        communication.log_summary(show_straggler=alike)
    header = f"DeepSpeed's communication logger: {COMMS_STEPS} optimizer steps, rank 0 of {bench.ranks}\n\n"
    notes = agreed("no communication log", lambda: _keep(bench, file, header + text.getvalue()))
    return (None if notes else file.name), notes


def count_flop(bench: Bench, *, model: nn.Module, cell: Cell, file: Path) -> tuple[CountedFlop | None, Notes]:
    """Count one forward of a micro batch with DeepSpeed's profiler; a collective, and the engine's last use.

    It counts by replacing torch's functions while it is on. Every rank runs it, so that one that fails does not leave
    the others in a collective alone. Returns rank 0's count, which is written as `file` too, and notes.
    """
    bench.enter()
    bench.barrier()
    profiler = FlopsProfiler(model)
    counts: list[CountedFlop] = []

    def count() -> None:
        with ExitStack() as undo:
            undo.callback(_off, profiler)
            profiler.start_profile()
            # Compiled blocks would not see the functions that count.
            undo.enter_context(torch.compiler.set_stance("force_eager"))
            bench.forward()
            text = io.StringIO()
            with redirect_stdout(text):
                profiler.print_model_profile(profile_step=cell.epochs * cell.steps_per_epoch)
            counted = counted_flop(
                cell.model,
                cell.outputs,
                images=cell.micro_batch,
                flop=float(profiler.get_total_flops()),
                macs=float(profiler.get_total_macs()),
                parameters=int(profiler.get_total_params()),
                file=file.name,
            )
        _keep(bench, file, f"{text.getvalue()}\n{counted.sentence}\n")
        counts.append(counted)

    notes = agreed("no count of operations", count)
    return (counts[0] if counts and not notes else None), notes


def _switch_on() -> None:
    communication.configure(enabled=True, prof_all=True, verbose=False, debug=False)


@contextmanager
def _each_call_alone() -> Iterator[None]:
    """Let the logger time every call by itself.

    DeepSpeed 0.19 reads a timer that nobody sets back, so what it logs for a call is the sum over all calls before it
    (tested); with a timer set back after each call, both that and a logger without this mistake log the call's own.
    """
    logger = communication.comms_logger
    append = logger.append

    def append_and_set_back(raw_name: str, record_name: str, latency: float, size: int) -> None:
        append(raw_name, record_name, latency, size)
        deepspeed.comm.comm.timers(record_name).reset()

    logger.append = append_and_set_back
    try:
        yield
    finally:
        del logger.append  # the class's own shows again


def _window(bench: Bench) -> None:
    bench.step()
    bench.settle()
    communication.reset_log()  # the first step with the logger on is not counted
    for _ in range(COMMS_STEPS):
        bench.step()
    bench.settle()


def _keep(bench: Bench, file: Path, text: str) -> None:
    if bench.rank == 0:
        write(file, text)


def _off(profiler: FlopsProfiler) -> None:
    """Give torch its functions back, also after a start that failed half way."""
    profiler.started = True
    profiler.end_profile()
