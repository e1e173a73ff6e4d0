"""What the analysis takes from a record, worked out once by the job that wrote it. Pure.

A record has every step of every rank; tables and figures need a fifth of that, and working it out took most of a first
`collect`. The same function makes it at the end of a job and wherever a record is read.
"""

from typing import Annotated

from launchers.checked import (
    ANY_FLOAT,
    AttemptName,
    Instant,
    Line,
    Name,
    Pattern,
    Quantity,
    Whole,
    checked,
)
from vit_sweep.plan.cell import oversubscribed
from vit_sweep.plan.choices import Allocation, Task
from vit_sweep.record.flags import explanation, flags_of, joules_per_image, least, machine_columns, slowest_clock_mhz
from vit_sweep.record.learning import Reached, time_to_accuracy
from vit_sweep.record.machine import Fingerprint
from vit_sweep.record.metrics import metrics_of
from vit_sweep.record.record import Certificate, Record
from vit_sweep.record.stats import (
    StepParts,
    breakdown,
    compiled,
    epoch_time,
    images_per_s,
    measuring_notes,
    rank_step_ms,
    skipped,
    step_ms,
    step_parts,
    step_percentiles_ms,
    step_tail_ms,
)

Field = str | int | Annotated[float, ANY_FLOAT] | None
"""Of a table of runs; None where nothing is known."""
VERSION = "version_"
"""How the columns begin that name versions of packages."""


@checked
class Measured:
    """What was measured of a run, whoever measured it. What nobody said is None or empty."""

    epoch_s: tuple[float, ...] = ()
    """Epochs that count: whole and warm, each the max over ranks. Empty: nothing was measured."""
    first_epoch_s: float | None = None
    """The very first epoch, which is cold; among `epoch_s` only if there is no other."""
    epochs_done: int | None = None
    step_ms: float | None = None
    """Median optimizer step after the warm-up, max over ranks."""
    step_percentiles: Annotated[str, Pattern(r"^[-+.0-9e ]*$")] = ""
    """From the shortest to the longest of these steps, 0 to 100 %, as text: of many runs these hundred numbers would be
    a third of all that is held, and only a figure reads them. Empty with fewer than 20."""
    parts: StepParts | None = None
    compute_ms_by_rank: tuple[float, ...] = ()
    """What each rank's median step takes without communication."""
    step_ms_by_rank: tuple[float, ...] = ()
    """Each rank's own median step."""
    oversubscribed: bool = False

    test_accuracy: tuple[float | None, ...] = ()
    """After each epoch, of the whole test split."""
    train_accuracy: tuple[float | None, ...] = ()
    test_metrics: tuple[tuple[str, tuple[float | None, ...]], ...] = ()
    """Measures of other tasks (`metrics.METRICS`), each after each epoch."""
    epoch_all_s: tuple[float, ...] = ()
    """Every epoch in its order, cold and disturbed ones too: what a person waits for."""
    interrupted: tuple[int, ...] = ()
    """Numbers, from 1, of epochs with a restart inside: what that lost is in none of these times."""

    hosts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    """The GPU (or processor) of each rank, as it ran."""
    machine: tuple[Fingerprint, ...] = ()
    sm_clock_mhz: float | None = None
    """Least over ranks of the median SM clock while it trained."""
    flags: tuple[str, ...] = ()
    """Reasons to distrust its times: throttled, a slow rank, other processes on a GPU."""
    explanation: str = ""
    """What takes its steps beyond a typical rank's own work."""
    parameters: int | None = None
    """Trainable parameters of the model."""
    bytes_per_step: float | None = None
    """What the collectives of a step move, in bytes of all-reduces: an all-gather or a reduce-scatter counts half."""
    collectives_per_step: float | None = None
    """How many collectives a step has, in all-reduces as `bytes_per_step`."""
    bus_gb_per_s: float | None = None
    """Bus bandwidth of the gradient's all-reduce, alone on the machine (preflight)."""
    bus_bytes: float | None = None
    """What that all-reduce moved: the gradient's size, or less where the network is too slow for that."""
    latency_us: float | None = None
    """What the preflight's small all-reduces take beside their bytes."""
    moved_bytes: float | None = None
    """What the operations of a step read and write in a GPU's memory."""
    matmul_tflops: float | None = None
    """Of matrix products in the run's precision (preflight); least over ranks."""
    memory_gb_per_s: float | None = None
    """Of a copy in memory, bytes read and written (preflight); least over ranks."""
    memory_mib: float | None = None
    """Most reserved on a GPU; on a CPU device None."""
    host_memory_mib: float | None = None
    joules_per_image: float | None = None
    allocated_gpus: int | None = None
    """GPUs that were held for it: more than `gpus` in an allocation that a whole curve shares, and on nodes that are
    handed out whole; None: `gpus`."""
    slurm_partition: str | None = None
    """The partition that it ran in, by Slurm's name."""
    shared_job: Line = ""
    """The job of Slurm that it shared with other runs, one after another on the same nodes; empty: one of its own."""
    job_s: float | None = None
    """Wall time that the job's GPUs were held: start-up, epochs, evaluation; None where not known."""
    started_at: Instant = ""
    software: tuple[tuple[str, str], ...] = ()
    """What trained it: each package with its version, and `code` with the digest of this one's own."""
    counts: tuple[tuple[str, float], ...] = ()
    """What was counted in a step, by name (`record.counts.StepCounts`); empty where nobody counted."""
    certificate: Certificate | None = None
    """Whether its engine trains what one process does; None where nobody looked."""

    @property
    def step_percentiles_ms(self) -> tuple[float, ...]:
        """The same as numbers."""
        return tuple(map(float, self.step_percentiles.split()))


