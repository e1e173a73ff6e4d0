"""The plan: every point of a sweep as a cell or as reasons, and the cells by resource shape. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from launchers.batch import Shape
from launchers.checked import Name, checked, to_json
from launchers.errors import UserError
from launchers.hosts import choose_hosts
from launchers.profile import PartitionProfile
from launchers.text import plural
from vit_sweep.plan.cell import PADDING_WORTH_SAYING, Cell, JobOptions, Series, crowd, oversubscribed
from vit_sweep.plan.choices import Allocation, Offload
from vit_sweep.plan.curve_groups import Curve, Member, curves_of
from vit_sweep.plan.engine.kinds import sharding
from vit_sweep.plan.grid import cell_of, series_of
from vit_sweep.plan.pairs.refusals import remarks_on_pairs
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict import cost, memory
from vit_sweep.plan.predict.cost import Throughput, TimeEstimate
from vit_sweep.plan.predict.memory import MemoryEstimate

MARGIN_MEASURED, MARGIN_GUESSED = 1.3, 2.0
"""Factors from a predicted time to a time limit."""
SPARE_MINUTES, ROUND_MINUTES = 5, 5


@checked
class PlannedPoint:
    """One point and what became of it."""

    point_id: Name
    """Digest of all values that were asked, those inside groups (`model.layers`) included."""
    axes: dict[str, str | int | float | None]
    cell_id: Name | None
    reasons: tuple[str, ...]
    """Why there is no cell; empty when there is one."""
    remarks: tuple[str, ...] = ()
    """What a reader of the times should know."""


@checked
class PlannedCell:
    """One cell, the curves that asked for it, and where it runs."""

    cell: Cell
    series: tuple[Series, ...]
    profile: PartitionProfile
    shape: Shape
    memory: MemoryEstimate | None
    time: TimeEstimate | None
    job: Shape | None = None
    """The allocation that it shares with the other cells of its curve; None: it has one of its own, of `shape`."""

    @property
    def gpu_hours(self) -> float:
        """Predicted GPU-hours, with idle GPUs of a shared allocation and of nodes handed out whole: they are paid.

        Without an estimate, those of the whole time limit.
        """
        return self._seconds / 3600 * self.held_gpus

    @property
    def held_gpus(self) -> int:
        """GPUs that nobody else gets while it runs."""
        job = self.job or self.shape
        return self.profile.held_gpus(job.nodes, job.gpus)

    @property
    def idle_gpu_hours(self) -> float:
        """Of these, those of GPUs that the cell does not use."""
        return self.gpu_hours - self._seconds / 3600 * self.cell.gpus

    @property
    def _seconds(self) -> float:
        return self.time.seconds if self.time else self.shape.minutes * 60

    def with_minutes(self, minutes: int) -> "PlannedCell":
        """The same cell under another time limit, within its partition's."""
        return replace(self, shape=replace(self.shape, minutes=min(minutes, self.profile.max_minutes)))


class MemoryCheck(StrEnum):
    """What happens to a cell that is predicted not to fit into the GPU's memory."""

    ERROR = "error"
    """Such a cell is skipped, with the figures."""
    WARN = "warn"
    """It runs, and that is said."""
    OFF = "off"
    """Nobody looks."""


@checked
class Knowledge:
    """What a plan takes into account beside its points."""

    cores: int | None = None
    """Cores of this machine, where it is the one that runs (a local partition)."""
    memory_check: MemoryCheck = MemoryCheck.ERROR
    minutes: int | None = None
    """Time limit of every job, if the user gives one."""
    finished: tuple[Throughput, ...] = ()
    """Of finished runs: it says how long others take."""
    options: JobOptions = JobOptions()
    """What a job does beside its work: of its time, what it measures."""


NOTHING = Knowledge()


