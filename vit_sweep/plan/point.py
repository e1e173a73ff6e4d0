"""Points: one raw combination of the grid's values, each value checked by itself. Pure.

Whether the values go together (divide, fit the partition) is decided in `grid`, where a combination that
does not becomes a reason, not an error.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from launchers.checked import Below, Line, Name, Signed, checked
from launchers.profile import Count, PartitionProfile
from vit_sweep.plan.continuing.origin import Origin
from vit_sweep.plan.identity import identity
from vit_sweep.plan.pairs.text import TextSpec

Fraction = Annotated[float, Gt(0), Le(1)]
NotNegative = Annotated[float, Ge(0), Le(100)]
Decay = Annotated[float, Ge(0), Lt(1)]
Size = Annotated[int, Ge(0), Le(10**9)]
Operations = Annotated[float, Gt(0), Le(1e18)]
Factor = Annotated[int, Ge(1), Le(10**6)]
"""GPUs, micro batches: three of them multiplied still fit into 64 bits."""
NotNegativeInt = Annotated[int, Ge(0), Le(2**63 - 1)]


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
    """As few nodes as the partition allows."""
    SPREAD = "spread"
    """One GPU of each node."""


class Allocation(StrEnum):
    """Whose nodes a cell runs on."""

    PER_CELL = "per_cell"
    """A job of its own, wherever the scheduler puts it."""
    SHARED = "shared"
    """The first nodes of one job that runs all cells of its curve, one after another in a random order."""


class Precision(StrEnum):
    """Number format of weights and products in forward and backward."""

    FP32 = "fp32"
    """32 bits throughout."""
    TF32 = "tf32"
    """fp32 weights and activations, whose matrix products keep 10 bits of the mantissa (NVIDIA, from sm80 on)."""
    BF16 = "bf16"
    """16-bit weights and activations, updated by an fp32 copy of the weights."""
    FP16 = "fp16"
    """Likewise, with a scaled loss."""
    BF16_AMP = "bf16_amp"
    """fp32 weights and gradients, 16-bit products: torch's autocast."""
    FP16_AMP = "fp16_amp"
    """Likewise, with a scaled loss."""

    @property
    def bytes(self) -> int:
        """Of a weight or a gradient."""
        return 2 if self in (Precision.BF16, Precision.FP16) else 4

    @property
    def products(self) -> "Precision":
        """What matrix products are taken in: another format than that of the weights under autocast only."""
        return {Precision.BF16_AMP: Precision.BF16, Precision.FP16_AMP: Precision.FP16}.get(self, self)

    @property
    def autocast(self) -> bool:
        """Whether weights are cast for each product."""
        return self.products is not self


class SequenceMethod(StrEnum):
    """How attention sees the tokens of other ranks."""

    ULYSSES = "ulysses"
    """All-to-alls that hand every rank all tokens of a part of the heads (Jacobs et al. 2023, arXiv:2309.14509)."""
    RING = "ring"
    """Keys and values go round the ranks, which keep their queries (Liu et al. 2023, arXiv:2310.01889)."""


class Attention(StrEnum):
    """Which kernel computes attention."""

    SDPA = "sdpa"
    """The one that torch's `scaled_dot_product_attention` chooses."""
    MATH = "math"
    """Products that keep all N x N weights."""
    FLASH = "flash"
    """Dao et al. 2022, arXiv:2205.14135."""
    EFFICIENT = "efficient"
    """Rabe and Staats 2021, arXiv:2112.05682."""


class Pool(StrEnum):
    """What of the tokens the head sees."""

    CLASS = "class"
    """A class token beside the patches."""
    MEAN = "mean"
    """The mean of the patches; there is no class token."""


class Pipeline(StrEnum):
    """How images get from the data set to the model."""

    DEVICE = "device"
    """All images stay in device memory as uint8; resized, normalised and augmented there, in batches."""
    LOADER = "loader"
    """torch's DataLoader with worker processes and pinned memory, the classic way."""


