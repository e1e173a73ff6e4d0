"""What the plan knows of each engine: which ZeRO stage shards alike, and what it hides. Pure.

| engine | states | communication |
|---|---|---|
| deepspeed | ZeRO stage 0 to 3 | as shipped, and as configured here (`overlap_comm` off), nothing of it is hidden |
| ddp | whole on every rank, as ZeRO 0 | gradients all-reduced in buckets, while backward makes the next ones |
| fsdp2 | as ZeRO 3; as ZeRO 2 with reshard_after_forward=false | weights gathered a block ahead, gradients behind |
| accelerate | ddp; deepspeed where a ZeRO stage is asked for | likewise |
| megatron | as ZeRO 0; as ZeRO 1 with distributed_optimizer=true | gradients reduced as DDP does, in larger buckets |
"""

from collections.abc import Iterable
from dataclasses import replace

from launchers.errors import closest
from launchers.profile import Device
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import OptimizerKind, Precision
from vit_sweep.plan.point import Point
from vit_sweep.plan.specs import DEEPSPEED, EngineSpec

DDP, FSDP2, ACCELERATE, MEGATRON = "ddp", "fsdp2", "accelerate", "megatron"
KINDS = (DEEPSPEED, DDP, FSDP2, ACCELERATE, MEGATRON)
OPTIONAL = {ACCELERATE: ("accelerate", "transformers"), MEGATRON: ("megatron.core",)}
"""Engines and the modules that they need beyond those of every training: `vit_sweep[engines]`."""
MEGATRON_NEEDS_CUDA = "megatron-core keeps gradients in a buffer on a CUDA device"
MEGATRON_BUCKET_ELEMENTS = 40_000_000
"""Gradients that megatron-core reduces at a time, up to 40 ranks; its default."""
_OF_MEGATRON = (OptimizerKind.ADAMW, OptimizerKind.ADAM, OptimizerKind.SGD)
_ANY = EngineSpec(name="any", zero_stage=None)
DDP_BUCKET_BYTES = 25 * 2**20
"""Gradients that DDP reduces at a time; torch's default."""
_HIDDEN = {DDP: 0.9, FSDP2: 0.9, MEGATRON: 0.9}
"""Part of a pass that hides communication beside it: the first gradients must be there before anything is sent, and
the last bucket has nothing to hide behind."""

SCHEDULE = (
    "overlap_comm",
    "reduce_bucket_size",
    "allgather_bucket_size",
    "prefetch_bucket_size",
    "param_persistence_threshold",
)
"""Keys that say when and in which portions something is exchanged, and change nothing of what is computed: one
certificate speaks for all their values, and the gradient guard of each job looks at its own."""


def algorithm(engine: EngineSpec) -> EngineSpec:
    """What is computed: the engine without its schedule."""
    return replace(engine, **{name: getattr(_ANY, name) for name in SCHEDULE})


def machinery(engine: EngineSpec) -> str:
    """The kind of engine whose code keeps states and communicates: Accelerate leaves both to others."""
    if engine.kind != ACCELERATE:
        return engine.kind
    return DDP if engine.zero_stage is None else DEEPSPEED


def needs_compiler(cell: Cell) -> bool:
    """Whether the cell's ranks load torch's compiler: to compile, or since torch's sharded tensors do, or may."""
    return cell.compile or cell.sequence > 1 or cell.engine.kind not in (DEEPSPEED, DDP)


def uses_deepspeed(cell: Cell) -> bool:
    """Whether the cell's ranks need DeepSpeed: for their engine, or for what a sequence group exchanges."""
    return cell.engine.kind in (DEEPSPEED, ACCELERATE) or cell.sequence > 1


def sharding(engine: EngineSpec) -> int:
    """The ZeRO stage that shards as the engine does; an engine of somebody's own is taken to shard nothing."""
    if engine.kind == FSDP2:
        return 3 if engine.reshard_after_forward else 2
    if engine.kind == MEGATRON:
        return 1 if engine.distributed_optimizer else 0
    return engine.zero_stage or 0


def hidden_part(engine: EngineSpec) -> float:
    """The part of what can be hidden that is."""
    return _HIDDEN.get(machinery(engine), 0.0)


def compares_engines(cells: Iterable[Cell]) -> bool:
    """Whether some work is done by several engines, schedules aside: cells that differ in it and their seed at most."""
    cells, engines = list(cells), dict[Cell, EngineSpec]()
    return len({cell.engine for cell in cells}) > 1 and any(
        engines.setdefault(replace(cell, engine=_ANY, seed=0), algorithm(cell.engine)) != algorithm(cell.engine)
        for cell in cells
    )


