"""What a job says of itself: `record.json`, and the small files beside it. Pure.

Nothing ever parses a log for a number: these schemas are the only way from a job to a table.
"""

from dataclasses import field
from typing import Annotated

from launchers.checked import AttemptName, Gt, Instant, Loss, MinLen, Name, Part, Quantity, Signed, Whole, checked
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.specs import DEEPSPEED
from vit_sweep.record.attempt import attempt_of
from vit_sweep.record.breakdown import Breakdown, RankPhases
from vit_sweep.record.machine import Fingerprint, HostTime, Preflight, Samples

SCHEMA_VERSION = 1


@checked
class BatchTriple:
    """DeepSpeed's three batch keys: `global_batch` = micro batch x accum x ranks."""

    micro_batch: Whole
    accum: Whole
    global_batch: Whole


@checked
class Resolved:
    """What really ran, read back from the engine and the ranks, never copied from the request."""

    gpus: Whole
    """World size."""
    nodes: Whole
    """Distinct node names over the ranks."""
    hosts: tuple[str, ...]
    batch: BatchTriple
    zero_stage: Whole | None
    precision: str
    steps_per_epoch: Whole
    parameters: Whole
    """Trainable parameters of the whole model."""
    sequence: Whole = 1
    """Ranks that share the tokens of an image, as the model says."""
    engine: str = DEEPSPEED
    """Kind of engine, by what its classes are."""
    classes: tuple[str, ...] = ()
    """Names of the classes that wrap the model and update it; empty in old records."""


@checked
class GradientCheck:
    """What the guard saw before the training: gradients of a small copy of the model against those of one process."""

    difference: Quantity
    """The largest over all ranks and parameters, as a part of that parameter's gradient."""
    parameter: str
    """Where."""
    parameters: Whole
    """Tensors that were compared."""
    tolerance: Quantity
    loss: Quantity | None = None
    """The largest difference of a rank's loss, as a part of it; None in old records."""


CERTIFIED_WITHIN = 1e-3
"""Norm of the difference over the norm of the movement of a parameter, at most."""


@checked
class Certificate:
    """Whether an engine trains what one process does: weights of a small copy of the model after the same steps."""

    steps: Whole
    difference: Quantity | None
    """The largest over ranks and parameters, as a part of how far the parameter has moved; None: no number."""
    absolute: Quantity | None
    """The largest of a weight of that parameter."""
    parameter: str
    """Where."""
    tolerance: Quantity
    masked: str = ""
    """What was left out, if anything."""
    classes: tuple[str, ...] = ()
    """Which wrapped the small copy and updated it."""
    collectives: tuple[str, ...] = ()
    """Which were seen in its last step."""
    instead: str = ""
    """The engine that ran, where it is not the one that was asked for."""

    @property
    def holds(self) -> bool:
        """Whether the engine may be compared with others."""
        return not self.instead and self.difference is not None and self.difference <= self.tolerance


@checked
class RankReport:
    """One rank: where it ran and what it used."""

    rank: Whole
    host: str
    local_rank: Whole
    device: str
    """GPU model, or the processor's name on a CPU device."""
    cores: Whole
    """CPU cores that this rank may use, as the kernel says."""
    host_cores: Whole
    """CPU cores that all ranks of this job on this host may use together."""
    visible_gpus: Whole
    """GPUs that the launcher gave to this rank's node, counted from the variables it set."""
    peak_memory_mib: Quantity | None
    """Most device memory allocated at once (CUDA only)."""
    peak_reserved_mib: Quantity | None
    peak_host_mib: Quantity
    """Most resident memory of the process."""


@checked
class Compilations:
    """What torch.compile did."""

    graphs: Whole
    """Graphs that it compiled, those included that it compiled again because an input or a mode was another."""
    breaks: Whole
    """Places where a graph had to end early."""

    def since(self, before: "Compilations") -> "Compilations":
        """What came after `before`."""
        return Compilations(graphs=self.graphs - before.graphs, breaks=self.breaks - before.breaks)