@checked
class Plan:
    """A whole sweep. Not a state: what has run already is the store's to say."""

    points: tuple[PlannedPoint, ...]
    cells: dict[str, PlannedCell]

    @property
    def infeasible(self) -> tuple[PlannedPoint, ...]:
        """Points without a cell."""
        return tuple(point for point in self.points if point.cell_id is None)

    @property
    def duplicates(self) -> int:
        """Points that share their cell with an earlier point."""
        return len(self.points) - len(self.infeasible) - len(self.cells)


def make_plan(points: Iterable[Point], knowledge: Knowledge = NOTHING) -> Plan:
    """Check every point, merge equal cells, predict memory and time, and give each cell its shape.

    What does not depend on a seed is worked out once for all points that `Point.repeated` made of one another.
    """
    planned: list[PlannedPoint] = []
    cells: dict[str, PlannedCell] = {}
    by_around: dict[int, _Worked] = {}
    for point in points:
        worked = by_around.get(id(point.around))
        # Whether a checkpoint may be gone on from depends on the seed of whoever left it.
        if worked is None or point.origin is not None:
            worked = by_around[id(point.around)] = _Worked(point, knowledge)
        cell, cell_id = worked.of(point), None
        if cell is not None:
            cell_id = cell.cell.cell_id
            cells[cell_id] = _joined(cell, cells.get(cell_id))
        axes = {**worked.axes, "seed": point.seed}
        planned.append(
            PlannedPoint(
                point_id=point.point_id, axes=axes, cell_id=cell_id, reasons=worked.reasons, remarks=worked.remarks
            )
        )
    cells, refused = _share(_one_limit_per_shape(cells))
    return Plan(points=tuple(_refuse(point, refused) for point in planned), cells=cells)


class _Worked:
    """What becomes of a point, and of those that differ from it in their seed."""

    def __init__(self, point: Point, knowledge: Knowledge) -> None:
        self.point, self.axes = point, point.axes
        self.reasons: tuple[str, ...] = ()
        self.remarks: tuple[str, ...] = ()
        self.cell: PlannedCell | None = None
        cell = cell_of(point)
        if not isinstance(cell, Cell):
            self.reasons = cell
            return
        time = cost.predict(cell, point.partition, knowledge.finished, knowledge.options)
        self.reasons = _limits(cell, time, point, knowledge)
        if self.reasons:
            return
        self.remarks = _remarks(cell, point, knowledge)
        minutes = _minutes(time, point.partition, knowledge)
        self.cell = PlannedCell(
            cell=cell,
            # Half of it ran elsewhere: its times belong to no curve.
            series=(series_of(point),) if cell.origin is None else (),
            profile=point.partition,
            shape=Shape(nodes=cell.nodes, gpus_per_node=cell.gpus_per_node, minutes=minutes),
            memory=memory.predict(cell),
            time=time,
        )

    def of(self, point: Point) -> PlannedCell | None:
        """The cell of one of them."""
        if self.cell is None or point is self.point:
            return self.cell
        return replace(self.cell, cell=self.cell.cell.repeated(point.seed))


def _joined(cell: PlannedCell, earlier: PlannedCell | None) -> PlannedCell:
    """One cell that two points ask for, in the curves of both."""
    if earlier is None:
        return cell
    series = merge_series(earlier.series, cell.series)
    # Profiles that differ only in limits give one cell; the longer limit wins, whatever the order of the grid.
    rivals = [replace(cell, series=series), replace(earlier, series=series)]
    return max(rivals, key=lambda c: (c.shape.minutes, to_json(c.profile)))


def share(cells: Mapping[str, PlannedCell]) -> dict[str, PlannedCell]:
    """Give cells of `allocation=shared` the job that these ones share, and no others. Raises `UserError`."""
    shared, refused = _share(cells)
    if refused:
        raise UserError(next(iter(refused.values())))
    return shared


def curves(cells: Mapping[str, PlannedCell]) -> list[Curve]:
    """The jobs that those of `allocation=shared` share."""
    shared = {i: cell for i, cell in cells.items() if cell.cell.allocation is Allocation.SHARED}
    return curves_of({i: Member(cell.cell, cell.series, cell.shape, cell.profile) for i, cell in shared.items()})


