"""What a sweep that decides may choose from: a grid of one curve, one cell for each GPU count. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.plan.cell import crowd, oversubscribed
from vit_sweep.plan.deciding.question import Question
from vit_sweep.plan.plan import Plan, PlannedCell
from vit_sweep.plan.point import Point


def candidates_of(points: Sequence[Point], plan: Plan, question: Question, cores: int | None) -> dict[int, PlannedCell]:
    """The cells of a grid by GPU count; raises `UserError` unless they are one curve that the question fits.

    `cores`: of this machine, where it is the one that runs.
    """
    _require_one_curve(points, question)
    crowded = [cell.cell for cell in plan.cells.values() if cores is not None and oversubscribed(cell.cell, cores)]
    by_gpus = {cell.cell.gpus: cell for cell in plan.cells.values() if cell.series and cell.cell not in crowded}
    counts = sorted(by_gpus)
    if len(counts) < 2:
        gpus = ",".join(map(str, sorted({point.gpus for point in points})))
        why = "; ".join(dict.fromkeys(reason for point in plan.infeasible for reason in point.reasons))
        why = why or "; ".join(crowd(cell, cores or 0) for cell in crowded)
        raise UserError(
            f'until="{question.text}": gpus={gpus} leaves {plural(len(counts), "GPU count")} that '
            f"can run{f' ({why})' if why else ''}, and a sweep that decides chooses among several; use for example "
            f"gpus=1,2,4,8"
        )
    require_comparison(question, counts)
    return by_gpus


def require_comparison(question: Question, counts: Sequence[int]) -> None:
    """Raise `UserError` for a ratio of the smallest of these counts to itself."""
    if question.quantity.compared and question.gpus == counts[0]:
        raise UserError(
            f'until="{question.text}": {counts[0]} is the smallest GPU count of the grid, which others are compared '
            f"with: its {question.quantity.value} is 1; ask of a larger one, {some(map(str, counts[1:]))}"
        )


def _require_one_curve(points: Sequence[Point], question: Question) -> None:
    kinds: list[Point] = []
    for point in points:
        if (kind := replace(point, gpus=1, seed=0)) not in kinds:
            kinds.append(kind)
    if len(kinds) == 1 and len({point.seed for point in points}) == 1:
        return
    several = {
        name: list(dict.fromkeys(str(point.axes[name]) for point in points))
        for name in points[0].axes
        if name != "gpus"
    }
    varied = {name: values for name, values in several.items() if len(values) > 1}
    if list(varied) == ["seed"]:
        raise UserError(
            f'until="{question.text}": seed has {plural(len(varied["seed"]), "value")}; a sweep that decides repeats '
            "where that narrows its answer, so give one seed"
        )
    problem = (
        "; ".join(f"{name} has {plural(len(values), 'value')} ({some(values)})" for name, values in varied.items())
        or f"the grid has {plural(len(kinds), 'curve')}"
    )
    raise UserError(
        f'until="{question.text}": {problem}, and a question is about one curve; give each its own command and study, '
        "for example study=NAME"
    )
