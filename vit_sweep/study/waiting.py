"""What was expected of the jobs of a study that wait or waited, and when they began. An edge."""

import time
from contextlib import suppress
from dataclasses import replace

from launchers.backend import TaskState, TaskStatus
from launchers.profile import Scheduler
from vit_sweep.plan.waiting.forecast_file import SLURMS_PLAN, ForecastFile, StartForecast, Waited, seconds
from vit_sweep.study.journal import Event, JobEntry, SubmittedAttempt
from vit_sweep.study.store import Study

_FIRST = 8
"""Tasks of a batch that are asked for its first start: an array's tasks start in their order."""

_CORRECTION_AGE_S = 30.0
"""How long a correction of the same expected start is reused."""


class Waiting:
    """When cells that wait are expected to start, look by look; notes Slurm's first forecast of each batch."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._files: dict[str, ForecastFile | None] = {}
        self._waited: list[Waited] | None = None
        self._corrected: dict[tuple[str, float], tuple[float, StartForecast | None]] = {}
        """Corrected forecasts by batch and Slurm's expected start, with their age: thousands of tasks may share one."""

    def expected(self, attempt: SubmittedAttempt, status: TaskStatus) -> StartForecast | None:
        """When a queued `attempt` is expected to start: by the scheduler's `status`, else by our own forecast.

        None where it does not wait, where no expected time lies ahead, or where it waits for more than room, of which
        our forecast knew nothing: a limit, a hold.
        """
        if attempt.scheduler is not Scheduler.SLURM or status.state is not TaskState.QUEUED:
            return None
        at_s = time.time()
        if attempt.batch not in self._files:
            self._files[attempt.batch] = self._study.forecast(attempt.batch)
        file = self._files[attempt.batch]
        if status.expected_s is not None and status.expected_s > at_s:
            forecast = self._from_slurm(attempt.batch, at_s, status.expected_s)
            if file is not None and file.submitted is None and forecast is not None:
                self._files[attempt.batch] = updated = replace(file, submitted=forecast)
                with suppress(OSError):  # a reader without write access notes nothing
                    self._study.write_forecast(attempt.batch, updated)
            return forecast
        prediction = file.before if file is not None and status.held is None else None
        return prediction if prediction is not None and seconds(prediction.start) > at_s else None

    def _from_slurm(self, batch: str, at_s: float, start_s: float) -> StartForecast | None:
        """What Slurm says now, corrected by how far off its plans were when this client began to look."""
        corrected_s, cached = self._corrected.get((batch, start_s), (0.0, None))
        if at_s - corrected_s < _CORRECTION_AGE_S:
            return cached
        # The simulation comes along: most commands meet no job that waits.
        from vit_sweep.plan.waiting.expected import from_slurm
        from vit_sweep.plan.waiting.learning import earlier, start_forecast

        if self._waited is None:
            self._waited = waited(self._study)
        forecast = start_forecast(from_slurm(at_s, start_s), earlier(self._waited, SLURMS_PLAN), SLURMS_PLAN)
        self._corrected[batch, start_s] = at_s, forecast
        return forecast


def waited(study: Study) -> list[Waited]:
    """The batches of a study that Slurm got, in the order of submission, with what was expected of them."""
    submitted = [e for e in study.jobs() if e.event is Event.SUBMITTED and e.scheduler is Scheduler.SLURM]
    forecasts = ((entry, study.forecast(entry.batch)) for entry in submitted)
    return [_waited(study, entry, file) for entry, file in forecasts if file is not None]


def _waited(study: Study, entry: JobEntry, file: ForecastFile) -> Waited:
    all_tasks = bool(file.strategies)
    ranks = [study.rank_0(cell, str(number)) for cell, number in entry.tasks[: None if all_tasks else _FIRST]]
    starts = [rank.started_at for rank in ranks if rank is not None]
    ends = [rank.end.at for rank in ranks if rank is not None and rank.end is not None]
    return Waited(
        batch=entry.batch,
        forecast=file,
        submitted_at=entry.at,
        started_at=min(starts, key=seconds, default=""),
        ended_at=max(ends, key=seconds) if all_tasks and len(ends) == len(ranks) else "",
    )
