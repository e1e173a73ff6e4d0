"""One rank's run of a cell, from the rendezvous to the record."""

import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launchers.atomic import write
from launchers.checked import to_json
from launchers.identity import RankIdentity
from vit_sweep.job.guardian import Guardian
from vit_sweep.job.rank_log import now, peak_host_mib, say
from vit_sweep.job.train.checkpoint import Checkpoints
from vit_sweep.job.train.images.data import load
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.machine.fingerprint import fingerprint
from vit_sweep.job.train.machine.sampler import Sampler
from vit_sweep.job.train.measure.preflight import preflight
from vit_sweep.job.train.measure.readback import gathered, peaks_of, rank_report, resolved_of
from vit_sweep.job.train.model import DTYPES, engine_of
from vit_sweep.job.train.rendezvous import connect, pick_device
from vit_sweep.job.train.stopping import StopAgreed, Stopper
from vit_sweep.job.train.trackers.figures import EPOCH_NAMES, epoch_figures, parameters, run_figures
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.job.train.trackers.tracker import TrackedRun
from vit_sweep.outcome.ending import Cause, Exit, Progress
from vit_sweep.outcome.failure import Interrupted, JobError
from vit_sweep.plan.cell import Cell, CellFile
from vit_sweep.record.machine import Preflight
from vit_sweep.record.position import Position
from vit_sweep.record.record import EpochReport, Record, Resolved, mismatches

_PACKAGES = ("vit_sweep", "torch", "torchvision", "deepspeed")


def train(
    file: CellFile,
    me: RankIdentity,
    *,
    cell_dir: Path,
    attempt: Path,
    begun: float,
    code: str,
    guardian: Guardian,
) -> None:
    """Train the cell, from its newest checkpoint if there is one; rank 0 writes `record.json` and `exit.json` last.

    `begun` is the monotonic time of the job's first line, `code` the digest of what runs. Raises `JobError` for
    failures with a name, `Interrupted` when the job was told to end.
    """
    cell = file.cell
    started_at = (datetime.now(UTC) - timedelta(seconds=time.monotonic() - begun)).isoformat(timespec="seconds")

    def tell(phase: str, epoch: int, step: int = 0) -> None:
        guardian.beat(phase, epoch, step)
        if me.rank == 0:
            progress = Progress(
                phase=phase, epoch=epoch, epochs=cell.epochs, host=me.node_name, started_at=started_at
            )  # fmt: skip
            write(attempt / "progress.json", to_json(progress))

    tell("starting", 0)
    _check_world(cell, me)
    torch.set_num_threads(cell.cpus_per_gpu)
    # Before the GPU is touched: from then on this process is one of those that use it.
    mine, nvml = fingerprint(me, cell.device)
    device = pick_device(me, cell.device)
    train_split, test_split = load(cell.data, Path(file.data_root), file.options.scratch)
    meeting = connect(me, cell.device, attempt, hang_minutes=file.options.hang_minutes)
    stopper = Stopper(rank=me.rank, world_size=me.world_size, connect=meeting.client)
    guardian.stop_by(stopper.ask)
    trackers = _trackers(file, me, cell_dir)
    try:
        engine = engine_of(cell)
        resolved = resolved_of(cell, engine, me)
        wrong = mismatches(cell, resolved)
        if wrong:
            raise JobError(Cause.MISMATCH, f"what would run is not what was asked: {'; '.join(wrong)}")
        peaks = peaks_of(device)
        tell("preflight", 0)
        ready = _preflight(file, resolved, me, device, guardian)
        pipeline = pipeline_of(
            cell, train=train_split, device=device, dtype=DTYPES[cell.precision], rank=me.rank,
            workers=file.options.data_workers,
        )  # fmt: skip
        trainer = Trainer(
            cell=cell, engine=engine, pipeline=pipeline, test=test_split.to(device), device=device,
            enter=stopper.enter, beat=guardian.beat,
        )  # fmt: skip
        run = _Run(
            file=file, attempt=attempt.name, code=code, engine=engine, trainer=trainer, stopper=stopper,
            checkpoints=Checkpoints(cell_dir / "checkpoint", attempt=attempt.name), tell=tell, trackers=trackers,
        )  # fmt: skip
        run.begin()
        startup_s = time.monotonic() - begun
        with Sampler(me.rank, nvml, run.training, cold=trainer.number) as sampler:
            run.all_epochs()
        # Of the run; what is measured afterwards uses memory of its own.
        peaks = peaks.most(peaks_of(device))
        tell("measuring", cell.epochs)
        breakdown = trainer.measure(
            profile_steps=file.options.profile_steps, trace=attempt / "trace.json",
            profilers=file.options.deepspeed_profilers,
        )  # fmt: skip
        reports, machine, preflights, samples = zip(
            *gathered((rank_report(me, device, peaks), mine, ready, sampler.samples)), strict=True
        )
        if me.rank == 0:
            record = Record(
                cell_id=file.cell_id,
                requested=cell,
                resolved=resolved,
                ranks=reports,
                epochs=tuple(run.epochs),
                attempt=attempt.name,
                job_id=me.job_id,
                started_at=started_at,
                startup_s=round(startup_s, 3),
                job_s=round(time.monotonic() - begun, 3),
                versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
                code=code,
                restarts=len(run.attempts) - 1,
                attempts=tuple(run.attempts),
                breakdown=breakdown,
                machine=machine,
                preflight=tuple(one for one in preflights if one is not None),
                samples=tuple(one for one in samples if one is not None),
                allocated_gpus=me.allocated_gpus,
            )
            write(cell_dir / "record.json", to_json(_tracked(record, trackers)))
            run.checkpoints.delete()
            write(attempt / "exit.json", to_json(_done(cell, me)))
        dist.barrier()
    finally:
        guardian.stop_by(None)
        stopper.close()
        trackers.abandon()
    # Not after a failure: it may wait for ranks that are gone.
    dist.destroy_process_group()


