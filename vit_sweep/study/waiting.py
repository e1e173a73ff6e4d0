"""What was expected of the jobs of a study that wait or waited, and when they began. An edge."""

import time
from contextlib import suppress
from dataclasses import replace

from launchers.backend import TaskState, TaskStatus
from launchers.profile import Scheduler
from vit_sweep.plan.waiting.forecast_file import SLURMS_PLAN, ForecastFile, StartForecast, Waited, seconds
from vit_sweep.study.journal import Event, JobEntry, Sent
from vit_sweep.study.store import Study

_FIRST = 8
"""Tasks of a batch that are asked for its first start: an array's tasks start in their order."""

_LASTS_S = 30.0
"""How long the same word is not corrected anew."""


class Waiting:
    """When cells that wait are expected to start, look by look; notes Slurm's first word on each batch."""

    def __init__(self, study: Study) -> None:
        """Nothing is read yet."""
        self._study = study
        self._files: dict[str, ForecastFile | None] = {}
        self._waited: list[Waited] | None = None
        self._told: dict[tuple[str, float], tuple[float, StartForecast | None]] = {}
        """When Slurm's word on a batch was last corrected, and what came of it: thousands of tasks may share it."""

    def expected(self, sent: Sent, word: TaskStatus) -> StartForecast | None:
        """When the attempt that was `sent` starts: by the scheduler's `word`, else by what was foreseen; None where it
        does not wait, or nothing says that it will still."""
        if sent.scheduler is not Scheduler.SLURM or word.state is not TaskState.QUEUED:
            return None
        at_s = time.time()
        if sent.batch not in self._files:
            self._files[sent.batch] = self._study.forecast(sent.batch)
        file = self._files[sent.batch]
        if word.expected_s is not None and word.expected_s > at_s:
            said = self._said(sent.batch, at_s, word.expected_s)
            if file is not None and file.submitted is None and said is not None:
                self._files[sent.batch] = noted = replace(file, submitted=said)
                with suppress(OSError):  # who may only look notes nothing
                    self._study.write_forecast(sent.batch, noted)
            return said
        before = file.before if file is not None else None
        return before if before is not None and seconds(before.start) > at_s else None

    def _said(self, batch: str, at_s: float, start_s: float) -> StartForecast | None:
        """What Slurm says now, corrected by how far off its plans were when this client began to look."""
        told_s, told = self._told.get((batch, start_s), (0.0, None))
        if at_s - told_s < _LASTS_S:
            return told
        # The simulation comes along: most commands meet no job that waits.
        from vit_sweep.plan.waiting.expected import from_slurm
        from vit_sweep.plan.waiting.learning import earlier, start_forecast

        if self._waited is None:
            self._waited = waited(self._study)
        said = start_forecast(from_slurm(at_s, start_s), earlier(self._waited, SLURMS_PLAN), SLURMS_PLAN)
        self._told[batch, start_s] = at_s, said
        return said


def waited(study: Study) -> list[Waited]:
    """The batches of a study that Slurm got, in the order of submission, with what was expected of them."""
    submitted = [e for e in study.jobs() if e.event is Event.SUBMITTED and e.scheduler is Scheduler.SLURM]
    forecasts = ((entry, study.forecast(entry.batch)) for entry in submitted)
    return [_waited(study, entry, file) for entry, file in forecasts if file is not None]


def _waited(study: Study, entry: JobEntry, file: ForecastFile) -> Waited:
    whole = bool(file.strategies)
    ranks = [study.rank_0(cell, str(number)) for cell, number in entry.tasks[: None if whole else _FIRST]]
    starts = [rank.started_at for rank in ranks if rank is not None]
    ends = [rank.end.at for rank in ranks if rank is not None and rank.end is not None]
    return Waited(
        batch=entry.batch,
        forecast=file,
        submitted_at=entry.at,
        started_at=min(starts, key=seconds, default=""),
        ended_at=max(ends, key=seconds) if whole and len(ends) == len(ranks) else "",
    )
