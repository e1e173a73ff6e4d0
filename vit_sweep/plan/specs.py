"""What a cell trains and with what: model, data, engine, optimizer, each with what of it is identity. Pure."""

from typing import Annotated

from launchers.checked import Below, Ge, Gt, Le, Line, Lt, Name, Signed, checked
from launchers.profile import Count
from vit_sweep.plan.choices import (
    MADE_HERE,
    CommunicationType,
    DataSource,
    Decay,
    NotNegative,
    NotNegativeInt,
    Offload,
    Operations,
    OptimizerKind,
    Pool,
    Size,
    Task,
)

BEGIN, END = 256, 257
"""Tokens beside the 256 bytes; END also fills up a short caption, behind which nothing looks."""
VOCABULARY = 258
"""Captions are read byte by byte of their UTF-8: no vocabulary has to be fetched, and every language has one."""


@checked
class TextSpec:
    """A causal transformer as CLIP's (Radford et al. 2021, arXiv:2103.00020, section 2.4), read at a caption's end."""

    layers: Count = 2
    """Blocks."""
    heads: Count = 4
    """Attention heads of a block; they divide `width`."""
    width: Count = 128
    """Hidden dimension."""
    mlp_width: Count = 512
    """Hidden dimension of a block's MLP."""
    length: Annotated[int, Ge(3), Le(10**6)] = 32
    """Tokens of a caption, BEGIN and END among them; a longer one is cut."""
    embedding: Count = 64
    """Numbers of a point of the space that both towers share."""


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
        return MADE_HERE.get(self.source, (self.targets,))

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