class LrScaling(StrEnum):
    """How the learning rate follows the global batch, relative to `optimizer.base_batch`."""

    NONE = "none"
    """It does not."""
    LINEAR = "linear"
    """rate x batch / base (Goyal et al. 2017, arXiv:1706.02677)."""
    SQRT = "sqrt"
    """rate x sqrt(batch / base), which fits Adam's noise (Malladi et al. 2022, arXiv:2205.10287)."""


class LrSchedule(StrEnum):
    """How the learning rate goes on after the warm-up, to the end of the run."""

    CONSTANT = "constant"
    """As it is."""
    COSINE = "cosine"
    """Half a cosine down to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts)."""
    LINEAR = "linear"
    """A line down to 0."""


class Task(StrEnum):
    """What a model learns to say of an image."""

    CLASSIFICATION = "classification"
    """Its class, one of several."""
    MULTILABEL = "multilabel"
    """Which of several labels it has, any number of them."""
    REGRESSION = "regression"
    """Numbers."""
    CONTRASTIVE = "contrastive"
    """Which caption it has, beside a text tower that learns the reverse."""


class DataSource(StrEnum):
    """Which loader reads a data set."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    FASHION_MNIST = "fashion_mnist"
    STL10 = "stl10"
    SYNTHETIC = "synthetic"
    IMAGEFOLDER = "imagefolder"
    PACKED = "packed"
    """Somebody's own, named by `data.path` and packed by `data prepare`."""


_MADE = {
    DataSource.DIGITS: (Task.CLASSIFICATION, Task.REGRESSION, Task.CONTRASTIVE),
    DataSource.SYNTHETIC: tuple(Task),
}
"""Data that is made here, and that several tasks can be told of."""


class OptimizerKind(StrEnum):
    """Which optimizer, of torch or of timm; none of them compiles anything in the job."""

    ADAMW = "adamw"
    SGD = "sgd"
    ADAM = "adam"
    LION = "lion"
    """Chen et al. 2023, arXiv:2302.06675."""
    MUON = "muon"
    """On the matrices of the blocks, with steps as long as AdamW's (Liu et al. 2025, arXiv:2502.16982); else AdamW."""
    LAMB = "lamb"
    """You et al. 2020, arXiv:1904.00962."""
    LARS = "lars"
    """You et al. 2017, arXiv:1708.03888."""
    ADAFACTOR = "adafactor"
    """Shazeer & Stern 2018, arXiv:1804.04235."""


class Offload(StrEnum):
    """Where states lie that a GPU does not keep between steps."""

    NONE = "none"
    """On the GPU."""
    CPU = "cpu"
    """Memory of the node."""
    NVME = "nvme"
    """Files on the node, below the partition's `nvme`."""


class CommunicationType(StrEnum):
    """Number format of reduced gradients, where it is not that of the weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


BUCKET_ELEMENTS = 25_000_000
"""Gradients or weights that ZeRO communicates at a time: small enough that reduction can overlap backward; DeepSpeed's
5e8 exceeds a whole ViT-L."""
DEEPSPEED = "deepspeed"
"""The kind of engine that cells had before there were others."""


@checked
class ModelCounts:
    """What was counted of a model that no formula here describes, with a head for the data's classes."""

    parameters: Count
    """Trainable ones."""
    flop_per_image: Operations
    """Operations of one image's forward and backward, a multiply-add as two."""
    forward_flop: Operations | None = None
    """Of them the forward's; None: a third."""
    kept_bytes_32: Operations | None = None
    """Bytes that autograd keeps per image in fp32, with fused attention; None: not known, so no memory is predicted."""
    kept_bytes_16: Operations | None = None
    """The same with 16-bit weights and activations."""
    scalars: tuple[Line, ...] = ()
    """Parameters without a dimension."""


