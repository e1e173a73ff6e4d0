"""The plan: every point of a sweep as a cell or as reasons, and the cells by resource shape. Pure."""

from collections.abc import Iterable, Sequence

from launchers.checked import checked, to_json
from launchers.job import Shape
from launchers.profile import PartitionProfile
from vit_sweep.cell import Cell, Series
from vit_sweep.grid import cell_of, series_of
from vit_sweep.point import Point

SCHEMA_VERSION = 1
PADDING_WORTH_SAYING = 0.1


@checked
class PlannedPoint:
    """One point and what became of it."""

    point_id: str
    """Digest of all values that were asked, those inside groups (`model.layers`) included."""
    axes: dict[str, str | int | float | None]
    cell_id: str | None
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


@checked
class PlanFile:
    """`plan.json`: every point that this study was ever asked for; the newest word on each wins."""

    schema_version: int = SCHEMA_VERSION
    points: tuple[PlannedPoint, ...]


def make_plan(points: Iterable[Point], *, cores: int | None = None) -> Plan:
    """Check every point, merge equal cells, and give each cell its shape.

    `cores` of this machine, where it is the one that runs (a local partition), lets the plan say which
    cells will have more ranks than cores.
    """
    planned: list[PlannedPoint] = []
    cells: dict[str, PlannedCell] = {}
    for point in points:
        cell = cell_of(point)
        if not isinstance(cell, Cell):
            planned.append(PlannedPoint(point_id=point.point_id, axes=point.axes, cell_id=None, reasons=cell))
            continue
        cell_id, series = cell.cell_id, series_of(point)
        planned.append(
            PlannedPoint(
                point_id=point.point_id, axes=point.axes, cell_id=cell_id, reasons=(), remarks=_remarks(cell, cores)
            )
        )
        known = cells[cell_id].series if cell_id in cells else ()
        cells[cell_id] = PlannedCell(
            cell=cell,
            series=merge_series(known, (series,)),
            profile=point.partition,
            shape=Shape(nodes=cell.nodes, gpus_per_node=cell.gpus_per_node, minutes=point.partition.default_minutes),
        )
    return Plan(points=tuple(planned), cells=cells)


def merge_series(known: Sequence[Series], more: Sequence[Series]) -> tuple[Series, ...]:
    """Union of curves, in an order that does not depend on the grid's."""
    return tuple(sorted({*known, *more}, key=lambda series: series.sort_key))


def merge_points(known: Sequence[PlannedPoint], more: Sequence[PlannedPoint]) -> tuple[PlannedPoint, ...]:
    """Union of a study's points over its sweeps; a newer word on the same point replaces the older."""
    return tuple({point.point_id: point for point in (*known, *more)}.values())


def by_shape(cells: Iterable[PlannedCell]) -> list[tuple[PartitionProfile, Shape, list[PlannedCell]]]:
    """Group cells that can share one array: same profile and same shape, smallest shape first."""
    groups: dict[tuple[str, str, Shape], list[PlannedCell]] = {}
    for cell in cells:
        groups.setdefault((cell.profile.name, to_json(cell.profile), cell.shape), []).append(cell)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][2].gpus, item[0][2].nodes, item[0][1]))
    return [(members[0].profile, shape, members) for (_, _, shape), members in ordered]


def oversubscribed(cell: Cell, cores: int) -> bool:
    """Whether ranks of a CPU partition outnumber the cores of a node: its times say nothing of scaling."""
    return cell.device == "cpu" and cell.gpus_per_node * cell.cpus_per_gpu > cores


def _remarks(cell: Cell, cores: int | None) -> tuple[str, ...]:
    remarks = []
    if cores is not None and oversubscribed(cell, cores):
        remarks.append(f"oversubscribed: {cell.gpus_per_node} ranks on {cores} core(s)")
    if cell.padding > PADDING_WORTH_SAYING:
        remarks.append(f"the last step repeats {cell.images_per_epoch - cell.train_images} images ({cell.padding:.0%})")
    return tuple(remarks)
