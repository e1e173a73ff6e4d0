"""All epochs of a run: from the newest checkpoint to the last one, with checkpoints on the way."""

from collections.abc import Callable
from typing import Any

from vit_sweep.job.rank_log import peak_host_mib, say
from vit_sweep.job.train.checkpoint import Checkpoints
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.measure.readback import peaks_of
from vit_sweep.job.train.stopping import StopAgreed, Stopper
from vit_sweep.job.train.trackers.figures import epoch_figures
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.outcome.failure import Interrupted
from vit_sweep.plan.cell import CellFile
from vit_sweep.record.position import Position
from vit_sweep.record.record import EpochReport


class Epochs:
    """A trainer with its past: the finished epochs, the attempts that ran them, and the checkpoints."""

    def __init__(
        self,
        *,
        file: CellFile,
        attempt: str,
        code: str,
        engine: Any,
        trainer: Trainer,
        stopper: Stopper,
        checkpoints: Checkpoints,
        tell: Callable[[str, int, int], None],
        trackers: Trackers,
    ) -> None:
        """Begin at the first epoch of the cell; `attempt` and `code` are of the process that runs them now."""
        self.file, self.attempt, self.code = file, attempt, code
        self.checkpoints, self.trackers = checkpoints, trackers
        self._engine, self._trainer, self._stopper, self._tell = engine, trainer, stopper, tell
        self.epochs: list[EpochReport] = []
        self.attempts = [attempt]

    def begin(self) -> None:
        """Go on from the newest checkpoint, and tell the trackers what was done before."""
        self._go_on_from_checkpoint()
        self.trackers.start({epoch.epoch: epoch_figures(self.file.cell, epoch) for epoch in self.epochs})

    def _go_on_from_checkpoint(self) -> None:
        cell = self.file.cell
        self._tell("loading a checkpoint", 0, 0)
        position = self.checkpoints.load(
            self._engine, cell_id=self.file.cell_id, world_size=cell.gpus, zero_stage=cell.engine.zero_stage
        )
        if position is None:
            return
        if position.code != self.code:
            say(f"the checkpoint was written by other code ({position.code}, now {self.code})")
        self.epochs, self.attempts = list(position.epochs), [*position.attempts, self.attempt]
        self._trainer.resume(position.epoch, position.step, position.part)

    def training(self) -> int | None:
        """The epoch whose steps run now; None in evaluations and checkpoints. For another thread to ask."""
        return self._trainer.number if self._engine.module.training else None

    def all(self) -> None:
        """Train to the end; told to stop, save where all ranks stand, and raise `Interrupted`."""
        cell, interval = self.file.cell, self.file.options.checkpoint_epochs
        try:
            while self._trainer.number <= cell.epochs:
                number = self._trainer.number
                self._tell("training", number, self._trainer.step)
                self.epochs.append(self._trainer.epoch())
                # Of rank 0, while the others wait before the next epoch's first barrier.
                self.trackers.epoch(number, epoch_figures(cell, self.epochs[-1]) | self._memory())
                if interval and number % interval == 0 and number < cell.epochs:
                    self._stopper.enter()
                    self._save()
        except StopAgreed as stop:
            self._save()
            where = f"epoch {self._trainer.number}, step {self._trainer.step}"
            raise Interrupted(stop.word, f"{stop.word.message}; a checkpoint was saved at {where}") from None

    def _memory(self) -> dict[str, float]:
        """The most memory of this rank so far, MiB."""
        allocated = peaks_of(self._engine.device).allocated_mib
        return {"memory/host_mib": peak_host_mib()} | ({} if allocated is None else {"memory/device_mib": allocated})

    def _save(self) -> None:
        cell, trainer = self.file.cell, self._trainer
        part = trainer.part()
        self._tell("saving a checkpoint", trainer.number, trainer.step)
        position = Position(
            cell_id=self.file.cell_id,
            code=self.code,
            world_size=cell.gpus,
            zero_stage=cell.engine.zero_stage,
            epoch=trainer.number,
            step=trainer.step,
            part=part,
            epochs=tuple(self.epochs),
            attempts=tuple(self.attempts),
            files={},
        )
        self.checkpoints.save(self._engine, position)