@checked
class EpochReport:
    """One epoch of training and its evaluation. Times are wall time between barriers, without evaluation.

    Of an interrupted epoch, times are the sums over its parts, within steps only: neither the stop nor the start
    of the next process is in them, but its first steps are.
    """

    epoch: Whole
    """From 1."""
    seconds: Annotated[Quantity, Gt(0)]
    """Max over ranks."""
    seconds_by_rank: tuple[Quantity, ...]
    step_ms: tuple[Quantity, ...]
    """Each optimizer step, max over ranks."""
    step_ms_by_rank: tuple[tuple[Quantity, ...], ...]
    """Ranks x steps."""
    images: Whole
    """Images that went through the model, over all ranks, repeated ones included."""
    train_loss: Loss
    """Mean over `images`, while the weights changed."""
    train_accuracy: Part | None
    """Part of `images` classified right, while the weights changed; None for other tasks, as the one below."""
    test_loss: Loss
    test_accuracy: Part | None
    """Part of the whole test split, after the epoch."""
    test_metrics: dict[Name, Signed] = field(default_factory=dict)
    """How other tasks are learnt, by `metrics.METRICS`: of the whole test split, after the epoch."""
    cold: bool = False
    """The first epoch of a process: of the run, and after every restart."""
    interrupted: bool = False
    """A restart lies inside this epoch, or its process was suspended meanwhile: its time is not that of its work."""
    phases_by_rank: tuple[RankPhases, ...] = ()
    """Where the steps of each rank went; empty for an interrupted epoch."""
    host_by_rank: tuple[HostTime, ...] = ()
    """What it cost each rank on its host; empty where a restart lies inside, and in old records."""
    skipped_steps: tuple[Whole, ...] = ()
    """Numbers, from 0, of the optimizer steps that fp16's loss scaling threw away: their gradients were not finite."""
    compiled_by_rank: tuple[Compilations, ...] = ()
    """Within the timed steps; empty without `compile`, and in old records."""
    wall_s: Quantity | None = None
    """From the moment before any rank opened the data set to the end of this epoch's evaluation, whatever lay between
    (MLPerf Training's clock). None after a restart, and in old records."""


@checked
class Record:
    """One finished run. It exists only when every epoch was run and what ran is what was asked."""

    schema_version: Whole = SCHEMA_VERSION
    cell_id: Name
    requested: Cell
    resolved: Resolved
    ranks: Annotated[tuple[RankReport, ...], MinLen(1)]
    epochs: Annotated[tuple[EpochReport, ...], MinLen(1)]
    attempt: AttemptName
    job_id: str
    started_at: Instant
    """When the last attempt began (UTC, ISO 8601)."""
    startup_s: Quantity
    """From the last attempt's first line to its first step: imports, rendezvous, data, engine."""
    job_s: Quantity | None = None
    """From the last attempt's first line to this record: evaluation, preflight and the measuring phase included."""
    versions: dict[str, str]
    """Of python and of each package that trains."""
    code: str = ""
    """Digest of the code that finished the run."""
    restarts: Whole = 0
    """How often it went on from a checkpoint."""
    attempts: tuple[AttemptName, ...] = ()
    """Names of the attempts that contributed, oldest first."""
    breakdown: Breakdown | None = None
    """What was measured after the training."""
    machine: tuple[Fingerprint, ...] = ()
    """By rank, of the last attempt; so are the two below."""
    preflight: tuple[Preflight, ...] = ()
    samples: tuple[Samples, ...] = ()
    gradients: GradientCheck | None = None
    """None in old records."""
    certificate: Certificate | None = None
    """None where nobody asked for it."""
    earlier: tuple[EpochReport, ...] = ()
    """Epochs that other cells had run before (`requested.origin`), on other ranks: for what was learnt, never for a
    time."""
    allocated_gpus: Whole | None = None
    """GPUs of the allocation that it shared with other cells; None: it had one of its own."""
    slurm_partition: str | None = None
    """The partition that the last attempt ran in, by Slurm's name; None without Slurm, and in old records."""
    shares_job: bool = False
    """Whether other cells ran in its job, before it or after it; false in old records."""

    @property
    def training(self) -> tuple[EpochReport, ...]:
        """Every epoch of the training, whoever ran it."""
        return self.earlier + self.epochs

    @property
    def attempt_number(self) -> int:
        """The attempt that ran it, whichever of its starts."""
        return attempt_of(self.attempt)


def mismatches(requested: Cell, resolved: Resolved) -> tuple[str, ...]:
    """Compare what ran with what was asked; one clause per difference, empty when they agree."""
    pairs = {
        "gpus": (requested.gpus, resolved.gpus),
        "nodes": (requested.nodes, resolved.nodes),
        "micro batch": (requested.micro_batch, resolved.batch.micro_batch),
        "accum": (requested.accum, resolved.batch.accum),
        "global batch": (requested.global_batch, resolved.batch.global_batch),
        "engine": (requested.engine.kind, resolved.engine),
        "zero_stage": (requested.engine.zero_stage, resolved.zero_stage),
        "precision": (requested.precision.value, resolved.precision),
        "sequence": (requested.sequence, resolved.sequence),
        "steps per epoch": (requested.steps_per_epoch, resolved.steps_per_epoch),
    }
    return tuple(f"{key}: asked {expected}, ran {ran}" for key, (expected, ran) in pairs.items() if expected != ran)
