"""What a study's jobs hold, for whoever adds a job to them. An edge: it reads the study's files."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from launchers.batch import Batch
from vit_sweep.outcome.result import Result
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.record.attempt import attempt_of
from vit_sweep.study.journal import latest_attempts
from vit_sweep.study.store import Study


class InFlight(NamedTuple):
    """What jobs hold by now, or will once they start."""

    gpus: int = 0
    """At once, as far as their arrays are throttled."""
    gpu_hours: float = 0.0
    """Predicted, of whole runs: nobody knows of one that runs how much of it is left."""
    jobs: Mapping[str, int] = MappingProxyType({})
    """By profile, as a site counts them: tasks of arrays, and one for cells that share a job."""


def in_flight(
    study: Study, results: Iterable[Result], planned: Mapping[str, PlannedCell], *, unsent: Container[str] = ()
) -> InFlight:
    """What the cells of `results` hold that are queued or running by the journal, which may know more than this look.

    `unsent`: cells that somebody is about to submit; they are no jobs yet.
    """
    latest = latest_attempts(study.jobs())
    waiting, hours, alive = 0, 0.0, dict[str, list[tuple[str, int]]]()
    for result in results:
        cell_id, attempt = result.file.cell_id, latest.get(result.file.cell_id)
        plan = planned.get(cell_id)
        held = plan.held_gpus if plan is not None else result.file.cell.gpus
        if cell_id in unsent:
            waiting += held
        elif attempt is not None and (result.status.has_job or attempt.attempt > attempt_of(result.attempt or "0")):
            alive.setdefault(attempt.batch, []).append((plan.profile.name if plan is not None else "", held))
        else:
            continue
        hours += plan.gpu_hours if plan is not None else 0.0
    gpus, jobs = waiting, Counter[str]()
    for name, cells in alive.items():
        batch = study.batch(name)
        gpus += _gpus_of(batch, [held for _, held in cells])
        jobs[cells[0][0]] += 1 if batch is not None and batch.shared else len(cells)
    return InFlight(gpus, hours, jobs)


def most_gpus(batches: Iterable[Batch]) -> int:
    """GPUs that these batches hold at once while as many of their tasks run as may."""
    return sum(_gpus_of(batch, [batch.held_gpus] * len(batch.tasks)) for batch in batches)


def _gpus_of(batch: Batch | None, held: list[int]) -> int:
    """`held`: by its cells that are alive, were they all to run; as is counted where its file is gone."""
    if batch is None:
        return sum(held)
    return batch.held_gpus * (1 if batch.shared else min(len(held), batch.parallel or len(held)))
