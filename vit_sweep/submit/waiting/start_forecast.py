"""When batches are expected to start, by one look at the queue before they are submitted. An edge: it asks Slurm."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from launchers.batch import Batch
from launchers.profile import Scheduler
from launchers.queue_snapshot import OwnerLimit
from launchers.slurm.handle import users_clusters
from launchers.text import grouped
from vit_sweep.plan.waiting.forecast_file import QUEUE, ForecastFile, forecast_file
from vit_sweep.plan.waiting.wording import lines_of
from vit_sweep.study.store import Study
from vit_sweep.study.waiting import waited
from vit_sweep.submit.batches import Todo
from vit_sweep.submit.next import Written


class Foretold(NamedTuple):
    """What is expected of batches."""

    forecasts: dict[str, ForecastFile]
    """By the batch's name; of Slurm's alone."""
    lines: tuple[str, ...]
    """For people; none where nothing goes to Slurm."""
    seen: bool
    """Whether there is a queue at hand, though it may say why nothing starts."""


def foretell(study: Study, written: Written, todo: Mapping[str, Todo]) -> Foretold:
    """Expect the first start of each batch that Slurm will get; it never raises, and waits for nobody long."""
    batches = [item.batch for item in written.rendered if item.batch.profile.scheduler is Scheduler.SLURM]
    by_cluster = grouped((batch.profile.cluster or users_clusters(os.environ), batch) for batch in batches)
    forecasts: dict[str, ForecastFile] = {}
    limits: list[OwnerLimit] | None = []
    seen = False
    for cluster, on_cluster in by_cluster.items():
        looked = _by_look(study, cluster, on_cluster, todo, written)
        forecasts |= looked.forecasts
        seen = seen or looked.seen
        limits = None if limits is None or looked.limits is None else [*limits, *looked.limits]
    if (choice := written.choice) is not None:
        forecasts = {
            name: replace(file, strategies=choice.strategies, pack=choice.pack) for name, file in forecasts.items()
        }
    files = [forecasts[batch.name] for batch in batches]
    lines = lines_of(batches, files, limits, now=datetime.now(UTC)) if batches else []
    return Foretold(forecasts, tuple(lines), seen)


class _Look(NamedTuple):
    """What one cluster's queue says."""

    forecasts: dict[str, ForecastFile]
    limits: Sequence[OwnerLimit] | None
    """Of this user's jobs there."""
    seen: bool


def _by_look(
    study: Study, cluster: str | None, batches: Sequence[Batch], todo: Mapping[str, Todo], written: Written
) -> _Look:
    # The simulation comes along, which a sweep on this machine does not need.
    from launchers.slurm.look.queue_snapshot import look
    from vit_sweep.plan.waiting.expected import from_queue
    from vit_sweep.plan.waiting.learning import earlier, start_forecast
    from vit_sweep.plan.waiting.strategy import planned_jobs, unmodelled_request

    known, limits, seen = written.starts, written.limits, True
    if not all(batch.name in known for batch in batches):
        snapshot = look(cluster)
        simulated = from_queue(snapshot, planned_jobs(batches, _seconds(batches, todo)))
        known = {batch.name: starts for batch, starts in zip(batches, simulated, strict=True)}
        seen, limits = (False, None) if isinstance(snapshot, str) else (True, snapshot.limits)
    past = earlier(waited(study), QUEUE)
    files = {}
    for batch in batches:
        starts = known[batch.name]
        unknown = unmodelled_request(batch.profile) or (starts if isinstance(starts, str) else "")
        forecast = start_forecast(starts[0], past, QUEUE) if not unknown and not isinstance(starts, str) else None
        files[batch.name] = forecast_file(batch, forecast, unknown or "in most of the simulated queues it never starts")
    return _Look(files, limits, seen)


def _seconds(batches: Sequence[Batch], todo: Mapping[str, Todo]) -> dict[str, float]:
    """How long each cell runs; where nothing says it, its limit."""
    seconds = {}
    for batch in batches:
        for index, task in enumerate(batch.tasks):
            time = todo[task.name].planned.time
            seconds[task.name] = time.seconds if time is not None else 60.0 * batch.shape_of(index).minutes
    return seconds