def _share(cells: Mapping[str, PlannedCell]) -> tuple[dict[str, PlannedCell], dict[str, str]]:
    """Give shared cells their job; returns them all, without those that no job can run, and these with the reason."""
    fitting, refused = dict(cells), dict[str, str]()
    for curve in curves(cells):
        for cell_id in curve.cell_ids:
            if curve.reason is None:
                fitting[cell_id] = replace(cells[cell_id], job=curve.job)
            else:
                refused[cell_id] = curve.reason
                del fitting[cell_id]
    return fitting, refused


def _refuse(point: PlannedPoint, refused: Mapping[str, str]) -> PlannedPoint:
    if point.cell_id is None or point.cell_id not in refused:
        return point
    return replace(point, cell_id=None, reasons=(refused[point.cell_id],), remarks=())


def _limits(cell: Cell, time: TimeEstimate | None, point: Point, knowledge: Knowledge) -> tuple[str, ...]:
    """Say why a cell that is sound in itself cannot run on its partition: memory, time."""
    reasons = []
    profile = point.partition
    if knowledge.memory_check is MemoryCheck.ERROR:
        problem = _memory_problem(cell, profile)
        setting = f"{_ranks(cell)}batch={point.batch} precision={cell.precision.value}"
        reasons.append(f"{setting}: {problem}" if problem else None)
        reasons.append(_no_room_on_the_host(cell, profile))
    if time is not None and knowledge.minutes is None and time.seconds > profile.max_minutes * 60:
        reasons.append(
            f"epochs={cell.epochs} gpus={cell.gpus} {_shared(cell)}batch={point.batch}: about "
            f"{time.seconds / 3600:.1f} h ({time.basis}), but {profile.name} ends a job after "
            f"{profile.max_minutes / 60:g} h; use fewer epochs "
            "or more GPUs, or minutes=LIMIT if you know better"
        )
    return tuple(filter(None, reasons))


def _ranks(cell: Cell) -> str:
    """What a GPU's memory depends on beside the batch: nothing, where every count of GPUs needs as much."""
    gpus = f"gpus={cell.gpus} " if sharding(cell.engine) or cell.sequence > 1 else ""
    return gpus + _shared(cell)


def _shared(cell: Cell) -> str:
    return f"sequence={cell.sequence} " if cell.sequence > 1 else ""


def _no_room_on_the_host(cell: Cell, profile: PartitionProfile) -> str | None:
    """The figures of offloaded states that a node has no memory for, where the profile says what a job gets."""
    ranks = cell.gpus_per_node
    per_core = (profile.mem_per_cpu_gib or 0) * profile.cpus_per_gpu
    room = profile.mem_gib or ranks * (profile.mem_per_gpu_gib or per_core)
    if not room:
        return None
    return memory.too_little_room(cell, Offload.CPU, room_gib=room, ranks=ranks, owner=f"a job on {profile.name}")


def _memory_problem(cell: Cell, profile: PartitionProfile) -> str | None:
    """The figures of a cell that does not fit into the smallest GPU that it may get."""
    hosts = choose_hosts(profile, cell.nodes, cell.gpus_per_node) if profile.hosts else ()
    sizes = [host.gpu_memory_gib or profile.gpu_memory_gib for host in hosts if not isinstance(host, str)]
    sizes_gib = [size for size in sizes or [profile.gpu_memory_gib] if size is not None]
    return memory.why_it_does_not_fit(cell, min(sizes_gib)) if sizes_gib else None


def _minutes(time: TimeEstimate | None, profile: PartitionProfile, knowledge: Knowledge) -> int:
    """Time limit: as given, else the estimate with a margin, rounded up, within the partition's limit."""
    if knowledge.minutes is not None:
        return min(knowledge.minutes, profile.max_minutes)
    if time is None:
        return profile.default_minutes
    margin = MARGIN_MEASURED if time.measured else MARGIN_GUESSED
    needed = margin * time.seconds / 60 + SPARE_MINUTES
    return min(profile.max_minutes, math.ceil(needed / ROUND_MINUTES) * ROUND_MINUTES)


