"""Cells: one checked physical configuration each, the unit of identity. Pure."""

import math
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Self

from launchers.checked import Gt, Le, Line, Name, checked
from launchers.profile import Count, Device, Positive
from launchers.text import plural
from vit_sweep.plan.choices import (
    Allocation,
    Attention,
    BatchPer,
    Factor,
    LrScaling,
    LrSchedule,
    NotNegative,
    NotNegativeInt,
    Pipeline,
    Precision,
    Scaling,
    SequenceMethod,
    Task,
)
from vit_sweep.plan.continuing.origin import Origin
from vit_sweep.plan.identity import Repeatable, around_seed, identity
from vit_sweep.plan.specs import DataSpec, EngineSpec, ModelSpec, OptimizerSpec

SCHEMA_VERSION = 1
PADDING_WORTH_SAYING = 0.1
"""Repeated images of an epoch, as a part, from which on a reader is told of them."""


@checked
class Cell(Repeatable):
    """What one run physically is.

    Not in it: the scaling mode and the study. A strong and a weak point that are the same run are one cell.
    """

    gpus: Factor
    nodes: Factor
    micro_batch: Factor
    """Images per GPU per forward; those of a sequence group are the same ones."""
    accum: Factor
    train_images: Count
    """Images that one epoch covers, before the last step is filled up."""
    precision: Precision
    epochs: Count
    warmup_steps: NotNegativeInt
    seed: NotNegativeInt
    model: ModelSpec
    data: DataSpec
    engine: EngineSpec
    optimizer: OptimizerSpec
    partition: Name
    device: Device
    gpu_model: Line
    cpus_per_gpu: Count
    pipeline: Pipeline = Pipeline.DEVICE
    lr_scaling: LrScaling = LrScaling.NONE
    schedule: LrSchedule = LrSchedule.CONSTANT
    lr_warmup_epochs: NotNegative = 0.0
    activation_checkpointing: bool = False
    compile: bool = False
    allocation: Allocation = Allocation.PER_CELL
    """Part of what a run is: its times are comparable along a curve in another way."""
    sequence: Factor = 1
    """Ranks, next to each other, that share the tokens of the same images."""
    sequence_method: SequenceMethod = SequenceMethod.ULYSSES
    attention: Attention = Attention.SDPA
    task: Task = Task.CLASSIFICATION
    origin: Origin | None = None
    """The checkpoint of another cell that it goes on from; None: it begins anew."""

    @property
    def outputs(self) -> int:
        """Numbers that the model says of an image: its head's width."""
        return self.model.outputs(self.data, self.task)

    @property
    def compared(self) -> int:
        """Pairs that are compared with each other in a micro step, over all ranks: of `task=contrastive`."""
        return self.micro_batch * self.data_ranks

    @property
    def data_ranks(self) -> int:
        """Groups of ranks that see images of their own."""
        return self.gpus // self.sequence

    @property
    def sequence_nodes(self) -> int:
        """Nodes that the ranks of a sequence group lie on, at most."""
        node = self.gpus_per_node
        groups = range(0, self.gpus, self.sequence)
        return max((first + self.sequence - 1) // node - first // node + 1 for first in groups)

    @property
    def gpus_per_node(self) -> int:
        """GPUs, and ranks, on every node."""
        return self.gpus // self.nodes

    @property
    def global_batch(self) -> int:
        """Images per optimizer step: micro batch x accum x data-parallel ranks."""
        return self.micro_batch * self.accum * self.data_ranks

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that cover `train_images`; the last one is filled with repeated images."""
        return math.ceil(self.train_images / self.global_batch)

    @property
    def images_per_epoch(self) -> int:
        """Images that really go through the model in an epoch, repeated ones included."""
        return self.steps_per_epoch * self.global_batch

    @property
    def epochs_here(self) -> int:
        """Epochs that this cell runs itself, a part of one as a whole."""
        return self.epochs - (self.origin.epoch - 1 if self.origin is not None else 0)

    @property
    def steps_here(self) -> int:
        """Optimizer steps of those epochs."""
        return self.epochs_here * self.steps_per_epoch

    @property
    def padding(self) -> float:
        """Repeated images of an epoch as a part of `train_images`."""
        return self.images_per_epoch / self.train_images - 1

    @property
    def cell_id(self) -> str:
        """Readable prefix and 8 hex digits of sha256 over the sorted physical fields, see `identity`."""
        return f"n{self.nodes}-g{self.gpus}-mb{self.micro_batch}-ga{self.accum}-{self.digest}"

    @property
    def configuration(self) -> Self:
        """What repeats of one another have in common: all but the seed."""
        return self.repeated(0)

    def _worked_out(self) -> tuple[str, str]:
        return _text_around_seed(self)


@lru_cache(maxsize=2**12)
def _text_around_seed(cell: Cell) -> tuple[str, str]:
    """Kept, since a study's cells are read from their files again and again."""
    return around_seed(identity(cell), comma=",", colon=":")


def oversubscribed(cell: Cell, cores: int) -> bool:
    """Whether ranks of a CPU partition outnumber the cores of a node: its times say nothing of scaling."""
    return cell.device == "cpu" and cell.gpus_per_node * cell.cpus_per_gpu > cores


def crowd(cell: Cell, cores: int) -> str:
    """The words for an oversubscribed cell, the same in plan and tables."""
    threads = f" x {cell.cpus_per_gpu} threads" if cell.cpus_per_gpu > 1 else ""
    return f"oversubscribed: {plural(cell.gpus_per_node, 'rank')}{threads} on {plural(cores, 'core')}"


@checked
class Series:
    """A curve that a cell belongs to: what was asked to stay constant along `gpus`."""

    scaling: Scaling
    batch_per: BatchPer
    placement: str
    """packed, spread, or nodes=2 where the node count was given."""

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """Order for files that must not depend on the order of the grid."""
        return (self.scaling, self.batch_per, self.placement)


class Logger(StrEnum):
    """Another library that a run can tell its figures to, epoch by epoch."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class DeepSpeedProfiler(StrEnum):
    """An instrument of DeepSpeed's own, used once after the timed epochs."""

    FLOPS = "flops"
    """Operations and parameters of every module, counted in one forward."""
    COMMS = "comms"
    """Every collective of a short window, by kind and size."""


@checked
class JobOptions:
    """How a job behaves beside its work. Nothing of it changes what is computed, so it is not part of the identity."""

    checkpoint_epochs: NotNegativeInt = 1
    """A checkpoint after every so many epochs; 0: only when a signal announces the end of the job."""
    hang_minutes: Positive = 10.0
    """How long a rank may make no progress before the watchdog ends it."""
    preflight: bool = True
    """Measure collectives and matrix products at the start of the job, before the training."""
    certify: bool = False
    """Before the training, compare 50 steps of the engine on a small copy of the model with those of one process."""
    exposed: bool = True
    """After the timed epochs, run steps with and without collectives: what communication no computation hides."""
    profile_steps: NotNegativeInt = 3
    """Optimizer steps of the profiled window after the timed epochs; 0: none."""
    deepspeed_profilers: tuple[DeepSpeedProfiler, ...] = ()
    """Which of DeepSpeed's own instruments look at the run after its timed epochs."""
    logging: tuple[Logger, ...] = ()
    """Which libraries are told every epoch's figures, between epochs."""
    data_workers: NotNegativeInt = 2
    """Processes per rank that read images for `pipeline=loader`."""
    target_accuracy: Annotated[float, Gt(0), Le(1)] | None = None
    """Part of the test images classified right whose time the tables report; the job itself trains on."""
    nvme: Line | None = None
    """Folder of a node's fast disk for states that are swapped out, as the partition's profile names it."""
    scratch: Line | None = None
    """Folder of a node's fast storage for the data files, which may name variables of the job; None: read in place."""


@checked
class CellFile:
    """`cell.json`: all that a job is told, and all that a table needs if `plan.json` is lost."""

    schema_version: int = SCHEMA_VERSION
    cell_id: Name
    cell: Cell
    series: tuple[Series, ...]
    """Curves that asked for this cell; not part of its identity."""
    data_root: Line
    """Folder of the data files on the nodes; not part of the identity."""
    options: JobOptions = JobOptions()
