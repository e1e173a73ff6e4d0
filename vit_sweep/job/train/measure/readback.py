"""What really ran and what it used, read back from the engine, the kernel and the other ranks."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from launchers.process.identity import RankIdentity
from vit_sweep.job.rank_log import peak_host_mib
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.machine.fingerprint import processor
from vit_sweep.job.train.models.sequence import sequence_ranks
from vit_sweep.outcome.failure import one_line
from vit_sweep.plan.cell import Cell
from vit_sweep.record.record import RankReport, Resolved

Notes = tuple[str, ...]


class Peaks(NamedTuple):
    """Most device memory at once, MiB; None on a CPU device."""

    allocated_mib: float | None
    reserved_mib: float | None

    def most(self, other: "Peaks") -> "Peaks":
        """The larger ones of two pieces of a run."""
        return Peaks(*(None if a is None or b is None else max(a, b) for a, b in zip(self, other, strict=True)))


def gathered(value: Any) -> list[Any]:
    """What every rank has, by rank; a collective."""
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def agreed(action: str, call: Callable[[], Any]) -> Notes:
    """Run it on every rank; a collective. One note for each rank where it failed."""
    failure = ""
    try:
        call()
    except (Exception, SystemExit) as error:  # DeepSpeed's logger of collectives exits where it lacks one
        failure = one_line(error)
    return tuple(f"rank {rank}: {action}: {why}" for rank, why in enumerate(gathered(failure)) if why)


def resolved_of(cell: Cell, engine: Engine, identity: RankIdentity) -> Resolved:
    """What runs, as the engine and the ranks say; a collective."""
    hosts = gathered(identity.node_name)
    report = engine.report()
    return Resolved(
        gpus=dist.get_world_size(),
        nodes=len(set(hosts)),
        hosts=tuple(dict.fromkeys(hosts)),
        batch=report.batch,
        zero_stage=report.zero_stage,
        precision=report.precision,
        steps_per_epoch=-(-cell.train_images // report.batch.global_batch),
        parameters=report.parameters,
        sequence=sequence_ranks(engine.module),
        engine=report.kind,
        classes=report.classes,
    )


def peaks_of(device: torch.device) -> Peaks:
    """The peaks since the process began, or since they were last reset."""
    if device.type != "cuda":
        return Peaks(None, None)
    return Peaks(torch.cuda.max_memory_allocated(device) / 2**20, torch.cuda.max_memory_reserved(device) / 2**20)


def rank_report(identity: RankIdentity, device: torch.device, peaks: Peaks) -> RankReport:
    """Where this rank ran and what it used; a collective."""
    return RankReport(
        rank=identity.rank,
        host=identity.node_name,
        local_rank=identity.local_rank,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else processor() or "unknown processor",
        cores=len(os.sched_getaffinity(0)),
        host_cores=_host_cores(identity),
        visible_gpus=identity.visible_gpus,
        peak_memory_mib=peaks.allocated_mib,
        peak_reserved_mib=peaks.reserved_mib,
        peak_host_mib=peak_host_mib(),
    )


def _host_cores(identity: RankIdentity) -> int:
    """Count the cores that the ranks of this host may use together: pinned ranks each see only their own."""
    everyone = gathered((identity.node_name, os.sched_getaffinity(0)))
    return len(set[int]().union(*(cores for host, cores in everyone if host == identity.node_name)))
