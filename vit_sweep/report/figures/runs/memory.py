"""Memory of a GPU: measured against batch, and measured against predicted. An edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from launchers.text import plural
from vit_sweep.outcome.result import Status
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import mark_failed, scatter
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import Arrangement, arrange, run_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import QUIET, CurveStyle, curve_handles, curve_styles, gpu_axis, number
from vit_sweep.runs.run import Run, counted

NAME = "memory"
_GIB = 1024.0
_BAND = 0.1
"""Part by which a prediction may be wrong and still be called good; the band of the figure."""


def draw_memory(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw the most memory reserved on a GPU against the micro batch, and against its prediction where there is one."""
    measured = [run for run in runs if run.memory_mib and run.micro_batch]
    if not measured:
        return Skipped(name=NAME, reason="no run has measured the memory of a GPU")
    full = [run for run in runs if run.status is Status.OUT_OF_MEMORY and run.micro_batch]
    known = [*measured, *full]
    predicted = [run for run in measured if run.memory_predicted_mib]
    traits = [
        {k: v for k, v in run_traits(run).items() if k not in ("gpus", "batch", "nodes", "work", "accum", "epochs")}
        for run in known
    ]
    layout = arrange(traits, most=8)
    if len(layout.panels) > 1:
        layout = arrange([{"engine": t.get("engine", ""), "model": t.get("model", "")} for t in traits], most=8)
    labels = _labels(layout, len(known))
    styles = curve_styles(list(dict.fromkeys(labels)))
    handles = _legend(styles, full=bool(full), both=bool(predicted))
    sheet, axes = sheet_of([""] * (2 if predicted else 1), handles, share_x=False, share_y="none")
    _against_batch(axes[0], known, labels, styles)
    if predicted:
        _against_prediction(axes[1], measured, labels, styles)
    pairs = [(run.memory_mib, run.memory_predicted_mib) for run in predicted]
    errors = [took / expected - 1 for took, expected in pairs if took and expected]
    return save(
        sheet,
        folder,
        NAME,
        pooled=(),
        title="Memory of a GPU",
        caption="Most memory reserved on a GPU." + _full_text(full) + _band_text(errors),
        alt=_alt(measured, full, errors),
    )


def _labels(layout: Arrangement, many: int) -> list[str]:
    titles = [""] * many
    for panel in layout.panels:
        for index, label in panel.curves:
            titles[index] = ", ".join(part for part in (panel.title, label) if part)
    return titles


def _against_batch(axes: Axes, runs: Sequence[Run], labels: Sequence[str], styles: dict[str, CurveStyle]) -> None:
    measured = [
        (run.micro_batch or 0, run.memory_mib / _GIB, label)
        for run, label in zip(runs, labels, strict=True)
        if run.memory_mib
    ]
    top = max(y for _, y, _ in measured)
    for label, style in styles.items():
        curve_points = [(x, y) for x, y, of in measured if of == label]
        if curve_points:
            sns.lineplot(
                x=[x for x, _ in curve_points],
                y=[y for _, y in curve_points],
                **style.look,
                estimator="median",
                errorbar=("pi", 100),
                err_style="bars",
                ax=axes,
                markeredgewidth=0.4,
                legend=False,
            )
    failed = sorted(
        {
            (run.micro_batch or 0, label)
            for run, label in zip(runs, labels, strict=True)
            if run.status is Status.OUT_OF_MEMORY
        }
    )
    for order, (x, label) in enumerate(failed):
        mark_failed(axes, x, 0.985 - 0.05 * (order % 3), styles[label].color)
    axes.set_ylim(0, top * 1.18)
    gpu_axis(
        axes,
        sorted({x for x, _, _ in measured} | {x for x, _ in failed}),
        label=f"{counted(runs)} per GPU and micro step",
    )
    axes.set_ylabel("memory of a GPU (GiB)")


def _against_prediction(axes: Axes, runs: Sequence[Run], labels: Sequence[str], styles: dict[str, CurveStyle]) -> None:
    points = [
        (run.memory_predicted_mib / _GIB, run.memory_mib / _GIB, label)
        for run, label in zip(runs, labels[: len(runs)], strict=True)
        if run.memory_mib and run.memory_predicted_mib
    ]
    top = 1.08 * max(max(x, y) for x, y, _ in points)
    axes.fill_between([0, top], [0, (1 - _BAND) * top], [0, (1 + _BAND) * top], color="0.9", lw=0, zorder=0)
    axes.plot([0, top], [0, top], color=QUIET, linestyle="--", lw=1.0, zorder=1)
    for label, style in styles.items():
        scatter(axes, [(x, y) for x, y, of in points if of == label], style, size=22)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted (GiB)", ylabel="measured (GiB)")
    axes.set_aspect("equal", adjustable="box")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))


def _legend(styles: dict[str, CurveStyle], *, full: bool, both: bool) -> list[Any]:
    handles: list[Any] = [*curve_handles(styles)]
    if both:
        handles.append(Line2D([], [], color=QUIET, linestyle="--", lw=1.0, label="measured = predicted"))
    if full:
        text = "did not fit"
        handles.append(Line2D([], [], linestyle="none", marker="X", ms=5, mfc="white", mec=QUIET, label=text))
    return handles


def _full_text(full: Sequence[Run]) -> str:
    if not full:
        return ""
    batches = ", ".join(f"{batch:,}" for batch in sorted({run.micro_batch or 0 for run in full}))
    return f" Out of memory: {plural(len(full), 'run')}, at {batches} {counted(full)} per GPU."


def _band_text(errors: Sequence[float]) -> str:
    if not errors:
        return " No prediction is known."
    return f" Band: prediction {100 * _BAND:.0f}% off. {_errors_text(errors)}"


def _errors_text(errors: Sequence[float]) -> str:
    low, high = 100 * min(errors), 100 * max(errors)
    return f"Measured against predicted: {low:+.0f}% to {high:+.0f}% over {plural(len(errors), 'run')}."


def _alt(measured: Sequence[Run], full: Sequence[Run], errors: Sequence[float]) -> str:
    least, most = (pick(measured, key=lambda run: run.memory_mib or 0.0) for pick in (min, max))
    summary = "; ".join(
        f"{number((run.memory_mib or 0.0) / _GIB)} GiB at {run.micro_batch} {counted([run])} per GPU"
        for run in (least, most)
    )
    kind = "Line chart of measured GPU memory against batch"
    kind += ", and scatter plot against the prediction" if errors else ""
    return f"{kind}. {summary}.{_full_text(full)} {_errors_text(errors) if errors else ''}".strip()
