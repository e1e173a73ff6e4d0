"""What a study has cost beside the runs that its tables know: failed, killed and dropped ones. An edge: it reads."""

from collections.abc import Iterable, Mapping

from vit_sweep.outcome.holding import held_s
from vit_sweep.outcome.result import Result
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.deciding.candidates_file import alike
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.record.attempt import FIRST
from vit_sweep.record.record import Record
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.study.store import Study


def lost_gpu_hours(
    study: Study, results: Iterable[Result], candidates: Mapping[int, PlannedCell] | None = None
) -> float:
    """GPU-hours of all attempts that gave no record, and of cells that were dropped, whatever these gave.

    `results`: of all cells that were not dropped; `candidates`: by GPU count, only cells like these count.
    """
    planned = study.planned()
    total = 0.0
    for result in results:
        cell, record = result.file.cell, result.record
        if (candidates is None or alike(cell, candidates)) and (record is None or record.attempt != FIRST):
            total += _lost(study, cell, planned.get(result.file.cell_id), record)
    for file in study.cell_files(study.dropped_names()):
        if candidates is None or alike(file.cell, candidates):
            known = study.record(file)
            record = known if isinstance(known, Record) else None
            total += _lost(study, file.cell, (candidates or {}).get(file.cell.gpus), record)
            total += spent_gpu_hours(record) if record is not None else 0.0
    return total


def _lost(study: Study, cell: Cell, planned: PlannedCell | None, record: Record | None) -> float:
    """Of all attempts of a cell but the one that its record is of."""
    attempts = study.attempts(cell.cell_id, with_ranks=True)
    seconds = held_s(attempts, limit_s=60.0 * planned.shape.minutes if planned is not None else float("inf"))
    last = record.attempt if record is not None else ""
    lost_s = sum(s for attempt, s in zip(attempts, seconds, strict=True) if attempt.name != last)
    return lost_s / 3600 * (planned.held_gpus if planned is not None else cell.gpus)
