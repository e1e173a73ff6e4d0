"""One rank's run of a cell, from the rendezvous to the record."""

import time
from pathlib import Path

import torch
import torch.distributed as dist

from launchers.process.identity import RankIdentity
from launchers.text import plural
from vit_sweep.job.guardian import Guardian
from vit_sweep.job.train.engines.build import engine_of
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.engines.offload import require_room
from vit_sweep.job.train.epochs import Epochs
from vit_sweep.job.train.execution import Execution
from vit_sweep.job.train.finish import OfRank, finish
from vit_sweep.job.train.images.data import Split, load
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.job.train.imports.without_compiler import bring_in
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.machine.fingerprint import fingerprint
from vit_sweep.job.train.machine.sampler import Sampler
from vit_sweep.job.train.measure.preflight import preflight
from vit_sweep.job.train.measure.readback import gathered, peaks_of, rank_report, resolved_of
from vit_sweep.job.train.model import DTYPES
from vit_sweep.job.train.proof.certificate import certify
from vit_sweep.job.train.proof.gradients import check_gradients
from vit_sweep.job.train.rendezvous import connect, pick_device
from vit_sweep.job.train.stopping import Stopper
from vit_sweep.job.train.trackers.figures import epoch_names, parameters
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.job.train.trackers.tracker import TrackedRun
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell, CellFile
from vit_sweep.plan.engine.kinds import uses_deepspeed
from vit_sweep.record.breakdown import Breakdown
from vit_sweep.record.machine import Preflight
from vit_sweep.record.record import Certificate, Resolved, mismatches


def train(
    file: CellFile,
    identity: RankIdentity,
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
    execution = Execution(
        file=file, identity=identity, cell_dir=cell_dir, attempt=attempt, begun=begun, code=code, guardian=guardian
    )
    execution.tell("starting")
    _check_world(cell, identity)
    if cell.compile:
        bring_in()  # before anything that it must leave alone is marked
    if uses_deepspeed(cell):
        import vit_sweep.job.train.imports.with_deepspeed  # noqa: F401
    require_room(cell, identity, file.options.nvme)
    torch.set_num_threads(cell.cpus_per_gpu)
    # Before the GPU is touched: from then on this process is one of those that use it.
    machine, nvml = fingerprint(identity, cell.device)
    device = pick_device(identity, cell.device)
    data_opened = time.monotonic()
    execution.starting("opening the data")
    splits = load(
        cell.data,
        Path(file.data_root),
        file.options.scratch,
        task=cell.task,
        text=cell.model.text,
        tell=execution.starting,
    )
    hang_minutes = file.options.hang_minutes
    meeting = connect(identity, cell.device, attempt, hang_minutes=hang_minutes, tell=execution.starting)
    stopper = Stopper(rank=identity.rank, world_size=identity.world_size, connect=meeting.client, secret=meeting.secret)
    guardian.stop_by(stopper.request_stop)
    trackers = _trackers(execution)
    try:
        execution.tell("checking gradients")
        gradients = check_gradients(cell, rank=identity.rank, device=device)
        certificate = _certificate(execution, device)
        engine = engine_of(cell)
        resolved = _checked_resolved(cell, engine, identity)
        peaks = peaks_of(device)
        probed = _preflight(execution, resolved, device)
        trainer = _trainer(execution, engine, splits, device, stopper, data_opened=data_opened)
        run = Epochs(execution, engine=engine, trainer=trainer, stopper=stopper, trackers=trackers)
        run.begin()
        startup_s = execution.elapsed_s()
        with Sampler(identity.rank, nvml, run.training, cold=trainer.number) as sampler:
            run.train_all()
        # Of the run; what is measured afterwards uses memory of its own.
        peaks = peaks.most(peaks_of(device))
        breakdown = _measured(execution, trainer)
        ranks = gathered(OfRank(rank_report(identity, device, peaks), machine, probed, sampler.samples))
        if identity.rank == 0:
            finish(
                run,
                resolved=resolved,
                gradients=gradients,
                certificate=certificate,
                ranks=ranks,
                breakdown=breakdown,
                startup_s=startup_s,
            )
        dist.barrier()
    finally:
        guardian.stop_by(None)
        stopper.close()
        trackers.abandon()
    # Not after a failure: it may wait for ranks that are gone.
    dist.destroy_process_group()


def _trainer(
    execution: Execution,
    engine: Engine,
    splits: tuple[Split, Split],
    device: torch.device,
    stopper: Stopper,
    *,
    data_opened: float,
) -> Trainer:
    cell, (train_split, test_split) = execution.cell, splits
    pipeline = pipeline_of(
        cell,
        train=train_split,
        device=device,
        dtype=DTYPES[cell.precision],
        rank=execution.identity.rank,
        workers=execution.file.options.data_workers,
    )
    return Trainer(
        cell=cell,
        engine=engine,
        pipeline=pipeline,
        test=test_split.to(device),
        device=device,
        enter=stopper.enter,
        beat=execution.step,
        stopped_s=execution.guardian.stopped_s,
        data_opened=data_opened,
    )


def _measured(execution: Execution, trainer: Trainer) -> Breakdown:
    """What is measured after the last epoch; a collective."""
    execution.tell("measuring", execution.cell.epochs)
    options = execution.file.options
    return trainer.measure(
        exposed=options.exposed,
        profile_steps=options.profile_steps,
        trace=execution.attempt / "trace.json",
        profilers=options.deepspeed_profilers,
    )


def _checked_resolved(cell: Cell, engine: Engine, identity: RankIdentity) -> Resolved:
    """What runs, as the engine and the ranks say; a collective. Raises `JobError` if it is not what was asked."""
    resolved = resolved_of(cell, engine, identity)
    differences = mismatches(cell, resolved)
    if differences:
        raise JobError(Cause.MISMATCH, f"what would run is not what was asked: {'; '.join(differences)}")
    return resolved


def _certificate(execution: Execution, device: torch.device) -> Certificate | None:
    """Whether the engine trains what one process does; a collective. None if nobody wants to know."""
    if not execution.file.options.certify:
        return None
    execution.tell("comparing with one process")
    return certify(execution.cell, rank=execution.identity.rank, device=device)


def _preflight(execution: Execution, resolved: Resolved, device: torch.device) -> Preflight | None:
    """What the machine can do now; a collective. None if nobody wants to know."""
    execution.tell("preflight")
    if not execution.file.options.preflight:
        return None
    return preflight(
        rank=execution.identity.rank,
        ranks=execution.identity.world_size,
        device=device,
        precision=execution.cell.precision,
        parameters=resolved.parameters,
        beat=lambda: execution.guardian.beat("preflight", 0, 0),
    )


def _trackers(execution: Execution) -> Trackers:
    """The libraries that this rank tells the run's figures to: all that were asked for on rank 0, else none."""
    run = TrackedRun(
        study=execution.cell_dir.parent.parent,
        cell_dir=execution.cell_dir,
        cell_id=execution.file.cell_id,
        parameters=parameters(execution.cell),
        epoch_names=epoch_names(execution.cell.task),
    )
    return Trackers(execution.file.options.logging if execution.identity.rank == 0 else (), run)


def _check_world(cell: Cell, identity: RankIdentity) -> None:
    """Refuse an allocation of another size before anything expensive happens."""
    if (identity.world_size, identity.nodes) != (cell.gpus, cell.nodes):
        raise JobError(
            Cause.MISMATCH,
            f"the launcher started {plural(identity.world_size, 'rank')} on {plural(identity.nodes, 'node')}, "
            f"the cell asks for {cell.gpus} on {cell.nodes}",
        )
