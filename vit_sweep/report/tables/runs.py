"""The tidy table: one row per run and per infeasible point, for anyone's own analysis. Pure, no numpy.

It is made column by column: of thousands of runs, rows took a quarter of a `collect`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from statistics import median
from typing import Any

from vit_sweep.analysis import bounds
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.predict.memory import memory_error
from vit_sweep.record.learning import Reached
from vit_sweep.record.metrics import METRICS
from vit_sweep.record.stats import STEP_COLUMNS
from vit_sweep.record.summary import VERSION
from vit_sweep.report.tables.form.table import Cells, Column, Table, finite
from vit_sweep.report.tables.runs_columns import RUN_COLUMNS
from vit_sweep.runs.run import Run

Values = Sequence[Any]
"""Of a column, one for each row; None is an empty field."""


def runs_table(
    runs: Sequence[Run],
    extra: Mapping[str, Values],
    reached: Mapping[str, tuple[float, Reached]],
    points: Iterable[PlannedPoint] = (),
) -> Table | None:
    """All runs, then the infeasible points; every version that any run names is a column of its own.

    `extra`: by column what is known of the runs that they do not know themselves, in their order; `reached`: target
    accuracy and when it was reached, by run.
    """
    infeasible = [_infeasible(point) for point in points if point.cell_id is None]
    if not runs and not infeasible:
        return None
    known: dict[str, Values] = {
        **_of_runs(runs),
        **extra,
        **_of_targets(runs, reached),
        "measuring_notes": _notes(runs, extra.get("measuring_notes")),
    }
    versions = {
        name: Column(name=name, title=name.removeprefix(VERSION), meaning=f"Version of {name.removeprefix(VERSION)}.")
        for name in sorted(known)
        if name.startswith(VERSION)
    }
    columns, unknown = RUN_COLUMNS | versions, [None] * len(runs)
    kept = {name: finite(known[name]) if name in known else unknown for name in columns}
    values = {name: [*kept[name], *(cells.get(name) for cells in infeasible)] for name in columns}
    return Table(name="runs", title="Runs: one row each", columns=tuple(columns.values()), values=values)


def _infeasible(point: PlannedPoint) -> Cells:
    axes = {name: value for name, value in point.axes.items() if name in RUN_COLUMNS}
    return axes | {"status": "infeasible", "note": "; ".join(point.reasons)}


_AT_ONCE = 200
"""Runs of which all columns are taken together: as many as a processor's cache holds."""
_CONDITIONS = ("model", "data", "precision", "engine", "optimizer", "partition", "gpu_model")
_SAID: dict[str, Callable[[Run], Any]] = {
    "cell_id": attrgetter("run_id"),
    "origin": attrgetter("origin.value"),
    "status": attrgetter("status.value"),
    "cause": attrgetter("cause"),
    "note": attrgetter("note"),
    "continued_from": lambda run: run.continued_from or None,
    "scaling": lambda run: " ".join(sorted({curve.scaling.value for curve in run.curves})),
    "placement": lambda run: " ".join(sorted({curve.placement for curve in run.curves if curve.placement})),
    "gpus": attrgetter("gpus"),
    "nodes": attrgetter("nodes"),
    "micro_batch": attrgetter("micro_batch"),
    "accum": attrgetter("accum"),
    "global_batch": attrgetter("global_batch"),
    "train_images": attrgetter("work"),
    "epochs": attrgetter("epochs_requested"),
    "epochs_done": attrgetter("epochs_done"),
    "seed": attrgetter("seed"),
    "attempts": attrgetter("attempts"),
}
"""Of every run."""
_RAN: dict[str, Callable[[Run], Any]] = {
    "train_accuracy": lambda run: run.train_accuracy[-1] if run.train_accuracy else None,
    "test_accuracy": lambda run: run.test_accuracy[-1] if run.test_accuracy else None,
    "parameters": attrgetter("parameters"),
    "peak_reserved_mib": attrgetter("memory_mib"),
    "peak_host_mib": attrgetter("host_memory_mib"),
    "hosts": lambda run: " ".join(run.hosts),
    "slurm_partition": attrgetter("slurm_partition"),
    "devices": lambda run: " | ".join(sorted(set(run.devices))),
    "oversubscribed": attrgetter("oversubscribed"),
    "started_at": attrgetter("started_at"),
    "job_s": attrgetter("job_s"),
    "allocated_gpus": lambda run: run.allocated_gpus or run.gpus,
    "flags": lambda run: "; ".join(run.flags) or None,
    "certificate": lambda run: run.certificate.difference if run.certificate is not None else None,
    "memory_predicted_mib": attrgetter("memory_predicted_mib"),
    "memory_error": lambda run: memory_error(run.memory_mib, run.memory_predicted_mib),
}
"""What it learnt and where it ran; also of one that goes on from another's checkpoint."""
_TIMED: dict[str, Callable[[Run], Any]] = {
    "epoch_s": lambda run: median(run.epoch_s),
    "spread_s": lambda run: max(run.epoch_s) - min(run.epoch_s) if len(run.epoch_s) > 1 else None,
    "epochs_counted": lambda run: len(run.epoch_s),
    "first_epoch_s": attrgetter("first_epoch_s"),
    "step_ms": attrgetter("step_ms"),
    "images_per_s": lambda run: run.images / median(run.epoch_s) if run.images is not None else None,
    "queue_wait_s": attrgetter("queue_wait_s"),
    "mfu": attrgetter("mfu"),
    "compute_floor_ms": bounds.compute_floor_ms,
    "link_floor_ms": bounds.link_floor_ms,
    "of_matmul": bounds.of_matmul,
    "explanation": lambda run: run.explanation or None,
    "joules_per_image": attrgetter("joules_per_image"),
}
"""Of a run with a time."""
_ROOFLINE = {"flop_per_byte": "flop_per_byte", "tflops_per_gpu": "tflops", "roof_tflops": "roof_tflops"}


