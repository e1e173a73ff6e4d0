"""Speedup with its ideal line (figures 12 and 13 of the paper), and efficiency. An edge.

A series without a baseline has neither; a sentence inside the axes says why. Nobody's baseline is borrowed.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from launchers.text import plural, some
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.against_gpus import PanelCurves, draw_panels
from vit_sweep.report.figures.curves import Curves, draw_series, failed, lay_out, value_of
from vit_sweep.report.figures.floors import FLOORS, no_bounds_text
from vit_sweep.report.figures.overlay import Overlay, Quantity
from vit_sweep.report.figures.sheet.axes import note, width_of
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import QUIET, number
from vit_sweep.report.figures.times import caption, no_time

_USUAL_LIMIT = 0.8
"""An efficiency below which more GPUs are often called a waste; a thin line to read by."""
_HOW_TO_READ = {
    Quantity.SPEEDUP: "T(p0) / T(p); p0: the smallest count of a series.",
    Quantity.EFFICIENCY: f"Dashed: 100%; dotted: {100 * _USUAL_LIMIT:.0f}%, as a guide.",
}


def ratios_of(scaling: Scaling) -> tuple[Quantity, ...]:
    """What is drawn of a mode against its ideal: under weak scaling, efficiency says it all."""
    return (Quantity.SPEEDUP, Quantity.EFFICIENCY) if scaling is Scaling.STRONG else (Quantity.EFFICIENCY,)


def draw_against_ideal(
    quantity: Quantity,
    scaling: Scaling,
    series: Sequence[ScalingSeries],
    folder: Path | None,
    *,
    reference: Sequence[ScalingSeries] = (),
    overlays: Sequence[Overlay] = (),
) -> Figure | Skipped:
    """Draw speedup or efficiency against GPUs, with what would be ideal beside.

    Speedup on doubling scales; efficiency from 0, with 100 % and a usual limit to read by.
    """
    name = f"{scaling.value}_{quantity.value}"
    reason = _why_nothing(scaling, series, quantity.value)
    if reason:
        return Skipped(name=name, reason=reason)
    lone = [curve for curve in series if _is_lone(curve, quantity.value)]
    series = [curve for curve in series if curve not in lone]
    curves = lay_out(series, reference)
    value_name, width = quantity.value, width_of(len(curves.layout.panels))
    draw_ideal = _ideal_speedup if quantity is Quantity.SPEEDUP else _ideal_efficiency
    bottom, top = _limits(quantity, curves)
    floors = [floor for floor in FLOORS if quantity is Quantity.SPEEDUP and floor.speedups(series, top)]

    def draw(panel_axes: Axes, panel_curves: PanelCurves) -> None:
        draw_ideal(panel_axes, curves)
        for floor in floors:
            floor.draw(panel_axes, floor.speedups([curve for curve, _ in panel_curves], top))
        for order, (curve, style) in enumerate(panel_curves):
            draw_series(panel_axes, curve, style, value_name, shift=_shift(order, len(panel_curves), quantity))
        _note_missing_baselines(panel_axes, [curve for curve, _ in panel_curves], quantity, width)

    ideal = [Line2D([], [], color=QUIET, linestyle="--", lw=1.0, label="ideal"), *(floor.handle() for floor in floors)]
    sheet, axes = draw_panels(
        curves, quantity, scaling, overlays, ideal=ideal, label=_label(scaling, quantity), draw=draw
    )
    for panel_axes in axes:
        _value_scale(panel_axes, quantity, bottom, top)
    without = [s for s in series if s.no_baseline]
    return save(
        sheet,
        folder,
        name,
        title=f"{scaling.value.capitalize()} scaling: {quantity.value}",
        caption=caption(curves, value_name, _HOW_TO_READ[quantity])
        + _left_out(without, lone)
        + _superlinear(series)
        + (no_bounds_text(series) if quantity is Quantity.SPEEDUP else ""),
        pooled=[run for curve in series for run in curve.timed_runs],
        alt=f"Line chart of {quantity.value} against GPUs with the ideal line, "
        f"{plural(len(series) - len(without), 'curve')}. {_values_text(series, value_name)}",
    )


def _left_out(without: Sequence[ScalingSeries], lone: Sequence[ScalingSeries]) -> str:
    text = f" No baseline, so no line: {plural(len(without), 'curve')}." if without else ""
    return text + (f" Not drawn: {len(lone)} series of one GPU count, with nothing to compare." if lone else "")


def _is_lone(curve: ScalingSeries, quantity: str) -> bool:
    """Whether it has its baseline alone: one point, which is 1 by definition and says nothing."""
    points = [point for point in curve.points if value_of(point, quantity) is not None]
    return len(points) == 1 and not any(failed(point) for point in curve.points)


def _why_nothing(scaling: Scaling, series: Sequence[ScalingSeries], quantity: str) -> str:
    """Why there is nothing to draw; empty if there is."""
    if reason := no_time(scaling, series):
        return reason
    if any(sum(value_of(p, quantity) is not None for p in s.points) > 1 for s in series):
        return ""
    reasons = dict.fromkeys(s.no_baseline for s in series if s.no_baseline)
    if reasons:
        return "; ".join(reasons)
    crowded = sorted({p.gpus for s in series for p in s.points if p.oversubscribed})
    if crowded:
        return f"nothing to compare: gpus={', '.join(map(str, crowded))} ran with more ranks than cores"
    return "one GPU count only: nothing to compare it with"


def _shift(order: int, many: int, quantity: Quantity) -> float:
    """A small step aside for each of several curves whose intervals would cover each other."""
    return 1.0 if quantity is Quantity.SPEEDUP or many == 1 else float(2 ** (0.045 * (order - (many - 1) / 2)))


def _ideal_speedup(axes: Axes, curves: Curves) -> None:
    most = curves.gpus[-1]
    for first in sorted({s.baseline_gpus for s in curves.series if s.baseline_gpus}):
        axes.plot([first, most], [1, most / first], color=QUIET, linestyle="--", lw=1.0, zorder=1.5)


def _ideal_efficiency(axes: Axes, _: Curves) -> None:
    axes.axhline(1.0, color=QUIET, linestyle="--", lw=1.0, zorder=1.5)
    axes.axhline(_USUAL_LIMIT, color=QUIET, linestyle=":", lw=0.8, zorder=1.5)


def _limits(quantity: Quantity, curves: Curves) -> tuple[float, float]:
    """The ends of the values' axis, with room for the ideal: more GPUs may be slower than one."""
    estimates = [e for s in (*curves.series, *curves.reference) for p in s.points if (e := value_of(p, quantity.value))]
    ends = [end for e in estimates for end in (e.value, e.low, e.high) if end is not None]
    if quantity is Quantity.EFFICIENCY:
        return 0.0, 1.08 * max(1.0, *ends)
    ideal = max(curves.gpus[-1] / (s.baseline_gpus or curves.gpus[-1]) for s in curves.series)
    return 0.85 * min(1.0, *ends), 1.18 * max(1.0, ideal, *ends)


