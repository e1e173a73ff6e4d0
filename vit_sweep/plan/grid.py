"""From points to cells: layout over nodes, batch arithmetic, both scaling modes. Pure.

What follows from a point is worked out first; `refusals` says whether it can be; then the cell is built.
"""

import math
from dataclasses import replace

from launchers.checked import fields_for
from launchers.hosts import choose_hosts
from vit_sweep.plan.cell import Cell, Series
from vit_sweep.plan.choices import BatchPer, LrScaling, Placement, Scaling, SequenceMethod
from vit_sweep.plan.continuing.rules import refusals_of
from vit_sweep.plan.engine.kinds import ACCELERATE
from vit_sweep.plan.point import Point
from vit_sweep.plan.refusals import Derived, fits, layout_refusal, refusals
from vit_sweep.plan.specs import EngineSpec, OptimizerSpec

_PLAIN_ENGINE = "zero0"
"""The engine that `zero=` may give another stage; any other one has said its stage already."""


def cell_of(point: Point) -> Cell | tuple[str, ...]:
    """Return the cell that `point` describes, or the reasons why there is none."""
    derived = _derive(point)
    reasons = refusals(point, derived)
    if reasons or derived.engine is None:
        return reasons
    derived_fields = {
        "nodes": derived.nodes,
        "micro_batch": derived.micro_batch,
        "train_images": derived.train_images,
        "engine": derived.engine,
        "optimizer": _optimizer(point),
        "partition": point.partition.name,
        "device": point.partition.device,
        "gpu_model": derived.gpu_model(point),
        "cpus_per_gpu": point.partition.cpus_per_gpu,
        # Of ranks that share no tokens there is no method.
        "sequence_method": point.sequence_method if point.sequence > 1 else SequenceMethod.ULYSSES,
    }
    cell = Cell(**fields_for(Cell, point) | derived_fields)
    return refusals_of(point, cell) or cell


def series_of(point: Point) -> Series:
    """Return the curve that a point asks for: what stays constant along `gpus` is placement, or a given `nodes`."""
    placement = point.placement.value if point.nodes is None else f"nodes={point.nodes}"
    return Series(scaling=point.scaling, batch_per=point.batch_per, placement=placement)


def _derive(point: Point) -> Derived:
    selected = max(1, _part(point.data.train_images, point.fraction))
    weak_share = max(1, _part(selected, point.weak_fraction))
    divisor = 1 if point.batch_per is BatchPer.GPU else max(1, point.gpus // point.sequence) * point.accum
    derived = Derived(
        nodes=_nodes(point),
        micro_batch=point.batch // divisor,
        selected_images=selected,
        train_images=selected if point.scaling is Scaling.STRONG else weak_share * point.gpus,
        engine=_engine(point),
    )
    if not point.partition.hosts or layout_refusal(point, derived):
        return derived
    return replace(derived, hosts=choose_hosts(point.partition, derived.nodes, point.gpus // derived.nodes))


def _nodes(point: Point) -> int:
    """Nodes of the job: as given, one per GPU (spread), or the fewest that hold them evenly (packed)."""
    if point.nodes is not None:
        return point.nodes
    gpus, profile = point.gpus, point.partition
    # More than there are is refused whatever the layout, and a search among millions takes its time.
    if point.placement is Placement.SPREAD or gpus > profile.nodes * profile.gpus_per_node:
        return gpus
    return next(n for n in range(1, gpus + 1) if fits(gpus, n, profile.gpus_per_node))


def _engine(point: Point) -> EngineSpec | None:
    """The engine as named, or with the stage that `zero=` says if it has said none; None where the two contradict."""
    engine, zero = point.engine, point.zero
    if zero is None or zero == engine.zero_stage:
        return engine
    if engine.name == _PLAIN_ENGINE and engine.zero_stage == 0:
        return replace(engine, name=f"zero{zero}", zero_stage=zero)
    if engine.kind == ACCELERATE and engine.zero_stage is None:
        return replace(engine, name=f"{engine.name}_zero{zero}", zero_stage=zero)
    return None


def _optimizer(point: Point) -> OptimizerSpec:
    """The optimizer as given; a base batch that nothing scales from is no part of what runs."""
    if point.lr_scaling is not LrScaling.NONE:
        return point.optimizer
    return replace(point.optimizer, base_batch=OptimizerSpec.__dataclass_fields__["base_batch"].default)


def _part(images: int, fraction: float) -> int:
    """Whole images of a fraction: 0.29 of 100 is 29, though the float product is a hair below."""
    return math.floor(images * fraction + 1e-6)
