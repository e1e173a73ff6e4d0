"""Rules about what is learnt: the global batch, whose accuracy it is, repeated images. Pure."""

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import fmean, variance

from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Severity, points_shown, with_apart
from vit_sweep.analysis.audit.labels import steps_tell
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.cell import PADDING_WORTH_SAYING
from vit_sweep.plan.repeats import t_quantile
from vit_sweep.runs.run import Run

KNOWN = 0.02
"""An accuracy is known where the 95 % interval of its mean over seeds reaches no further to either side."""


def global_batch_grew(evidence: Evidence) -> list[Finding]:
    """Strong scaling whose images per optimizer step differ between GPU counts: another training problem each."""
    return [finding for series in evidence.strong if (finding := _grew(series)) is not None]


def _grew(series: ScalingSeries) -> Finding | None:
    runs = [run for point in with_apart(series) for run in point.runs]
    batches = [run.global_batch for run in runs if run.global_batch is not None]
    if not batches or min(batches) == max(batches) or steps_tell(series):
        return None
    low, high = min(batches), max(batches)
    rule = series.key.condition("lr_scaling")
    rate = series.key.condition("optimizer.learning_rate")
    follows = rule not in ("", "none")
    learning_rate = (
        f"the learning rate follows it ({rule})"
        if follows
        else f"the learning rate stays {rate}"
        if rate and rule
        else "nothing says that the learning rate followed it"
    )
    # Whether `batch` counts one GPU or all of them decides whether it grew.
    open_question = any("batch_per" in run.assumed for run in runs)
    return Finding(
        rule="global batch grew",
        severity=Severity.WEAKENS if follows or open_question else Severity.FALLS,
        claims=(Claim.FIXED_PROBLEM,),
        where=series.label,
        sentence=("if `batch` counts one GPU (no column batch_per says): " if open_question else "")
        + f"called strong scaling, but the global batch grows by a factor of {high / low:.3g}, from {low} to {high} "
        f"images, and {learning_rate}: each GPU count trains another problem, the last with "
        f"{low / high:.1%} of the steps",
        advice=("add a column batch_per (gpu or global), which settles it; if it grew, " if open_question else "")
        + "call it the throughput of an epoch, or run it with batch_per=global",
    )


def training_accuracy(evidence: Evidence) -> Iterator[Finding]:
    """Accuracy on the images that were trained on, and none on others."""
    measured = [run for run in evidence.runs if _stated(run.train_accuracy) or _stated(run.test_accuracy)]
    without_test = [run for run in measured if not _stated(run.test_accuracy)]
    if not without_test:
        return
    values = [_stated(run.train_accuracy)[-1] for run in without_test]
    yield Finding(
        rule="training accuracy",
        severity=Severity.FALLS,
        claims=(Claim.ACCURACY,),
        sentence=f"{len(without_test)} of {len(measured)} runs with an accuracy have that of the images they trained "
        f"on only ({min(values):.1%} to {max(values):.1%}): how well they are remembered, not how well new ones are "
        "classified",
        advice="evaluate the whole test split after an epoch, outside the timed part",
    )


def one_seed(evidence: Evidence) -> Iterator[Finding]:
    """Accuracies that rest on one seed: another start of the weights ends elsewhere."""
    for series in evidence.series:
        points = [point for point in points_shown(series) if any(_has_accuracy(run) for run in point.runs)]
        alone = [point for point in points if _seeds(point.runs) < 2]
        if alone:
            yield Finding(
                rule="one seed",
                claims=(Claim.ACCURACY, Claim.TIME_TO_ACCURACY),
                where=series.label,
                sentence=f"the accuracy of {len(alone)} of {plural(len(points), 'point')} rests on one seed "
                f"({some(plural(point.gpus, 'GPU') for point in alone)}): how far another seed ends from it is not "
                "known",
                advice="train each with several seeds, and give the interval over them",
            )


def seeds_differ(evidence: Evidence) -> Iterator[Finding]:
    """Test accuracies whose mean over seeds is not known to `KNOWN`.

    Student's t, with the variance between seeds pooled over the points of a series.
    """
    for series in evidence.series:
        ends = [(point.gpus, values) for point in points_shown(series) if len(values := _ends_by_seed(point.runs)) > 1]
        freedom = sum(len(values) - 1 for _, values in ends)
        squares = sum((len(values) - 1) * variance(values) for _, values in ends)
        widths = [t_quantile(freedom) * sqrt(squares / freedom / len(values)) for _, values in ends]
        if max(widths, default=0.0) > KNOWN:
            ranges = [
                f"{min(values):.1%} to {max(values):.1%} at {plural(gpus, 'GPU')} ({plural(len(values), 'seed')})"
                for gpus, values in ends
            ]
            yield Finding(
                rule="seeds differ",
                claims=(Claim.ACCURACY, Claim.TIME_TO_ACCURACY),
                where=series.label,
                sentence=f"the mean test accuracy over seeds is known to ±{100 * max(widths):.2g} percentage points "
                f"(95%, {plural(freedom, 'degree')} of freedom), not to {100 * KNOWN:g}: seeds end at {some(ranges)}",
                advice="train with more seeds, or for longer where they still learn, and give the interval over them",
            )


def _ends_by_seed(runs: Sequence[Run]) -> list[float]:
    """The last test accuracy of each seed, the mean of its runs; runs that do not state theirs have one each."""
    ends: dict[object, list[float]] = {}
    for run in runs:
        if values := _stated(run.test_accuracy):
            ends.setdefault(run.run_id if run.seed is None else run.seed, []).append(values[-1])
    return [fmean(values) for values in ends.values()]


def _has_accuracy(run: Run) -> bool:
    return bool(_stated(run.test_accuracy) or _stated(run.train_accuracy))


def _seeds(runs: Sequence[Run]) -> int:
    """Different seeds; runs that do not state theirs count as different."""
    stated = {run.seed for run in runs if run.seed is not None and _has_accuracy(run)}
    return len(stated) + sum(run.seed is None for run in runs if _has_accuracy(run))


def padded_images(evidence: Evidence) -> Iterator[Finding]:
    """More images through the model than the data set has: the last step is filled with repeated ones."""
    for series in evidence.series:
        padding = {point.gpus: max(map(_padding, point.runs)) for point in series.timed}
        high = {gpus: part for gpus, part in padding.items() if part > PADDING_WORTH_SAYING}
        if high:
            parts = some(f"{part:.0%} at {plural(gpus, 'GPU')}" for gpus, part in sorted(high.items()))
            yield Finding(
                rule="padded images",
                claims=(Claim.THROUGHPUT, Claim.ACCURACY),
                where=series.label,
                sentence=f"images that are repeated to fill the last step are counted as work: {parts}",
                advice="choose images that the global batch divides, or a smaller batch",
            )


def _padding(run: Run) -> float:
    return run.images / run.work - 1 if run.images is not None and run.work else 0.0


def _stated(values: tuple[float | None, ...]) -> list[float]:
    return [value for value in values if value is not None]
