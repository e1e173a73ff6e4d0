"""One rank's run of a cell, from the rendezvous to the record."""

import os
import platform
import resource
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launchers.checked import to_json
from launchers.rank import RankIdentity
from vit_sweep.cell import Cell, CellFile
from vit_sweep.failure import JobError
from vit_sweep.files import write
from vit_sweep.record import Cause, EpochReport, Exit, Progress, RankReport, Record, Resolved, mismatches
from vit_sweep.train.data import load, selected
from vit_sweep.train.loop import Trainer
from vit_sweep.train.model import engine_of, resolved_batch, resolved_precision
from vit_sweep.train.rendezvous import connect, pick_device

_PACKAGES = ("vit_sweep", "torch", "torchvision", "deepspeed")


def train(file: CellFile, me: RankIdentity, *, cell_dir: Path, attempt: Path, begun: float) -> None:
    """Train the cell; rank 0 writes `record.json` last. Raises `JobError` for failures with a name.

    `begun` is the monotonic time of the job's first line.
    """
    cell = file.cell
    started_at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - begun)

    def tell(phase: str, epoch: int) -> None:
        if me.rank == 0:
            progress = Progress(phase=phase, epoch=epoch, epochs=cell.epochs, host=me.node_name)
            write(attempt / "progress.json", to_json(progress))

    tell("starting", 0)
    _check_world(cell, me)
    torch.set_num_threads(cell.cpus_per_gpu)
    device = pick_device(me, cell.device)
    splits = load(cell.data, Path(file.data_root))
    connect(me, cell.device, attempt)
    try:
        engine = engine_of(cell)
        resolved = _resolved(cell, engine, me)
        wrong = mismatches(cell, resolved)
        if wrong:
            raise JobError(Cause.MISMATCH, f"what would run is not what was asked: {'; '.join(wrong)}")
        training, test = (split.to(device) for split in splits)
        trainer = Trainer(
            cell=cell, engine=engine, train=training, test=test, chosen=selected(cell).to(device), device=device
        )
        startup_s = time.monotonic() - begun
        epochs: list[EpochReport] = []
        for number in range(1, cell.epochs + 1):
            tell("training", number)
            epochs.append(trainer.epoch(number))
        reports: list[Any] = [None] * cell.gpus
        dist.all_gather_object(reports, _rank_report(me, device, _host_cores(me)))
        if me.rank == 0:
            record = Record(
                cell_id=file.cell_id,
                requested=cell,
                resolved=resolved,
                ranks=tuple(reports),
                epochs=tuple(epochs),
                attempt=attempt.name,
                job_id=me.job_id,
                started_at=started_at.isoformat(timespec="seconds"),
                startup_s=round(startup_s, 3),
                versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            )
            write(cell_dir / "record.json", to_json(record))
            done = Exit(cause=Cause.DONE, message="", rank=0, host=me.node_name)
            write(attempt / "exit.json", to_json(done))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _check_world(cell: Cell, me: RankIdentity) -> None:
    """Refuse an allocation of another size before anything expensive happens."""
    if (me.world_size, me.nodes) != (cell.gpus, cell.nodes):
        raise JobError(
            Cause.MISMATCH,
            f"the launcher started {me.world_size} ranks on {me.nodes} node(s), "
            f"the cell asks for {cell.gpus} on {cell.nodes}",
        )


def _resolved(cell: Cell, engine: Any, me: RankIdentity) -> Resolved:
    hosts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(hosts, me.node_name)
    batch = resolved_batch(engine)
    # ZeRO-3 keeps a shard of each parameter; `ds_numel` is the whole one's size.
    parameters = sum(getattr(p, "ds_numel", p.numel()) for p in engine.module.parameters())
    return Resolved(
        gpus=dist.get_world_size(),
        nodes=len(set(hosts)),
        hosts=tuple(dict.fromkeys(hosts)),
        batch=batch,
        zero_stage=engine.zero_optimization_stage(),
        precision=resolved_precision(engine),
        steps_per_epoch=-(-cell.train_images // batch.global_batch),
        parameters=parameters,
    )


def _host_cores(me: RankIdentity) -> int:
    """Count the cores that the ranks of this host may use together: pinned ranks each see only their own."""
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, (me.node_name, os.sched_getaffinity(0)))
    return len(set[int]().union(*(cores for host, cores in everyone if host == me.node_name)))


def _rank_report(me: RankIdentity, device: torch.device, host_cores: int) -> RankReport:
    cuda = device.type == "cuda"
    return RankReport(
        rank=me.rank,
        host=me.node_name,
        local_rank=me.local_rank,
        device=torch.cuda.get_device_name(device) if cuda else _processor(),
        cores=len(os.sched_getaffinity(0)),
        host_cores=host_cores,
        visible_gpus=me.visible_gpus,
        peak_memory_mib=torch.cuda.max_memory_allocated(device) / 2**20 if cuda else None,
        peak_reserved_mib=torch.cuda.max_memory_reserved(device) / 2**20 if cuda else None,
        # Linux counts ru_maxrss in KiB.
        peak_host_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"