Argument = tuple[Name, Line | bool | Annotated[int, Ge(-(10**12)), Le(10**12)] | Signed | None]


@checked
class ModelSpec:
    """A Vision Transformer: its shape (Dosovitskiy et al. 2021, table 1), or who builds it."""

    name: Name
    """What tables call it; with a `target` what that knows it by."""
    image_size: Count | tuple[Count, Count]
    """Pixels of a side, or rows and columns; images of another size are resized."""
    patch_size: Size = 0
    """Pixels of a side of a patch. This and the four below are of models that are built here; 0 for all others."""
    layers: Size = 0
    """Encoder blocks."""
    heads: Size = 0
    """Attention heads of a block; they divide `width`."""
    width: Size = 0
    """Hidden dimension D."""
    mlp_width: Size = 0
    """Hidden dimension of a block's MLP."""
    target: Line | None = None
    """Who builds it: `timm` or `torchvision`, by `name`, or a function of somebody's own, `my_package.my_module:build`;
    None: it is built here, from its shape."""
    arguments: tuple[Argument, ...] = ()
    """What that takes beside the name, the classes and the size of an image."""
    counts: ModelCounts | None = None
    """What was counted of a model with a target; not for a command to say."""
    pool: Pool = Pool.CLASS
    """What the head sees, of a model that is built here."""
    channels: Count = 3
    """Colours of the images that it takes; None: as the data has."""
    init: Line | None = None
    """A safetensors file that a model which is built here begins with; None: weights drawn anew."""
    init_content: Name | None = None
    """Digest of the file of `init`; not for a command to say."""
    text: TextSpec | None = None
    """The text tower beside it; of `task=contrastive`."""

    def outputs(self, data: "DataSpec", task: Task) -> int:
        """Numbers that it says of an image."""
        return self.text.embedding if self.text is not None else data.outputs(task)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        size = self.image_size
        return size if isinstance(size, tuple) else (size, size)

    @property
    def image_text(self) -> str:
        """The size of an image in a sentence: 224, or 224 x 160."""
        return " x ".join(map(str, self.image_shape[: 1 + isinstance(self.image_size, tuple)]))


@checked
class DataFile:
    """A file that a data set must have, relative to the data root."""

    path: Below
    md5: Name


@checked
class DataSpec:
    """A labelled set of images with a training and a test split."""

    name: Name
    """What tables call it."""
    source: DataSource
    train_images: Count
    """Images of the training split."""
    test_images: Count
    """Images of the test split."""
    classes: Count
    """Classes, or labels, or numbers, where its `targets` are those."""
    files: tuple[DataFile, ...] = ()
    """Files that must be there, with their digests; empty for data that needs none."""
    augment: bool = False
    """Random crop with padding (32 px sets) or random resized crop, and flips, per image."""
    side: Count | None = None
    """Pixels of a side of the packed images, or of a published set's; None: as the source has them."""
    channels: Count = 3
    """Colours of an image: 3, or 1 for grey."""
    image_bytes: Count | None = None
    """Size of one packed image; None: 8 bits a channel and pixel of a square."""
    content: Name | None = None
    """Digest of what was packed from `data.path`; None where a YAML says what there is."""
    targets: Task = Task.CLASSIFICATION
    """What its images are labelled for."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What a model can learn from it."""
        return _MADE.get(self.source, (self.targets,))

    def outputs(self, task: Task) -> int:
        """Numbers that a model says of an image."""
        return 1 if task is Task.REGRESSION and self.targets is not task else self.classes


