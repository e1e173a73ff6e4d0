"""From cells that need a run to batches of jobs: one per resource shape, shared curve or packed job. Writes nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from launchers.backend import Rendered
from launchers.batch import Batch, Shape, Task, split
from launchers.checked import checked
from launchers.choose import launcher_of
from launchers.profile import Device, PartitionProfile
from launchers.text import grouped
from vit_sweep.plan.choices import Allocation
from vit_sweep.plan.engine.kinds import needs_compiler, uses_deepspeed
from vit_sweep.plan.plan import PlannedCell, by_shape, curves, share
from vit_sweep.plan.waiting.packing import NOTHING, Packing
from vit_sweep.study.code.snapshot import Snapshot
from vit_sweep.study.store import Study

TASK_MODULE = "vit_sweep.job.task"
CLOSING_MODULE = "vit_sweep.job.closing"
PRELOAD, WITH_DEEPSPEED = "vit_sweep.job.train.imports.preload", "vit_sweep.job.train.imports.with_deepspeed"
COMPILER = "torch._dynamo"


@checked
class Todo:
    """A cell and the attempt that it gets."""

    planned: PlannedCell
    attempt: int
    since: int
    """First attempt since a person last asked for this cell."""
    exclude: tuple[str, ...] = ()
    """Nodes that it must not get."""


def batches_of(
    study: Study,
    todo: Mapping[str, Todo],
    code: Snapshot,
    packing: Packing = NOTHING,
    jobs_before: Mapping[str, int] = MappingProxyType({}),
) -> list[Batch]:
    """One batch per resource shape, shared curve or job of `packing`, in the order of `todo`.

    Arrays are split at the largest, and at the jobs that a user may have beside `jobs_before`, by profile. Raises
    `UserError` where cells that are to share a job cannot.
    """
    jobs = Counter(jobs_before)
    position = {cell_id: i for i, cell_id in enumerate(todo)}
    batches: list[Batch] = []
    groups = [*_arrays(todo, packing), *_curves(todo), *_packed(todo, packing)]
    for group in sorted(groups, key=lambda group: min(position[_cell_id(i)] for i in group.items)):
        on_cpu = group.profile.device is Device.CPU
        batch = Batch(
            study=study.name,
            study_dir=str(study.folder),
            profile=group.profile,
            shape=group.shape,
            tasks=tuple(_task(item, shared=group.shared) for item in group.items),
            shared=group.shared,
            module=TASK_MODULE,
            closing=CLOSING_MODULE,
            code=code.folder,
            exclude=group.exclude,
            # DeepSpeed picks its accelerator when it is imported; a virtual node's GPU is no device.
            environment={"DS_ACCELERATOR": "cpu" if on_cpu else "cuda"},
            # A process that has touched CUDA cannot fork, and imports may touch it.
            preload=_preload(group.items) if on_cpu else (),
        )
        batches += split(batch, jobs[group.profile.name])
        jobs[group.profile.name] += 1 if group.shared else len(group.items)
    return batches


def rendered_of(batches: Iterable[Batch]) -> list[Rendered]:
    """What their launchers make of them."""
    return [launcher_of(batch.profile.scheduler).render(batch) for batch in batches]


def _preload(items: Sequence[Todo]) -> tuple[str, ...]:
    """What the ranks of these cells import; the queue's server does it for all."""
    cells = [item.planned.cell for item in items]
    return (
        *([COMPILER] if any(needs_compiler(cell) for cell in cells) else []),  # first: nothing then stands in for it
        PRELOAD,
        *([WITH_DEEPSPEED] if any(uses_deepspeed(cell) for cell in cells) else []),
    )


class _Group(NamedTuple):
    """What becomes one batch."""

    profile: PartitionProfile
    shape: Shape
    items: list[Todo]
    exclude: tuple[str, ...]
    shared: bool


def _arrays(todo: Mapping[str, Todo], packing: Packing) -> list[_Group]:
    """Cells with a job of their own, by shape and by the nodes that they must not get."""
    packed_ids = {cell_id for job in packing.jobs for cell_id in job.cell_ids}
    unpacked = [
        item.planned
        for cell_id, item in todo.items()
        if item.planned.cell.allocation is Allocation.PER_CELL and cell_id not in packed_ids
    ]
    groups = []
    for profile, shape, members in by_shape(unpacked):
        items_by_exclusion = grouped((item.exclude, item) for item in (todo[m.cell.cell_id] for m in members))
        groups += [
            _Group(profile, shape, items, exclude, shared=False) for exclude, items in items_by_exclusion.items()
        ]
    return groups


def _curves(todo: Mapping[str, Todo]) -> list[_Group]:
    """Cells that share a job, by curve; none gets a node that one of them must not get."""
    planned = share({cell_id: item.planned for cell_id, item in todo.items()})
    groups = []
    for curve in curves(planned):
        items = [todo[cell_id] for cell_id in curve.cell_ids]
        exclude = tuple(dict.fromkeys(host for item in items for host in item.exclude))
        groups.append(_Group(curve.profile, curve.job, items, exclude, shared=True))
    return groups


def _packed(todo: Mapping[str, Todo], packing: Packing) -> list[_Group]:
    """Cells that run one after another in a job of their common shape; they must not get the same nodes."""
    groups = []
    for job in packing.jobs:
        items = [todo[cell_id] for cell_id in job.cell_ids]
        groups.append(_Group(items[0].planned.profile, job.shape, items, items[0].exclude, shared=True))
    return groups


def _task(item: Todo, *, shared: bool) -> Task:
    shape = item.planned.shape if shared else None
    return Task(name=_cell_id(item), attempt=item.attempt, since=item.since, shape=shape)


def _cell_id(item: Todo) -> str:
    return item.planned.cell.cell_id