def _of_runs(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """By column what runs of whatever origin know."""
    columns: dict[str, list[Any]] = {}
    for first in range(0, len(runs), _AT_ONCE):
        for name, some in _of_some(runs[first : first + _AT_ONCE]).items():
            columns.setdefault(name, []).extend(some)
    return columns


def _of_some(runs: Sequence[Run]) -> dict[str, list[Any]]:
    ran = [run if run.timed or (run.continued_from and run.devices) else None for run in runs]
    timed = [run if run.timed else None for run in runs]
    shared = {id(run.conditions): dict(run.conditions) for run in runs}
    stated = [shared[id(run.conditions)] for run in runs]
    under = [run and bounds.roofline(run) for run in timed]
    parts = [run and run.parts and run.parts.columns for run in timed]
    learnt = [{name: values[-1] for name, values in run.test_metrics} if run else {} for run in ran]
    return {
        **{name: [*map(of, runs)] for name, of in _SAID.items()},
        **{name: [words.get(name) for words in stated] for name in _CONDITIONS},
        **{name: [run and of(run) for run in ran] for name, of in _RAN.items()},
        **{metric.column: [last.get(metric.name) for last in learnt] for metric in METRICS},
        **{name: [run and of(run) for run in timed] for name, of in _TIMED.items()},
        **{name: [each and getattr(each, of) for each in under] for name, of in _ROOFLINE.items()},
        **{name: [each and each[name] for each in parts] for name in STEP_COLUMNS},
    }


def _notes(runs: Sequence[Run], on_steps: Values | None) -> Values:
    """Why a run's steps were not measured, or bounded by nothing."""
    reasons = on_steps or [None] * len(runs)
    no_bounds = (bounds.no_bounds(run) if run.timed else () for run in runs)
    return ["; ".join(filter(None, (note, *more))) or None for note, more in zip(reasons, no_bounds, strict=True)]


def _of_targets(runs: Sequence[Run], reached: Mapping[str, tuple[float, Reached]]) -> dict[str, Values]:
    """When runs were as accurate as was asked, and why not if they were not; nothing where nobody asked."""
    if not reached:
        return {}
    ends = [reached.get(run.run_id) for run in runs]
    joules = [end and energy_to_accuracy_j(run, end[1]) for run, end in zip(runs, ends, strict=True)]
    return {
        "target_accuracy": [end and end[0] for end in ends],
        "time_to_accuracy_s": [end and end[1].seconds for end in ends],
        "epochs_to_accuracy": [end and end[1].epoch for end in ends],
        "below_accuracy_s": [end and end[1].below_s for end in ends],
        "wall_to_accuracy_s": [end and end[1].wall_s for end in ends],
        "energy_to_accuracy_j": joules,
        "accuracy_note": [end and end[1].reason for end in ends],
    }


def energy_to_accuracy_j(run: Run, reached: Reached) -> float | None:
    """Mean power of all GPUs while training x `reached.seconds`; None unless every GPU said what it used."""
    power_w = run.training_power_w
    return None if power_w is None or reached.seconds is None else power_w * reached.seconds