def hides(cell: Cell) -> float:
    """The part of a rank's computation in a step that the engine's communication can hide behind, 0 to below 1."""
    backward = 3 / 4 if cell.activation_checkpointing else 2 / 3
    in_last_backward = machinery(cell.engine) in (DDP, MEGATRON)
    return hidden_part(cell.engine) * (backward / cell.accum if in_last_backward else 1)


_OF_ONE_ENGINE = {"reshard_after_forward": (FSDP2, "FSDP2"), "distributed_optimizer": (MEGATRON, "megatron")}
"""Keys that one kind of engine needs and no other has, and what that is called."""


def unknown_engine(point: Point, _: object) -> str | None:
    """An engine that nobody has: a name without a dot is one of `KINDS`."""
    kind = point.engine.kind
    if kind in KINDS or "." in kind:
        return None
    return (
        f"engine.kind={kind}: there is no such engine – {closest(kind, KINDS)}; an engine of your own is a module, "
        "written with a dot: engine.kind=my_package.my_engine"
    )


def key_of_another_engine(point: Point, _: object) -> str | None:
    """A key that says nothing to this engine, or one that it needs."""
    engine = point.engine
    if engine.kind != ACCELERATE and (engine.zero_stage is None) == (engine.kind == DEEPSPEED):
        return f"engine={engine.name} engine.zero_stage={_word(engine.zero_stage)}: " + (
            "DeepSpeed needs its ZeRO stage; use 0, 1, 2 or 3" if engine.kind == DEEPSPEED else _NO_STAGE
        )
    for name, (kind, title) in _OF_ONE_ENGINE.items():
        value = getattr(engine, name)
        if (value is None) == (engine.kind == kind):
            return f"engine={engine.name} engine.{name}={_word(value)}: " + (
                f"{title} needs it; use true or false"
                if engine.kind == kind
                else f"only {kind} has it; use engine={kind}"
            )
    return None


def megatron_without_cuda(point: Point, _: object) -> str | None:
    """megatron-core makes its buffer on a CUDA device, whatever device the model is on."""
    if point.engine.kind != MEGATRON or point.partition.device is not Device.CPU:
        return None
    return (
        f"engine={point.engine.name}: {MEGATRON_NEEDS_CUDA}, and {point.partition.name} is a CPU partition; use "
        "engine=ddp or zero=1, which shard alike, or a CUDA partition"
    )


def optimizer_that_megatron_lacks(point: Point, _: object) -> str | None:
    """It brings optimizers of its own."""
    spec = point.optimizer
    if point.engine.kind != MEGATRON:
        return None
    if point.engine.distributed_optimizer and spec.kind in _OF_MEGATRON and spec.kind is not OptimizerKind.ADAMW:
        return (
            f"engine={point.engine.name} optimizer={spec.name}: megatron-core's distributed optimizer updates by "
            "AdamW only; use optimizer=adamw, or engine.distributed_optimizer=false"
        )
    if spec.kind in _OF_MEGATRON:
        return None
    return (
        f"engine={point.engine.name} optimizer={spec.name}: megatron-core updates by optimizers of its own, here "
        f"{', '.join(_OF_MEGATRON)}; use one of these, or another engine"
    )


def scaled_loss_that_megatron_lacks(point: Point, _: object) -> str | None:
    """Its optimizers of fp32 weights scale no loss, and have no place to divide by a scale."""
    if point.engine.kind != MEGATRON or point.precision is not Precision.FP16_AMP:
        return None
    return (
        f"engine={point.engine.name} precision=fp16_amp: megatron-core scales the loss for 16-bit weights only, and "
        "fp16 loses small gradients without; use precision=bf16_amp, or another engine"
    )


def half_precision_without_masters(point: Point, _: object) -> str | None:
    """16-bit weights need an fp32 copy for their updates, which DeepSpeed keeps."""
    if machinery(point.engine) not in (DDP, FSDP2, MEGATRON) or point.precision.bytes == 4:
        return None
    return (
        f"engine={point.engine.name} precision={point.precision.value}: this engine keeps no fp32 copy of 16-bit "
        f"weights, so their updates would be lost in rounding; use precision={point.precision.value}_amp, which casts "
        "fp32 weights, or engine=zero0 to zero3"
    )


def _word(value: int | bool | None) -> str:
    return "null" if value is None else str(value).lower()


_NO_STAGE = "only DeepSpeed has ZeRO stages; use null, or engine=zero0 to zero3"
