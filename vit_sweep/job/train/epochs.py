"""All epochs of a run: from the newest checkpoint to the last one, with checkpoints on the way."""

from vit_sweep.job.rank_log import peak_host_mib, say
from vit_sweep.job.train.checkpoint import Checkpoints
from vit_sweep.job.train.continuing.begin import begin
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.execution import Execution
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.measure.readback import peaks_of
from vit_sweep.job.train.stopping import StopAgreed, Stopper
from vit_sweep.job.train.trackers.figures import epoch_figures, learnt_figures
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.outcome.failure import Interrupted
from vit_sweep.record.position import Position
from vit_sweep.record.record import EpochReport


class Epochs:
    """A trainer with its past: the finished epochs, the attempts that ran them, and the checkpoints."""

    def __init__(
        self, execution: Execution, *, engine: Engine, trainer: Trainer, stopper: Stopper, trackers: Trackers
    ) -> None:
        self.execution, self.trackers = execution, trackers
        self._engine, self._trainer, self._stopper = engine, trainer, stopper
        self._checkpoints = Checkpoints(execution.cell_dir / "checkpoint", attempt=execution.attempt.name)
        self.epochs: list[EpochReport] = []
        self.earlier: tuple[EpochReport, ...] = ()
        """What other cells had run before."""
        self.attempts = [execution.attempt.name]

    def begin(self) -> None:
        """Go on from the newest checkpoint, and tell the trackers what was done before."""
        self._go_on_from_checkpoint()
        cell = self.execution.cell
        earlier = {epoch.epoch: learnt_figures(cell, epoch) for epoch in self.earlier}
        self.trackers.start(earlier | {epoch.epoch: epoch_figures(cell, epoch) for epoch in self.epochs})

    def _go_on_from_checkpoint(self) -> None:
        execution, cell = self.execution, self.execution.cell
        execution.tell("loading a checkpoint")
        position = self._checkpoints.load(
            self._engine, cell_id=execution.file.cell_id, world_size=cell.gpus, zero_stage=cell.engine.zero_stage
        )
        if position is None and cell.origin is not None:
            execution.tell("loading another cell's checkpoint")
            position = begin(cell, cell.origin, self._engine)
        if position is None:
            return
        if position.code != execution.code:
            say(f"the checkpoint was written by other code ({position.code}, now {execution.code})")
        self.epochs, self.earlier = list(position.epochs), position.earlier
        self.attempts = [*position.attempts, execution.attempt.name]
        self._trainer.resume(position.epoch, position.step, position.part)

    def training(self) -> int | None:
        """The epoch whose steps run now; None in evaluations and checkpoints. For another thread to ask."""
        return self._trainer.number if self._engine.module.training else None

    def train_all(self) -> None:
        """Train to the end; told to stop, save where all ranks stand, and raise `Interrupted`."""
        cell, interval = self.execution.cell, self.execution.file.options.checkpoint_epochs
        try:
            while self._trainer.number <= cell.epochs:
                number = self._trainer.number
                self.execution.tell("training", number, self._trainer.step)
                self.epochs.append(self._trainer.epoch())
                # Of rank 0, while the others wait before the next epoch's first barrier.
                self.trackers.epoch(number, epoch_figures(cell, self.epochs[-1]) | self._memory())
                if interval and number % interval == 0 and number < cell.epochs:
                    self._stopper.enter()
                    self._save()
        except StopAgreed as stop:
            self._save()
            position = f"epoch {self._trainer.number}, step {self._trainer.step}"
            raise Interrupted(stop.request, f"{stop.request.message}; a checkpoint was saved at {position}") from None

    def _memory(self) -> dict[str, float]:
        """The most memory of this rank so far, MiB."""
        allocated = peaks_of(self._trainer.device).allocated_mib
        return {"memory/host_mib": peak_host_mib()} | ({} if allocated is None else {"memory/device_mib": allocated})

    def _save(self) -> None:
        execution, cell, trainer = self.execution, self.execution.cell, self._trainer
        part = trainer.part()
        execution.tell("saving a checkpoint", trainer.number, trainer.step)
        position = Position(
            cell_id=execution.file.cell_id,
            code=execution.code,
            world_size=cell.gpus,
            zero_stage=cell.engine.zero_stage,
            epoch=trainer.number,
            step=trainer.step,
            part=part,
            epochs=tuple(self.epochs),
            earlier=self.earlier,
            attempts=tuple(self.attempts),
            files={},
        )
        self._checkpoints.save(self._engine, position)

    def delete_checkpoints(self) -> None:
        """Once the record is written, nobody goes on from them."""
        self._checkpoints.delete()
