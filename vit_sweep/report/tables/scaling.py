"""The strong and the weak table: one row per GPU count of every series, whatever became of its runs. Pure, no numpy."""

from collections.abc import Iterable, Sequence
from statistics import median

from vit_sweep.analysis.series.series import Apart, ScalingSeries, SeriesKey, SeriesPoint
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, LEARNT, bounded
from vit_sweep.report.tables.form.table import SOURCE_RUNS, Cells, Table, table
from vit_sweep.report.tables.parts import Variants, estimate, flags_of, last_learnt, names_of
from vit_sweep.runs.run import Run

SCALING_COLUMNS = bounded(
    *CONFIGURATION,
    "placement",
    "batch_per",
    "batch",
    "accum",
    "work",
    "epochs",
    "gpus",
    "nodes",
    "epoch_s",
    "n",
    "freedom",
    "epochs_counted",
    "within",
    "between",
    "first_epoch_s",
    "step_ms",
    "images_per_s",
    "speedup",
    "efficiency",
    "serial_fraction",
    "baseline_gpus",
    "train_accuracy",
    "test_accuracy",
    *LEARNT,
    "oversubscribed",
    "status",
    "note",
    "flags",
    "seeds",
    "cell_id",
)
TITLES = {
    Scaling.STRONG: "Strong scaling: every epoch covers the same images, whatever the number of GPUs",
    Scaling.WEAK: "Weak scaling: every GPU covers the same number of images in an epoch",
}


def scaling_table(
    series: Sequence[ScalingSeries],
    points: Iterable[PlannedPoint],
    scaling: Scaling,
    *,
    timed_only: bool = False,
    notes: Sequence[str] = (),
) -> Table | None:
    """The table of one scaling mode: series, runs that stand apart, infeasible points; None if there is nothing.

    `timed_only` leaves out rows without a time: what a running study has so far. `notes`: of its intervals.
    """
    curves = [curve for curve in series if curve.key.scaling is scaling]
    variants = Variants(curve.key.conditions for curve in curves)
    rows = [_point(curve, point, variants) for curve in curves for point in curve.points]
    rows += [_apart(curve.key, out, variants) for curve in curves for out in curve.apart]
    rows += [infeasible(p) for p in points if p.cell_id is None and p.axes["scaling"] == scaling.value]
    if timed_only:
        rows = [row for row in rows if row.get("epoch_s") is not None]
    remarks = [
        _of(curve, curves, curve.no_baseline)
        for curve in curves
        if curve.no_baseline and any(point.runs for point in curve.points)
    ]
    remarks += [_of(curve, curves, f"unlike between its runs: {flag}") for curve in curves for flag in curve.flags]
    remarks += _unlike_trainings(curves)
    return table(scaling.value, TITLES[scaling], SCALING_COLUMNS, rows, known=COLUMNS, notes=[*remarks, *notes])


def infeasible(point: PlannedPoint) -> Cells:
    """The row of a combination that cannot run."""
    axes = {name: value for name, value in point.axes.items() if name in COLUMNS}
    return axes | {"n": 0, "oversubscribed": False, "status": "infeasible", "note": "; ".join(point.reasons)}


def _unlike_trainings(curves: Sequence[ScalingSeries]) -> list[str]:
    """That accuracies along a curve are of models which saw unlike numbers of images, as under weak scaling."""
    runs = [[run for point in curve.points for run in point.runs if _learns(run)] for curve in curves]
    works = [sorted({run.work for run in of_curve if run.work is not None}) for of_curve in runs]
    unlike = [counts for counts in works if len(counts) > 1]
    if not unlike:
        return []
    least, most = min(counts[0] for counts in unlike), max(counts[-1] for counts in unlike)
    return [
        f"accuracies in rows of unlike numbers of images ({least:,} to {most:,} an epoch) do not compare: those models "
        "were trained on more or fewer images"
    ]


def _learns(run: Run) -> bool:
    return bool(run.test_accuracy or run.train_accuracy)


def _of(curve: ScalingSeries, curves: Sequence[ScalingSeries], text: str) -> str:
    return text if len(curves) == 1 else f"{curve.label}: {text}"


def _key(key: SeriesKey, variants: Variants) -> Cells:
    return variants.configuration(key.conditions) | {
        "placement": key.placement,
        "batch_per": key.batch_per,
        "batch": key.batch,
        "accum": key.accum,
    }


def _point(curve: ScalingSeries, point: SeriesPoint, variants: Variants) -> Cells:
    runs = (*point.runs, *point.without)
    row = _key(curve.key, variants) | {
        "work": _work(runs),
        "gpus": point.gpus,
        "nodes": point.nodes,
        "n": len(point.runs),
        "status": point.status,
        "oversubscribed": point.oversubscribed,
        "note": _note(curve, point),
        **names_of(runs),
    }
    if not point.runs:
        return row
    return row | {
        **estimate("epoch_s", point.time_s),
        "freedom": point.time_s.freedom if point.time_s is not None else None,
        "epochs_counted": point.epochs,
        "within": point.within,
        "between": point.between,
        "first_epoch_s": point.first_epoch_s,
        **estimate("step_ms", point.step_ms),
        **estimate("images_per_s", point.images_per_s),
        **estimate("speedup", point.speedup),
        **estimate("efficiency", point.efficiency),
        **estimate("serial_fraction", point.serial_fraction),
        "baseline_gpus": curve.baseline_gpus if point.speedup is not None else None,
        **last_learnt(point.runs),
        "flags": flags_of((point, *point.runs)),
        SOURCE_RUNS: point.runs,
    }


def _work(runs: Sequence[Run]) -> int | None:
    """Images of an epoch, where all runs cover as many."""
    counts = {run.work for run in runs}
    return counts.pop() if len(counts) == 1 else None


def _note(curve: ScalingSeries, point: SeriesPoint) -> str:
    remarks = list(dict.fromkeys(run.note for run in point.runs if run.note))
    lost: dict[str, int] = {}
    for run in point.without:
        reason = run.note if not point.runs else f"{run.status}: {run.note}" if run.note else run.status
        lost[reason] = lost.get(reason, 0) + 1
    total = len(point.runs) + len(point.without)
    remarks += [text if total == 1 or not text else f"{count} of {total} runs: {text}" for text, count in lost.items()]
    if curve.no_baseline and point.runs and not point.oversubscribed:
        remarks.append(curve.no_baseline)
    return "; ".join(filter(None, remarks))


def _apart(key: SeriesKey, out: Apart, variants: Variants) -> Cells:
    run: Run = out.run
    time = median(run.epoch_s) if run.epoch_s else None
    return _key(key, variants) | {
        "gpus": run.gpus,
        "nodes": run.nodes,
        "work": run.work,
        "epoch_s": time,
        "n": int(run.timed),
        "epochs_counted": len(run.epoch_s),
        "first_epoch_s": run.first_epoch_s,
        "step_ms": run.step_ms,
        "images_per_s": run.images / time if run.images is not None and time else None,
        **last_learnt([run]),
        "oversubscribed": run.oversubscribed,
        "status": "apart",
        "note": "; ".join(filter(None, [out.reason, run.note])),
        "flags": flags_of([run]),
        **names_of([run]),
    }
