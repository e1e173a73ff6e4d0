"""Points: one raw combination of the grid's values, each value checked by itself. Pure.

Whether the values go together (divide, fit the partition) is decided in `grid`, where a combination that
does not becomes a reason, not an error.
"""

from typing import Annotated

from launchers.checked import Ge, Le, Line, checked
from launchers.profile import Count, PartitionProfile
from vit_sweep.plan.choices import (
    Allocation,
    Attention,
    BatchPer,
    Factor,
    Fraction,
    LrScaling,
    LrSchedule,
    NotNegative,
    NotNegativeInt,
    Pipeline,
    Placement,
    Precision,
    Scaling,
    SequenceMethod,
    Task,
)
from vit_sweep.plan.continuing.origin import Origin
from vit_sweep.plan.identity import Repeatable, around_seed, identity, readers
from vit_sweep.plan.specs import DataSpec, EngineSpec, ModelSpec, OptimizerSpec


@checked
class Point(Repeatable):
    """One combination of values. Not yet a cell: nothing has been multiplied or divided."""

    gpus: Factor
    """TOTAL GPUs = ranks = world size."""
    nodes: Factor | None
    """Hosts; None: as `placement` says."""
    placement: Placement
    batch: Factor
    """Images per GPU and forward (the micro batch), or what `batch_per` says."""
    batch_per: BatchPer
    accum: Factor
    """Micro steps per optimizer step."""
    scaling: Scaling
    precision: Precision
    epochs: Count
    """How often the training goes through its images; the first time is cold and kept apart."""
    warmup_steps: NotNegativeInt
    """Optimizer steps at the start of the first epoch that no step statistic counts."""
    seed: NotNegativeInt
    """Of weights, the order of images and their augmentation; runs that differ in it alone are repeats."""
    fraction: Fraction
    """Part of the training images that is selected at all (seeded, the same for every cell)."""
    weak_fraction: Fraction
    """Weak scaling: part of the selected images that each GPU covers in an epoch."""
    model: ModelSpec
    data: DataSpec
    engine: EngineSpec
    optimizer: OptimizerSpec
    partition: PartitionProfile
    zero: Annotated[int, Ge(0), Le(3)] | None = None
    """ZeRO stage by its number, zero=2 is engine=zero2; None: the engine's own."""
    pipeline: Pipeline = Pipeline.DEVICE
    lr_scaling: LrScaling = LrScaling.NONE
    schedule: LrSchedule = LrSchedule.CONSTANT
    lr_warmup_epochs: NotNegative = 0.0
    """Epochs over which the learning rate rises from 0, step by step."""
    activation_checkpointing: bool = False
    """Keep only the input of each encoder block and compute the rest again in backward: less memory, more time."""
    compile: bool = False
    """torch.compile of each encoder block (CUDA only)."""
    allocation: Allocation = Allocation.PER_CELL
    sequence: Factor = 1
    """Ranks that share the tokens of the same images; `gpus` = data-parallel ranks x these."""
    sequence_method: SequenceMethod = SequenceMethod.ULYSSES
    attention: Attention = Attention.SDPA
    task: Task = Task.CLASSIFICATION
    continue_from: Line | None = None
    """STUDY/CELL whose newest checkpoint the training goes on from; None: it begins anew."""
    origin: Origin | None = None
    """That checkpoint, as it was found."""

    @property
    def point_id(self) -> str:
        """8 hex digits over every value that was asked; of the partition only its name, since profiles are mended."""
        return self.digest

    def _worked_out(self) -> tuple[str, str]:
        return around_seed(identity(self) | {"partition": self.partition.name})

    @property
    def axes(self) -> dict[str, str | int | float | None]:
        """The words a user typed or could have typed, for tables and errors."""
        return {name: read(self) for name, read in _AXES.items()}


_AXES = {name: read for name, read in readers(Point).items() if name != "origin"}
