"""From cells that need a run to batches of jobs: one per resource shape. Renders, writes nothing."""

from collections.abc import Mapping, Sequence

from launchers.backend import Rendered
from launchers.checked import checked
from launchers.job import Batch, Task, split, throttle
from launchers.profile import Device
from vit_sweep.plan import PlannedCell, by_shape
from vit_sweep.snapshot import Snapshot
from vit_sweep.status import launcher_of
from vit_sweep.store import Study

TASK_MODULE = "vit_sweep.task"
CLOSING_MODULE = "vit_sweep.aftermath"
PRELOAD = ("vit_sweep.train.preload",)


@checked
class Todo:
    """A cell and the attempt that it gets."""

    planned: PlannedCell
    attempt: int
    since: int
    """First attempt since a person last asked for this cell."""
    exclude: tuple[str, ...] = ()
    """Nodes that it must not get."""


def render(study: Study, todo: Mapping[str, Todo], code: Snapshot, *, max_gpus: int | None = None) -> list[Rendered]:
    """One batch per resource shape, in the order of `todo`, split at the largest array, throttled together."""
    batches: list[Batch] = []
    place = {cell_id: i for i, cell_id in enumerate(todo)}
    groups = by_shape(item.planned for item in todo.values())
    for profile, shape, members in sorted(groups, key=lambda group: place[group[2][0].cell.cell_id]):
        on_cpu = profile.device is Device.CPU
        for exclude, some in _by_exclusion([todo[member.cell.cell_id] for member in members]).items():
            batch = Batch(
                study=study.name,
                study_dir=str(study.folder),
                profile=profile,
                shape=shape,
                tasks=tuple(Task(name=t.planned.cell.cell_id, attempt=t.attempt, since=t.since) for t in some),
                module=TASK_MODULE,
                closing=CLOSING_MODULE,
                code=code.folder,
                exclude=exclude,
                # DeepSpeed picks its accelerator when it is imported; a virtual node's GPU is no device.
                environment={"DS_ACCELERATOR": "cpu" if on_cpu else "cuda"},
                # A process that has touched CUDA cannot fork, and imports may touch it.
                preload=PRELOAD if on_cpu else (),
            )
            batches += split(batch)
    if max_gpus is not None:
        batches = throttle(batches, max_gpus)
    return [launcher_of(batch.profile.scheduler).render(batch) for batch in batches]


def _by_exclusion(items: Sequence[Todo]) -> dict[tuple[str, ...], list[Todo]]:
    groups: dict[tuple[str, ...], list[Todo]] = {}
    for item in items:
        groups.setdefault(item.exclude, []).append(item)
    return groups
