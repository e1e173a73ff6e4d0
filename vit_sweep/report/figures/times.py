"""Time of an epoch against GPUs (figures 4, 5, 8, 9, 16, 17 of the paper). An edge."""

from collections.abc import Sequence
from math import inf
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.series.series import ScalingSeries, SeriesPoint
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.against_gpus import PanelCurves, draw_panels
from vit_sweep.report.figures.curves import Curves, draw_series, failed, failures_text, intervals_text, lay_out
from vit_sweep.report.figures.floors import FLOORS, no_bounds_text
from vit_sweep.report.figures.overlay import Overlay, Quantity
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import QUIET, number, value_axis

_TIME = Quantity.TIME.value


def draw_time(
    scaling: Scaling,
    series: Sequence[ScalingSeries],
    folder: Path | None,
    *,
    reference: Sequence[ScalingSeries] = (),
    overlays: Sequence[Overlay] = (),
) -> Figure | Skipped:
    """Draw every series' epoch time with its intervals; ideal lines where a panel has one series."""
    name = f"{scaling.value}_time"
    if reason := no_time(scaling, series):
        return Skipped(name=name, reason=reason)
    curves = lay_out(series, reference)
    alone = len(curves.layout.labels) == 1
    floors = {floor: line for floor in FLOORS if (line := _near(floor.epochs_s(series), series))}

    def draw(panel_axes: Axes, panel_curves: PanelCurves) -> None:
        for floor in floors:
            floor.draw(panel_axes, floor.epochs_s([curve for curve, _ in panel_curves]))
        for curve, style in panel_curves:
            draw_series(panel_axes, curve, style, _TIME)
            if alone:
                _draw_ideal(panel_axes, curve, scaling)

    ideal = [Line2D([], [], color=QUIET, linestyle="--", lw=1.0, label="ideal from the baseline")] if alone else []
    ideal += [floor.handle() for floor in floors]
    sheet, axes = draw_panels(
        curves, Quantity.TIME, scaling, overlays, ideal=ideal, label="time of an epoch (s)", draw=draw
    )
    times = [e.value for s in (*series, *reference) for p in s.points if (e := p.time_s)]
    times += [median(a.run.epoch_s) for s in series for a in s.apart if a.run.timed]
    times += [seconds for line in floors.values() for seconds in line.values()]
    for panel_axes in axes:
        value_axis(panel_axes, times, log=scaling is Scaling.STRONG)
    return save(
        sheet,
        folder,
        name,
        title=f"{scaling.value.capitalize()} scaling: time of an epoch",
        caption=caption(curves, _TIME, "Median time of a warm epoch; the first is not in it.") + no_bounds_text(series),
        pooled=[run for curve in series for run in curve.timed_runs],
        alt=f"Line chart of the time of an epoch against GPUs, {plural(len(series), 'curve')}. {times_text(series)}",
    )


_FAR_BELOW = 0.05
"""Part of an epoch under which a floor is no line: it would squeeze the curves."""


def _near(floor_s: dict[int, float], series: Sequence[ScalingSeries]) -> dict[int, float]:
    """A floor's seconds by GPUs; empty where all of them lie far below every time."""
    shortest = min((p.time_s.value for curve in series for p in curve.timed if p.time_s), default=inf)
    return floor_s if max(floor_s.values(), default=0.0) > _FAR_BELOW * shortest else {}


def no_time(scaling: Scaling, series: Sequence[ScalingSeries]) -> str:
    """Why there is nothing to draw of a mode; empty if there is."""
    if not series:
        return f"no run was for {scaling.value} scaling"
    if not any(point.time_s for curve in series for point in curve.points):
        return f"no run of {scaling.value} scaling has a time"
    return ""


def caption(curves: Curves, quantity: str, first: str) -> str:
    """What must be known to read a figure of curves."""
    points: list[SeriesPoint] = [p for s in curves.series for p in s.points]
    parts = [first, intervals_text([getattr(p, quantity) for p in points])]
    if any(p.oversubscribed for p in points):
        parts.append("Hollow: more ranks than cores, so the time says nothing about scaling.")
    apart = [a for s in curves.series for a in s.apart]
    if apart:
        reasons = "; ".join(dict.fromkeys(a.reason for a in apart))
        where = "" if quantity == _TIME else ", in the figure of times only"
        parts.append(f"Kept apart{where}: {plural(len(apart), 'run')} ({reasons}).")
    if any(failed(p) for p in points):
        parts.append(f"Crossed marks at the axis have no time: {failures_text(points)}.")
    missing = sum(not p.runs and not failed(p) for p in points)
    if missing:
        parts.append(f"{plural(missing, 'point was|points were')} not run or not finished.")
    if curves.reference:
        parts.append(f"Grey, dashed: published ({'; '.join(curve.label for curve in curves.reference)}).")
    if curves.layout.left_out:
        parts.append(f"{curves.layout.left_out}.")
    return " ".join(part for part in parts if part)


def times_text(series: Sequence[ScalingSeries], *, most: int = 8) -> str:
    """The numbers of the curves, for the alt text: each curve's first and last count."""
    clauses = []
    for curve in series[:most]:
        timed = [(p.gpus, p.time_s.value) for p in curve.points if p.time_s]
        name = curve.label or "the curve"
        if not timed:
            clauses.append(f"{name}: no time.")
        elif len(timed) == 1:
            clauses.append(f"{name}: {number(timed[0][1])} s on {plural(timed[0][0], 'GPU')}.")
        else:
            (first, slow), (last, fast) = timed[0], timed[-1]
            clauses.append(
                f"{name}: {number(slow)} s on {plural(first, 'GPU')}, {number(fast)} s on {plural(last, 'GPU')}."
            )
    return " ".join(clauses) + (f" And {plural(len(series) - most, 'further curve')}." if len(series) > most else "")


def _draw_ideal(axes: Axes, series: ScalingSeries, scaling: Scaling) -> None:
    """What the baseline's time would become."""
    base = series.baseline
    if base is None or base.time_s is None:
        return
    gpus = [p.gpus for p in series.points if p.gpus >= base.gpus]
    strong = scaling is Scaling.STRONG
    ideal = [base.time_s.value * (base.gpus / count if strong else 1.0) for count in gpus]
    axes.plot(gpus, ideal, color=QUIET, linestyle="--", lw=1.0, zorder=1.5)