@checked
class EngineSpec:
    """What spreads the training over the ranks, and how; each kind heeds some of these keys (docs/engines.md)."""

    name: Name
    """What tables call it."""
    zero_stage: Annotated[int, Ge(0), Le(3)] | None
    """DeepSpeed's: 0 (plain data parallel) to 3; None for engines that have no such stages."""
    kind: Name = DEEPSPEED
    """deepspeed, ddp, fsdp2, accelerate, megatron, or a module of somebody's own, with a dot in its name."""
    reshard_after_forward: bool | None = None
    """FSDP2: whether a block's weights are let go between its forward and its backward; None for other engines."""
    distributed_optimizer: bool | None = None
    """Megatron: whether each rank updates its part of the weights, as with ZeRO 1; None for other engines."""
    offload_optimizer: Offload = Offload.NONE
    """Where the fp32 weights and moments lie, and their update is made; DeepSpeed's, as all that follow (`knobs`)."""
    offload_param: Offload = Offload.NONE
    """Where weights lie between their uses."""
    overlap_comm: bool = False
    """Reduce gradients beside the backward."""
    reduce_bucket_size: Count = BUCKET_ELEMENTS
    """Gradients that are reduced at a time."""
    allgather_bucket_size: Count = BUCKET_ELEMENTS
    """Weights that are gathered at a time."""
    prefetch_bucket_size: NotNegativeInt = BUCKET_ELEMENTS
    """Weights that are gathered ahead."""
    param_persistence_threshold: NotNegativeInt = 100_000
    """Parameters of fewer weights stay whole on each rank."""
    zero_hpz_partition_size: Count = 1
    """ZeRO++: ranks over which a second copy of the weights is sharded, for backward; 1: there is none."""
    zero_quantized_weights: bool = False
    """ZeRO++: weights are gathered in 8 bits."""
    zero_quantized_gradients: bool = False
    """ZeRO++: gradients are reduced in 4 bits."""
    communication_data_type: CommunicationType | None = None
    config: tuple[Line, ...] = ()
    """Further keys of DeepSpeed's configuration, sorted, values in JSON: `zero_optimization.sub_group_size=1000000`."""


@checked
class OptimizerSpec:
    """The optimizer and its constants, of which each kind has some (`optimizers`)."""

    name: Name
    """What tables call it."""
    kind: OptimizerKind
    learning_rate: Annotated[float, Gt(0), Le(100)]
    """Step length after the warm-up, before `lr_scaling`."""
    weight_decay: NotNegative
    """Part by which weights shrink in a step of learning rate 1."""
    beta1: Decay = 0.9
    """First-moment decay, or momentum (SGD, LARS)."""
    beta2: Decay = 0.999
    """Second-moment decay."""
    base_batch: Count = 256
    """Global batch that `learning_rate` is meant for; what `lr_scaling` scales from, unused without it."""
    eps: Annotated[float, Gt(0), Le(1)] = 1e-8
    """Added to the root of the second moment."""
    momentum: Decay = 0.95
    """Muon: momentum of its matrices."""
    trust_coefficient: Annotated[float, Gt(0), Le(1)] = 0.001
    """LARS: a tensor's step relative to its norm."""
    beta2_decay: Annotated[float, Lt(0), Ge(-1)] = -0.8
    """Adafactor: the second moment of step t decays by 1 - t^beta2_decay."""
    decay_all: bool = True
    """Decay every weight; false: neither biases, norms, class token nor positions, to which LAMB and LARS then give no
    step length of their own either."""
    clip_norm: Annotated[float, Ge(0), Le(10**6)] = 0.0
    """Gradients of a larger norm, over all weights, are scaled down to it; 0: never."""


@checked
class Point:
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
        values = identity(self) | {"partition": self.partition.name}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]

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
            "zero": self.zero,
            "pipeline": self.pipeline.value,
            "lr_scaling": self.lr_scaling.value,
            "schedule": self.schedule.value,
            "lr_warmup_epochs": self.lr_warmup_epochs,
            "activation_checkpointing": str(self.activation_checkpointing).lower(),
            "compile": str(self.compile).lower(),
            "allocation": self.allocation.value,
            "sequence": self.sequence,
            "sequence_method": self.sequence_method.value,
            "attention": self.attention.value,
            "task": self.task.value,
            "continue_from": self.continue_from,
        }
