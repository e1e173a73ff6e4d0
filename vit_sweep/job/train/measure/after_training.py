"""All that is measured after the training, in order."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.job.train.measure.counting import count_step
from vit_sweep.job.train.measure.exposed import measure_exposed
from vit_sweep.job.train.measure.window import profile_window
from vit_sweep.job.train.stopping import StopAgreed
from vit_sweep.plan.cell import Cell, DeepSpeedProfiler
from vit_sweep.record.breakdown import Breakdown


def measure_all(
    bench: Bench,
    *,
    cell: Cell,
    model: nn.Module,
    usual_step_s: float | None,
    profile_steps: int,
    trace: Path,
    profilers: Sequence[DeepSpeedProfiler] = (),
) -> Breakdown:
    """Measure on the bench; a collective. Told to stop, all ranks leave out the same rest: the training is done.

    `usual_step_s`: None leaves out exposed communication. Files lie beside `trace`.
    """
    exposed = window = comms = counts = flop = moved = None
    notes: tuple[str, ...] = ()
    try:
        if bench.ranks > 1 and usual_step_s is not None:
            exposed = measure_exposed(bench, seed=cell.seed, usual_step_s=usual_step_s, trained_steps=cell.steps_here)
        if profile_steps:
            window = profile_window(bench, steps=profile_steps, trace=trace)
            notes = window.notes
        if profilers:
            import vit_sweep.job.train.imports.with_deepspeed  # noqa: F401
            from vit_sweep.job.train.measure.deepspeed_profilers import count_flop, log_collectives
        if DeepSpeedProfiler.COMMS in profilers and bench.ranks > 1:
            comms, new_notes = log_collectives(bench, file=trace.with_name("comms.txt"))
            notes += new_notes
        # Last: a step or a forward that breaks off leaves the engine in its middle.
        counts, moved, new_notes = count_step(bench, model=model, on_device=window.on_device if window else None)
        notes += new_notes
        if DeepSpeedProfiler.FLOPS in profilers:
            flop, new_notes = count_flop(bench, model=model, cell=cell, file=trace.with_name("flops_profile.txt"))
            notes += new_notes
    except StopAgreed as stop:
        notes += (f"measuring was cut short: {stop.request.message}",)
    return Breakdown(
        exposed=exposed,
        collective=window.collective if window else None,
        trace=window.trace if window else None,
        comms=comms,
        flop=flop,
        moved_bytes=moved,
        counts=counts,
        notes=notes,
    )
