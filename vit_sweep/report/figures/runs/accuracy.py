"""What is learnt against batch and by epoch: accuracy (figures 7, 10, 11 of the paper), or a task's own measure.

An edge.

Accuracy on the whole test split. Where no run has one, the accuracy on training images is drawn, and every label says
so.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from launchers.text import plural, some
from vit_sweep.outcome.result import Status
from vit_sweep.plan.choices import Scaling, Task
from vit_sweep.record.metrics import metrics_of
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.sheet.axes import sheet_of, width_of
from vit_sweep.report.figures.sheet.panels import Arrangement, arrange, by_mode, run_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import CurveStyle, curve_handles, curve_styles, gpu_axis, number
from vit_sweep.runs.run import Run, counted

_NEVER_TOGETHER = ("model", "data", "task", "epochs", "scaling")

Item = tuple[Run, Scaling | None]
"""A run, and one of the modes that asked for it."""
Points = dict[tuple[int, str], dict[int, list[float]]]
"""By panel and curve, and by x: the values of repeats."""


class _Measure(NamedTuple):
    """What is drawn of a run."""

    name: str
    """In the names of files."""
    title: str
    words: str
    """Of the axis."""
    caption: str
    of_one: bool
    """A part of 1, which is shown in percent."""
    values: Callable[[Run], Sequence[float | None]]
    """After each epoch."""


_TEST = _Measure("accuracy", "Accuracy", "test accuracy", "Whole test split.", True, lambda run: run.test_accuracy)
_TRAINING = _Measure(
    "accuracy",
    "Accuracy",
    "TRAINING accuracy",
    "Accuracy on training images: no run says how it does on others.",
    True,
    lambda run: run.train_accuracy,
)


def draw_accuracy_by_batch(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw the last epoch's accuracy against images per step, a curve for each GPU count (or each micro batch)."""
    return _draw_by_batch(_accuracy_of(runs), runs, folder)


