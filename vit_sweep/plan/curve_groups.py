"""Which cells of `allocation=shared` run in one job, and in which order. Pure.

The cells of one curve share a job: they differ in GPUs and nodes, and in the images or the micro batch that follow from
them. So the number of GPUs is not confounded with the nodes, and a seeded random order keeps it apart from the time
since the job began (warm clocks, neighbours that come and go). A repeat has another seed: it is another curve.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from launchers.batch import Shape
from launchers.checked import to_json
from launchers.hosts import choose_hosts, models_of
from launchers.profile import PartitionProfile, Scheduler
from launchers.text import nodes_by_gpus
from vit_sweep.plan.cell import Cell, Series
from vit_sweep.plan.choices import BatchPer, Scaling, Task
from vit_sweep.plan.identity import identity

SPARE_MINUTES = 5
"""For what lies between two cells: their time limits alone make up the rest of a job's."""


class Member(NamedTuple):
    """A cell of `allocation=shared`, the curves that asked for it, and what it would take alone."""

    cell: Cell
    series: Sequence[Series]
    shape: Shape
    profile: PartitionProfile


class Curve(NamedTuple):
    """Cells that run in one job."""

    cell_ids: tuple[str, ...]
    """In their running order."""
    profile: PartitionProfile
    job: Shape
    reason: str | None
    """Why there can be no such job."""


def curves_of(members: Mapping[str, Member]) -> list[Curve]:
    """Put `members` (by cell id) into curves, which come in the order of their first cell's id.

    A cell of several curves (a single GPU is the start of the packed and of the spread one) runs once, with the curve
    that has most cells here. One job for both curves would hold the most nodes of the one with the most GPUs a node of
    the other. On profiles that differ nobody shares a job. Neither groups nor orders depend on the order of `members`.
    """
    # Cells share their profile's object, so few are ever written out.
    profiles = {id(member.profile): member.profile for member in members.values()}
    written = {key: to_json(profile) for key, profile in profiles.items()}
    curves_by_cell = {
        cell_id: [(_curve(member.cell, series), written[id(member.profile)]) for series in member.series]
        for cell_id, member in members.items()
    }
    size = Counter(curve for curves in curves_by_cell.values() for curve in curves)
    groups: dict[tuple[str, str], list[str]] = {}
    for cell_id, curves in curves_by_cell.items():
        groups.setdefault(min(curves, key=lambda curve: (-size[curve], curve)), []).append(cell_id)
    return [_one_job(in_order(group), members) for group in sorted(groups.values(), key=min)]


def _one_job(cell_ids: tuple[str, ...], members: Mapping[str, Member]) -> Curve:
    curve_members = [members[cell_id] for cell_id in cell_ids]
    profile = curve_members[0].profile
    job = job_shape((member.shape for member in curve_members), profile)
    return Curve(cell_ids, profile, job, _why_not([member.cell for member in curve_members], job, profile))


def in_order(cell_ids: Iterable[str]) -> tuple[str, ...]:
    """A random order that is always the same for the same cells, and whose rest stays in order when some are done.

    By digest and not by shuffling; the ids hold every value of the cells, their seed included.
    """
    return tuple(sorted(cell_ids, key=lambda cell_id: hashlib.sha256(f"shared {cell_id}".encode()).digest()))


def job_shape(shapes: Iterable[Shape], profile: PartitionProfile) -> Shape:
    """One allocation for cells of these shapes, one after another: the largest, for the sum of their limits.

    The spare minutes give way to the partition's limit; whether the sum does not is another question.
    """
    cell_shapes = list(shapes)
    minutes = sum(shape.minutes for shape in cell_shapes)
    return Shape(
        nodes=max(shape.nodes for shape in cell_shapes),
        gpus_per_node=max(shape.gpus_per_node for shape in cell_shapes),
        minutes=min(minutes + SPARE_MINUTES, max(minutes, profile.max_minutes)),
    )


def _why_not(cells: Sequence[Cell], job: Shape, profile: PartitionProfile) -> str | None:
    """Say why no job of this shape can run these cells, which can all run by themselves; None if one can."""
    numbers = ",".join(str(gpus) for gpus in sorted({cell.gpus for cell in cells}))
    start = f"allocation=shared gpus={numbers}: their one job"
    layout = f"{nodes_by_gpus(job.nodes, job.gpus_per_node)} = {job.gpus}"
    if profile.allowed_gpus and job.gpus not in profile.allowed_gpus:
        menu = " or ".join(map(str, profile.allowed_gpus))
        return (
            f"{start} takes {layout}, but {profile.name} allows {menu} GPUs only; use one placement, or "
            "allocation=per_cell"
        )
    # Elsewhere the limits are the cells' own: the queues of this machine and of a hostfile have none.
    if profile.scheduler is Scheduler.SLURM and job.minutes > profile.max_minutes:
        return (
            f"{start} takes the sum of {len(cells)} time limits, {job.minutes} min, but {profile.name} ends a job "
            f"after {profile.max_minutes} min; use fewer epochs, fewer gpus in a curve, minutes=LESS for each cell, or "
            "allocation=per_cell"
        )
    hosts = choose_hosts(profile, job.nodes, job.gpus_per_node) if profile.hosts else ()
    if isinstance(hosts, str):
        return f"{start} takes {layout}: {hosts}, or allocation=per_cell"
    models = models_of(profile, hosts)
    if hosts and models != cells[0].gpu_model:
        return (
            f"{start} takes {layout} on hosts with {models}, but alone the cells get {cells[0].gpu_model}; use gpus "
            "that fit on hosts of one kind, or allocation=per_cell"
        )
    return None


def _curve(cell: Cell, series: Series) -> str:
    """All that must be equal along a curve; see `scaling.SeriesKey`, which names the same for tables."""
    batch = cell.micro_batch if series.batch_per is BatchPer.GPU else cell.global_batch
    work = cell.train_images if series.scaling is Scaling.STRONG else cell.train_images // cell.gpus
    normalized = replace(cell, gpus=1, nodes=1, micro_batch=batch, train_images=work)
    content = json.dumps(identity(normalized), sort_keys=True)
    if cell.task is Task.CONTRASTIVE and series.scaling is Scaling.STRONG:
        content += f" {cell.compared}"  # another number of compared pairs is another loss
    return f"{' '.join(series.sort_key)} {hashlib.sha256(content.encode()).hexdigest()}"
