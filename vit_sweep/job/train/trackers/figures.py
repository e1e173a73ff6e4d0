"""The figures that libraries are told, by name: of the cell, of an epoch, of the whole run. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from launchers.checked import to_plain
from vit_sweep.job.train.trackers.tracker import Parameter
from vit_sweep.plan.cell import Cell
from vit_sweep.record.learning import lr_at
from vit_sweep.record.record import EpochReport, Record
from vit_sweep.record.stats import epoch_time, images_per_s, measured_columns

EPOCH_NAMES = (
    "train/loss",
    "train/accuracy",
    "test/loss",
    "test/accuracy",
    "epoch/seconds",
    "epoch/images_per_s",
    "epoch/learning_rate",
)
"""What every epoch has; memory comes beside, for the epochs that this process ran."""


def parameters(cell: Cell) -> dict[str, Parameter]:
    """Every field of the cell by dotted name (`model.layers`), without those that are null."""
    return dict(_flat(to_plain(cell))) | {"global_batch": cell.global_batch, "steps_per_epoch": cell.steps_per_epoch}


def epoch_figures(cell: Cell, report: EpochReport) -> dict[str, float]:
    """An epoch as the record has it. The learning rate is that of its last step."""
    values = (
        report.train_loss,
        report.train_accuracy,
        report.test_loss,
        report.test_accuracy,
        report.seconds,
        report.images / report.seconds,
        lr_at(cell, report.epoch * cell.steps_per_epoch - 1),
    )
    return dict(zip(EPOCH_NAMES, values, strict=True))


def run_figures(record: Record) -> dict[str, float]:
    """The numbers of the run's line in the tables, as `final/...`, and its peaks over all ranks in MiB."""
    figures: dict[str, float | str | None] = {
        "epoch_s": epoch_time(record).median_s,
        "images_per_s": images_per_s(record),
        "startup_s": record.startup_s,
        "peak_device_mib": max(
            (r.peak_memory_mib for r in record.ranks if r.peak_memory_mib is not None), default=None
        ),
        "peak_host_mib": max(rank.peak_host_mib for rank in record.ranks),
    }
    figures |= measured_columns(record)
    return {f"final/{name}": float(x) for name, x in figures.items() if x is not None and not isinstance(x, str)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", str(value)
