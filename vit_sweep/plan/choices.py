"""Words and numbers that a grid may give: enumerations with their meanings, and bounded numbers. Pure."""

from enum import StrEnum
from typing import Annotated

from launchers.checked import Ge, Gt, Le, Lt

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


MADE_HERE = {
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
