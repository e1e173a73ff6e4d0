"""One rank's run of a cell, from the rendezvous to the record."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launchers.atomic import write
from launchers.checked import to_json
from launchers.identity import RankIdentity
from vit_sweep.job.guardian import Guardian
from vit_sweep.job.train.checkpoint import Checkpoints
from vit_sweep.job.train.epochs import Epochs
from vit_sweep.job.train.finish import OfRank, finish
from vit_sweep.job.train.images.data import load
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.machine.fingerprint import fingerprint
from vit_sweep.job.train.machine.sampler import Sampler
from vit_sweep.job.train.measure.preflight import preflight
from vit_sweep.job.train.measure.readback import gathered, peaks_of, rank_report, resolved_of
from vit_sweep.job.train.model import DTYPES, engine_of
from vit_sweep.job.train.rendezvous import connect, pick_device
from vit_sweep.job.train.stopping import Stopper
from vit_sweep.job.train.trackers.figures import EPOCH_NAMES, parameters
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.job.train.trackers.tracker import TrackedRun
from vit_sweep.outcome.ending import Cause, Progress
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell, CellFile
from vit_sweep.record.machine import Preflight
from vit_sweep.record.record import Resolved, mismatches


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
    cell, options = file.cell, file.options
    started_at = (datetime.now(UTC) - timedelta(seconds=time.monotonic() - begun)).isoformat(timespec="seconds")

    def tell(phase: str, epoch: int, step: int = 0) -> None:
        guardian.beat(phase, epoch, step)
        if me.rank == 0:
            host = me.node_name
            progress = Progress(phase=phase, epoch=epoch, epochs=cell.epochs, host=host, started_at=started_at)
            write(attempt / "progress.json", to_json(progress))

    tell("starting", 0)
    _check_world(cell, me)
    torch.set_num_threads(cell.cpus_per_gpu)
    # Before the GPU is touched: from then on this process is one of those that use it.
    machine, nvml = fingerprint(me, cell.device)
    device = pick_device(me, cell.device)
    train_split, test_split = load(cell.data, Path(file.data_root), options.scratch)
    meeting = connect(me, cell.device, attempt, hang_minutes=options.hang_minutes)
    stopper = Stopper(rank=me.rank, world_size=me.world_size, connect=meeting.client)
    guardian.stop_by(stopper.ask)
    trackers = _trackers(file, me, cell_dir)
    try:
        engine = engine_of(cell)
        resolved = _checked_resolved(cell, engine, me)
        peaks = peaks_of(device)
        tell("preflight", 0)
        probed = _preflight(file, resolved, me, device, guardian)
        dtype, workers = DTYPES[cell.precision], options.data_workers
        trainer = Trainer(
            cell=cell,
            engine=engine,
            pipeline=pipeline_of(cell, train=train_split, device=device, dtype=dtype, rank=me.rank, workers=workers),
            test=test_split.to(device),
            device=device,
            enter=stopper.enter,
            beat=guardian.beat,
        )
        run = Epochs(
            file=file,
            attempt=attempt.name,
            code=code,
            engine=engine,
            trainer=trainer,
            stopper=stopper,
            checkpoints=Checkpoints(cell_dir / "checkpoint", attempt=attempt.name),
            tell=tell,
            trackers=trackers,
        )
        run.begin()
        startup_s = time.monotonic() - begun
        with Sampler(me.rank, nvml, run.training, cold=trainer.number) as sampler:
            run.all()
        # Of the run; what is measured afterwards uses memory of its own.
        peaks = peaks.most(peaks_of(device))
        tell("measuring", cell.epochs)
        breakdown = trainer.measure(
            profile_steps=options.profile_steps, trace=attempt / "trace.json", profilers=options.deepspeed_profilers
        )
        ranks = gathered(OfRank(rank_report(me, device, peaks), machine, probed, sampler.samples))
        if me.rank == 0:
            finish(
                run,
                me,
                cell_dir=cell_dir,
                attempt=attempt,
                resolved=resolved,
                ranks=ranks,
                breakdown=breakdown,
                started_at=started_at,
                startup_s=startup_s,
                begun=begun,
            )
        dist.barrier()
    finally:
        guardian.stop_by(None)
        stopper.close()
        trackers.abandon()
    # Not after a failure: it may wait for ranks that are gone.
    dist.destroy_process_group()


def _checked_resolved(cell: Cell, engine: Any, me: RankIdentity) -> Resolved:
    """What runs, as the engine and the ranks say; a collective. Raises `JobError` if it is not what was asked."""
    resolved = resolved_of(cell, engine, me)
    wrong = mismatches(cell, resolved)
    if wrong:
        raise JobError(Cause.MISMATCH, f"what would run is not what was asked: {'; '.join(wrong)}")
    return resolved


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
        study=cell_dir.parent.parent,
        cell_dir=cell_dir,
        cell_id=file.cell_id,
        parameters=parameters(file.cell),
        epoch_names=EPOCH_NAMES,
    )
    return Trackers(file.options.logging if me.rank == 0 else (), run)


def _check_world(cell: Cell, me: RankIdentity) -> None:
    """Refuse an allocation of another size before anything expensive happens."""
    if (me.world_size, me.nodes) != (cell.gpus, cell.nodes):
        raise JobError(
            Cause.MISMATCH,
            f"the launcher started {me.world_size} ranks on {me.nodes} node(s), "
            f"the cell asks for {cell.gpus} on {cell.nodes}",
        )
