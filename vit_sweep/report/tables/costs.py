"""What runs needed: memory, GPU-hours, energy, waiting; and those that gave nothing. Pure, no numpy."""

from collections.abc import Iterable, Sequence
from statistics import median

from launchers.text import plural
from vit_sweep.outcome.result import Status
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.predict.memory import memory_error, used_mib
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, SIZES, bounded
from vit_sweep.report.tables.form.table import Cells, Table, table
from vit_sweep.report.tables.parts import Times, Variants, by_configuration, middle, names_of, pooled, pools, sizes_of
from vit_sweep.report.tables.scaling import infeasible
from vit_sweep.runs.run import Run

MEMORY_COLUMNS = (
    *CONFIGURATION,
    *SIZES,
    *("predicted_mib", "measured_mib", "memory_error", "memory_mib", "host_memory_mib"),
    *("n", "status", "seeds", "cell_id"),
)
FAILURE_COLUMNS = (
    *("cell_id", "status", "cause", "attempts", "sentence"),
    *CONFIGURATION,
    *SIZES,
    *("batch", "batch_per", "placement", "seeds"),
)
COST_COLUMNS = bounded(
    *CONFIGURATION,
    *("epochs", "work"),
    *SIZES,
    *("epoch_s", "n", "gpu_hours", "gpu_hours_per_epoch", "job_s", "queue_wait_s"),
    *("joules_per_image", "images_per_joule", "joules_per_epoch", "flags", "seeds", "cell_id"),
)


def memory_table(runs: Iterable[Run]) -> Table | None:
    """What was predicted for one GPU and what it took; None where neither is known, as on a CPU device."""
    known = [run for run in runs if run.memory_predicted_mib is not None or run.memory_mib is not None]
    groups = _by_configuration(known)
    variants = Variants(group[0].conditions for group in groups)
    title = "Memory of one GPU: predicted and measured"
    return table("memory", title, MEMORY_COLUMNS, [_memory(group, variants) for group in groups], known=COLUMNS)


def _memory(runs: Sequence[Run], variants: Variants) -> Cells:
    predicted = runs[0].memory_predicted_mib
    reserved = max((run.memory_mib for run in runs if run.memory_mib is not None), default=None)
    states = sorted({run.status for run in runs})
    return _configuration(runs, variants) | {
        "predicted_mib": predicted,
        "measured_mib": None if reserved is None else used_mib(reserved),
        "memory_error": memory_error(reserved, predicted),
        "memory_mib": reserved,
        "host_memory_mib": max((run.host_memory_mib for run in runs if run.host_memory_mib is not None), default=None),
        "n": sum(run.timed for run in runs),
        "status": " ".join(states),
    }


def failure_table(runs: Iterable[Run], points: Iterable[PlannedPoint]) -> Table | None:
    """Every run that ended without a time, and every point that could not be one; None if there is none."""
    failed = sorted(
        (run for run in runs if not run.timed and not run.status.under_way and run.status is not Status.DONE),
        key=lambda run: (run.status, run.cause, run.gpus, run.run_id),
    )
    variants = Variants(run.conditions for run in failed)
    rows = [
        _configuration([run], variants)
        | {"status": run.status, "cause": run.cause, "attempts": run.attempts, "sentence": run.note}
        for run in failed
    ]
    for point in points:
        if point.cell_id is None:
            row = infeasible(point)
            rows.append(row | {"sentence": row["note"], "seeds": point.axes.get("seed")})
    return table("failures", "Cells without a time, and why", FAILURE_COLUMNS, rows, known=COLUMNS)


def cost_table(runs: Iterable[Run], times: Times) -> Table | None:
    """GPU-hours, waiting and energy of every configuration that was timed; None without one."""
    timed = [run for run in runs if run.timed]
    groups = _by_configuration(timed)
    variants = Variants(group[0].conditions for group in groups)
    rows = [_cost(group, variants, times) for group in groups]
    hours = [row["gpu_hours"] for row in rows if row["gpu_hours"] is not None]
    notes = []
    if hours:
        unknown = sum(run.job_s is None for run in timed)
        left_out = f"; {plural(unknown, 'run')} did not record for how long GPUs were held" if unknown else ""
        notes = [f"together {sum(hours):.3g} GPU-hours; attempts that gave no record are not counted{left_out}"]
    return table("cost", "What the runs cost", COST_COLUMNS, rows, known=COLUMNS, notes=notes)


def _cost(runs: Sequence[Run], variants: Variants, times: Times) -> Cells:
    first, row = runs[0], variants.configuration(runs[0].conditions) | {"work": runs[0].work} | pooled(runs, times)
    job_times_s = [run.job_s for run in runs if run.job_s is not None]
    spent = [run.gpu_hours for run in runs if run.gpu_hours is not None]
    joules = middle(run.joules_per_image for run in runs)
    return row | {
        "gpu_hours": sum(spent) if spent else None,
        "gpu_hours_per_epoch": first.paid_gpus * row["epoch_s"] / 3600,
        "job_s": median(job_times_s) if job_times_s else None,
        "queue_wait_s": middle(run.queue_wait_s for run in runs),
        "joules_per_image": joules,
        "images_per_joule": 1 / joules if joules else None,
        "joules_per_epoch": joules * first.images if joules is not None and first.images is not None else None,
    }


def _by_configuration(runs: Iterable[Run]) -> list[list[Run]]:
    groups = pools(runs, by_configuration)
    return sorted(groups, key=lambda group: by_configuration(group[0]))


def _configuration(runs: Sequence[Run], variants: Variants) -> Cells:
    return variants.configuration(runs[0].conditions) | sizes_of(runs[0]) | names_of(runs)
