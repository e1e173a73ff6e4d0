"""GPUs that a study's jobs hold at once, for whoever adds a job to them. An edge: it reads the study's files."""

from collections.abc import Container, Iterable, Mapping

from launchers.batch import Batch
from vit_sweep.outcome.result import Result
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.record.attempt import attempt_of
from vit_sweep.study.journal import SubmittedAttempt
from vit_sweep.study.store import Study


def gpus_in_flight(
    study: Study,
    results: Iterable[Result],
    latest: Mapping[str, SubmittedAttempt],
    planned: Mapping[str, PlannedCell],
    *,
    unsent: Container[str],
) -> int:
    """GPUs that jobs hold by now, or will once they start, as far as their arrays are throttled.

    `latest`: the last submission of each cell, which may be later than the look that gave `results`; `unsent`: cells
    that somebody is about to submit.
    """
    waiting, alive = 0, dict[str, list[int]]()
    for result in results:
        cell_id, attempt = result.file.cell_id, latest.get(result.file.cell_id)
        held = planned[cell_id].held_gpus if cell_id in planned else result.file.cell.gpus
        if cell_id in unsent:
            waiting += held
        elif attempt is not None and (result.status.has_job or attempt.attempt > attempt_of(result.attempt or "0")):
            alive.setdefault(attempt.batch, []).append(held)
    return waiting + sum(_of_batch(study.batch(name), held) for name, held in alive.items())


def _of_batch(batch: Batch | None, held: list[int]) -> int:
    """`held`: by its cells that are alive, were they all to run; as is counted where its file is gone."""
    if batch is None:
        return sum(held)
    return batch.held_gpus * (1 if batch.shared else min(len(held), batch.parallel or len(held)))
