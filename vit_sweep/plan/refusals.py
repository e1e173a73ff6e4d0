"""Why a point cannot be a cell: one rule for each limit, one sentence for each violated one, with the numbers. Pure.

To refuse something new, write a rule and put it into `RULES`: what is wrong and what to use instead; else None.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from launchers.hosts import models_of
from launchers.profile import Device, Host, Scheduler, Spawner
from launchers.text import nodes_by_gpus, plural
from vit_sweep.plan.choices import Allocation, BatchPer, Placement, Precision, Scaling
from vit_sweep.plan.engine.kinds import (
    half_precision_without_masters,
    key_of_another_engine,
    megatron_without_cuda,
    optimizer_that_megatron_lacks,
    scaled_loss_that_megatron_lacks,
    unknown_engine,
)
from vit_sweep.plan.engine.knobs import OF_KNOBS
from vit_sweep.plan.models import task_without_targets, wrong_model
from vit_sweep.plan.optimizers import another_algorithm, constant_of_another_optimizer
from vit_sweep.plan.pairs.refusals import refused_pairs
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict.sequence import OF_SEQUENCE, sequence_that_does_not_divide
from vit_sweep.plan.specs import EngineSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """What follows from a point by arithmetic alone; the rules say whether it can be."""

    nodes: int
    micro_batch: int
    selected_images: int
    """The part of the data set that the point takes."""
    train_images: int
    """Images that one epoch covers."""
    engine: EngineSpec | None
    """None where `engine=` and `zero=` contradict each other."""
    hosts: tuple[Host, ...] | str = ()
    """Of a hostfile, those that the job takes, or why there are too few; empty for other partitions."""

    def gpu_model(self, point: Point) -> str:
        """The GPU model that the job gets; several on mixed hosts."""
        hosts = self.hosts if isinstance(self.hosts, tuple) else ()
        return models_of(point.partition, hosts) or point.partition.gpu_model


Rule = Callable[[Point, Derived], str | None]


def refusals(point: Point, derived: Derived) -> tuple[str, ...]:
    """Ask every rule; empty if the point can be a cell."""
    reasons = tuple(_sentences(SHAPE, point, derived))
    if isinstance(derived.hosts, str):
        # Which GPUs it would get is not known, so nothing is said of them.
        return (*reasons, f"gpus={point.gpus} {derived.hosts}")
    reasons += tuple(_sentences(RULES, point, derived))
    return reasons or tuple(_sentences((_batch_beyond_an_epoch,), point, derived))


def layout_refusal(point: Point, derived: Derived) -> str | None:
    """The first reason why the GPUs cannot lie on the partition's nodes; each rule presumes the ones before."""
    return next(_sentences(LAYOUT, point, derived), None)


def fits(gpus: int, nodes: int, gpus_per_node: int) -> bool:
    """Whether GPUs lie evenly over nodes that hold them."""
    return gpus % nodes == 0 and gpus // nodes <= gpus_per_node


def _sentences(rules: Iterable[Rule], point: Point, derived: Derived) -> Iterator[str]:
    return (reason for rule in rules if (reason := rule(point, derived)) is not None)


# --- layout ----------------------------------------------------------------------------------------------


def _more_gpus_than_there_are(point: Point, _: Derived) -> str | None:
    gpus, profile = point.gpus, point.partition
    if gpus <= profile.nodes * profile.gpus_per_node:
        return None
    return (
        f"gpus={gpus}: {profile.name} has {nodes_by_gpus(profile.nodes, profile.gpus_per_node)} = "
        f"{profile.nodes * profile.gpus_per_node}; use fewer GPUs or another partition"
    )


def _gpus_off_the_menu(point: Point, _: Derived) -> str | None:
    gpus, profile = point.gpus, point.partition
    if not profile.allowed_gpus or gpus in profile.allowed_gpus:
        return None
    menu = " or ".join(map(str, profile.allowed_gpus))
    return f"gpus={gpus}: {profile.name} allows {menu} {'GPU' if menu == '1' else 'GPUs'} only; use gpus={menu}"


def _gpus_that_do_not_divide(point: Point, derived: Derived) -> str | None:
    gpus, nodes, profile = point.gpus, derived.nodes, point.partition
    if gpus % nodes == 0:
        return None
    fitting = [n for n in range(1, min(gpus, profile.nodes) + 1) if fits(gpus, n, profile.gpus_per_node)]
    menu = " or ".join(map(str, fitting)) or "null and another gpus"
    split = f"{plural(gpus, 'GPU does|GPUs do')} not divide over {plural(nodes, 'node')}"
    return f"nodes={nodes} gpus={gpus}: {split}; use nodes={menu}"


