"""All tables of a study, in the order in which a report shows them. Pure."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from vit_sweep.analysis.isoefficiency import planes
from vit_sweep.analysis.series.intervals import Measured, measured
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.deciding.decision import DecisionEntry
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.waiting.forecast_file import Waited
from vit_sweep.record.learning import Reached
from vit_sweep.report.tables.accuracy import accuracy_table
from vit_sweep.report.tables.comparisons.effects import accum_table, batch_table
from vit_sweep.report.tables.comparisons.pairs import engine_table, placement_table
from vit_sweep.report.tables.continuations import continued_table
from vit_sweep.report.tables.costs import cost_table, failure_table, memory_table
from vit_sweep.report.tables.decisions import decisions_table
from vit_sweep.report.tables.form.counting import in_pairs
from vit_sweep.report.tables.form.table import Table
from vit_sweep.report.tables.isoefficiency import isoefficiency_table
from vit_sweep.report.tables.parts import PoolTimes, Times, by_configuration, comparable, ids_of, placement_of, pools
from vit_sweep.report.tables.resolutions import resolution_table
from vit_sweep.report.tables.runs import runs_table
from vit_sweep.report.tables.scaling import scaling_table
from vit_sweep.report.tables.waiting import waiting_table
from vit_sweep.runs.run import Run

NAMES = (
    *("strong", "weak", "decisions", "batch", "accumulation", "placement", "engines", "memory", "resolutions"),
    *("failures", "cost", "waiting", "isoefficiency", "accuracy", "continued", "runs"),
)
"""Every table that there can be."""


def tables_of(
    runs: Sequence[Run],
    series: Sequence[ScalingSeries],
    extra: Mapping[str, Sequence[Any]],
    *,
    points: Sequence[PlannedPoint] = (),
    reached: Mapping[str, tuple[float, Reached]] | None = None,
    spread: Measured | None = None,
    decisions: Sequence[DecisionEntry] = (),
    waited: Sequence[Waited] = (),
) -> list[Table]:
    """The tables that have something in them. `extra`: what the tidy table says beyond the runs, see `runs_table`.

    `series`: of both scaling modes; `reached`: target accuracy and when it was reached, by run; `spread`: `measured` of
    the series; `decisions`: of a sweep that decides; `waited`: what was expected of jobs in a queue, and what came.
    """
    ordered = sorted({run.run_id: run for run in runs}.values(), key=lambda run: run.run_id)
    begun_here = [run for run in ordered if not run.continued_from]
    fair = comparable(begun_here, series)
    timed = [run for run in begun_here if run.timed]
    pooled = [*pools(fair, by_configuration), *pools(fair, _layout), *pools(timed, by_configuration)]
    times = times_of(pooled, series, spread or measured(series))
    tables = [
        *(scaling_table(series, points, mode, notes=times.notes) for mode in Scaling),
        decisions_table(decisions),
        batch_table(fair, times),
        accum_table(fair, times),
        placement_table(fair, times),
        engine_table(fair, times),
        memory_table(begun_here),
        resolution_table(begun_here, times),
        failure_table(ordered, points),
        cost_table(begun_here, times),
        waiting_table(waited),
        isoefficiency_table(planes(series, times.ratio)),
        accuracy_table(ordered, reached or {}),
        continued_table(ordered),
        runs_table(runs, extra, reached or {}, points),
    ]
    return in_pairs(filter(None, tables), ordered)


def times_of(groups: Iterable[Sequence[Run]], series: Iterable[ScalingSeries], spread: Measured) -> Times:
    """The times of each pool, worked out once, so that equal runs have equal intervals in every table.

    What a series says of the same runs counts; the spread between runs is learnt from the cells of all series.
    """
    times: dict[tuple[str, ...], PoolTimes] = {}
    for point in (point for curve in series for point in curve.points):
        if point.time_s is not None:
            times.setdefault(ids_of(point.runs), PoolTimes(point.time_s, point.step_ms))
    for runs in groups:
        if ids_of(runs) not in times:
            known = any(run.step_ms for run in runs)
            times[ids_of(runs)] = PoolTimes(spread.times.estimate(runs), spread.steps.estimate(runs) if known else None)
    return Times(times, spread.times.ratio, spread.times.notes())


def _layout(run: Run) -> tuple[Hashable, ...]:
    """A configuration and, where the number of nodes is not known, the placement that tells runs apart."""
    return (*by_configuration(run), placement_of(run) if run.nodes is None else "")