@checked
class Summary:
    """All that is told of a finished run without its record."""

    attempt: AttemptName
    cores: Whole
    """Fewest CPU cores that the ranks of a host had together."""
    images_per_s: Quantity
    measured: Measured
    columns: dict[Name, Field]
    """What the table of runs says beyond that."""
    reached: tuple[float, Reached] | None
    """The study's own target accuracy, and when it was reached."""


def summary_of(record: Record, target: float | None) -> Summary:
    """Of one record; `target`: test accuracy whose time is wanted."""
    return Summary(
        attempt=record.attempt,
        cores=min(rank.host_cores for rank in record.ranks),
        images_per_s=images_per_s(record),
        measured=_measured(record),
        columns=_columns(record),
        reached=None if target is None else (target, time_to_accuracy(record, target)),
    )


def _measured(record: Record) -> Measured:
    cell, time, step_breakdown = record.requested, epoch_time(record), breakdown(record)
    why = explanation(record, step_breakdown)
    reserved = [rank.peak_reserved_mib for rank in record.ranks if rank.peak_reserved_mib is not None]
    bus_speeds = [rank.largest.bus_gb_per_s(record.resolved.gpus) for rank in record.preflight if rank.largest]
    latency = [ms for rank in record.preflight if (ms := rank.latency_ms) is not None]
    classifies = cell.task is Task.CLASSIFICATION
    window = record.breakdown.collective if record.breakdown is not None else None
    return Measured(
        oversubscribed=oversubscribed(cell, min(rank.host_cores for rank in record.ranks)),
        epoch_s=time.values_s,
        first_epoch_s=time.first_s,
        epochs_done=len(record.training),
        step_ms=step_ms(record),
        step_percentiles=" ".join(map(repr, step_percentiles_ms(record))),
        parts=step_parts(record, step_breakdown),
        compute_ms_by_rank=step_breakdown.compute_ms_by_rank if step_breakdown is not None else (),
        step_ms_by_rank=rank_step_ms(record),
        test_accuracy=tuple(epoch.test_accuracy for epoch in record.training) if classifies else (),
        train_accuracy=tuple(epoch.train_accuracy for epoch in record.training) if classifies else (),
        test_metrics=tuple(
            (metric.name, tuple(epoch.test_metrics.get(metric.name) for epoch in record.training))
            for metric in metrics_of(cell.task)
        ),
        epoch_all_s=tuple(epoch.seconds for epoch in record.epochs),
        interrupted=tuple(epoch.epoch for epoch in record.epochs if epoch.interrupted),
        hosts=record.resolved.hosts,
        devices=tuple(rank.device for rank in record.ranks),
        machine=record.machine,
        sm_clock_mhz=slowest_clock_mhz(record),
        flags=flags_of(record, why),
        explanation=why.sentence if why is not None else "",
        parameters=record.resolved.parameters,
        bytes_per_step=window.all_reduced_bytes if window is not None else None,
        collectives_per_step=window.all_reduced_calls if window is not None else None,
        bus_gb_per_s=min(bus_speeds, default=None),
        bus_bytes=min((rank.largest.size_bytes for rank in record.preflight if rank.largest), default=None),
        latency_us=1000 * max(latency) if latency else None,
        moved_bytes=record.breakdown.moved_bytes if record.breakdown is not None else None,
        matmul_tflops=least(record, "matmul_tflops"),
        memory_gb_per_s=least(record, "memory_gb_per_s"),
        memory_mib=max(reserved, default=None),
        host_memory_mib=max(rank.peak_host_mib for rank in record.ranks),
        joules_per_image=joules_per_image(record),
        job_s=record.job_s,
        allocated_gpus=record.allocated_gpus,
        slurm_partition=record.slurm_partition,
        shared_job=_shared_job(record),
        started_at=record.started_at,
        software=(*sorted(record.versions.items()), ("code", record.code)),
        counts=_counts(record),
        certificate=record.certificate,
    )