def _preflight(
    file: CellFile, resolved: Resolved, me: RankIdentity, device: torch.device, guardian: Guardian
) -> Preflight | None:
    """What the machine can do now; a collective. None if nobody wants to know."""
    if not file.options.preflight:
        return None
    return preflight(
        rank=me.rank,
        ranks=me.world_size,
        device=device,
        precision=file.cell.precision,
        parameters=resolved.parameters,
        beat=lambda: guardian.beat("preflight", 0, 0),
    )


def _trackers(file: CellFile, me: RankIdentity, cell_dir: Path) -> Trackers:
    """The libraries that this rank tells the run's figures to: all that were asked for on rank 0, else none."""
    run = TrackedRun(
        study=cell_dir.parent.parent, cell_dir=cell_dir, cell_id=file.cell_id, parameters=parameters(file.cell),
        epoch_names=EPOCH_NAMES,
    )  # fmt: skip
    return Trackers(file.options.logging if me.rank == 0 else (), run)


def _tracked(record: Record, trackers: Trackers) -> Record:
    """Tell the trackers the whole run's figures; returns the record with what went wrong in any of them."""
    trackers.finish(record.requested.epochs, run_figures(record))
    measured = record.breakdown
    if measured is None or not trackers.notes:
        return record
    return replace(record, breakdown=replace(measured, notes=measured.notes + trackers.notes))


def _done(cell: Cell, me: RankIdentity) -> Exit:
    return Exit(
        cause=Cause.DONE, message="", rank=0, host=me.node_name, at=now(), epoch=cell.epochs,
        step=cell.steps_per_epoch, peak_host_mib=peak_host_mib(),
    )  # fmt: skip


class _Run:
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
        self._file, self._attempt, self._code = file, attempt, code
        self._engine, self._trainer, self._stopper, self._tell = engine, trainer, stopper, tell
        self.checkpoints, self._trackers = checkpoints, trackers
        self.epochs: list[EpochReport] = []
        self.attempts = [attempt]

    def begin(self) -> None:
        """Go on from the newest checkpoint, and tell the trackers what was done before."""
        self._go_on_from_checkpoint()
        self._trackers.start({epoch.epoch: epoch_figures(self._file.cell, epoch) for epoch in self.epochs})

    def _go_on_from_checkpoint(self) -> None:
        cell = self._file.cell
        self._tell("loading a checkpoint", 0, 0)
        position = self.checkpoints.load(
            self._engine, cell_id=self._file.cell_id, world_size=cell.gpus, zero_stage=cell.engine.zero_stage
        )
        if position is None:
            return
        if position.code != self._code:
            say(f"the checkpoint was written by other code ({position.code}, now {self._code})")
        self.epochs, self.attempts = list(position.epochs), [*position.attempts, self._attempt]
        self._trainer.resume(position.epoch, position.step, position.part)

    def training(self) -> int | None:
        """The epoch whose steps run now; None in evaluations and checkpoints. For another thread to ask."""
        return self._trainer.number if self._engine.module.training else None

    def all_epochs(self) -> None:
        """Train to the end; told to stop, save where all ranks stand, and raise `Interrupted`."""
        cell, every = self._file.cell, self._file.options.checkpoint_epochs
        try:
            while self._trainer.number <= cell.epochs:
                number = self._trainer.number
                self._tell("training", number, self._trainer.step)
                self.epochs.append(self._trainer.epoch())
                # Of rank 0, while the others wait before the next epoch's first barrier.
                self._trackers.epoch(number, epoch_figures(cell, self.epochs[-1]) | self._memory())
                if every and number % every == 0 and number < cell.epochs:
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
        cell, trainer = self._file.cell, self._trainer
        part = trainer.part()
        self._tell("saving a checkpoint", trainer.number, trainer.step)
        position = Position(
            cell_id=self._file.cell_id,
            code=self._code,
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


def _check_world(cell: Cell, me: RankIdentity) -> None:
    """Refuse an allocation of another size before anything expensive happens."""
    if (me.world_size, me.nodes) != (cell.gpus, cell.nodes):
        raise JobError(
            Cause.MISMATCH,
            f"the launcher started {me.world_size} ranks on {me.nodes} node(s), "
            f"the cell asks for {cell.gpus} on {cell.nodes}",
        )
