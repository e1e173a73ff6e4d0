"""TensorBoard: event files in `STUDY/tensorboard/CELL/`, one folder a run. Written through torch's own writer."""

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from launchers.atomic import make_folder, remove
from vit_sweep.job.train.trackers.tracker import TrackedRun

_NEVER_S = 10**6
"""The writer's thread would wake up to flush what we have flushed between epochs."""


class TensorBoard:
    """One run's event file."""

    def __init__(self, run: TrackedRun) -> None:
        """Begin the run's folder anew."""
        folder = run.study / "tensorboard" / run.cell_id
        remove(folder, pattern=r"n\d.*")
        make_folder(folder)
        self._writer = SummaryWriter(str(folder), flush_secs=_NEVER_S)
        # `add_hparams` would put them into a run of their own beside this one.
        described, begun, self._ended = hparams(dict(run.parameters), dict.fromkeys(run.epoch_names, 0.0))  # type: ignore[no-untyped-call]  # torch's own gap
        for summary in (described, begun):
            self._write(summary)
        self._writer.flush()

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Write and flush, so that the writer's thread has nothing left to do."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def finish(self, epochs: int, figures: Mapping[str, float]) -> None:
        """The run's figures stand at its last epoch."""
        self.epoch(epochs, figures)
        self._write(self._ended)
        self._writer.close()

    def abandon(self) -> None:
        """Close the file; without an end, TensorBoard shows the run as unfinished."""
        self._writer.close()

    def _write(self, summary: object) -> None:
        self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]  # torch says it is None


def start(run: TrackedRun) -> TensorBoard:
    return TensorBoard(run)
