"""Trainings that went on from another cell's checkpoint: what they learnt and what they took, never a time. Pure."""

from collections.abc import Iterable

from vit_sweep.outcome.result import Status
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, SIZES
from vit_sweep.report.tables.form.table import SOURCE_RUNS, Table, table
from vit_sweep.report.tables.parts import Variants, last_learnt, names_of, sizes_of
from vit_sweep.runs.run import Run

CONTINUED_COLUMNS = (
    *CONFIGURATION,
    *("continued_from", "epochs", "work"),
    *SIZES,
    *("global_batch", "train_accuracy", "test_accuracy", "gpu_hours", "note", "seeds", "cell_id"),
)


def continued_table(runs: Iterable[Run]) -> Table | None:
    """One row a run: repeats are pooled with nobody."""
    done = [run for run in runs if run.continued_from and run.status is Status.DONE]
    variants = Variants(run.conditions for run in done)
    rows = [
        variants.configuration(run.conditions)
        | {
            "continued_from": run.continued_from,
            "work": run.work,
            **sizes_of(run),
            "global_batch": run.global_batch,
            **last_learnt([run]),
            "gpu_hours": run.gpu_hours,
            "note": run.note,
            **names_of([run]),
            SOURCE_RUNS: (run,),
        }
        for run in sorted(done, key=lambda run: (run.continued_from, run.gpus, run.run_id))
    ]
    title = "Trainings that went on from another cell's checkpoint, on other GPUs or with another engine"
    notes = ["these are in no series, no ratio and no fit; their GPU-hours are not among those of the costs"]
    return table("continued", title, CONTINUED_COLUMNS, rows, known=COLUMNS, notes=notes)
