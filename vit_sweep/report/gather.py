"""From records to series and tables: all that a study, or runs from elsewhere, amount to. An edge: it reads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import measured, with_all_intervals
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.analysis.series.spreads import RatioOf
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.deciding.decision import DecisionEntry
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.plan_file import strangers
from vit_sweep.plan.waiting.forecast_file import Waited
from vit_sweep.record.learning import Reached, when_reached
from vit_sweep.report.records import Records
from vit_sweep.report.tables.all_tables import tables_of
from vit_sweep.report.tables.form.table import Cells, Table
from vit_sweep.runs.garbage import gc_paused
from vit_sweep.runs.reading import Read, extra_columns_of, in_order
from vit_sweep.runs.run import Run
from vit_sweep.study.store import Study
from vit_sweep.study.waiting import waited


class Gathered(NamedTuple):
    """What a study, or imported runs, amount to; nothing is written yet."""

    runs: list[Run]
    strong: list[ScalingSeries]
    weak: list[ScalingSeries]
    tables: list[Table]
    ratio: RatioOf
    """Of the cells of all series, with its interval: as the tables have it."""
    problems: tuple[str, ...]
    """Files that were passed over, and why."""

    @property
    def timed(self) -> bool:
        """Whether there is any time at all."""
        return any(run.timed for run in self.runs)

    @property
    def accuracies(self) -> list[Cells]:
        """Rows of the table **accuracy**."""
        return [row for table in self.tables if table.name == "accuracy" for row in table.rows]


def gather(
    study: Study,
    *,
    target: float | None = None,
    watched: Callable[[Iterable[Read], int], Iterable[Read]] = lambda records, _: records,
    records: Records | None = None,
) -> Gathered:
    """Read a study: its runs, their series with intervals, its tables. Holds one record at a time.

    `target`: test accuracy whose time is reported, in place of the studies'. `watched` passes the records on, of which
    there are so many: a progress bar. `records`: those of the study, with that target, where they were looked at
    before.
    """
    records = records or Records(study, target)
    reader, plan = records.reader, records.plan
    with gc_paused():
        reads = in_order(watched(reader.read(), len(reader)))
        runs = [read.run for read in reads]
        reached = {read.run.run_id: read.reached for read in reads if read.reached is not None}
        problems = (*study.problems, *strangers(plan, [run.run_id for run in runs]))
        points = plan.points if plan is not None else ()
        decisions, waits = study.decisions(), waited(study)
        extra = extra_columns_of(reads)
        del reads
        return _gathered(runs, extra, points, reached, problems, decisions=decisions, waits=waits)


def gather_runs(runs: Iterable[Run], *, problems: Sequence[str] = (), target: float | None = None) -> Gathered:
    """Series with intervals and tables of runs from elsewhere; of equal ids the last one counts."""
    distinct = list({run.run_id: run for run in runs}.values())
    reached: dict[str, tuple[float, Reached]] = {}
    if target is not None:
        timed = [run for run in distinct if run.timed]
        reached = {run.run_id: (target, when_reached(run.test_accuracy, run.epoch_all_s, target)) for run in timed}
    return _gathered(distinct, {}, (), reached, problems)


def _gathered(
    runs: list[Run],
    extra: Mapping[str, Sequence[Any]],
    points: Sequence[PlannedPoint],
    reached: dict[str, tuple[float, Reached]],
    problems: Sequence[str],
    *,
    decisions: Sequence[DecisionEntry] = (),
    waits: Sequence[Waited] = (),
) -> Gathered:
    grouped = [curve for mode in Scaling for curve in group(runs, mode)]
    spread = measured(grouped)
    series = with_all_intervals(grouped, spread)
    strong, weak = ([curve for curve in series if curve.key.scaling is mode] for mode in Scaling)
    tables = tables_of(
        runs,
        [*strong, *weak],
        extra,
        points=points,
        reached=reached,
        spread=spread,
        decisions=decisions,
        waited=waits,
    )
    ratio = spread.times.ratio
    return Gathered(runs=runs, strong=strong, weak=weak, tables=tables, ratio=ratio, problems=tuple(problems))
