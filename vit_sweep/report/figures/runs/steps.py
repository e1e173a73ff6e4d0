"""How the steps of a run are distributed, with the quantiles that tables show. An edge."""

from collections.abc import Sequence
from math import log10
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from launchers.text import plural
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.record.stats import TAIL
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import arrange, series_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import CurveStyle, curve_handles, curve_styles, number, plain_log
from vit_sweep.runs.run import Run

NAME = "steps"
_MARKED = (0.5, *TAIL)
_NEVER_TOGETHER = ("model", "data", "scaling")


def draw_steps(series: Sequence[ScalingSeries], folder: Path | None) -> Figure | Skipped:
    """Draw the distribution of steps, a curve for each point of a series; of repeats the mean of each percentile."""
    curves = [
        (traits | {"scaling": of.key.scaling.value, "gpus": str(point.gpus), "nodes": str(point.nodes or "")}, ladders)
        for of, traits in zip(series, series_traits(series), strict=True)
        for point in of.timed
        if not point.oversubscribed
        and (ladders := [run.step_percentiles_ms for run in point.runs if run.step_percentiles])
    ]
    if not curves:
        return Skipped(name=NAME, reason="no run has enough steps that count")
    layout = arrange([traits for traits, _ in curves], apart=_NEVER_TOGETHER, together=("gpus",))
    styles = curve_styles(layout.labels, ordinal=len(layout.labels) > 2)
    titles, left = [panel.title for panel in layout.panels], layout.left_out
    x, y = "optimizer step (ms)", "steps that take no longer"
    sheet, axes = sheet_of(titles, curve_handles(styles), x=x, y=y, share_x=False, left_out=left)
    for panel_axes, panel in zip(axes, layout.panels, strict=True):
        means = [[fmean(step) for step in zip(*curves[index][1], strict=True)] for index, _ in panel.curves]
        for percentiles, (_, label) in zip(means, panel.curves, strict=True):
            _draw(panel_axes, percentiles, styles[label])
        panel_axes.set_ylim(0, 1.05)  # room for the marks at 99 %
        panel_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _scale(panel_axes, means, ticks=6 if len(axes) <= 2 else 4)
    runs = {run.run_id: run for of in series for point in of.timed for run in point.runs if run.step_percentiles}
    return save(
        sheet,
        folder,
        NAME,
        title="Distribution of steps",
        caption="Optimizer steps after the warm-up, those of the first epoch too, each the slowest rank's; of repeats "
        "the mean. "
        "Marks: half, "
        + " and ".join(f"{100 * quantile:.0f}%" for quantile in TAIL)
        + " of the steps take no longer; the line goes to the longest."
        + (f" {left}." if left else ""),
        pooled=runs.values(),
        alt=f"Cumulative distribution of step times of {plural(len(runs), 'run')}. {_widest(list(runs.values()))}",
    )


def _draw(axes: Axes, percentiles: Sequence[float], style: CurveStyle) -> None:
    many = len(percentiles) - 1
    axes.plot(
        percentiles,
        [place / many for place in range(many + 1)],
        **style.look,
        markevery=[round(quantile * many) for quantile in _MARKED],
    )


def _scale(axes: Axes, curves: Sequence[Sequence[float]], *, ticks: int) -> None:
    """Logarithmic where the steps span more than a decade."""
    shortest, longest = min(steps[0] for steps in curves), max(steps[-1] for steps in curves)
    if longest > 10 * shortest:
        axes.set_xscale("log")
        plain_log(axes.xaxis, log10(longest / shortest))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _widest(runs: Sequence[Run]) -> str:
    """The run whose slow steps lie farthest from its median."""

    def stretch(run: Run) -> float:
        return run.step_percentiles_ms[95] / run.step_percentiles_ms[50]

    run = max(runs, key=stretch)
    return (
        f"Farthest from its median is a run on {plural(run.gpus, 'GPU')}: half of its steps take at most "
        f"{number(run.step_percentiles_ms[50])} ms, 95% at most {number(run.step_percentiles_ms[95])} ms."
    )
