"""Taking points out of a study: nothing is deleted, and the same sweep's command brings them back. An edge."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launchers.errors import UserError
from launchers.invocation import called
from launchers.text import grouped, plural, some
from vit_sweep.config.algebra import Predicate, predicate
from vit_sweep.outcome.result import Result
from vit_sweep.plan.cell import Cell, CellFile, Series
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.plan_file import without
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study

_NAMED = 3
"""Cells that a sentence names."""


class Dropped(NamedTuple):
    """What was taken out."""

    points: int
    cells: int
    records: int
    """Of these cells, those that had finished; their records stay in their folders."""


def drop(study: Study, conditions: Sequence[str]) -> Dropped:
    """Take out the points for which one of `conditions` holds, and the cells that no other point asks for.

    Journal, attempts and records stay. Raises `UserError` for a condition that is none, or holds nowhere or
    everywhere, and for cells that are queued or running.
    """
    with study.changing():
        plan = study.plan_file()
        if plan is None or not plan.points:
            raise UserError(f"{study.folder / 'plan.json'} names no point of this study, so none can be taken out")
        dropped = _matching(plan.points, conditions)
        remaining = [point for point in plan.points if point not in dropped]
        if not remaining:
            raise UserError(
                f"{' or '.join(conditions)}: all {plural(len(dropped), 'point')} of study {study.name} would go; to be "
                "rid of the whole study delete its folder"
            )
        results = settled_results(study)
        cells = _unrequested({r.file.cell_id: r.file.cell for r in results}, plan.points, remaining)
        _refuse_active(study, [r for r in results if r.file.cell_id in cells])
        study.drop_cells(cells, conditions)
        for result in results:
            if result.file.cell_id not in cells:
                study.rewrite_series(result.file, _requested_curves(result.file, plan.points, remaining))
        study.rewrite_plan(without(plan, remaining, cells))
    finished = sum(result.record is not None for result in results if result.file.cell_id in cells)
    return Dropped(points=len(dropped), cells=len(cells), records=finished)


def _matching(points: Sequence[PlannedPoint], conditions: Sequence[str]) -> list[PlannedPoint]:
    """The points for which a condition holds; raises `UserError` for one that holds nowhere."""
    axes = points[0].axes
    predicates: list[Predicate] = [predicate(text, axes, of="drop") for text in conditions]
    for rule in predicates:
        if not any(rule.holds(_all_axes(point, axes)) for point in points):
            menu = "; ".join(f"{axis} is {some(_values(points, axis), 6, separator=' or ')}" for axis in rule.axes)
            raise UserError(f"{rule.text}: no point of this study has it – {menu}")
    return [point for point in points if any(each.holds(_all_axes(point, axes)) for each in predicates)]


def _all_axes(point: PlannedPoint, axes: Mapping[str, object]) -> dict[str, str | int | float | None]:
    """Its axes, and nothing for those that a version before did not have."""
    return dict.fromkeys(axes) | dict(point.axes)


def _values(points: Sequence[PlannedPoint], axis: str) -> list[str]:
    return list(dict.fromkeys(str(point.axes.get(axis)) for point in points))


def _unrequested(
    cells: Mapping[str, Cell], before: Sequence[PlannedPoint], remaining: Sequence[PlannedPoint]
) -> set[str]:
    """The cells that points asked for and none does now, and the repeats of these that a rule has added."""
    requested_before, requested_now = ({point.cell_id for point in points} for points in (before, remaining))
    alike = grouped((cell.configuration, cell_id) for cell_id, cell in cells.items())
    dropped = set[str]()
    for ids in alike.values():
        dropped |= {cell_id for cell_id in ids if cell_id in requested_before and cell_id not in requested_now}
        if not any(cell_id in requested_now for cell_id in ids) and any(cell_id in requested_before for cell_id in ids):
            dropped |= set(ids)
    return dropped


def _refuse_active(study: Study, results: Sequence[Result]) -> None:
    alive = [result.file.cell_id for result in results if result.status.under_way]
    if alive:
        options = " ".join(f"--cells {cell}" for cell in alive) if len(alive) <= _NAMED else f"--cells {alive[0]} ..."
        raise UserError(
            f"{plural(len(alive), 'cell is|cells are')} queued or running: {some(alive, _NAMED)} – wait, or end "
            f"{'it' if len(alive) == 1 else 'them'} first: {called()} cancel {study.name} {options}"
        )


def _requested_curves(
    file: CellFile, before: Sequence[PlannedPoint], remaining: Sequence[PlannedPoint]
) -> tuple[Series, ...]:
    """The curves of a cell without those that only points asked for which have gone."""
    old, new = _curves_of(file, before), _curves_of(file, remaining)
    return tuple(
        series
        for series in file.series
        if (key := (series.scaling.value, series.batch_per.value, series.placement)) in new or key not in old
    )


def _curves_of(file: CellFile, points: Sequence[PlannedPoint]) -> set[tuple[object, object, object]]:
    return {_curve(point) for point in points if point.cell_id == file.cell_id}


def _curve(point: PlannedPoint) -> tuple[object, object, object]:
    """As `plan.grid.series_of` has it."""
    nodes = point.axes.get("nodes")
    placement = point.axes.get("placement") if nodes is None else f"nodes={nodes}"
    return (point.axes.get("scaling"), point.axes.get("batch_per"), placement)
