"""What one rank executes, and how far it is: the cell, its attempt, and the clock of the job's first line."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from launchers.atomic import write
from launchers.checked import to_json
from launchers.process.identity import RankIdentity
from vit_sweep.job.guardian import Guardian
from vit_sweep.outcome.ending import Progress
from vit_sweep.plan.cell import Cell, CellFile

_EACH_S = 2.0
"""Seconds between two words on a first epoch."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One rank's attempt at a cell."""

    file: CellFile
    identity: RankIdentity
    cell_dir: Path
    attempt: Path
    """The attempt's folder."""
    begun: float
    """Monotonic time of the job's first line."""
    code: str
    """Digest of what runs."""
    guardian: Guardian
    started_at: str = field(init=False)
    """UTC, ISO 8601: `begun` by the calendar."""
    _trained: list[tuple[float, str, int]] = field(init=False, default_factory=list)
    """First and last time that it was told to train: clock, calendar, steps of the whole run until then."""

    def __post_init__(self) -> None:
        """Read the calendar once: every file names the same start."""
        started = datetime.now(UTC) - timedelta(seconds=self.elapsed_s())
        object.__setattr__(self, "started_at", started.isoformat(timespec="seconds"))

    @property
    def cell(self) -> Cell:
        """What is trained."""
        return self.file.cell

    def elapsed_s(self) -> float:
        """Seconds since the job's first line."""
        return time.monotonic() - self.begun

    def starting(self, doing: str) -> None:
        """Tell the watchdog, the rank's file and, on rank 0, whoever waits, what a rank that starts does now."""
        if self.guardian.starting(doing):
            self._write_progress(f"starting: {doing}" if doing else "starting", 0)

    def tell(self, phase: str, epoch: int = 0, step: int = 0) -> None:
        """Tell the watchdog, and on rank 0 whoever waits, where this rank is."""
        self.guardian.beat(phase, epoch, step)
        if phase == "training":
            steps = (epoch - 1) * self.cell.steps_per_epoch + step
            self._trained[1:] = [(time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds"), steps)]
        self._write_progress(phase, epoch)

    def step(self, phase: str, epoch: int, step: int) -> None:
        """Tell the watchdog that a step begins; in the attempt's first epoch now and then also whoever waits.

        That epoch's time counts for nothing, so a file that is written meanwhile distorts no measurement.
        """
        self.guardian.beat(phase, epoch, step)
        if phase == "training" and self.identity.rank == 0 and self._trained:
            reported_s, _, reported_steps = self._trained[-1]
            first_epoch = self._trained[0][2] // self.cell.steps_per_epoch + 1
            steps = (epoch - 1) * self.cell.steps_per_epoch + step
            if epoch == first_epoch and steps > reported_steps and time.monotonic() - reported_s >= _EACH_S:
                self.tell(phase, epoch, step)

    def _write_progress(self, phase: str, epoch: int) -> None:
        if self.identity.rank == 0:
            trained = self._trained or [(0.0, "", 0)]
            (first_s, _, first_step), (last_s, at, last_step) = trained[0], trained[-1]
            progress = Progress(
                phase=phase,
                epoch=epoch,
                epochs=self.cell.epochs,
                host=self.identity.node_name,
                started_at=self.started_at,
                at=at,
                steps=last_step,
                trained_steps=last_step - first_step,
                trained_s=round(last_s - first_s, 3),
            )
            write(self.attempt / "progress.json", to_json(progress))
