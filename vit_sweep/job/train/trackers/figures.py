"""The figures that libraries are told, by name: of the cell, of an epoch, of the whole run. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from launchers.checked import to_plain
from vit_sweep.job.train.trackers.tracker import Parameter
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Task
from vit_sweep.record.learning import lr_at
from vit_sweep.record.metrics import metrics_of
from vit_sweep.record.record import EpochReport, Record
from vit_sweep.record.stats import epoch_time, images_per_s, measured_columns


def epoch_names(task: Task) -> tuple[str, ...]:
    """What every epoch of a task has; memory comes beside, for the epochs that this process ran."""
    learnt = ("train/accuracy", "test/accuracy", *(f"test/{metric.name}" for metric in metrics_of(task)))
    first_metric = 0 if task is Task.CLASSIFICATION else 2
    return (
        "train/loss",
        "test/loss",
        *learnt[first_metric:],
        "epoch/seconds",
        "epoch/images_per_s",
        "epoch/learning_rate",
    )


def parameters(cell: Cell) -> dict[str, Parameter]:
    """Every field of the cell by dotted name (`model.layers`), without those that are null.

    Of a cell that goes on from another's checkpoint not all that stayed the same once more.
    """
    fields = {name: value for name, value in _flat(to_plain(cell)) if name != "origin.training"}
    return fields | {"global_batch": cell.global_batch, "steps_per_epoch": cell.steps_per_epoch}


def learnt_figures(cell: Cell, report: EpochReport) -> dict[str, float]:
    """Of an epoch that another cell ran: no times, which are those of other GPUs."""
    return {name: value for name, value in epoch_figures(cell, report).items() if name not in _TIMES}


_TIMES = ("epoch/seconds", "epoch/images_per_s")


def epoch_figures(cell: Cell, report: EpochReport) -> dict[str, float]:
    """An epoch as the record has it. The learning rate is that of its last step."""
    values: dict[str, float | None] = {
        "train/loss": report.train_loss,
        "test/loss": report.test_loss,
        "train/accuracy": report.train_accuracy,
        "test/accuracy": report.test_accuracy,
        **{f"test/{name}": value for name, value in report.test_metrics.items()},
        "epoch/seconds": report.seconds,
        "epoch/images_per_s": report.images / report.seconds,
        "epoch/learning_rate": lr_at(cell, report.epoch * cell.steps_per_epoch - 1),
    }
    return {name: value for name, value in values.items() if value is not None}


def run_figures(record: Record) -> dict[str, float]:
    """The numbers of the run's line in the tables, as `final/...`, and its peaks over all ranks in MiB."""
    begun_here = record.requested.origin is None
    figures: dict[str, float | str | None] = {
        "epoch_s": epoch_time(record).median_s if begun_here else None,
        "images_per_s": images_per_s(record) if begun_here else None,
        "startup_s": record.startup_s,
        "peak_device_mib": max(
            (r.peak_memory_mib for r in record.ranks if r.peak_memory_mib is not None), default=None
        ),
        "peak_host_mib": max(rank.peak_host_mib for rank in record.ranks),
    }
    figures |= measured_columns(record) if begun_here else {}
    return {f"final/{name}": float(x) for name, x in figures.items() if x is not None and not isinstance(x, str)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", str(value)
