"""Points: one raw combination of the grid's values, each value checked by itself. Pure.

Whether the values go together (divide, fit the partition) is decided in `grid`, where a combination that
does not becomes a reason, not an error.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from launchers.checked import checked, to_plain
from launchers.profile import Count, PartitionProfile

Fraction = Annotated[float, Gt(0), Le(1)]
NotNegative = Annotated[float, Ge(0), Le(100)]
Decay = Annotated[float, Ge(0), Lt(1)]
NotNegativeInt = Annotated[int, Ge(0)]


class Scaling(StrEnum):
    """What stays constant along `gpus`."""

    STRONG = "strong"
    """Every epoch covers the whole selected data set, whatever `gpus` is."""
    WEAK = "weak"
    """Every GPU covers the same number of images in an epoch."""


class BatchPer(StrEnum):
    """What `batch` counts."""

    GPU = "gpu"
    """Images per GPU per forward: the micro batch."""
    GLOBAL = "global"
    """Images per optimizer step over all GPUs: the micro batch is derived."""


class Placement(StrEnum):
    """How GPUs are laid over nodes when `nodes` is not given."""

    PACKED = "packed"
    SPREAD = "spread"


class Precision(StrEnum):
    """Number format of weights and activations in forward and backward."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class DataSource(StrEnum):
    """Which loader reads a data set."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    SYNTHETIC = "synthetic"


class OptimizerKind(StrEnum):
    """Which of torch's optimizers; none of them compiles anything in the job."""

    ADAMW = "adamw"
    SGD = "sgd"


@checked
class ModelSpec:
    """A Vision Transformer's shape (Dosovitskiy et al. 2021, table 1)."""

    name: str
    image_size: Count
    """Pixels of a side; images of another size are resized."""
    patch_size: Count
    layers: Count
    heads: Count
    width: Count
    """Hidden dimension D."""
    mlp_width: Count


@checked
class DataFile:
    """A file that a data set must have, relative to the data root."""

    path: str
    md5: str


@checked
class DataSpec:
    """A labelled set of images with a training and a test split."""

    name: str
    source: DataSource
    train_images: Count
    test_images: Count
    classes: Count
    files: tuple[DataFile, ...] = ()
    """Empty for data that needs no file."""


@checked
class EngineSpec:
    """How DeepSpeed shards its states: ZeRO stage 0 (plain data parallel) to 3."""

    name: str
    zero_stage: Annotated[int, Ge(0), Le(3)]


@checked
class OptimizerSpec:
    """The optimizer and its constants. The learning rate is constant over the run."""

    name: str
    kind: OptimizerKind
    learning_rate: Annotated[float, Gt(0), Le(100)]
    weight_decay: NotNegative
    beta1: Decay = 0.9
    """First-moment decay (AdamW) or momentum (SGD)."""
    beta2: Decay = 0.999


@checked
class Point:
    """One combination of values. Not yet a cell: nothing has been multiplied or divided."""

    gpus: Count
    """TOTAL GPUs = ranks = world size."""
    nodes: Count | None
    placement: Placement
    batch: Count
    batch_per: BatchPer
    accum: Count
    """Micro steps per optimizer step."""
    scaling: Scaling
    precision: Precision
    epochs: Count
    warmup_steps: NotNegativeInt
    """Optimizer steps at the start of the first epoch that no step statistic counts."""
    seed: NotNegativeInt
    fraction: Fraction
    """Part of the training images that is selected at all (seeded, the same for every cell)."""
    weak_fraction: Fraction
    """Weak scaling: part of the selected images that each GPU covers in an epoch."""
    model: ModelSpec
    data: DataSpec
    engine: EngineSpec
    optimizer: OptimizerSpec
    partition: PartitionProfile

    @property
    def point_id(self) -> str:
        """8 hex digits over every value that was asked; of the partition only its name, since profiles are mended."""
        asked = to_plain(self) | {"partition": self.partition.name}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def axes(self) -> dict[str, str | int | float | None]:
        """The words a user typed or could have typed, for tables and errors."""
        return {
            "gpus": self.gpus,
            "nodes": self.nodes,
            "placement": self.placement.value,
            "batch": self.batch,
            "batch_per": self.batch_per.value,
            "accum": self.accum,
            "scaling": self.scaling.value,
            "precision": self.precision.value,
            "epochs": self.epochs,
            "warmup_steps": self.warmup_steps,
            "seed": self.seed,
            "fraction": self.fraction,
            "weak_fraction": self.weak_fraction,
            "model": self.model.name,
            "data": self.data.name,
            "engine": self.engine.name,
            "optimizer": self.optimizer.name,
            "partition": self.partition.name,
        }
