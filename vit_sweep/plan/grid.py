"""From points to cells: layout over nodes, batch arithmetic, both scaling modes. Pure.

A point that cannot be a cell keeps its reasons, one sentence per violated limit, with the numbers.
"""

import math
from dataclasses import replace

from launchers.hosts import choose_hosts, model_of
from launchers.profile import Device, Scheduler, Spawner
from vit_sweep.plan.cell import Cell, Series
from vit_sweep.plan.point import (
    Allocation,
    BatchPer,
    EngineSpec,
    LrScaling,
    OptimizerSpec,
    Placement,
    Point,
    Precision,
    Scaling,
)

_PLAIN_ENGINE = "zero0"
"""The engine that `zero=` may give another stage; any other one has said its stage already."""


def cell_of(point: Point) -> Cell | tuple[str, ...]:
    """Return the cell that `point` describes, or the reasons why there is none."""
    reasons: list[str] = []
    nodes = _nodes(point, reasons)
    micro_batch = _micro_batch(point, reasons)
    train_images = _train_images(point, reasons)
    engine = _engine(point, reasons)
    profile = point.partition
    hosts = choose_hosts(profile, nodes, point.gpus // nodes) if nodes and profile.hosts else ()
    if isinstance(hosts, str):
        reasons.append(f"gpus={point.gpus} {hosts}")
        return tuple(reasons)
    gpu_model = " + ".join(sorted({model_of(profile, host) for host in hosts})) or profile.gpu_model
    refusing = {host.name: _refused(host.refused_precisions, profile.device) for host in hosts}
    refusing[profile.name] = _refused(profile.refused_precisions, profile.device)
    if any(point.precision in refused for refused in refusing.values()):
        who = next(name for name, refused in refusing.items() if point.precision in refused)
        reasons.append(f"precision={point.precision}: {who} ({gpu_model}) refuses it; use {_others(refusing)}")
    if point.model.image_size % point.model.patch_size or point.model.width % point.model.heads:
        reasons.append(
            f"model={point.model.name}: image_size={point.model.image_size} must divide by "
            f"patch_size={point.model.patch_size} and width={point.model.width} by heads={point.model.heads}"
        )
    if point.compile and profile.device is Device.CPU:
        reasons.append(
            f"compile=true: {profile.name} is a CPU partition, where torch.compile would build its kernels with a C++ "
            "compiler in every job and time the processor; use compile=false, or a CUDA partition"
        )
    if point.compile and engine is not None and engine.zero_stage == 3:
        reasons.append(
            f"compile=true engine={engine.name}: ZeRO stage 3 gathers the weights of a block while it runs, which "
            "torch.compile does not see when it traces the block; use zero=0, 1 or 2, or compile=false"
        )
    srun_less = profile.scheduler is Scheduler.SLURM and profile.spawner is not Spawner.SRUN
    if point.allocation is Allocation.SHARED and srun_less:
        reasons.append(
            f"allocation=shared: {profile.name} starts ranks with {profile.spawner.value}, which takes the whole of a "
            "job; only srun starts them on a part of it: use partition.spawner=srun, or allocation=per_cell"
        )
    if point.lr_warmup_epochs > point.epochs:
        reasons.append(
            f"lr_warmup_epochs={point.lr_warmup_epochs:g} epochs={point.epochs}: the run would end inside its warm-up; "
            f"use lr_warmup_epochs={point.epochs} or less, or more epochs"
        )
    if nodes is None or micro_batch is None or train_images is None or engine is None or reasons:
        return tuple(reasons)
    cell = Cell(
        gpus=point.gpus,
        nodes=nodes,
        micro_batch=micro_batch,
        accum=point.accum,
        train_images=train_images,
        precision=point.precision,
        epochs=point.epochs,
        warmup_steps=point.warmup_steps,
        seed=point.seed,
        model=point.model,
        data=point.data,
        engine=engine,
        optimizer=_optimizer(point),
        partition=profile.name,
        device=profile.device,
        gpu_model=gpu_model,
        cpus_per_gpu=profile.cpus_per_gpu,
        pipeline=point.pipeline,
        lr_scaling=point.lr_scaling,
        lr_warmup_epochs=point.lr_warmup_epochs,
        activation_checkpointing=point.activation_checkpointing,
        compile=point.compile,
        allocation=point.allocation,
    )
    if cell.global_batch > train_images:
        return (
            f"batch={point.batch} accum={point.accum} gpus={point.gpus}: the global batch "
            f"{cell.micro_batch} x {cell.accum} x {cell.gpus} = {cell.global_batch} is more than the "
            f"{train_images} image(s) of an epoch; use a smaller batch or accum, or more data",
        )
    return cell


def series_of(point: Point) -> Series:
    """Return the curve that a point asks for: what stays constant along `gpus` is placement, or a given `nodes`."""
    placement = point.placement.value if point.nodes is None else f"nodes={point.nodes}"
    return Series(scaling=point.scaling, batch_per=point.batch_per, placement=placement)


def _nodes(point: Point, reasons: list[str]) -> int | None:
    """Nodes of the job: as given, one per GPU (spread), or the fewest that the profile allows (packed)."""
    gpus, profile = point.gpus, point.partition
    if gpus > profile.nodes * profile.gpus_per_node:
        reasons.append(
            f"gpus={gpus}: {profile.name} has {profile.nodes} node(s) x {profile.gpus_per_node} GPU(s) = "
            f"{profile.nodes * profile.gpus_per_node}; use fewer GPUs or another partition"
        )
        return None
    if profile.allowed_gpus and gpus not in profile.allowed_gpus:
        menu = " or ".join(map(str, profile.allowed_gpus))
        reasons.append(f"gpus={gpus}: {profile.name} allows {menu} GPUs only; use gpus={menu}")
        return None
    if point.nodes is not None:
        nodes = point.nodes
        if gpus % nodes:
            fitting = [n for n in range(1, min(gpus, profile.nodes) + 1) if _fits(gpus, n, profile.gpus_per_node)]
            menu = " or ".join(map(str, fitting)) or "null and another gpus"
            reasons.append(f"nodes={nodes} gpus={gpus}: {gpus} GPUs do not divide over {nodes} nodes; use nodes={menu}")
            return None
    elif point.placement is Placement.SPREAD:
        nodes = gpus
    else:
        nodes = next(n for n in range(1, gpus + 1) if _fits(gpus, n, profile.gpus_per_node))
    if nodes > profile.nodes:
        packable = [
            g for g in range(1, gpus) if any(_fits(g, n, profile.gpus_per_node) for n in range(1, profile.nodes + 1))
        ]
        advice = f"gpus={packable[-1]}"
        if point.nodes is not None:
            advice = "nodes=null"
        elif point.placement is Placement.SPREAD:
            advice = "placement=packed or fewer GPUs"
        reasons.append(
            f"nodes={nodes} gpus={gpus}: {profile.name} gives a job {profile.nodes} node(s) at most; use {advice}"
        )
        return None
    if gpus // nodes > profile.gpus_per_node:
        reasons.append(
            f"nodes={nodes} gpus={gpus}: {gpus // nodes} GPUs a node, but {profile.name} has "
            f"{profile.gpus_per_node}; use more nodes"
        )
        return None
    return nodes


def _fits(gpus: int, nodes: int, gpus_per_node: int) -> bool:
    """Whether GPUs lie evenly over nodes that hold them."""
    return gpus % nodes == 0 and gpus // nodes <= gpus_per_node


def _micro_batch(point: Point, reasons: list[str]) -> int | None:
    """Images per GPU per forward."""
    if point.batch_per is BatchPer.GPU:
        return point.batch
    if point.scaling is Scaling.WEAK:
        reasons.append(
            "batch_per=global scaling=weak means nothing: weak scaling keeps the work of each GPU, a global "
            "batch shrinks it; use batch_per=gpu, or scaling=strong"
        )
        return None
    ways = point.gpus * point.accum
    if point.batch % ways:
        lower, upper = point.batch // ways * ways, (point.batch // ways + 1) * ways
        menu = f"{lower} or {upper}" if lower else f"{upper}"
        reasons.append(
            f"batch={point.batch} accum={point.accum} gpus={point.gpus} batch_per=global: {point.batch} images "
            f"do not divide over {point.gpus} ranks x {point.accum} micro step(s); use {menu}"
        )
        return None
    return point.batch // ways


def _train_images(point: Point, reasons: list[str]) -> int | None:
    """Images that one epoch covers: the selected ones (strong), or each GPU's share (weak)."""
    selected = max(1, _part(point.data.train_images, point.fraction))
    if point.scaling is Scaling.STRONG:
        return selected
    if selected < point.gpus:
        reasons.append(
            f"scaling=weak gpus={point.gpus}: {selected} selected image(s) are fewer than the GPUs; "
            "use a larger fraction, more data or fewer GPUs"
        )
        return None
    images = max(1, _part(selected, point.weak_fraction)) * point.gpus
    if images > selected:
        largest = int(1 / point.gpus * 10000) / 10000
        reasons.append(
            f"scaling=weak gpus={point.gpus} weak_fraction={point.weak_fraction:g}: {images} images are more "
            f"than the {selected} selected ones; use weak_fraction={largest:g} or less"
        )
        return None
    return images


def _engine(point: Point, reasons: list[str]) -> EngineSpec | None:
    """The engine as named, or the plain one with the stage that `zero=` says."""
    engine, zero = point.engine, point.zero
    if zero is None or zero == engine.zero_stage:
        return engine
    if engine.name == _PLAIN_ENGINE and engine.zero_stage == 0:
        return EngineSpec(name=f"zero{zero}", zero_stage=zero)
    reasons.append(
        f"zero={zero} engine={engine.name}: this engine's ZeRO stage is {engine.zero_stage}; use one of the two words"
    )
    return None


def _optimizer(point: Point) -> OptimizerSpec:
    """The optimizer as given; a base batch that nothing scales from is no part of what runs."""
    if point.lr_scaling is not LrScaling.NONE:
        return point.optimizer
    return replace(point.optimizer, base_batch=OptimizerSpec.__dataclass_fields__["base_batch"].default)


def _part(images: int, fraction: float) -> int:
    """Whole images of a fraction: 0.29 of 100 is 29, though the float product is a hair below."""
    return math.floor(images * fraction + 1e-6)


def _refused(said: tuple[str, ...], device: Device) -> tuple[str, ...]:
    """Number formats that a profile refuses, and those that its device cannot have.

    A processor has neither fp16 nor tf32 to train in; tf32 came with the same GPUs as native bf16 (sm80).
    """
    more = {Precision.FP16, Precision.TF32} if device is Device.CPU else set()
    if Precision.BF16 in said:
        more.add(Precision.TF32)
    return (*said, *sorted(more - set(said)))


def _others(refusing: dict[str, tuple[str, ...]]) -> str:
    refused = {precision for precisions in refusing.values() for precision in precisions}
    # Not tf32: it is fp32 with coarser products, no answer to a format that is missing.
    names = [p.value for p in Precision if p.value not in refused and p is not Precision.TF32]
    return " or ".join(names) or "another partition"