def _one_limit_per_shape(cells: dict[str, PlannedCell]) -> dict[str, PlannedCell]:
    """Give cells of equal nodes and GPUs the longest limit among them, so that they stay one array."""
    longest: dict[tuple[str, int, int], int] = {}
    per_cell = {i: planned for i, planned in cells.items() if planned.cell.allocation is Allocation.PER_CELL}
    for planned in per_cell.values():
        key = (planned.profile.name, planned.shape.nodes, planned.shape.gpus_per_node)
        longest[key] = max(longest.get(key, 0), planned.shape.minutes)
    limits = {i: longest[cell.profile.name, cell.shape.nodes, cell.shape.gpus_per_node] for i, cell in per_cell.items()}
    return cells | {
        cell_id: replace(planned, shape=replace(planned.shape, minutes=limits[cell_id]))
        for cell_id, planned in per_cell.items()
        if planned.shape.minutes != limits[cell_id]
    }


def merge_series(old: Sequence[Series], new: Sequence[Series]) -> tuple[Series, ...]:
    """Union of curves, in an order that does not depend on the grid's."""
    return tuple(sorted({*old, *new}, key=lambda series: series.sort_key))


def merge_points(old: Sequence[PlannedPoint], new: Sequence[PlannedPoint]) -> tuple[PlannedPoint, ...]:
    """Union of a study's points over its sweeps; a newer word on the same point replaces the older."""
    by_id: dict[str, dict[str | None, PlannedPoint]] = {}
    for point in (*old, *new):
        words = by_id.setdefault(point.point_id, {})
        # A point that was infeasible once and has a cell now (its profile was mended), or the reverse, is one point;
        # one that has two cells (its partition was swept) is two.
        if point.cell_id is None or None in words:
            words.clear()
        words[point.cell_id] = point
    return tuple(point for words in by_id.values() for point in words.values())


def by_shape(cells: Iterable[PlannedCell]) -> list[tuple[PartitionProfile, Shape, list[PlannedCell]]]:
    """Group cells that can share one array: same profile and same shape, smallest shape first."""
    groups: dict[tuple[str, str, Shape], list[PlannedCell]] = {}
    texts: list[tuple[PartitionProfile, str]] = []
    for cell in cells:
        text = next((text for profile, text in texts if profile is cell.profile or profile == cell.profile), None)
        if text is None:
            text = to_json(cell.profile)
            texts.append((cell.profile, text))
        groups.setdefault((cell.profile.name, text, cell.shape), []).append(cell)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][2].gpus, item[0][2].nodes, item[0][1]))
    return [(members[0].profile, shape, members) for (_, _, shape), members in ordered]


def _remarks(cell: Cell, point: Point, knowledge: Knowledge) -> tuple[str, ...]:
    remarks = [cell.origin.sentence] if cell.origin is not None else []
    if knowledge.cores is not None and oversubscribed(cell, knowledge.cores):
        remarks.append(crowd(cell, knowledge.cores))
    problem = _memory_problem(cell, point.partition) if knowledge.memory_check is MemoryCheck.WARN else None
    if problem:
        remarks.append(f"may not fit: {problem}")
    if cell.sequence > 1 and cell.sequence_nodes > 1:
        remarks.append(
            f"a sequence group of {cell.sequence} ranks lies on {cell.sequence_nodes} nodes of "
            f"{plural(cell.gpus_per_node, 'GPU')} each: its exchanges, in every block, cross the network"
        )
    if cell.padding > PADDING_WORTH_SAYING:
        remarks.append(f"the last step repeats {cell.images_per_epoch - cell.train_images} images ({cell.padding:.0%})")
    return (*remarks, *remarks_on_pairs(cell, point))
