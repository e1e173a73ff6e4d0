"""Which cells run one after another in one allocation (`pack`), and in which order. Pure.

How cells are sent, not what they are: no cell's identity knows of it. Cells that share an allocation share its nodes,
so repeats of one cell never do: else the spread between them would lack what differs from node to node.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from launchers.batch import Shape
from launchers.profile import Count, PartitionProfile, Scheduler, Spawner
from launchers.text import grouped, plural, some
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Allocation
from vit_sweep.plan.curve_groups import job_shape
from vit_sweep.plan.plan import PlannedCell, by_shape

Pack = Count | Literal["auto", "off"]

SMALL = 1 / 4
"""Of the longest time limit of a partition: a cell with a longer one is a job of its own. The longer a job may last,
the later it finds a gap, and the more is lost with it."""


class PackedJob(NamedTuple):
    """Cells of one shape under one profile that run in one job."""

    cell_ids: tuple[str, ...]
    """In their running order, two at least."""
    shape: Shape
    """The job's: that of each cell, for the sum of their time limits."""


class Packing(NamedTuple):
    """How cells are sent. Those in no job here have one of their own."""

    jobs: tuple[PackedJob, ...] = ()
    remarks: tuple[str, ...] = ()
    """Why cells are packed less than was asked for."""


NOTHING = Packing()


def packed(
    cells: Mapping[str, PlannedCell],
    max_cells: int,
    *,
    exclusions: Mapping[str, object] | None = None,
    asked: Pack | None = None,
) -> Packing:
    """Put `cells` (by id) into jobs of at most `max_cells` each, as equal in number as they come.

    `asked`: the value that remarks repeat, where it is another. `exclusions`: cells with different values do not
    share a job (nodes that they must not get, say). Neither jobs nor orders depend on the order of `cells`.
    """
    if max_cells < 2:
        return NOTHING
    typed = f"pack={asked or max_cells}"
    remarks = [_why_not_at_all(typed, list(cells.values()))]
    jobs: list[PackedJob] = []
    of_slurm = {cell_id: cell for cell_id, cell in cells.items() if _why_unpacked(cell) is None}
    for profile, shape, members in by_shape(of_slurm.values()):
        room = _room(profile, shape)
        if room < min(max_cells, len(members)):
            remarks.append(_fewer_than_asked(profile, shape, room, typed))
        by_exclusion = grouped(((exclusions or {}).get(member.cell.cell_id), member) for member in members)
        for some_cells in by_exclusion.values():
            remarks.append(_limited_by_repeats(profile, shape, some_cells, min(max_cells, room), typed))
            jobs += _jobs(some_cells, min(max_cells, room), profile)
    return Packing(tuple(sorted(jobs, key=lambda job: min(job.cell_ids))), tuple(filter(None, remarks)))


def most_that_fit(cells: Iterable[PlannedCell]) -> int:
    """The largest `max_cells` that makes a difference for these cells; 1 where none can be packed."""
    of_slurm = [cell for cell in cells if _why_unpacked(cell) is None]
    return max(
        (min(_room(profile, shape), len(_kinds(members))) for profile, shape, members in by_shape(of_slurm)), default=1
    )


def _jobs(members: Sequence[PlannedCell], max_cells: int, profile: PartitionProfile) -> list[PackedJob]:
    """Deal cells out like cards, kind after kind, so that no job gets two repeats of one cell.

    There are at least as many jobs as one cell has repeats. Kinds are dealt in an order drawn by their content, and so
    do cells run: a value of an axis is confounded neither with a job nor with the time since it began.
    """
    kinds = _kinds(members)
    count = max(-(-len(members) // max_cells), *map(len, kinds.values()))
    dealt: list[list[PlannedCell]] = [[] for _ in range(count)]
    for position, cell in enumerate(cell for kind in kinds.values() for cell in kind):
        dealt[position % count].append(cell)
    return [
        PackedJob(
            tuple(sorted((cell.cell.cell_id for cell in some_cells), key=_hashed)),
            job_shape((cell.shape for cell in some_cells), profile),
        )
        for some_cells in dealt
        if len(some_cells) > 1
    ]


def _kinds(members: Iterable[PlannedCell]) -> dict[str, list[PlannedCell]]:
    """Cells by what they repeat, the kinds in a drawn order, each by its seeds."""
    kinds: dict[str, list[PlannedCell]] = {}
    names: dict[Cell, str] = {}
    for member in sorted(members, key=lambda member: member.cell.seed):
        kind = member.cell.configuration
        kinds.setdefault(names.setdefault(kind, kind.cell_id), []).append(member)
    return {name: kinds[name] for name in sorted(kinds, key=_hashed)}


def _hashed(name: str) -> bytes:
    """An order by content: the same in every dry run, and for what is left of it."""
    return hashlib.sha256(f"pack {name}".encode()).digest()


def _room(profile: PartitionProfile, shape: Shape) -> int:
    """Cells of this shape that one job may hold."""
    return profile.max_minutes // shape.minutes if shape.minutes <= SMALL * profile.max_minutes else 1


def _why_unpacked(planned: PlannedCell) -> str | None:
    """Why a cell is never packed; None if it may be."""
    profile = planned.profile
    if profile.scheduler is not Scheduler.SLURM:
        return f"{profile.name} has no jobs that wait, its cells take turns as soon as there is room"
    if planned.cell.allocation is Allocation.SHARED:
        return "allocation=shared puts whole curves into a job each already"
    if profile.spawner is not Spawner.SRUN:
        return (
            f"{profile.name} starts ranks with {profile.spawner.value}, and only srun starts one cell after another in "
            "one job"
        )
    return None


def _why_not_at_all(typed: str, cells: Sequence[PlannedCell]) -> str | None:
    reasons = sorted({reason for cell in cells if (reason := _why_unpacked(cell)) is not None})
    if not reasons:
        return None
    count = sum(_why_unpacked(cell) is not None for cell in cells)
    return f"{typed} leaves {plural(count, 'cell')} as {'it is' if count == 1 else 'they are'}: {some(reasons, 3)}"


def _fewer_than_asked(profile: PartitionProfile, shape: Shape, room: int, typed: str) -> str:
    """Say why jobs of this shape hold fewer cells than was asked for."""
    start = f"{typed}: cells of {shape.label} on {profile.name} take up to {shape.minutes} min"
    if room < 2:
        return (
            f"{start}, more than a quarter of the {profile.max_minutes} min that a job may last there: each has a job "
            "of its own; minutes=LESS if they need less"
        )
    return f"{start} each, so {room} fit into the {profile.max_minutes} min that a job may last there"


def _limited_by_repeats(
    profile: PartitionProfile, shape: Shape, members: Sequence[PlannedCell], room: int, typed: str
) -> str | None:
    """Say that repeats of one cell are why jobs of this shape are more than they need be."""
    repeats = max(map(len, _kinds(members).values()))
    if room < 2 or repeats <= -(-len(members) // room):
        return None
    return (
        f"{typed}: of {plural(len(members), 'cell')} of {shape.label} on {profile.name} {repeats} repeat one "
        f"another and share no job, so there are {repeats} jobs"
    )
