"""MLflow: its file store in `STUDY/mlflow/`, one experiment with the study's name, one run a cell.

Files and not SQLite, because jobs on many nodes write at the same time, often over NFS. MLflow keeps this store as it
is and wants to be told that one means it: MLFLOW_ALLOW_FILE_STORE.
"""

import contextlib
import os
import re
import time
from collections.abc import Mapping

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it would go over the network

from filelock import FileLock
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from launchers.atomic import make_folder, read, write
from vit_sweep.job.train.trackers.tracker import TrackedRun

_LOCK_WAIT_S = 60.0
_LONGEST_VALUE = 6000
"""Characters of a parameter, MLflow's own limit."""


class Mlflow:
    """One run of the study's experiment."""

    def __init__(self, run: TrackedRun) -> None:
        """Begin a run; an earlier one of the same cell goes to MLflow's trash, which `mlflow gc` empties."""
        make_folder(run.study / "mlflow")
        with FileLock(run.study / ".mlflow.lock", timeout=_LOCK_WAIT_S):  # two jobs would make two experiments
            self._client = MlflowClient(tracking_uri=(run.study / "mlflow").as_uri())
            existing = self._client.get_experiment_by_name(run.study.name)
            experiment = (
                existing.experiment_id if existing is not None else self._client.create_experiment(run.study.name)
            )
        # Our own note of its id: a search would read every file of every run.
        note = run.cell_dir / "mlflow_run"
        earlier = read(note, max_bytes=1000).decode(errors="replace").strip() if note.is_file() else ""
        if re.fullmatch("[0-9a-f]{32}", earlier):
            with contextlib.suppress(MlflowException):  # somebody deleted it already
                self._client.delete_run(earlier)
        self._run_id: str = self._client.create_run(experiment, run_name=run.cell_id).info.run_id
        write(note, f"{self._run_id}\n")
        params = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in run.parameters.items()]
        self._client.log_batch(self._run_id, params=params)

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Written when it returns."""
        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, metrics=[Metric(name, x, now, number) for name, x in figures.items()])

    def finish(self, epochs: int, figures: Mapping[str, float]) -> None:
        """The run's figures stand at its last epoch."""
        self.epoch(epochs, figures)
        self._client.set_terminated(self._run_id, status="FINISHED")

    def abandon(self) -> None:
        """End it as failed."""
        self._client.set_terminated(self._run_id, status="FAILED")


def start(run: TrackedRun) -> Mlflow:
    return Mlflow(run)
