"""Tables as plain rows: strong, weak, and one tidy row per run. Pure; `collect` writes them as files."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_sweep.cell import CellFile
from vit_sweep.flags import machine_columns
from vit_sweep.learning import peak_rate, time_to_accuracy
from vit_sweep.plan import PlannedPoint
from vit_sweep.point import Scaling
from vit_sweep.record import Record
from vit_sweep.scaling import Result, Row, curves, is_oversubscribed, note_of, story_of, variants
from vit_sweep.stats import epoch_time, measured_columns, step_ms

Cells = dict[str, Any]
"""One table row: value by column name; None is an empty field."""

# What every strong and weak table shows, in this order. Columns that are equal in all rows of a table
# are said once above it when it is printed; files keep them all.
SCALING_COLUMNS = (
    "model", "data", "precision", "engine", "optimizer", "partition", "gpu_model", "variant", "placement", "batch_per",
    "batch", "accum", "epochs", "seed", "gpus", "nodes", "epoch_s", "spread_s", "n", "first_epoch_s",
    "step_ms", "images_per_s", "speedup", "efficiency", "train_accuracy", "test_accuracy",
    "oversubscribed", "status", "note", "cell_id",
)  # fmt: skip


def scaling_table(results: Sequence[Result], points: Sequence[PlannedPoint], scaling: Scaling) -> list[Cells]:
    """Rows of one scaling table: every asked cell, whatever became of it, then the infeasible points."""
    lines = curves(results, scaling)
    said = variants(curve[0].key for curve in lines)
    rows = [_cells(row) | {"variant": said[row.key]} for curve in lines for row in curve]
    return rows + [_infeasible(p) for p in points if p.cell_id is None and p.axes["scaling"] == scaling.value]


def runs_table(
    results: Sequence[Result], points: Sequence[PlannedPoint], peaks: Mapping[str, float] | None = None
) -> list[Cells]:
    """One tidy row per run (and per infeasible point), for anyone's own analysis.

    `peaks`: dense peak of one GPU in the cell's precision, 10^12 operations per second, by cell id; MFU needs it.
    """
    rows = [_run(result, (peaks or {}).get(result.file.cell_id)) for result in results]
    for point in points:
        if point.cell_id is None:
            note = "; ".join(point.reasons)
            rows.append({"status": "infeasible", "note": note, "scaling": point.axes["scaling"], **_known_axes(point)})
    return rows


def _cells(row: Row) -> Cells:
    fields = row.key._asdict() | {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {name: fields.get(name) for name in SCALING_COLUMNS}


def _infeasible(point: PlannedPoint) -> Cells:
    row: Cells = dict.fromkeys(SCALING_COLUMNS)
    return row | {
        **_known_axes(point), "n": 0, "oversubscribed": False, "status": "infeasible",
        "note": "; ".join(point.reasons),
    }  # fmt: skip


def _known_axes(point: PlannedPoint) -> Cells:
    return {name: value for name, value in point.axes.items() if name in SCALING_COLUMNS}


def _run(result: Result, peak_tflops: float | None) -> Cells:
    cell, record = result.file.cell, result.record
    row: Cells = {
        "cell_id": result.file.cell_id,
        "status": result.status,
        "note": note_of(result),
        "scaling": " ".join(sorted({series.scaling.value for series in result.file.series})),
        "model": cell.model.name,
        "data": cell.data.name,
        "precision": cell.precision.value,
        "engine": cell.engine.name,
        "optimizer": cell.optimizer.name,
        "learning_rate": peak_rate(cell),
        "lr_scaling": cell.lr_scaling.value,
        "lr_warmup_epochs": cell.lr_warmup_epochs,
        "pipeline": cell.pipeline.value,
        "augment": cell.data.augment,
        "activation_checkpointing": cell.activation_checkpointing,
        "compile": cell.compile,
        "partition": cell.partition,
        "gpu_model": cell.gpu_model,
        "gpus": cell.gpus,
        "nodes": cell.nodes,
        "micro_batch": cell.micro_batch,
        "accum": cell.accum,
        "global_batch": cell.global_batch,
        "train_images": cell.train_images,
        "padding": cell.padding,
        "epochs": cell.epochs,
        "seed": cell.seed,
        "attempt": record.attempt if record is not None else result.attempt,
        "cause": result.cause,
        "ended_before": result.story if record is not None else story_of(result.history[:-1]),
    }
    if record is None:
        return row
    time, last = epoch_time(record), record.epochs[-1]
    return row | {
        "epoch_s": time.median_s,
        "spread_s": time.spread_s,
        "n": time.n,
        "first_epoch_s": time.first_s,
        "step_ms": step_ms(record),
        "images_per_s": last.images / time.median_s,
        "train_loss": last.train_loss,
        "train_accuracy": last.train_accuracy,
        "test_loss": last.test_loss,
        "test_accuracy": last.test_accuracy,
        "parameters": record.resolved.parameters,
        "peak_memory_mib": max((r.peak_memory_mib or 0.0 for r in record.ranks), default=None) or None,
        "peak_host_mib": max(r.peak_host_mib for r in record.ranks),
        "hosts": " ".join(record.resolved.hosts),
        "devices": " | ".join(sorted({rank.device for rank in record.ranks})),
        "oversubscribed": is_oversubscribed(cell, record),
        "startup_s": record.startup_s,
        "restarts": record.restarts,
        "code": record.code,
        "job_id": record.job_id,
        "started_at": record.started_at,
        **_reached(result.file, record),
        **measured_columns(record, peak_tflops=peak_tflops),
        **machine_columns(record),
        **{f"version_{name}": version for name, version in sorted(record.versions.items())},
    }


def _reached(file: CellFile, record: Record) -> Cells:
    """When the run was as accurate as was asked, and why not if it was not; nothing where nobody asked."""
    target = file.options.target_accuracy
    if target is None:
        return {}
    found = time_to_accuracy(record, target)
    return {
        "target_accuracy": target, "time_to_accuracy_s": found.seconds, "epochs_to_accuracy": found.epoch,
        "accuracy_note": found.reason,
    }  # fmt: skip
