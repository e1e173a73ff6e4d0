"""Every column of every table: title, unit, meaning. The place for them; docs/reference/columns.md is made of them."""

from vit_sweep.record.metrics import METRICS
from vit_sweep.report.tables.form.table import HIGH, LOW, Column

_RUNS = "of the runs that are pooled here"


def _column(name: str, title: str, unit: str, meaning: str, *, percent: bool = False) -> Column:
    return Column(name=name, title=title, unit=unit, meaning=meaning, percent=percent)


def with_bounds(
    name: str, title: str, unit: str = "", meaning: str = "", *, percent: bool = False
) -> tuple[Column, ...]:
    """A number and the two bounds of its 95 % interval."""
    interval = f"{name}: 95% interval over runs (docs/results/trust.md); empty with one run"
    return (
        _column(name, title, unit, meaning, percent=percent),
        *(
            Column(
                name=name + end,
                title=f"{title}, {bound}",
                unit=unit,
                percent=percent,
                bound_of=name,
                meaning=f"{bound_name} bound of {interval}.",
            )
            for end, bound, bound_name in ((LOW, "low", "Lower"), (HIGH, "high", "Upper"))
        ),
    )


def _by_name(*columns: Column | tuple[Column, ...]) -> dict[str, Column]:
    groups = (group if isinstance(group, tuple) else (group,) for group in columns)
    return {column.name: column for group in groups for column in group}


CONFIGURATION = ("model", "data", "precision", "engine", "optimizer", "partition", "gpu_model", "variant")
"""What every row says of its configuration; what is equal in all rows is said once above a printed table."""

SIZES = ("gpus", "nodes", "micro_batch", "accum")
"""How large a run is, in the order of the tables."""

LEARNT = tuple(metric.column for metric in METRICS)
"""How well tasks are learnt that have no accuracy."""