def _value_scale(axes: Axes, quantity: Quantity, bottom: float, top: float) -> None:
    if quantity is Quantity.EFFICIENCY:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(bottom, top)


def _label(scaling: Scaling, quantity: Quantity) -> str:
    if quantity is Quantity.EFFICIENCY:
        return "efficiency"
    return "speedup T(p0) / T(p)" if scaling is Scaling.STRONG else "scaled speedup"


def _note_missing_baselines(axes: Axes, series: Sequence[ScalingSeries], quantity: Quantity, width_in: float) -> None:
    """Inside the axes, where the curves of this figure are not: why a series has no curve."""
    without = [s for s in series if s.no_baseline]
    if not without:
        return
    first = without[0]
    more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
    text = f"{first.label}{more}: {first.no_baseline}" if len(series) > 1 else first.no_baseline
    note(axes, text, width_in=width_in, right=quantity is Quantity.SPEEDUP)


def _superlinear(series: Sequence[ScalingSeries]) -> str:
    """The points that are called superlinear, with what is remarkable about them."""
    above = [
        f"{s.label + ', ' if s.label else ''}{plural(p.gpus, 'GPU')} ({number(100 * p.efficiency.value)}%: "
        f"{'; '.join(p.flags)})"
        for s in series
        for p in s.points
        if p.efficiency and any(flag.startswith("superlinear") for flag in p.flags)
    ]
    if not above:
        return ""
    return f" Above the ideal: {some(above, 4, separator='; ')}."


def _values_text(series: Sequence[ScalingSeries], quantity: str, *, most: int = 8) -> str:
    clauses = []
    for curve in series[:most]:
        points = [p for p in curve.points if value_of(p, quantity) is not None and not p.oversubscribed]
        name = curve.label or "the curve"
        if curve.no_baseline or not points:
            clauses.append(f"{name}: none, {curve.no_baseline or 'no time'}.")
            continue
        last = points[-1]
        estimate, speedup, efficiency = value_of(last, quantity), last.speedup, last.efficiency
        assert estimate is not None
        interval = ""
        if estimate.low is not None and estimate.high is not None:
            scale, unit = (100, "%") if quantity == Quantity.EFFICIENCY.value else (1, "")
            interval = f", interval {number(scale * estimate.low)}{unit} to {number(scale * estimate.high)}{unit}"
        values = [f"speedup {number(speedup.value)}"] if speedup else []
        values += [f"efficiency {number(100 * efficiency.value)}%"] if efficiency else []
        clauses.append(f"{name}: {', '.join(values)} on {plural(last.gpus, 'GPU')}{interval}.")
    return " ".join(clauses) + (f" And {plural(len(series) - most, 'further curve')}." if len(series) > most else "")
