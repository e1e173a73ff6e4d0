"""What one setting does while all else is equal: batch and accumulation. Pure."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from vit_sweep.analysis.series.estimates import scaled
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, LEARNT, SIZES, bounded
from vit_sweep.report.tables.form.table import Cells, Table, table
from vit_sweep.report.tables.parts import Times, Variants, estimate, pooled, pools
from vit_sweep.runs.run import Run

_EFFECT = bounded(
    *CONFIGURATION,
    *("epochs", "work"),
    *SIZES,
    *("global_batch", "epoch_s", "n", "step_ms", "images_per_s", "throughput_ratio"),
    *("train_accuracy", "test_accuracy", *LEARNT, "memory_mib", "note", "flags", "seeds", "cell_id"),
)
BATCH_COLUMNS = _EFFECT
ACCUM_COLUMNS = (*_EFFECT[: _EFFECT.index("gpus")], "held", *_EFFECT[_EFFECT.index("gpus") :])


def batch_table(runs: Iterable[Run], times: Times) -> Table | None:
    """Time, throughput and accuracy against the micro batch, at equal GPUs and all else; None without two batches.

    `runs`: comparable ones (`parts.comparable`).
    """
    groups = pools(
        (run for run in runs if run.micro_batch is not None),
        lambda run: (run.conditions, run.gpus, run.nodes or 0, run.work or 0, run.accum or 0),
    )
    rows = _rows(groups, lambda run: run.micro_batch or 0, times)
    title = "Effect of the micro batch, at equal GPUs"
    return table("batch", title, BATCH_COLUMNS, rows, known=COLUMNS, notes=[_LEARNS])


def accum_table(runs: Iterable[Run], times: Times) -> Table | None:
    """The same against accumulation: once with the micro batch equal, once with the global batch."""
    known = [run for run in runs if run.micro_batch is not None and run.accum is not None]
    settings: Mapping[str, Callable[[Run], int | None]] = {
        "micro batch": lambda run: run.micro_batch,
        "global batch": lambda run: run.global_batch,
    }
    rows: list[Cells] = []
    for held_name, value in settings.items():
        rows += [row | {"held": held_name} for row in _rows(_equal_in(known, value), lambda run: run.accum or 0, times)]
    title = "Effect of gradient accumulation, at equal GPUs"
    return table("accumulation", title, ACCUM_COLUMNS, rows, known=COLUMNS, notes=[_LEARNS])


def _equal_in(runs: Sequence[Run], value: Callable[[Run], int | None]) -> list[list[Run]]:
    return pools(runs, lambda run: (run.conditions, run.gpus, run.nodes or 0, run.work or 0, value(run) or 0))


_LEARNS = (
    "With another global batch, a run takes other steps and another number of them: accuracies differ for that reason "
    "too, unless the learning rate follows the batch."
)


def _rows(groups: Sequence[Sequence[Run]], by: Callable[[Run], int], times: Times) -> list[Cells]:
    """The rows of the groups in which the setting has two values or more, smallest first."""
    telling = [group for group in groups if len({by(run) for run in group}) > 1]
    telling.sort(key=lambda group: _order(group[0]))
    variants = Variants(group[0].conditions for group in telling)
    rows = []
    for group in telling:
        steps = sorted(pools(group, by), key=lambda step: by(step[0]))
        for step in steps:
            ratio = _rate_ratio(step, steps[0], times) if step is not steps[0] else None
            rows.append(
                variants.configuration(step[0].conditions)
                | {"work": step[0].work}
                | pooled(step, times)
                | {"note": "; ".join(dict.fromkeys(run.note for run in step if run.note))}
                | estimate("throughput_ratio", ratio)
            )
    return rows


def _rate_ratio(over: Sequence[Run], under: Sequence[Run], times: Times) -> Estimate | None:
    """Images a second of one pool over another's; where nobody said how many images, epochs a second.

    None where runs of a pool disagree on the images of an epoch.
    """
    images = [{run.images for run in runs} for runs in (over, under)]
    if any(len(values) > 1 for values in images):
        return None
    more, fewer = (values.pop() or 1 for values in images)
    return scaled(times.ratio(under, over).estimate, more / fewer)


def _order(run: Run) -> tuple[Hashable, ...]:
    return (run.conditions, run.work or 0, run.gpus, run.nodes or 0, run.micro_batch or 0, run.accum or 0)
