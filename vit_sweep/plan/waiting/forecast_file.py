"""`jobs/BATCH/forecast.json`: when a batch of jobs was expected to start; and what came of it. Pure."""

from datetime import UTC, datetime

from launchers.batch import Batch, Shape
from launchers.checked import Instant, Line, Name, Quantity, checked
from launchers.profile import Count

SCHEMA_VERSION = 1
EACH_ALONE, TOGETHER = "one job a cell", "one job for all"
QUEUE, SLURMS_PLAN = "a look at the queue", "Slurm's plan"
"""What says when a job starts: a simulation, before it is submitted; afterwards Slurm, by limits."""
NOT_LOOKED = "nobody looked at the queue"


@checked
class StartForecast:
    """When the first task of a batch starts, as somebody said at a moment."""

    said_at: Instant
    start: Instant
    """Corrected by how far off earlier forecasts of the study were, as the two below: what people are shown."""
    earliest: Instant = ""
    latest: Instant = ""
    """Between these lie `expected.COVERED` of such starts; empty where nobody knows how late it may be."""
    basis: Line
    said_start: Instant
    """Before the correction, as the two below: what is learned from."""
    said_earliest: Instant = ""
    said_latest: Instant = ""


@checked
class Strategy:
    """One way to send the cells, and what is expected of it."""

    pack: Count
    """Cells a job at most; 1: one job a cell."""
    jobs: Count
    makespan_s: Quantity
    """From now to the end of the last cell: mean over the simulated queues."""
    low_s: Quantity
    high_s: Quantity
    """Between these in 80 of 100 simulated queues."""
    gpu_hours: Quantity


@checked
class Choice:
    """What was compared, and which was taken."""

    strategies: tuple[Strategy, ...]
    """One job a cell first."""
    pack: Count
    why: Line


@checked
class ForecastFile:
    """Written just before the batch is submitted; Slurm's first forecast is added by the first client that sees it."""

    schema_version: int = SCHEMA_VERSION
    partition: Line
    """The profile's name."""
    shape: Shape
    tasks: Count
    strategy: Line
    before: StartForecast | None = None
    """Before it was submitted."""
    unknown: Line = NOT_LOOKED
    """Why there is none."""
    submitted: StartForecast | None = None
    """Slurm's own, of the submitted job."""
    strategies: tuple[Strategy, ...] = ()
    """Of `pack=auto`: what was expected of each way to send all cells of the sweep, this one among them."""
    pack: Count = 1
    """Cells a job at most, which was chosen among them."""


@checked
class Waited:
    """A batch that was submitted: what was expected of its first start, and what came."""

    batch: Name
    forecast: ForecastFile
    submitted_at: Instant
    started_at: Instant = ""
    """Of the first of its tasks; empty while none has begun."""
    ended_at: Instant = ""
    """Of the last of its tasks, where its makespan was expected (`strategies`); empty while one has not ended."""

    @property
    def wait_s(self) -> float | None:
        """From its submission to its start."""
        return seconds(self.started_at) - seconds(self.submitted_at) if self.started_at else None

    @property
    def forecasts(self) -> tuple[tuple[str, StartForecast], ...]:
        """The forecasts of it by their source."""
        forecasts = (QUEUE, self.forecast.before), (SLURMS_PLAN, self.forecast.submitted)
        return tuple((source, forecast) for source, forecast in forecasts if forecast is not None)

    def error_s(self, forecast: StartForecast) -> float | None:
        """How much later than `forecast` it began; below 0: earlier."""
        return seconds(self.started_at) - seconds(forecast.start) if self.started_at else None


def forecast_file(batch: Batch, before: StartForecast | None = None, unknown: str = NOT_LOOKED) -> ForecastFile:
    """What is written of a batch that is about to be submitted."""
    return ForecastFile(
        partition=batch.profile.name,
        shape=batch.shape,
        tasks=len(batch.tasks),
        strategy=TOGETHER if batch.shared else EACH_ALONE,
        before=before,
        unknown="" if before is not None else unknown,
    )


def seconds(instant: str) -> float:
    """Since 1970."""
    return datetime.fromisoformat(instant).timestamp()


def instant(at_s: float) -> str:
    """The same in UTC, to the second.

    >>> instant(1796032415.4), seconds(instant(1796032415.0))
    ('2026-11-30T09:53:35+00:00', 1796032415.0)
    """
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
