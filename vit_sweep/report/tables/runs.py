"""The tidy table: one row per run and per infeasible point, for anyone's own analysis. Pure, no numpy.

A row is made while its record is at hand, so that no record need be kept; what a run already knows is not worked out
again.
"""

from collections.abc import Iterable
from itertools import chain
from statistics import median

from vit_sweep.analysis import bounds
from vit_sweep.outcome.result import Result, story_of
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.predict.memory import memory_error
from vit_sweep.record.learning import Reached, peak_rate
from vit_sweep.record.summary import VERSION, Summary
from vit_sweep.report.tables.form.table import Cells, Column, Table, table
from vit_sweep.report.tables.runs_columns import RUN_COLUMNS
from vit_sweep.runs.of_study import summarised
from vit_sweep.runs.run import Run


def run_row(
    run: Run, result: Result, reached: tuple[float, Reached] | None = None, summary: Summary | None = None
) -> Cells:
    """The row of a study's run. `reached`: the target accuracy, if any, and when it was reached; `summary`: what its
    record comes to, where that is known."""
    cell, summary = result.file.cell, summary or summarised(result)
    row = _of_run(run) | {
        "learning_rate": peak_rate(cell),
        "lr_scaling": cell.lr_scaling.value,
        "lr_warmup_epochs": cell.lr_warmup_epochs,
        "pipeline": cell.pipeline.value,
        "augment": cell.data.augment,
        "activation_checkpointing": cell.activation_checkpointing,
        "compile": cell.compile,
        "allocation": cell.allocation.value,
        "sequence": cell.sequence,
        "sequence_method": cell.sequence_method.value,
        "attention": cell.attention.value,
        "task": cell.task.value,
        "padding": cell.padding,
        "attempt": summary.attempt if summary is not None else result.attempt,
        "ended_before": result.story if summary is not None else story_of(result.history[:-1]),
    }
    if summary is not None:
        notes = (str(text) for text in (summary.columns["measuring_notes"], row.get("measuring_notes")) if text)
        row |= summary.columns | {"measuring_notes": "; ".join(notes) or None}
    return row | _of_target(run, reached)


def imported_row(run: Run, reached: tuple[float, Reached] | None = None) -> Cells:
    """The row of a run of whatever origin, from what the run itself knows."""
    return _of_run(run) | _of_target(run, reached)


def runs_table(rows: Iterable[Cells], points: Iterable[PlannedPoint] = ()) -> Table | None:
    """All rows, then the infeasible points; every version that any row names is a column of its own.

    `rows` is walked through twice, and no row is held but in the table.
    """
    names = sorted(name for name in set().union(*rows) if name.startswith(VERSION))
    all_rows = chain(rows, (_infeasible(point) for point in points if point.cell_id is None))
    versions = {
        name: Column(name=name, title=name.removeprefix(VERSION), meaning=f"Version of {name.removeprefix(VERSION)}.")
        for name in names
    }
    known = RUN_COLUMNS | versions
    return table("runs", "Runs: one row each", tuple(known), all_rows, known=known)


def _infeasible(point: PlannedPoint) -> Cells:
    axes = {name: value for name, value in point.axes.items() if name in RUN_COLUMNS}
    return axes | {"status": "infeasible", "note": "; ".join(point.reasons)}


def _of_run(run: Run) -> Cells:
    conditions = dict(run.conditions)
    names = ("model", "data", "precision", "engine", "optimizer", "partition", "gpu_model")
    row: Cells = {
        "cell_id": run.run_id,
        "origin": run.origin.value,
        "status": run.status.value,
        "cause": run.cause,
        "note": run.note,
        "continued_from": run.continued_from or None,
        "scaling": " ".join(sorted({curve.scaling.value for curve in run.curves})),
        "placement": " ".join(sorted({curve.placement for curve in run.curves if curve.placement})),
        **{name: conditions.get(name) for name in names},
        "gpus": run.gpus,
        "nodes": run.nodes,
        "micro_batch": run.micro_batch,
        "accum": run.accum,
        "global_batch": run.global_batch,
        "train_images": run.work,
        "epochs": run.epochs_requested,
        "epochs_done": run.epochs_done,
        "seed": run.seed,
        "attempts": run.attempts,
    }
    if run.timed:
        return row | _ran(run) | _measured(run)
    return row | _ran(run) if run.continued_from and run.devices else row


def _ran(run: Run) -> Cells:
    """What it learnt and where it ran."""
    return {
        "train_accuracy": run.train_accuracy[-1] if run.train_accuracy else None,
        "test_accuracy": run.test_accuracy[-1] if run.test_accuracy else None,
        **{f"test_{name}": values[-1] for name, values in run.test_metrics},
        "parameters": run.parameters,
        "peak_reserved_mib": run.memory_mib,
        "peak_host_mib": run.host_memory_mib,
        "hosts": " ".join(run.hosts),
        "slurm_partition": run.slurm_partition,
        "devices": " | ".join(sorted(set(run.devices))),
        "oversubscribed": run.oversubscribed,
        "started_at": run.started_at,
        "job_s": run.job_s,
        "allocated_gpus": run.allocated_gpus or run.gpus,
        "flags": "; ".join(run.flags) or None,
        "certificate": run.certificate.difference if run.certificate is not None else None,
        "memory_predicted_mib": run.memory_predicted_mib,
        "memory_error": memory_error(run.memory_mib, run.memory_predicted_mib),
    }


def _measured(run: Run) -> Cells:
    time, parts, under = median(run.epoch_s), run.parts, bounds.roofline(run)
    row: Cells = {
        "epoch_s": time,
        "spread_s": max(run.epoch_s) - min(run.epoch_s) if len(run.epoch_s) > 1 else None,
        "epochs_counted": len(run.epoch_s),
        "first_epoch_s": run.first_epoch_s,
        "step_ms": run.step_ms,
        "images_per_s": run.images / time if run.images is not None else None,
        "queue_wait_s": run.queue_wait_s,
        "mfu": run.mfu,
        "compute_floor_ms": bounds.compute_floor_ms(run),
        "link_floor_ms": bounds.link_floor_ms(run),
        "of_matmul": bounds.of_matmul(run),
        "flop_per_byte": under.flop_per_byte if under is not None else None,
        "tflops_per_gpu": under.tflops if under is not None else None,
        "roof_tflops": under.roof_tflops if under is not None else None,
        "explanation": run.explanation or None,
        "joules_per_image": run.joules_per_image,
        "measuring_notes": "; ".join(bounds.no_bounds(run)) or None,
    }
    return row | parts.columns if parts is not None else row


def _of_target(run: Run, reached: tuple[float, Reached] | None) -> Cells:
    """When the run was as accurate as was asked, and why not if it was not; nothing where nobody asked."""
    if reached is None:
        return {}
    target, reached_at = reached
    return {
        "target_accuracy": target,
        "time_to_accuracy_s": reached_at.seconds,
        "epochs_to_accuracy": reached_at.epoch,
        "below_accuracy_s": reached_at.below_s,
        "wall_to_accuracy_s": reached_at.wall_s,
        "energy_to_accuracy_j": energy_to_accuracy_j(run, reached_at),
        "accuracy_note": reached_at.reason,
    }


def energy_to_accuracy_j(run: Run, reached: Reached) -> float | None:
    """Mean power of all GPUs while training x `reached.seconds`; None unless every GPU said what it used."""
    power_w = run.training_power_w
    return None if power_w is None or reached.seconds is None else power_w * reached.seconds
