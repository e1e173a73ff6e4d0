"""The table of a simulated curve. Pure."""

from vit_sweep.analysis.laws.simulated import Simulation
from vit_sweep.report.tables.form.columns import with_bounds
from vit_sweep.report.tables.form.table import Column, Table, by_column
from vit_sweep.report.tables.parts import estimate

_COLUMNS = (
    *(
        Column(name=name, title=title, unit=unit, meaning=meaning)
        for name, title, unit, meaning in (
            ("gpus", "GPUs", "", "All GPUs of the run."),
            ("nodes", "nodes", "", "Hosts that they are on."),
            ("global_batch", "global batch", "images", "Images of an optimizer step."),
            ("steps", "steps/epoch", "", "Optimizer steps of an epoch."),
            ("compute_ms", "compute ms", "ms", "Of a step: computation."),
            ("communication_ms", "comm. ms", "ms", "Of a step: communication that no computation hides."),
            ("imbalance_ms", "imbalance ms", "ms", "Of a step: waiting for the slowest rank."),
            ("step_ms", "step ms", "ms", "The sum of the three."),
            ("epoch_s", "epoch s", "s", "An epoch; low and high: all that can be hidden is, and nothing."),
            ("epoch_s_low", "epoch s, low", "s", "The fast edge."),
            ("epoch_s_high", "epoch s, high", "s", "The slow edge."),
            ("images_per_s", "images/s", "images/s", "Images of an epoch / epoch_s."),
        )
    ),
    *(
        Column(name=column.name, title=column.title, meaning=meaning, percent=column.percent, bound_of=column.bound_of)
        for name, meaning in (
            ("speedup", "Against the smallest simulated count; the bounds are each edge against its own."),
            ("efficiency", "speedup as a part of the ideal."),
        )
        for column in with_bounds(name, name, percent=name == "efficiency")
    ),
    Column(name="gpu_hours_per_epoch", title="GPU-h/epoch", unit="h", meaning="GPUs that are held x epoch_s / 3600."),
    Column(name="beyond", title="beyond", meaning="Whether the partition has fewer GPUs or nodes."),
)
_NAMES = tuple(column.name for column in _COLUMNS)


def simulated_table(simulation: Simulation) -> Table:
    """Every simulated count, what cannot be and the notes below."""
    rows = [
        {name: getattr(point, name, None) for name in _NAMES}
        | {"epoch_s_low": point.fast_s, "epoch_s_high": point.slow_s, "gpu_hours_per_epoch": point.gpu_hours}
        | estimate("speedup", point.speedup)
        | estimate("efficiency", point.efficiency)
        for point in simulation.points
    ]
    return Table(
        name="simulated",
        title=f"SIMULATED, not measured: {simulation.scaling.value} scaling of {simulation.label}",
        columns=_COLUMNS,
        values=by_column(_NAMES, rows),
        notes=(*(f"cannot be: {reason}" for reason in simulation.impossible), *simulation.notes),
    )