def _shared_job(record: Record) -> str:
    """Slurm's number and the first node: a job that is started again may get others. Elsewhere nodes never change."""
    shared = record.shares_job or record.requested.allocation is Allocation.SHARED
    if not shared or not record.job_id[:1].isdigit() or not record.resolved.hosts:
        return ""
    return f"{record.job_id.rpartition('_')[0]} on {record.resolved.hosts[0]}"


def _counts(record: Record) -> tuple[tuple[str, float], ...]:
    counts = record.breakdown.counts if record.breakdown is not None else None
    return tuple(sorted(counts.by_name.items())) if counts is not None else ()


def _columns(record: Record) -> dict[str, str | int | float | None]:
    last = record.epochs[-1]
    p95, p99 = step_tail_ms(record) if record.requested.origin is None else (None, None)
    steps_lost, time_lost = skipped(record) or (None, None)
    graphs = compiled(record)
    return {
        "measuring_notes": measuring_notes(record),
        "step_p95_ms": p95,
        "step_p99_ms": p99,
        "skipped_steps": steps_lost,
        "skipped_share": time_lost,
        "compiled_graphs": graphs.graphs if graphs is not None else None,
        "graph_breaks": graphs.breaks if graphs is not None else None,
        "train_loss": last.train_loss,
        "test_loss": last.test_loss,
        "peak_memory_mib": max((r.peak_memory_mib or 0.0 for r in record.ranks), default=None) or None,
        "startup_s": record.startup_s,
        "restarts": record.restarts,
        "code": record.code,
        "job_id": record.job_id,
        **machine_columns(record),
        **_counted(record),
        **{f"{VERSION}{name}": version for name, version in sorted(record.versions.items())},
    }


def _counted(record: Record) -> dict[str, str | int | float | None]:
    """What a step of a rank consists of."""
    counts = record.breakdown.counts if record.breakdown is not None else None
    if counts is None:
        return {}
    peak = counts.peak_memory_bytes
    return {
        "collectives": sum(kind.calls for kind in counts.collectives),
        "collectives_mb": sum(kind.bytes for kind in counts.collectives) / 1e6,
        "operations": counts.operations,
        "counted_gflop": counts.flop / 1e9,
        "host_reads": counts.host_reads,
        "kernels": counts.kernels,
        "synchronisations": counts.synchronisations,
        "step_peak_mib": peak / 2**20 if peak is not None else None,
        "trained_parameters": counts.parameters,
    }