def _more_nodes_than_a_job_gets(point: Point, derived: Derived) -> str | None:
    gpus, nodes, profile = point.gpus, derived.nodes, point.partition
    if nodes <= profile.nodes:
        return None
    if point.nodes is not None:
        advice = "nodes=null"
    elif point.placement is Placement.SPREAD:
        advice = "placement=packed or fewer GPUs"
    else:
        packable = [
            g for g in range(1, gpus) if any(fits(g, n, profile.gpus_per_node) for n in range(1, profile.nodes + 1))
        ]
        advice = f"gpus={packable[-1]}"
    return (
        f"nodes={nodes} gpus={gpus}: {profile.name} gives a job {plural(profile.nodes, 'node')} at most; use {advice}"
    )


def _too_many_gpus_on_a_node(point: Point, derived: Derived) -> str | None:
    gpus, nodes, profile = point.gpus, derived.nodes, point.partition
    if gpus // nodes <= profile.gpus_per_node:
        return None
    return (
        f"nodes={nodes} gpus={gpus}: {gpus // nodes} GPUs a node, but {profile.name} has {profile.gpus_per_node}; "
        "use more nodes"
    )


# --- batch and data ----------------------------------------------------------------------------------------


def _global_batch(point: Point, _: Derived) -> str | None:
    """Under weak scaling there is none; else it divides over ranks and micro steps."""
    if point.batch_per is BatchPer.GPU:
        return None
    if point.scaling is Scaling.WEAK:
        return (
            "batch_per=global scaling=weak means nothing: weak scaling keeps the work of each GPU, a global "
            "batch shrinks it; use batch_per=gpu, or scaling=strong"
        )
    ranks = max(1, point.gpus // point.sequence)
    micro_steps = ranks * point.accum
    if point.batch % micro_steps == 0:
        return None
    lower, upper = point.batch // micro_steps * micro_steps, (point.batch // micro_steps + 1) * micro_steps
    menu = f"{lower} or {upper}" if lower else f"{upper}"
    return (
        f"batch={point.batch} accum={point.accum} gpus={point.gpus} batch_per=global: {point.batch} images "
        f"do not divide over {plural(ranks, 'rank' if point.sequence == 1 else 'sequence group')} x "
        f"{plural(point.accum, 'micro step')}; use {menu}"
    )


def _weak_share(point: Point, derived: Derived) -> str | None:
    """Under weak scaling every GPU has images of its own, and the data set has them all."""
    if point.scaling is Scaling.STRONG:
        return None
    if derived.selected_images < point.gpus:
        return (
            f"scaling=weak gpus={point.gpus}: {plural(derived.selected_images, 'selected image')}, fewer than the GPUs"
            "; use a larger fraction, more data or fewer GPUs"
        )
    if derived.train_images <= derived.selected_images:
        return None
    largest = int(1 / point.gpus * 10000) / 10000
    return (
        f"scaling=weak gpus={point.gpus} weak_fraction={point.weak_fraction:g}: {derived.train_images} images are more "
        f"than the {derived.selected_images} selected ones; use weak_fraction={largest:g} or less"
    )


def _batch_beyond_an_epoch(point: Point, derived: Derived) -> str | None:
    ranks = point.gpus // point.sequence
    global_batch = derived.micro_batch * point.accum * ranks
    if global_batch <= derived.train_images:
        return None
    return (
        f"batch={point.batch} accum={point.accum} gpus={point.gpus}: the global batch "
        f"{derived.micro_batch} x {point.accum} x {ranks} = {global_batch} is more than the "
        f"{plural(derived.train_images, 'image')} of an epoch; use a smaller batch or accum, or more data"
    )


# --- model, engine, machine --------------------------------------------------------------------------------


def _two_zero_stages(point: Point, derived: Derived) -> str | None:
    if derived.engine is not None:
        return None
    engine_stage = point.engine.zero_stage
    stage = "this engine has no ZeRO stages" if engine_stage is None else f"this engine's ZeRO stage is {engine_stage}"
    return f"zero={point.zero} engine={point.engine.name}: {stage}; use one of the two words"


def _precision_that_the_gpus_lack(point: Point, derived: Derived) -> str | None:
    profile = point.partition
    hosts = derived.hosts if isinstance(derived.hosts, tuple) else ()
    lacking = {host.name: _lacking(host.refused_precisions, profile.device) for host in hosts}
    lacking[profile.name] = _lacking(profile.refused_precisions, profile.device)
    component = next((name for name, precisions in lacking.items() if point.precision in precisions), None)
    if component is None:
        return None
    # Not tf32: it is fp32 with coarser products, no answer to a format that is missing.
    supported = [p for p in Precision if p is not Precision.TF32 and not any(p in some for some in lacking.values())]
    names = [p.value for p in supported if not p.autocast]
    return (
        f"precision={point.precision}: {component} ({derived.gpu_model(point)}) refuses it; "
        f"use {' or '.join(names) or 'another partition'}"
    )


def _lacking(refused: tuple[str, ...], device: Device) -> set[str]:
    """Number formats that a profile refuses, and those that its device cannot have.

    A processor has neither fp16 nor tf32 to train in; tf32 came with the same GPUs as native bf16 (sm80). Autocast
    takes products in the format that it casts to.
    """
    lacking = {*refused}
    if device is Device.CPU:
        lacking |= {Precision.FP16, Precision.TF32}
    if Precision.BF16 in refused:
        lacking.add(Precision.TF32)
    return lacking | {precision for precision in Precision if precision.products in lacking}


def _compiled_on_a_cpu(point: Point, _: Derived) -> str | None:
    if not point.compile or point.partition.device is not Device.CPU:
        return None
    return (
        f"compile=true: {point.partition.name} is a CPU partition, where torch.compile would build its kernels with a "
        "C++ compiler in every job and time the processor; use compile=false, or a CUDA partition"
    )


def _compiled_under_zero_3(point: Point, derived: Derived) -> str | None:
    if not point.compile or derived.engine is None or derived.engine.zero_stage != 3:
        return None
    return (
        f"compile=true engine={derived.engine.name}: ZeRO stage 3 gathers the weights of a block while it runs, which "
        "torch.compile does not see when it traces the block; use zero=0, 1 or 2, or compile=false"
    )


def _of_the_engine(rule: Callable[[Point, EngineSpec], str | None]) -> Rule:
    """A rule of a point and the engine that it gets."""
    return lambda point, derived: rule(point, derived.engine) if derived.engine is not None else None


def _shared_without_srun(point: Point, _: Derived) -> str | None:
    profile = point.partition
    if point.allocation is not Allocation.SHARED:
        return None
    if profile.scheduler is not Scheduler.SLURM or profile.spawner is Spawner.SRUN:
        return None
    return (
        f"allocation=shared: {profile.name} starts ranks with {profile.spawner.value}, which takes the whole of a "
        "job; only srun starts them on a part of it: use partition.spawner=srun, or allocation=per_cell"
    )


def _warm_up_beyond_the_run(point: Point, _: Derived) -> str | None:
    if point.lr_warmup_epochs <= point.epochs:
        return None
    return (
        f"lr_warmup_epochs={point.lr_warmup_epochs:g} epochs={point.epochs}: the run would end inside its warm-up; "
        f"use lr_warmup_epochs={point.epochs} or less, or more epochs"
    )


LAYOUT: tuple[Rule, ...] = (
    _more_gpus_than_there_are,
    _gpus_off_the_menu,
    _gpus_that_do_not_divide,
    _more_nodes_than_a_job_gets,
    _too_many_gpus_on_a_node,
)
SHAPE: tuple[Rule, ...] = (layout_refusal, sequence_that_does_not_divide, _global_batch, _weak_share, _two_zero_stages)
RULES: tuple[Rule, ...] = (
    _precision_that_the_gpus_lack,
    task_without_targets,
    wrong_model,
    lambda point, derived: refused_pairs(point, micro_batch=derived.micro_batch),
    *OF_SEQUENCE,
    _compiled_on_a_cpu,
    _compiled_under_zero_3,
    unknown_engine,
    key_of_another_engine,
    half_precision_without_masters,
    scaled_loss_that_megatron_lacks,
    constant_of_another_optimizer,
    megatron_without_cuda,
    optimizer_that_megatron_lacks,
    *map(_of_the_engine, (another_algorithm, *OF_KNOBS)),
    _shared_without_srun,
    _warm_up_beyond_the_run,
)
