"""All tables of a study, in the order in which a report shows them. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.point import Scaling
from vit_sweep.record.learning import Reached
from vit_sweep.report.tables.accuracy import accuracy_table
from vit_sweep.report.tables.costs import cost_table, failure_table, memory_table
from vit_sweep.report.tables.effects import accum_table, batch_table
from vit_sweep.report.tables.pairs import engine_table, placement_table
from vit_sweep.report.tables.parts import Remembered, Statistics, comparable
from vit_sweep.report.tables.runs import runs_table
from vit_sweep.report.tables.scaling import scaling_table
from vit_sweep.report.tables.table import Cells, Table
from vit_sweep.runs.run import Run

NAMES = (
    "strong", "weak", "batch", "accumulation", "placement", "engines", "memory", "failures", "cost", "accuracy", "runs",
)  # fmt: skip
"""Every table that there can be."""


def tables_of(
    runs: Sequence[Run],
    series: Sequence[ScalingSeries],
    rows: Iterable[Cells],
    *,
    statistics: Statistics,
    points: Sequence[PlannedPoint] = (),
    reached: Mapping[str, tuple[float, Reached]] | None = None,
) -> list[Table]:
    """The tables that have something in them. `rows`: those of the tidy table, see `runs`.

    `series`: of both scaling modes; `reached`: target accuracy and when it was reached, by run.
    """
    fair, statistics = comparable(runs, series), Remembered(statistics, series)
    ordered = sorted({run.run_id: run for run in runs}.values(), key=lambda run: run.run_id)
    made = [
        *(scaling_table(series, points, mode) for mode in Scaling),
        batch_table(fair, statistics),
        accum_table(fair, statistics),
        placement_table(fair, statistics),
        engine_table(fair, statistics),
        memory_table(ordered),
        failure_table(ordered, points),
        cost_table(ordered, statistics),
        accuracy_table(ordered, reached or {}, statistics),
        runs_table(rows, points),
    ]
    return [one for one in made if one is not None]
