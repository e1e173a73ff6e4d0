"""From the runs of a study to what a decision rests on. Pure."""

from collections.abc import Iterable, Mapping
from statistics import median

from vit_sweep.analysis.deciding.evidence import Evidence, Timed
from vit_sweep.analysis.laws.laws import Workload
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.sessions import sessions_of
from vit_sweep.plan.cell import Cell, Series
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.runs.run import Run


def workload(cell: Cell, series: Series) -> Workload:
    """The work of an epoch of the curve that a cell is of."""
    return Workload(
        scaling=series.scaling,
        batch_per=series.batch_per.value,
        batch=cell.micro_batch if series.batch_per is BatchPer.GPU else cell.global_batch,
        accum=cell.accum,
        work=cell.train_images if series.scaling is Scaling.STRONG else cell.train_images // cell.gpus,
        sequence=cell.sequence,
    )


def evidence(
    runs: Iterable[Run],
    load: Workload,
    hours: Mapping[int, float],
    *,
    spent: Mapping[str, float],
    lost: float,
    failed: Mapping[int, str],
    most: int,
) -> Evidence:
    """What runs of one curve say.

    `hours`: GPU-hours of a run as planned, of every GPU count that may run; `spent`: of each run by its id, as its
    record says; `lost`: of attempts without a record; `failed`: counts that ended without a time for good, and how.
    Runs that stand apart from their series (another GPU, another machine than their repeats') count for nothing.
    """
    counts = tuple(sorted(hours))
    curves = group((run for run in runs if run.gpus in counts), load.scaling)
    pooled = [run for curve in curves for point in curve.points for run in point.runs]
    pooled = list({run.run_id: run for run in pooled if not run.oversubscribed}.values())
    sessions = sessions_of(pooled)
    return Evidence(
        load=load,
        counts=counts,
        predicted_hours=hours,
        runs=tuple(
            Timed(gpus=run.gpus, epoch_s=median(run.epoch_s), session=sessions[run.run_id], gpu_hours=spent[run.run_id])
            for run in pooled
        ),
        lost=lost + sum(hours for run_id, hours in spent.items() if run_id not in sessions),
        failed=dict(failed),
        most=most,
    )
