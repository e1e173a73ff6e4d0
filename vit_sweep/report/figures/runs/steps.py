"""How the steps of a run are distributed, with the quantiles that tables show. An edge."""

from collections.abc import Sequence
from math import log10
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from vit_sweep.record.stats import TAIL
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.panels import arrange, by_mode, run_traits
from vit_sweep.report.figures.save import save
from vit_sweep.report.figures.sheets import columns_of, label_panels, sheet_of, title_panel, width_of
from vit_sweep.report.figures.style import CurveStyle, counted, curve_styles, number, plain_log
from vit_sweep.runs.run import Run

NAME = "steps"
_MARKED = (0.5, *TAIL)
_NEVER_TOGETHER = ("model", "data", "scaling")


def draw_steps(runs: Sequence[Run], folder: Path) -> Figure | Skipped:
    """Draw the distribution of steps, a curve for each configuration; of repeats the mean of each quantile."""
    known = [run for run in runs if run.step_percentiles_ms and not run.oversubscribed]
    if not known:
        return Skipped(name=NAME, reason="no run has enough steps that count")
    items = by_mode(known)
    traits = [{k: v for k, v in run_traits(run, mode).items() if k != "nodes"} for run, mode in items]
    layout = arrange(traits, apart=_NEVER_TOGETHER, together=("gpus",))
    styles = curve_styles(layout.labels, ordinal=len(layout.labels) > 2)
    handles = [
        Line2D([], [], color=s.color, marker=s.marker, linestyle=s.dash, label=label)
        for label, s in styles.items()
        if len(layout.labels) > 1
    ]
    sheet, axes = sheet_of(len(layout.panels), handles, share_x=False)
    for panel_axes, panel in zip(axes, layout.panels, strict=True):
        for label in dict.fromkeys(label for _, label in panel.curves):
            ladders = [items[index][0].step_percentiles_ms for index, of in panel.curves if of == label]
            _draw(panel_axes, [fmean(step) for step in zip(*ladders, strict=True)], styles[label])
        title_panel(panel_axes, panel.title, width_of(len(axes)))
        panel_axes.set_ylim(0, 1.02)
        panel_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _scale(panel_axes, [items[index][0] for index, _ in panel.curves])
    label_panels(axes, x="optimizer step (ms)", y="steps that take no longer", columns=columns_of(len(axes)))
    return save(
        sheet,
        folder,
        NAME,
        title="Distribution of steps",
        caption="Steps of the epochs that count after the warm-up, each the slowest rank's. Marks: half, "
        + " and ".join(f"{quantile:.0%}" for quantile in TAIL)
        + " of the steps take no longer; the line goes to the longest."
        + (f" {layout.left_out}." if layout.left_out else ""),
        alt=f"Cumulative distribution of step times of {counted(len(known), 'run')}. {_widest(known)}",
    )


def _draw(axes: Axes, percentiles: Sequence[float], style: CurveStyle) -> None:
    many = len(percentiles) - 1
    axes.plot(
        percentiles,
        [place / many for place in range(many + 1)],
        color=style.color,
        linestyle=style.dash,
        marker=style.marker,
        markevery=[round(quantile * many) for quantile in _MARKED],
    )


def _scale(axes: Axes, runs: Sequence[Run]) -> None:
    """Logarithmic where the steps span more than a decade."""
    shortest, longest = (pick(run.step_percentiles_ms[end] for run in runs) for pick, end in ((min, 0), (max, -1)))
    if longest > 10 * shortest:
        axes.set_xscale("log")
        plain_log(axes.xaxis, log10(longest / shortest))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _widest(runs: Sequence[Run]) -> str:
    """The run whose slow steps lie farthest from its median."""

    def stretch(run: Run) -> float:
        return run.step_percentiles_ms[95] / run.step_percentiles_ms[50]

    run = max(runs, key=stretch)
    return (
        f"Farthest from its median is a run on {counted(run.gpus, 'GPU')}: half of its steps take at most "
        f"{number(run.step_percentiles_ms[50])} ms, 95 % at most {number(run.step_percentiles_ms[95])} ms."
    )
