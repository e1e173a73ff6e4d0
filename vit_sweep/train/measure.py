"""All that is measured after the training, in order."""

from pathlib import Path

from vit_sweep.breakdown import Breakdown
from vit_sweep.train.bench import Bench
from vit_sweep.train.exposed import measure_exposed
from vit_sweep.train.stopping import StopAgreed
from vit_sweep.train.window import profile_window


def measure_all(bench: Bench, *, seed: int, usual_step_s: float, profile_steps: int, trace: Path) -> Breakdown:
    """Measure on the bench; a collective. Told to stop, all ranks leave out the same rest: the training is done."""
    exposed = collective = name = None
    notes: tuple[str, ...] = ()
    try:
        if bench.ranks > 1:
            exposed = measure_exposed(bench, seed=seed, usual_step_s=usual_step_s)
        if profile_steps:
            collective, name, notes = profile_window(bench, steps=profile_steps, trace=trace)
    except StopAgreed as stop:
        notes = (f"measuring was cut short: {stop.word.message}",)
    return Breakdown(exposed=exposed, collective=collective, trace=name, notes=notes)