def draw_accuracy_by_epoch(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw accuracy after every epoch, a curve for each configuration; repeats are a band."""
    return _draw_by_epoch(_accuracy_of(runs), runs, folder)


def drawers_of_metrics(runs: Sequence[Run], folder: Path | None) -> dict[str, Callable[[], Figure | Skipped]]:
    """The same two figures of each other task that runs were trained for, in the first of its measures; by name."""
    metric_names = {name for run in runs for name, _ in run.test_metrics}
    first = [metrics_of(task)[0] for task in Task if metrics_of(task) and metrics_of(task)[0].name in metric_names]
    drawers: dict[str, Callable[[], Figure | Skipped]] = {}
    for metric in first:
        measure = _Measure(
            metric.name,
            metric.title[0].upper() + metric.title[1:],
            metric.title,
            f"Whole test split. {metric.meaning}",
            metric.of_one,
            partial(_metric_of, metric.name),
        )
        drawers[f"{metric.name}_batch"] = partial(_draw_by_batch, measure, runs, folder)
        drawers[f"{metric.name}_epoch"] = partial(_draw_by_epoch, measure, runs, folder)
    return drawers


def _metric_of(name: str, run: Run) -> Sequence[float | None]:
    return dict(run.test_metrics).get(name, ())


def _draw_by_batch(measure: _Measure, runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    name, noun = f"{measure.name}_batch", measure.title.lower()
    with_batch = [run for run in _measured(measure, runs) if run.global_batch is not None and not run.continued_from]
    if not with_batch:
        return Skipped(name=name, reason=f"no finished run has {_a(noun)} and a known batch")
    if len({run.global_batch for run in with_batch}) < 2:
        return Skipped(name=name, reason=f"one batch only, {with_batch[0].global_batch} {counted(with_batch)} per step")
    items, stopped = _without_stopped(by_mode(with_batch))
    # A curve runs along the batch at one GPU count; where a count has one batch only, along the GPU counts.
    along = "batch" if _several_batches(with_batch) else "gpus"
    layout = arrange(_traits(items, without=(along, "nodes")), apart=_NEVER_TOGETHER, together=("gpus",))
    points = _points(items, layout, lambda run: [(run.global_batch, _last(measure.values(run)))])
    sheet, axes = _draw(points, layout, measure, x=f"{counted(with_batch)} per step (global batch)")
    for panel in axes:
        gpu_axis(panel, sorted({run.global_batch or 0 for run in with_batch}), label="", width_in=width_of(len(axes)))
    return save(
        sheet,
        folder,
        name,
        pooled=(),
        title=f"{measure.title} against batch",
        caption=_caption(items, measure, layout, stopped),
        alt=f"Line chart of {measure.words.lower()} after the last epoch by {counted(with_batch)} per step. "
        f"{_values_text(points, layout, 'batch', measure)}",
    )


def _draw_by_epoch(measure: _Measure, runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    name, noun = f"{measure.name}_epoch", measure.title.lower()
    measured = _measured(measure, runs)
    if not measured:
        return Skipped(name=name, reason=f"no finished run has {_a(noun)}")
    if max(len(measure.values(run)) for run in measured) < 2:
        return Skipped(name=name, reason=f"no run has {_a(noun)} after more than one epoch")
    items, stopped = _without_stopped(by_mode(measured))
    layout = arrange(_traits(items, without=("nodes",)), apart=_NEVER_TOGETHER, together=("gpus",))
    points = _points(items, layout, lambda run: list(enumerate(measure.values(run), start=1)))
    sheet, axes = _draw(points, layout, measure, x="epoch")
    for panel in axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return save(
        sheet,
        folder,
        name,
        pooled=(),
        title=f"{measure.title} by epoch",
        caption=_caption(items, measure, layout, stopped),
        alt=f"Line chart of {measure.words.lower()} after every epoch. "
        f"{_values_text(points, layout, 'epoch', measure)}",
    )


def _several_batches(runs: Sequence[Run]) -> bool:
    """Whether some GPU count was run at more than one batch."""
    by_count: dict[int, set[int | None]] = {}
    for run in runs:
        by_count.setdefault(run.gpus, set()).add(run.global_batch)
    return any(len(batches) > 1 for batches in by_count.values())


def _accuracy_of(runs: Sequence[Run]) -> _Measure:
    """Of test images, if any run has it."""
    return next((measure for measure in (_TEST, _TRAINING) if _measured(measure, runs)), _TEST)


def _measured(measure: _Measure, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.status is Status.DONE and any(v is not None for v in measure.values(run))]


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _without_stopped(items: Sequence[Item]) -> tuple[list[Item], int]:
    """Without runs that stopped early beside some that did not, and how many these are: no median is over both."""
    finished = {_configuration(item) for item in items if not item[0].partial}
    pooled = [item for item in items if not item[0].partial or _configuration(item) not in finished]
    return pooled, len({run.run_id for run, _ in items} - {run.run_id for run, _ in pooled})


def _configuration(item: Item) -> tuple[tuple[str, str], ...]:
    """What repeats share."""
    return tuple(sorted((run_traits(*item) | {"nodes": ""}).items()))


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _traits(items: Sequence[Item], without: Sequence[str]) -> list[dict[str, str]]:
    return [{k: v for k, v in run_traits(run, mode).items() if k not in without} for run, mode in items]


def _points(
    items: Sequence[Item], layout: Arrangement, points: Callable[[Run], Sequence[tuple[int | None, float | None]]]
) -> Points:
    """The values of each curve's repeats at each x."""
    grouped: Points = {}
    for panel_number, panel in enumerate(layout.panels):
        for index, label in panel.curves:
            for x, y in points(items[index][0]):
                if x is not None and y is not None:
                    grouped.setdefault((panel_number, label), {}).setdefault(x, []).append(y)
    return grouped


def _draw(points: Points, layout: Arrangement, measure: _Measure, *, x: str) -> tuple[Any, list[Axes]]:
    """Medians over repeats as lines, their range as a band or bar; one scale for all panels."""
    by_gpus = len(layout.labels) > 2 and all(label.split(" ")[-1] in ("GPU", "GPUs") for label in layout.labels)
    styles = curve_styles(layout.labels, ordinal=by_gpus)
    titles = [panel.title for panel in layout.panels]
    sheet, axes = sheet_of(titles, curve_handles(styles), x=x, y=measure.words, left_out=layout.left_out)
    for index, panel_axes in enumerate(axes):
        for label in layout.labels:
            if (index, label) in points:
                _curve(panel_axes, points[index, label], styles[label])
        if measure.of_one:
            panel_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        panel_axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    everything = [value for curve in points.values() for values in curve.values() for value in values]
    low, high = min(everything), max(everything)
    room = max(0.02 if measure.of_one else 0.05 * abs(high), 0.08 * (high - low))
    for panel_axes in axes:
        panel_axes.set_ylim(max(0.0, low - room), min(1.0, high + room) if measure.of_one else high + room or 1.0)
    return sheet, axes


def _curve(axes: Axes, repeats: Mapping[int, Sequence[float]], style: CurveStyle) -> None:
    """What `seaborn.lineplot` draws, in a hundredth of its time: a sheet of many panels has a hundred curves."""
    at = sorted(repeats)
    axes.plot(
        at,
        [median(repeats[x]) for x in at],
        **style.look,
        markeredgecolor="white",
        markeredgewidth=0.4,
    )
    low, high = [min(repeats[x]) for x in at], [max(repeats[x]) for x in at]
    if low != high:
        axes.fill_between(at, low, high, color=style.color, alpha=0.18, lw=0)


def _caption(items: Sequence[Item], measure: _Measure, layout: Arrangement, stopped: int) -> str:
    most = max(Counter(map(_configuration, items)).values())
    parts = [
        measure.caption,
        f"Lines: medians; bands: range over up to {most} runs." if most > 1 else "n=1: one run a point, so no range.",
        f"Without {plural(stopped, 'run')} that stopped early." if stopped else "",
        f"{layout.left_out}." if layout.left_out else "",
        _continued(items),
    ]
    return " ".join(part for part in parts if part)


def _continued(items: Sequence[Item]) -> str:
    """Which curves other GPUs began."""
    origins = {run.run_id: run.continued_from for run, _ in items if run.continued_from}
    if not origins:
        return ""
    which = some((f"{run} from {origin}" for run, origin in sorted(origins.items())), 3)
    return f"Of these, begun on other GPUs or with another engine, with the epochs before: {which}."


def _values_text(points: Points, layout: Arrangement, axis: str, measure: _Measure, *, most: int = 8) -> str:
    """Each curve's first and last value."""
    clauses = []
    for (panel, curve), repeats in list(points.items())[:most]:
        x0, x1 = min(repeats), max(repeats)
        name = ", ".join(part for part in (layout.panels[panel].title, curve) if part)
        first, last = (
            f"{number(100 * y)}%" if measure.of_one else number(y) for y in map(median, (repeats[x0], repeats[x1]))
        )
        until = f", {last} at {axis} {x1:,}" if x1 != x0 else ""
        clauses.append(f"{name + ': ' if name else ''}{first} at {axis} {x0:,}{until}.")
    more = f" And {plural(len(points) - most, 'further curve')}." if len(points) > most else ""
    return " ".join(clauses) + more
