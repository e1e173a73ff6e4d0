"""Weights & Biases, always offline: `STUDY/wandb/CELL/wandb/offline-run-*`, for `wandb sync` by hand.

Its client starts a service process on this node that writes the file; between epochs it waits for a socket. What it
would do in the background by itself (system metrics, console capture, error reports) is off.
"""

import os
from collections.abc import Mapping
from pathlib import Path

# Read when the library is imported; reports of its errors would go over the network.
os.environ["WANDB_ERROR_REPORTING"] = "false"
os.environ["WANDB_MODE"] = "offline"

import wandb

from launchers.atomic import make_folder, remove
from vit_sweep.job.train.trackers.tracker import TrackedRun


class WeightsAndBiases:
    """One offline run. Its id is the cell's, so that a later `wandb sync` of the same cell is the same run."""

    def __init__(self, run: TrackedRun) -> None:
        """Begin the run's folder anew: offline, a run cannot be resumed."""
        folder = run.study / "wandb" / run.cell_id
        remove(folder, pattern=r"n\d.*")
        make_folder(folder)
        self._least_bytes = 0  # that its file must have: every figure's name is in it
        settings = wandb.Settings(
            mode="offline",
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
        )
        self._run = wandb.init(
            dir=str(folder),
            project=run.study.name,
            id=run.cell_id,
            name=run.cell_id,
            config=dict(run.parameters),
            settings=settings,
            reinit="create_new",
        )

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Hand the figures to the service, which writes them every few seconds."""
        self._least_bytes += sum(len(name) for name in figures)
        self._run.log(dict(figures), step=number, commit=True)

    def finish(self, epochs: int, figures: Mapping[str, float]) -> None:  # noqa: ARG002 - they belong to no epoch here
        """The run's figures are its summary."""
        self._run.summary.update(dict(figures))
        self._end(0)

    def abandon(self) -> None:
        """End it as failed."""
        self._end(1)

    def _end(self, exit_code: int) -> None:
        file = Path(self._run.settings.sync_file)
        self._run.finish(exit_code=exit_code)
        wandb.teardown(exit_code)  # the service: its process would wait for ours to end
        # It says nothing of a full disk.
        size = file.stat().st_size if file.exists() else 0
        if size < self._least_bytes:
            raise OSError(f"its service wrote {size} bytes of at least {self._least_bytes}; is the disk full?")


def start(run: TrackedRun) -> WeightsAndBiases:
    return WeightsAndBiases(run)
