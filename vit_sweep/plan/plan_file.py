"""`plan.json`: what became of every point, and all that running a cell again takes. Pure."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

from launchers.batch import Shape
from launchers.checked import Ge, InFile, Name, Quantity, checked
from launchers.profile import Count, PartitionProfile
from launchers.text import some
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.deciding.question import DecideRule
from vit_sweep.plan.plan import Plan, PlannedCell, PlannedPoint, merge_points
from vit_sweep.plan.predict.cost import TimeEstimate
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.plan.waiting.packing import Pack

SCHEMA_VERSION = 1


class JobLimits(NamedTuple):
    """What bounds the jobs of a study beside its plan."""

    pack: Pack = "off"
    """Cells of one shape that may run in one job, at most."""
    max_gpus: int | None = None
    """GPUs that its jobs hold at once, at most; None: no limit of its own."""
    budget_gpu_hours: float | None = None
    """What the whole study may cost."""


NO_LIMITS = JobLimits()


@checked
class CellForecast:
    """What is expected of one cell: resources, memory, time, cost."""

    cell_id: Name
    nodes: Count
    gpus_per_node: Count
    minutes: Count
    """Time limit of its job."""
    profile_index: Annotated[int, Ge(0), InFile("profile")] = 0
    """Into the plan's profiles; `profile` in the file."""
    memory_gib: Quantity | None
    """Predicted peak of one GPU."""
    step_ms: Quantity | None
    seconds: Quantity | None
    """Predicted time of the whole job."""
    basis: str
    gpu_hours: Quantity
    """Of a shared allocation with the GPUs that wait."""
    allocated_gpus: Count | None = None
    """GPUs of the allocation that it shares with its curve; None: it has one of its own."""


@checked
class PlanFile:
    """`plan.json`: every point that this study was ever asked for; the newest word on each wins."""

    schema_version: int = SCHEMA_VERSION
    digest: str
    """8 hex digits over points, cells and reasons: the same input gives the same digest."""
    points: tuple[PlannedPoint, ...]
    cells: tuple[CellForecast, ...]
    """Forecast of every cell, those of the latest sweep first, in its order."""
    profiles: tuple[PartitionProfile, ...] = ()
    """The partitions of these cells as they were when they were planned: what running a cell again takes."""
    repeat: RepeatRule | None = None
    """When the latest sweep's cells have been repeated enough; None: as often as was planned."""
    decide: DecideRule | None = None
    """The question of the latest sweep, which decides what runs; None: all that was planned runs."""
    pack: Pack = "off"
    """Cells of one shape that the latest sweep lets run in one job, at most."""
    max_gpus_in_flight: Count | None = None
    """GPUs that its jobs hold at once, at most; None: as many as the scheduler gives."""
    budget_gpu_hours: Quantity | None = None
    """What the study may cost by the latest sweep; None: no limit, or that of `decide`."""

    @property
    def limits(self) -> JobLimits:
        """What bounds its jobs."""
        return JobLimits(self.pack, self.max_gpus_in_flight, self.budget_gpu_hours)


def plan_file(
    plan: Plan,
    previous: PlanFile | None,
    *,
    repeat: RepeatRule | None = None,
    decide: DecideRule | None = None,
    limits: JobLimits = NO_LIMITS,
) -> PlanFile:
    """What is written of a plan, joined with the points and cells of earlier sweeps."""
    profiles = Profiles()
    cells = [_forecast(cell_id, planned, profiles.index_of(planned.profile)) for cell_id, planned in plan.cells.items()]
    for cell in previous.cells if previous else ():
        if previous and previous.profiles and cell.cell_id not in plan.cells:
            cells.append(replace(cell, profile_index=profiles.index_of(previous.profiles[cell.profile_index])))
    return PlanFile(
        digest=_digest(plan.points),
        points=merge_points(previous.points if previous else (), plan.points),
        cells=tuple(cells),
        profiles=tuple(profiles.listed),
        repeat=repeat,
        decide=decide,
        pack=limits.pack,
        max_gpus_in_flight=limits.max_gpus,
        budget_gpu_hours=limits.budget_gpu_hours,
    )


