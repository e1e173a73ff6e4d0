"""Time to accuracy: how long until so many test images are classified right. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from vit_sweep.analysis.series.series import Estimate
from vit_sweep.analysis.series.spreads import values_interval
from vit_sweep.record.learning import Reached
from vit_sweep.report.tables.columns import COLUMNS, WHAT, bounded
from vit_sweep.report.tables.parts import Variants, by_configuration, estimate, flags_of, middle, names_of, pools
from vit_sweep.report.tables.table import Cells, Table, table
from vit_sweep.runs.run import Run

ACCURACY_COLUMNS = bounded(
    *WHAT, "epochs", "work", "gpus", "nodes", "micro_batch", "accum", "global_batch", "target_accuracy",
    "time_to_accuracy_s", "epochs_to_accuracy", "reached", "n", "best_accuracy", "test_accuracy", "note", "flags",
    "seeds", "cell_id",
)  # fmt: skip


def reached_by(run: Run, target: float) -> Reached:
    """When a run reached `target`, from its own epochs; for runs that nobody recorded (`learning` reads records)."""
    known = [accuracy for accuracy in run.test_accuracy if accuracy is not None]
    if not known:
        return Reached(seconds=None, epoch=None, reason="its test accuracy was not recorded")
    first = next((at for at, found in enumerate(run.test_accuracy, 1) if found is not None and found >= target), None)
    if first is None:
        said = f"never reached {target:g} in {len(run.test_accuracy)} epoch(s); the best was {max(known):.3g}"
        return Reached(seconds=None, epoch=None, reason=said)
    if len(run.epoch_all_s) < first:
        return Reached(
            seconds=None, epoch=first, reason=f"reached {target:g} in epoch {first}; its times are not known"
        )
    return Reached(seconds=sum(run.epoch_all_s[:first]), epoch=first)


def accuracy_table(
    runs: Iterable[Run],
    found: Mapping[str, tuple[float, Reached]],
) -> Table | None:
    """One row per configuration and target; `found`: target and when it was reached, by run."""
    asked = [run for run in runs if run.run_id in found and run.test_accuracy]
    groups = pools(asked, lambda run: (by_configuration(run), found[run.run_id][0]))
    groups.sort(key=lambda group: (by_configuration(group[0]), found[group[0].run_id][0]))
    variants = Variants(group[0].conditions for group in groups)
    rows = [_row(group, found, variants) for group in groups]
    return table("accuracy", "Time to accuracy", ACCURACY_COLUMNS, rows, known=COLUMNS)


def _row(
    runs: Sequence[Run],
    found: Mapping[str, tuple[float, Reached]],
    variants: Variants,
) -> Cells:
    first, target = runs[0], found[runs[0].run_id][0]
    ends = [found[run.run_id][1] for run in runs]
    seconds = [end.seconds for end in ends if end.seconds is not None]
    time: Estimate | None = values_interval(seconds) if seconds else None
    accuracies = [one for run in runs for one in run.test_accuracy if one is not None]
    notes = [end.reason for end in ends] + [run.note for run in runs]
    return variants.what(first.conditions) | {
        "work": first.work,
        "gpus": first.gpus,
        "nodes": first.nodes,
        "micro_batch": first.micro_batch,
        "accum": first.accum,
        "global_batch": first.global_batch,
        "target_accuracy": target,
        **estimate("time_to_accuracy_s", time),
        "epochs_to_accuracy": middle(float(end.epoch) for end in ends if end.epoch is not None),
        "reached": sum(end.epoch is not None for end in ends),
        "n": len(runs),
        "best_accuracy": max(accuracies, default=None),
        "test_accuracy": middle(run.test_accuracy[-1] for run in runs),
        "note": "; ".join(dict.fromkeys(filter(None, notes))) or None,
        "flags": flags_of(runs),
        **names_of(runs),
    }
