"""What a job says of itself: `record.json`, and the small files beside it. Pure.

Nothing ever parses a log for a number: these schemas are the only way from a job to a table.
"""

from launchers.checked import checked
from vit_sweep.plan.cell import Cell
from vit_sweep.record.breakdown import Breakdown, RankPhases
from vit_sweep.record.machine import Fingerprint, HostTime, Preflight, Samples

SCHEMA_VERSION = 1


@checked
class BatchTriple:
    """DeepSpeed's three batch keys: `global_batch` = micro batch x accum x ranks."""

    micro_batch: int
    accum: int
    global_batch: int


@checked
class Resolved:
    """What really ran, read back from the engine and the ranks, never copied from the request."""

    gpus: int
    """World size."""
    nodes: int
    """Distinct node names over the ranks."""
    hosts: tuple[str, ...]
    batch: BatchTriple
    zero_stage: int
    precision: str
    steps_per_epoch: int
    parameters: int
    """Trainable parameters of the whole model."""


@checked
class RankReport:
    """One rank: where it ran and what it used."""

    rank: int
    host: str
    local_rank: int
    device: str
    """GPU model, or the processor's name on a CPU device."""
    cores: int
    """CPU cores that this rank may use, as the kernel says."""
    host_cores: int
    """CPU cores that all ranks of this job on this host may use together."""
    visible_gpus: int
    """GPUs that the launcher gave to this rank's node, counted from the variables it set."""
    peak_memory_mib: float | None
    """Most device memory allocated at once (CUDA only)."""
    peak_reserved_mib: float | None
    peak_host_mib: float
    """Most resident memory of the process."""


@checked
class Compilations:
    """What torch.compile did."""

    graphs: int
    """Graphs that it compiled, those included that it compiled again because an input or a mode was another."""
    breaks: int
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

    epoch: int
    """From 1."""
    seconds: float
    """Max over ranks."""
    seconds_by_rank: tuple[float, ...]
    step_ms: tuple[float, ...]
    """Each optimizer step, max over ranks."""
    step_ms_by_rank: tuple[tuple[float, ...], ...]
    """Ranks x steps."""
    images: int
    """Images that went through the model, over all ranks, repeated ones included."""
    train_loss: float
    """Mean over `images`, while the weights changed."""
    train_accuracy: float
    """Part of `images` classified right, while the weights changed."""
    test_loss: float
    test_accuracy: float
    """Part of the whole test split, after the epoch."""
    cold: bool = False
    """The first epoch of a process: of the run, and after every restart."""
    interrupted: bool = False
    """A restart lies inside this epoch, or its process was suspended meanwhile: its time is not that of its work."""
    phases_by_rank: tuple[RankPhases, ...] = ()
    """Where the steps of each rank went; empty for an interrupted epoch."""
    host_by_rank: tuple[HostTime, ...] = ()
    """What it cost each rank on its host; empty where a restart lies inside, and in old records."""
    skipped_steps: tuple[int, ...] = ()
    """Numbers, from 0, of the optimizer steps that fp16's loss scaling threw away: their gradients were not finite."""
    compiled_by_rank: tuple[Compilations, ...] = ()
    """Within the timed steps; empty without `compile`, and in old records."""
    wall_s: float | None = None
    """From the moment before any rank opened the data set to the end of this epoch's evaluation, whatever lay between
    (MLPerf Training's clock). None after a restart, and in old records."""


@checked
class Record:
    """One finished run. It exists only when every epoch was run and what ran is what was asked."""

    schema_version: int = SCHEMA_VERSION
    cell_id: str
    requested: Cell
    resolved: Resolved
    ranks: tuple[RankReport, ...]
    epochs: tuple[EpochReport, ...]
    attempt: str
    job_id: str
    started_at: str
    """When the last attempt began (UTC, ISO 8601)."""
    startup_s: float
    """From the last attempt's first line to its first step: imports, rendezvous, data, engine."""
    job_s: float | None = None
    """From the last attempt's first line to this record: evaluation, preflight and the measuring phase included."""
    versions: dict[str, str]
    """Of python and of each package that trains."""
    code: str = ""
    """Digest of the code that finished the run."""
    restarts: int = 0
    """How often it went on from a checkpoint."""
    attempts: tuple[str, ...] = ()
    """Names of the attempts that contributed, oldest first."""
    breakdown: Breakdown | None = None
    """What was measured after the training."""
    machine: tuple[Fingerprint, ...] = ()
    """By rank, of the last attempt; so are the two below."""
    preflight: tuple[Preflight, ...] = ()
    samples: tuple[Samples, ...] = ()
    allocated_gpus: int | None = None
    """GPUs of the allocation that it shared with the other cells of its curve; None: it had one of its own."""


def mismatches(requested: Cell, resolved: Resolved) -> tuple[str, ...]:
    """Compare what ran with what was asked; one clause per difference, empty when they agree."""
    wanted = {
        "gpus": requested.gpus,
        "nodes": requested.nodes,
        "micro batch": requested.micro_batch,
        "accum": requested.accum,
        "global batch": requested.global_batch,
        "zero_stage": requested.engine.zero_stage,
        "precision": requested.precision.value,
        "steps per epoch": requested.steps_per_epoch,
    }
    ran = {
        "gpus": resolved.gpus,
        "nodes": resolved.nodes,
        "micro batch": resolved.batch.micro_batch,
        "accum": resolved.batch.accum,
        "global batch": resolved.batch.global_batch,
        "zero_stage": resolved.zero_stage,
        "precision": resolved.precision,
        "steps per epoch": resolved.steps_per_epoch,
    }
    return tuple(f"{key}: asked {wanted[key]}, ran {ran[key]}" for key in wanted if wanted[key] != ran[key])
