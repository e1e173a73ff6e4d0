"""The end of a run, on rank 0: the record of all ranks, the trackers' last figures, and `exit.json`."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from launchers.atomic import write
from launchers.checked import to_json
from vit_sweep import __version__
from vit_sweep.job.first_record import keep
from vit_sweep.job.rank_log import now, peak_host_mib, say
from vit_sweep.job.train.epochs import Epochs
from vit_sweep.job.train.execution import Execution
from vit_sweep.job.train.trackers.figures import run_figures
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.plan.engine.kinds import OPTIONAL
from vit_sweep.record.breakdown import Breakdown
from vit_sweep.record.machine import Fingerprint, Preflight, Samples
from vit_sweep.record.record import Certificate, GradientCheck, RankReport, Record, Resolved
from vit_sweep.study.code.provenance import installed_versions

_PACKAGES = ("torch", "torchvision", "deepspeed")


class OfRank(NamedTuple):
    """What each rank adds to the record."""

    report: RankReport
    machine: Fingerprint
    preflight: Preflight | None
    samples: Samples | None


def finish(
    run: Epochs,
    *,
    resolved: Resolved,
    gradients: GradientCheck,
    certificate: Certificate | None,
    ranks: Sequence[OfRank],
    breakdown: Breakdown | None,
    startup_s: float,
) -> None:
    """Write `record.json`, drop the checkpoints, and write `exit.json` last: what it says is then all there."""
    execution = run.execution
    record = Record(
        cell_id=execution.file.cell_id,
        requested=execution.cell,
        resolved=resolved,
        ranks=tuple(rank.report for rank in ranks),
        epochs=tuple(run.epochs),
        earlier=run.earlier,
        attempt=execution.attempt.name,
        job_id=execution.identity.job_id,
        started_at=execution.started_at,
        startup_s=round(startup_s, 3),
        job_s=round(execution.elapsed_s(), 3),
        versions=_versions(execution.cell.engine.kind),
        code=execution.code,
        restarts=len(run.attempts) - 1,
        attempts=tuple(run.attempts),
        breakdown=breakdown,
        machine=tuple(rank.machine for rank in ranks),
        preflight=tuple(rank.preflight for rank in ranks if rank.preflight is not None),
        samples=tuple(rank.samples for rank in ranks if rank.samples is not None),
        gradients=gradients,
        certificate=certificate,
        allocated_gpus=execution.identity.allocated_gpus,
        slurm_partition=execution.identity.partition,
        shares_job=execution.identity.shares_job,
    )
    target = execution.file.options.target_accuracy
    if not keep(_tracked(record, run.trackers), execution.cell_dir, target=target):
        say("another start of this attempt has left its record already: that one stays")
    run.delete_checkpoints()
    write(execution.attempt / "exit.json", to_json(_done(execution)))


def _versions(engine: str) -> dict[str, str]:
    """Of python and of every package that trains; a distribution is named as its module, with a dash for a dot.

    Our own code may be a checkout on PYTHONPATH, which no package manager knows.
    """
    packages = (*_PACKAGES, *(name.replace(".", "-") for name in OPTIONAL.get(engine, ())))
    return {"python": platform.python_version(), "vit_sweep": __version__} | installed_versions(packages)


def _done(execution: Execution) -> Exit:
    return Exit(
        cause=Cause.DONE,
        message="",
        rank=0,
        host=execution.identity.node_name,
        at=now(),
        epoch=execution.cell.epochs,
        step=execution.cell.steps_per_epoch,
        peak_host_mib=peak_host_mib(),
    )


def _tracked(record: Record, trackers: Trackers) -> Record:
    """Tell the trackers the whole run's figures; returns the record with what went wrong in any of them."""
    trackers.finish(record.requested.epochs, run_figures(record))
    measured = record.breakdown
    if measured is None or not trackers.notes:
        return record
    return replace(record, breakdown=replace(measured, notes=measured.notes + trackers.notes))