COLUMNS = _by_name(
    _column("model", "model", "", "Name of the model's configuration."),
    _column("data", "data", "", "Name of the data set."),
    _column("precision", "precision", "", "Number format of weights and activations."),
    _column("engine", "engine", "", "Name of the engine's configuration."),
    _column("optimizer", "optimizer", "", "Name of the optimizer's configuration."),
    _column("partition", "partition", "", "Name of the partition's profile."),
    _column("gpu_model", "GPU", "", "The GPU that was asked for."),
    _column("variant", "variant", "", "Other values that tell the rows of this table apart: model.layers=4."),
    _column("placement", "placement", "", "packed: as few nodes as possible; spread: as many; nodes=N: given."),
    _column("batch_per", "batch per", "", "gpu: `batch` is the micro batch; global: images per optimizer step."),
    _column("batch", "batch", "images", "Micro batch or global batch, as batch_per says."),
    _column("micro_batch", "micro batch", "images", "Images per GPU per forward."),
    _column("accum", "accum", "", "Micro steps per optimizer step."),
    _column("global_batch", "global batch", "images", "micro_batch x accum x gpus / sequence, per optimizer step."),
    _column("work", "images", "images", "Images that an epoch covers, repeated ones not counted."),
    _column("epochs", "epochs", "", "Epochs that were asked for."),
    _column("gpus", "GPUs", "", "All GPUs of the run: ranks, world size."),
    _column("nodes", "nodes", "", "Hosts that they are on."),
    _column("zero_stage", "ZeRO", "", "DeepSpeed's ZeRO stage."),
    *with_bounds("epoch_s", "epoch s", "s", f"Median over runs, {_RUNS}, of each run's median epoch that counts."),
    _column("n", "n", "", "Runs that are pooled."),
    _column("freedom", "d.f.", "", "Degrees of freedom of the interval on epoch_s, of all cells that are pooled."),
    _column("epochs_counted", "epochs counted", "", "Epochs behind them, over all runs; a mean counts as one."),
    _column("within", "within", "", "Spread inside runs: median over runs of (max - min) / median of its epochs.",
            percent=True),
    _column("between", "between", "", "Spread between runs: (max - min) / median of their medians.", percent=True),
    _column("first_epoch_s", "first epoch s", "s", "Median over runs of the cold first epoch, which is nowhere else."),
    *with_bounds("step_ms", "step ms", "ms",
                  "Median over runs of the median optimizer step, max over ranks; the run's first warmup_steps are "
                  "left out."),
    *with_bounds("images_per_s", "images/s", "images/s",
                  "Images through the model in an epoch, with those repeated to fill its last step, over the "
                  "epoch time."),
    *with_bounds("speedup", "speedup", "", "Strong: T(p0)/T(p). Weak: efficiency x p/p0 (scaled speedup)."),
    *with_bounds("efficiency", "eff.", "", "Strong: speedup / (p/p0). Weak: T(p0)/T(p).", percent=True),
    *with_bounds("serial_fraction", "serial fraction", "",
                  "Karp and Flatt's (1/S - 1/q) / (1 - 1/q), q = p/p0; strong scaling only."),
    _column("baseline_gpus", "baseline", "", "p0: the GPUs of the series' baseline."),
    _column("train_accuracy", "train acc.", "", "Median over runs, after the last epoch, of the training images.",
            percent=True),
    _column("test_accuracy", "test acc.", "", "Median over runs, after the last epoch, of the whole test split.",
            percent=True),
    *(
        _column(metric.column, metric.title, "", f"Median over runs, after the last epoch. {metric.meaning}",
                percent=metric.of_one)
        for metric in METRICS
    ),
    _column("oversubscribed", "oversubscribed", "", "More ranks than cores: its times say nothing about scaling."),
    _column("status", "status", "", "done, or what became of it; apart: it may not be pooled, see note."),
    _column("note", "note", "", "What a reader of the row must know."),
    _column("continued_from", "goes on from", "", "The checkpoint of another cell, CELL/CHECKPOINT."),
    _column("question", "question", "", "What the sweep was asked, until=."),
    _column("look", "look", "", "Number of the look at that question."),
    _column("answer", "answer by then", "", "What was known, with its interval."),
    _column("changed", "changed", "", "What the runs since the look before did to it."),
    _column("chosen", "chosen", "", "GPU counts and runs that came next, or why it stopped, in a word."),
    _column("why", "why", "", "Why each was chosen, or why it stopped."),
    _column("spent_gpu_hours", "spent GPU-h", "h", "GPU-hours of the curve's finished runs by then."),
    _column("flags", "flags", "", "Reasons to distrust its times."),
    _column("seeds", "seeds", "", "Seeds of the runs of this row."),
    _column("cell_id", "cells", "", "Ids of the runs of this row, those without a time included."),
    *with_bounds("throughput_ratio", "throughput ratio", "",
                  "images_per_s over that of the first row of its group (the smallest batch or accum)."),
    _column("held", "held equal", "", "What stays the same along the group: micro batch or global batch."),
    _column("memory_mib", "memory MiB", "MiB", "Most that torch reserved on one GPU, over ranks and runs."),
    _column("certificate", "certificate", "",
            "How far the engine's weights are from those of one process after the same steps, as a part of their "
            "movement; without one that holds the row is compared with nothing."),
    _column("reference", "reference", "", "What the ratio divides by."),
    _column("reference_nodes", "its nodes", "", "Hosts of the reference."),
    *with_bounds("reference_epoch_s", "its epoch s", "s", "Like epoch_s, of the reference."),
    _column("reference_n", "its n", "", "Runs of the reference."),
    *with_bounds("time_ratio", "time ratio", "", "epoch_s / reference_epoch_s: above 1 is slower."),
    _column("time_ratio_predicted", "predicted", "",
            "The same ratio of step times as the plan expects them by operations and links alone."),
    _column("memory_saved", "memory saved", "", "1 - memory_mib / that of the reference, each with the CUDA context; "
            "below 0: more is needed.", percent=True),
    _column("memory_saved_predicted", "predicted to save", "", "The same of what the plan expects.", percent=True),
    _column("exposed_ms", "exposed ms", "ms", "Median over runs of communication per step that no computation hides."),
    _column("verdict", "verdict", "",
            "faster or slower where the ratio is not 1 (5% for the whole table, Holm), else that they cannot be told "
            "apart."),
    _column("communication_ms", "comm. ms", "ms", "Median over runs of communication per step, the least over ranks; "
            "of imported runs as their source has it."),
    _column("reference_communication_ms", "its comm. ms", "ms", "Like communication_ms, of the reference."),
    _column("predicted_mib", "predicted MiB", "MiB", "What the plan expects one GPU to need, CUDA context included."),
    _column("measured_mib", "measured MiB", "MiB", "memory_mib + the CUDA context, which torch does not count."),
    _column("memory_error", "error", "", "measured / predicted - 1; above 0: it needs more than the plan thinks.",
            percent=True),
    _column("sequence", "sequence", "", "Ranks that share the tokens of the same images."),
    _column("smallest_px", "smallest px", "px", "Pixels of a side of the smallest image that was trained."),
    _column("largest_px", "largest px", "px", "The same of the largest; speed and memory of the row are its own."),
    _column("too_large_px", "too large px", "px", "The smallest image that ran out of memory."),
    _column("host_memory_mib", "host MiB", "MiB", "Most resident memory of one rank's process."),
    _column("cause", "cause", "", "How the last attempt ended, in one word."),
    _column("attempts", "attempts", "", "Attempts that were begun."),
    _column("sentence", "why", "", "What happened, and to which rank, in one sentence."),
    _column("gpu_hours", "GPU-h", "h", "GPUs that were held x job_s / 3600, summed over the runs: start-up, evaluation "
            "and GPUs that wait in a shared allocation included."),
    _column("gpu_hours_per_epoch", "GPU-h/epoch", "h", "GPUs that a job of its own holds x epoch_s / 3600."),
    _column("job_s", "job s", "s", "Median over runs of the wall time for which a job held its GPUs."),
    _column("queue_wait_s", "queue wait s", "s", "Median over runs, from submission to the start of the last attempt."),
    _column("joules_per_image", "J/image", "J", "Median over runs; energy of all GPUs in training, hosts left out."),
    _column("joules_per_epoch", "J/epoch", "J", "joules_per_image x images of an epoch."),
    _column("images_per_joule", "images/J", "images/J", "1 / joules_per_image."),
    _column("target_efficiency", "target", "", "Efficiency whose problem size is looked for.", percent=True),
    *with_bounds("batch_needed", "images a step", "images",
                  "Least images of an optimizer step at which the GPUs reach it (isoefficiency), interpolated between "
                  "the two batches that follow; empty where one is missing."),
    _column("tflop_needed", "TFLOP a step", "TFLOP", "The same as operations of training."),
    _column("below_batch", "below at", "images", "The largest measured batch before it, which does not reach it."),
    _column("below_efficiency", "eff. there", "", "Its efficiency.", percent=True),
    _column("reached_batch", "reached at", "images", "The smallest measured batch that reaches it."),
    _column("reached_efficiency", "eff. of it", "", "Its efficiency.", percent=True),
    _column("target_accuracy", "target", "", "Test accuracy that was asked for.", percent=True),
    *with_bounds("time_to_accuracy_s", "time to accuracy s", "s",
                  "Median over runs: all epochs up to the first that reaches it, evaluation not counted. Empty where a "
                  "run never does."),
    _column("to_accuracy_exceeds_s", "exceeds s", "s", "Where some runs never reach it: the median over all runs is "
            "above this, since those count with all their training."),
    _column("brackets_s", "between s", "s", "Of each run: training time at its last evaluation below the target, and "
            "at the first that has it."),
    *with_bounds("wall_to_accuracy_s", "wall time to it s", "s",
                  "The same on MLPerf Training's clock: from the first touch of the data set to the end of the "
                  "evaluation that has it, whatever lies between."),
    _column("mlperf_s", "MLPerf s", "s", "Mean of wall_to_accuracy_s without the fastest and the slowest run; from 5 "
            "runs on. One run that never reaches it may be the slowest."),
    *with_bounds("energy_to_accuracy_j", "energy to accuracy J", "J",
                  "Median over runs of the mean power of all GPUs in training x the run's time_to_accuracy_s; hosts "
                  "left out."),
    _column("energy_to_accuracy_wh", "Wh", "Wh", "energy_to_accuracy_j / 3600."),
    _column("epochs_to_accuracy", "epochs to it", "", "Median over runs of the number of that epoch."),
    _column("reached", "reached", "", "Runs that reach it."),
    _column("array", "array", "", "The jobs that were submitted together: their folder's name in jobs/."),
    _column("jobs", "jobs", "", "Cells that it has."),
    _column("strategy", "strategy", "", "How its cells were sent: one job a cell, or one job for all."),
    _column("forecast_by", "forecast by", "", "What said when its first job starts: a look at the queue just before it "
            "was submitted, or Slurm's plan, of the submitted job."),
    _column("expected_wait_s", "expected s", "s", "From the submission to the start that was expected; 0: at once."),
    Column(name="expected_wait_s" + LOW, title="expected s, low", unit="s", bound_of="expected_wait_s",
           meaning="Lower bound of what was expected; empty where nothing said how far off it may be."),
    Column(name="expected_wait_s" + HIGH, title="expected s, high", unit="s", bound_of="expected_wait_s",
           meaning="Upper bound of what was expected."),
    _column("wait_s", "waited s", "s", "From the submission to the first line of its first job."),
    _column("wait_error_s", "error s", "s", "How much later than expected it began; below 0: earlier."),
    _column("submitted_at", "submitted at", "", "When Slurm had it (UTC)."),
    _column("best_accuracy", "best acc.", "", "Best test accuracy of any run after any epoch.", percent=True),
)  # fmt: skip


def bounded(*names: str) -> tuple[str, ...]:
    """The names with those of their bounds behind them, where they have any."""
    return tuple(
        full for name in names for full in (name, *(name + end for end in (LOW, HIGH) if name + end in COLUMNS))
    )
