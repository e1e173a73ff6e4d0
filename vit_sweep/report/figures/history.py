"""Epoch times by commit, and since when they are others. An edge."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from launchers.text import plural
from vit_sweep.analysis.gate.history import Entry, Step, Times
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import MOST_PANELS
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import COLORS, QUIET, SMALL, theme

NAME = "history"
_COMMITS = 6
"""Of an axis that are named."""


def draw_history(
    entries: Sequence[Entry], times: Sequence[Times], steps: Sequence[Step], folder: Path
) -> Figure | Skipped:
    """Draw a panel for each cell: its time by commit, change points, and where one of its counts changed."""
    shown = [series for series in times if len(series.moments) > 1][:MOST_PANELS]
    if not shown:
        return Skipped(name=NAME, reason="a history needs two gates of a cell on the same kind of machine")
    with theme():
        return _drawn(entries, shown, steps, folder, not_drawn=len(times) - len(shown))


def _drawn(
    entries: Sequence[Entry], histories: Sequence[Times], steps: Sequence[Step], folder: Path, *, not_drawn: int
) -> Figure:
    changed = any(series.changes for series in histories)
    counted = any(step.cell == series.cell for series in histories for step in steps)
    handles = [Line2D([], [], color=COLORS[0], marker="o", ms=3, lw=0.8, label="median over runs")]
    handles += [Line2D([], [], color=COLORS[2], lw=2.5, alpha=0.5, label="change of the time")] if changed else []
    handles += [Line2D([], [], color=QUIET, lw=1.0, linestyle=":", label="change of a count")] if counted else []
    several = len({series.machine for series in histories}) > 1
    titles = [f"{s.cell} ({s.machine})" if several and s.machine else s.cell for s in histories]
    x, y, wide = "commit", "epoch time (s)", len(histories) == 1
    sheet, axes = sheet_of(titles, handles, x=x, y=y, share_x=False, share_y="none", wide=wide)
    for panel, series in zip(axes, histories, strict=True):
        _panel(panel, series, [step for step in steps if step.cell == series.cell], entries)
    clauses = [
        f"{series.cell}: {change.ratio - 1:+.1%} at {_commit(series.moments[change.at].entry)}"
        for series in histories
        for change in series.changes
    ]
    return save(
        sheet,
        folder,
        NAME,
        title="Epoch times by commit",
        caption="Median epoch time of each cell at each gate. A vertical line marks from where on times are others "
        "(binary segmentation with a permutation test; 1 % for the whole history)."
        + (f" {plural(not_drawn, 'further series is|further series are')} not drawn." if not_drawn else ""),
        alt=f"Epoch times of {plural(len(histories), 'cell')} over {plural(len(entries), 'gate')}. "
        + (f"Changes: {'; '.join(clauses[:8])}." if clauses else "No change of a time was found."),
        pooled=(),
    )


def _panel(axes: Axes, series: Times, steps: Sequence[Step], entries: Sequence[Entry]) -> None:
    lines = [moment.line for moment in series.moments]
    values = [moment.value for moment in series.moments]
    axes.plot(lines, values, color=COLORS[0], marker="o", ms=3, lw=0.8, zorder=3)
    axes.set_ylim(min(values) * 0.93, max(values) * 1.1)  # a few per cent are what it is about
    for line in sorted({step.line for step in steps}):
        axes.axvline(line - 0.5, color=QUIET, lw=1.0, linestyle=":", zorder=2)
    for change in series.changes:
        at = series.moments[change.at].line - 0.5
        axes.axvline(at, color=COLORS[2], lw=2.5, alpha=0.5, zorder=1)
        axes.annotate(
            f"{change.ratio - 1:+.1%}",
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, -2),
            textcoords="offset points",
            va="top",
            fontsize=SMALL,
            color=COLORS[2],
        )
    axes.xaxis.set_major_locator(MaxNLocator(_COMMITS, integer=True))
    ticks = [round(tick) for tick in axes.get_xticks() if 0 <= tick < len(entries) and tick == round(tick)]
    axes.set_xticks(ticks, [_commit(entries[tick]) for tick in ticks], rotation=30, ha="right")


def _commit(entry: Entry) -> str:
    return entry.commit[:7] or entry.at[:10]
