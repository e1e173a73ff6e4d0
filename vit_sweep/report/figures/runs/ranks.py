"""Who is slow: the median step of every rank of every run, as a heat map. An edge."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from launchers.text import plural
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import differing, label_of, run_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import SMALL, lightness, number
from vit_sweep.runs.run import Run

NAME = "ranks"
MOST_ROWS = 24
_MOST_TO_PRINT = 16
"""Ranks whose numbers have room in their fields."""
_LIGHT = 70.0
"""CIE L* of a field from which on its number is dark."""


def draw_ranks(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw how much slower than its run's median rank each rank is, in per cent; the most uneven runs if many."""
    timed = [(run, times) for run in runs if (times := _times(run)) and len(times) > 1 and min(times) > 0]
    if not timed:
        return Skipped(name=NAME, reason="no run of more than one rank has times of single ranks")
    uneven = sorted(range(len(timed)), key=lambda place: _worst(timed[place][1]), reverse=True)[:MOST_ROWS]
    drawn = sorted((timed[place] for place in sorted(uneven)), key=lambda pair: len(pair[1]))
    most = max(len(times) for _, times in drawn)
    table = np.full((len(drawn), most), np.nan)
    for row, (_, times) in enumerate(drawn):
        table[row, : len(times)] = _slower(times)
    height = max(1.6, 0.17 * len(drawn) + 0.75)
    sheet, (axes,) = sheet_of([""], [], x="rank", height_in=height, wide=True)
    _draw_fields(axes, table)
    step = max(1, most // 16)
    axes.set_xticks([x + 0.5 for x in range(0, most, step)], [str(x) for x in range(0, most, step)], rotation=0)
    axes.set_yticks([y + 0.5 for y in range(len(drawn))], _names([run for run, _ in drawn]), rotation=0)
    axes.tick_params(length=0)
    _draw_nodes(axes, drawn)
    not_drawn = len(timed) - len(drawn)
    only_steps = any(not run.compute_ms_by_rank for run, _ in drawn)
    return save(
        sheet,
        folder,
        NAME,
        pooled=(),
        title="Step time of every rank",
        caption="Median step of each rank without communication, against the median rank of its run"
        + (" (with it where the run knows no better: waiting ranks then look slow)" if only_steps else "")
        + ". Dark lines: borders of nodes."
        + (f" The {len(drawn)} most uneven of {len(timed)} runs." if not_drawn else ""),
        alt=f"Heat map of step times, {plural(len(drawn), 'run')} by up to {most} ranks. {_values_text(drawn)}",
    )


def _draw_fields(axes: Axes, table: npt.NDArray[np.float64]) -> None:
    """What `seaborn.heatmap` draws, which lays the sheet out and draws it only to see whether names overlap."""
    rows, columns = table.shape
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(table),
        cmap=sns.color_palette("rocket_r", as_cmap=True),
        vmin=min(0.0, float(np.nanmin(table))),
        vmax=max(5.0, float(np.nanmax(table))),
        linewidths=0.4,
        edgecolor="white",
    )
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    bar = axes.figure.colorbar(mesh, ax=axes, label="slower (%)", pad=0.015, aspect=30, shrink=0.95)
    bar.outline.set_linewidth(0)
    if columns > _MOST_TO_PRINT:
        return
    words, colors = _printed(table), mesh.to_rgba(table)
    for row, column in np.ndindex(*table.shape):
        if words[row][column]:
            axes.text(
                column + 0.5,
                row + 0.5,
                words[row][column],
                color="0.15" if lightness(to_hex(tuple(colors[row, column]))) > _LIGHT else "white",
                ha="center",
                va="center",
                fontsize=SMALL - 1,
            )


def _times(run: Run) -> tuple[float, ...]:
    return run.compute_ms_by_rank or run.step_ms_by_rank


def _slower(times: Sequence[float]) -> list[float]:
    usual = median(times)
    return [100 * (time / usual - 1) for time in times]


def _worst(times: Sequence[float]) -> float:
    return max(_slower(times))


def _names(runs: Sequence[Run]) -> list[str]:
    """What tells each run from the others, its GPUs in any case."""
    traits = [_traits(run) for run in runs]
    names = ["gpus", *(name for name in differing(traits) if name != "gpus")]
    return [label_of(trait, names) for trait in traits]


def _traits(run: Run) -> dict[str, str]:
    modes = sorted({curve.scaling.value for curve in run.curves})
    overrides = {"scaling": " and ".join(modes), "work": ""}
    return run_traits(run) | overrides | ({} if run.seed is None else {"seed": str(run.seed)})


def _printed(table: npt.NDArray[np.float64]) -> list[list[str]]:
    """Whole per cent, and a nought without a sign."""
    return [[f"{value:.0f}".replace("-0", "0") if np.isfinite(value) else "" for value in row] for row in table]


def _draw_nodes(axes: object, runs: Sequence[tuple[Run, tuple[float, ...]]]) -> None:
    """A dark line in a row wherever the next rank is on another node."""
    for row, (run, times) in enumerate(runs):
        if run.nodes and run.nodes > 1 and len(times) % run.nodes == 0:
            per_node = len(times) // run.nodes
            borders = range(per_node, len(times), per_node) if per_node > 1 else ()
            axes.vlines(list(borders), row + 0.06, row + 0.94, color="0.1", lw=0.9)  # type: ignore[attr-defined]


def _values_text(runs: Sequence[tuple[Run, tuple[float, ...]]]) -> str:
    _, times = max(runs, key=lambda pair: _worst(pair[1]))
    slow = max(range(len(times)), key=lambda rank: times[rank])
    usual = sum(_worst(t) < 5 for _, t in runs)
    return (
        f"The slowest rank beside its run's median is rank {slow} of a run on {plural(len(times), 'GPU')}: "
        f"{number(times[slow])} ms against {number(median(times))} ms, {_worst(times):.0f}% more. "
        f"In {usual} of {plural(len(runs), 'run')} no rank is 5% slower than the median."
    )