def with_cells(plan: PlanFile, cells: Mapping[str, PlannedCell]) -> PlanFile:
    """A written plan and further cells: repeats that nobody had asked for by their seed."""
    profiles = Profiles(plan.profiles)
    added = [_forecast(cell_id, planned, profiles.index_of(planned.profile)) for cell_id, planned in cells.items()]
    return replace(plan, cells=(*plan.cells, *added), profiles=tuple(profiles.listed))


def without(plan: PlanFile, points: Sequence[PlannedPoint], cell_ids: Collection[str]) -> PlanFile:
    """The same plan with these of its points, and without the cells of `cell_ids`."""
    return replace(
        plan,
        digest=_digest(points),
        points=tuple(points),
        cells=tuple(cell for cell in plan.cells if cell.cell_id not in cell_ids),
    )


def _digest(points: Sequence[PlannedPoint]) -> str:
    content = [[point.point_id, point.cell_id, list(point.reasons)] for point in points]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def planned_cells(plan: PlanFile, files: Mapping[str, CellFile]) -> dict[str, PlannedCell]:
    """The cells of a written plan as they were planned, as far as their own files are there."""
    planned: dict[str, PlannedCell] = {}
    for cell in plan.cells:
        if cell.cell_id in files and cell.profile_index < len(plan.profiles):
            file = files[cell.cell_id]
            planned[cell.cell_id] = PlannedCell(
                cell=file.cell,
                series=file.series,
                profile=plan.profiles[cell.profile_index],
                shape=Shape(nodes=cell.nodes, gpus_per_node=cell.gpus_per_node, minutes=cell.minutes),
                memory=None,
                time=_time(cell),
            )
    return planned


def _time(cell: CellForecast) -> TimeEstimate | None:
    if cell.seconds is None or cell.step_ms is None:
        return None
    return TimeEstimate(seconds=cell.seconds, step_ms=cell.step_ms, basis=cell.basis, measured=False)


def strangers(plan: PlanFile | None, cells: Sequence[str]) -> list[str]:
    """Say which cells no plan of the study knows: somebody put them there."""
    planned = {cell.cell_id for cell in plan.cells} if plan is not None else set(cells)
    unplanned = [cell for cell in cells if cell not in planned]
    if not unplanned:
        return []
    return [
        f"nothing, but mind: {some(unplanned, 3)} is in no plan of this study; if it was copied from another, remove it"
    ]


class Profiles:
    """A list where each profile stands once. Cells share their profile's object, so few are ever compared."""

    def __init__(self, profiles: Sequence[PartitionProfile] = ()) -> None:
        self.listed = list(profiles)
        self._by_object: dict[int, int] = {}

    def index_of(self, profile: PartitionProfile) -> int:
        """The index of `profile`, which joins the list if it is new."""
        if id(profile) not in self._by_object:
            if profile not in self.listed:
                self.listed.append(profile)
            self._by_object[id(profile)] = self.listed.index(profile)
        return self._by_object[id(profile)]


def _forecast(cell_id: str, planned: PlannedCell, profile_index: int) -> CellForecast:
    return CellForecast(
        cell_id=cell_id,
        profile_index=profile_index,
        nodes=planned.shape.nodes,
        gpus_per_node=planned.shape.gpus_per_node,
        minutes=planned.shape.minutes,
        memory_gib=planned.memory.total_gib if planned.memory else None,
        step_ms=planned.time.step_ms if planned.time else None,
        seconds=planned.time.seconds if planned.time else None,
        basis=planned.time.basis if planned.time else "no estimate: the time limit is counted",
        gpu_hours=planned.gpu_hours,
        allocated_gpus=planned.job.gpus if planned.job else None,
    )
