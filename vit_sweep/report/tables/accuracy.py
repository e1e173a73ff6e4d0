"""Time and energy to accuracy: how long until so many test images are classified right, over seeds. Pure.

A seed that never gets there is censored: its time is longer than all its training, and nobody knows by how much. Then
there is no median and no interval, only what the median must exceed.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from statistics import fmean, median

from vit_sweep.analysis.series.series import Estimate
from vit_sweep.analysis.series.spreads import values_interval
from vit_sweep.record.learning import Reached
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, SIZES, bounded
from vit_sweep.report.tables.form.table import Cells, Table, table
from vit_sweep.report.tables.parts import Variants, by_configuration, estimate, middle, pools, runs_behind, sizes_of
from vit_sweep.report.tables.runs import energy_to_accuracy_j
from vit_sweep.runs.run import Run

ACCURACY_COLUMNS = bounded(
    *CONFIGURATION,
    *("epochs", "work"),
    *SIZES,
    *("global_batch", "target_accuracy", "n", "reached", "time_to_accuracy_s", "to_accuracy_exceeds_s", "brackets_s"),
    *("epochs_to_accuracy", "wall_to_accuracy_s", "mlperf_s", "energy_to_accuracy_j", "energy_to_accuracy_wh"),
    *("best_accuracy", "test_accuracy", "note", "flags", "seeds", "cell_id"),
)
MLPERF_RUNS = 5
"""Runs of an image classification result (MLPerf Training rules, "Benchmark Results")."""


def accuracy_table(runs: Iterable[Run], targets: Mapping[str, tuple[float, Reached]]) -> Table | None:
    """One row per configuration and target; `targets`: what was asked of each run, and when it was reached."""
    with_target = [run for run in runs if run.run_id in targets and (run.test_accuracy or targets[run.run_id][1].never)]
    groups = pools(with_target, lambda run: (by_configuration(run), targets[run.run_id][0]))
    groups.sort(key=lambda group: (by_configuration(group[0]), targets[group[0].run_id][0]))
    variants = Variants(group[0].conditions for group in groups)
    rows = [_row(group, targets, variants) for group in groups]
    return table("accuracy", "Time to accuracy", ACCURACY_COLUMNS, rows, known=COLUMNS)


def _row(runs: Sequence[Run], targets: Mapping[str, tuple[float, Reached]], variants: Variants) -> Cells:
    first, target = runs[0], targets[runs[0].run_id][0]
    ends = [targets[run.run_id][1] for run in runs]
    never = [end for end in ends if end.never]
    notes = [f"{len(never)} of {len(runs)} never reach it: no median, no interval"] if never else []
    # How far each of them came is in the table of runs.
    notes += [end.reason for end in ends if not end.never or end.diverged] + [run.note for run in runs]
    accuracies = [accuracy for run in runs for accuracy in run.test_accuracy if accuracy is not None]
    measured = {} if never else _measured(runs, ends)
    return variants.configuration(first.conditions) | {
        "work": first.work,
        **sizes_of(first),
        "global_batch": first.global_batch,
        "target_accuracy": target,
        **measured,
        "to_accuracy_exceeds_s": _exceeds(ends) if never else None,
        "brackets_s": "; ".join(
            _bracket(run, end)
            for run, end in sorted(zip(runs, ends, strict=True), key=lambda pair: (pair[0].seed or 0, pair[0].run_id))
            if end.seconds is not None
        )
        or None,
        "mlperf_s": mlperf_s([end.wall_s for end in ends], never=len(never)),
        "reached": sum(end.epoch is not None for end in ends),
        "n": len(runs),
        "best_accuracy": max(accuracies, default=None),
        "test_accuracy": middle(run.test_accuracy[-1] for run in runs if run.test_accuracy),
        "note": "; ".join(dict.fromkeys(filter(None, notes))) or None,
        **runs_behind(runs),
    }


def _measured(runs: Sequence[Run], ends: Sequence[Reached]) -> Cells:
    """Times and energy of runs that all reached the target; of those whose time is known."""
    joules = [energy_to_accuracy_j(run, end) for run, end in zip(runs, ends, strict=True)]
    energy = _interval(joules, ends) if None not in joules else None
    return {
        **estimate("time_to_accuracy_s", _interval([end.seconds for end in ends], ends)),
        "epochs_to_accuracy": middle(float(end.epoch) for end in ends if end.epoch is not None),
        **estimate("wall_to_accuracy_s", _interval([end.wall_s for end in ends], ends)),
        **estimate("energy_to_accuracy_j", energy),
        "energy_to_accuracy_wh": energy.value / 3600 if energy is not None else None,
    }


def _interval(values: Sequence[float | None], ends: Sequence[Reached]) -> Estimate | None:
    """Median and interval of what is known. A value is rounded up to the end of an epoch, by as much as its bracket."""
    known = [
        (value, 1 - end.below_s / end.seconds)
        for value, end in zip(values, ends, strict=True)
        if value is not None and end.seconds is not None and end.below_s is not None
    ]
    return values_interval([value for value, _ in known], [width for _, width in known]) if known else None


def _exceeds(ends: Sequence[Reached]) -> float | None:
    """The median over all runs is above this: those that never got there count with all their training."""
    least = [inf if end.diverged else end.trained_s if end.never else end.seconds for end in ends]
    bound = None if None in least else median(seconds for seconds in least if seconds is not None)
    return bound if bound is not None and isfinite(bound) else None


def mlperf_s(wall_s: Sequence[float | None], *, never: int) -> float | None:
    """MLPerf Training's result: the mean without the fastest and the slowest run.

    One run that never reached the target may be the slowest. None with two of them, or fewer than five runs.
    """
    known = sorted(seconds for seconds in wall_s if seconds is not None)
    if len(wall_s) < MLPERF_RUNS or never > 1 or len(known) + never < len(wall_s):
        return None
    return fmean(known[1 : len(known) - (not never)])


def _bracket(run: Run, end: Reached) -> str:
    seed = "" if run.seed is None else f"seed {run.seed}: "
    return f"{seed}{end.below_s:.4g} to {end.seconds:.4g}"
