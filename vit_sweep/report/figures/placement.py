"""Packed against spread, paired (figure 15 of the paper). An edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.analysis.series.spreads import RatioOf
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import apart_handle, draw_estimates, draw_series, intervals_text
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import without_placement
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import (
    MARKERS,
    MOST_STYLES,
    QUIET,
    CurveStyle,
    curve_styles,
    gpu_axis,
    number,
    value_axis,
)

_SPREAD_DASH: Any = (0, (4, 1.5))
Pair = tuple[SeriesPoint, SeriesPoint]


def draw_placement(series: Sequence[ScalingSeries], folder: Path | None, ratio: RatioOf) -> Figure | Skipped:
    """Draw packed against spread: times as curves where few enough, and their ratio at each count.

    `ratio`: from the spread of all cells of the study.
    """
    name = "placement"
    paired = [
        (title, members, pairs) for title, members in without_placement(series).items() if (pairs := _pairs(members))
    ]
    if not paired:
        return Skipped(name=name, reason="no count of two GPUs or more was timed both packed and spread")
    drawn = paired[:MOST_STYLES]
    curves = len(drawn) <= MOST_STYLES // 2
    styles = list(curve_styles([title for title, _, _ in drawn]).values())
    if curves:
        # Circles and squares tell packed from spread on the left.
        styles = [CurveStyle(style.color, MARKERS[2 + order], "-") for order, style in enumerate(styles)]
    handles = [
        Line2D([], [], **style.look, label=title) for (title, _, _), style in zip(drawn, styles, strict=True) if title
    ]
    if curves:
        handles += [
            Line2D([], [], color=QUIET, linestyle=dash, marker=mark, label=placement)  # type: ignore[arg-type]
            for placement, dash, mark in (("packed", "-", "o"), ("spread", _SPREAD_DASH, "s"))
        ]
        if any(a.run.timed for _, members, _ in drawn for member in members for a in member.apart):
            handles.append(apart_handle())
    sheet, axes = sheet_of([""] * (2 if curves else 1), handles, share_x=False, share_y="none")
    gpus = sorted({p.gpus for _, _, pairs in drawn for p, _ in pairs})
    if curves:
        _draw_times(axes[0], [members for _, members, _ in drawn], styles)
    ratios = [[ratio(spread.runs, packed.runs).estimate for packed, spread in pairs] for _, _, pairs in drawn]
    _draw_ratios(axes[-1], [pairs for _, _, pairs in drawn], ratios, styles, gpus)
    not_drawn = len(paired) - len(drawn)
    return save(
        sheet,
        folder,
        name,
        title="Packed against spread",
        caption="Time spread over time packed: above 1 the spread run is slower. "
        + intervals_text([estimate for curve in ratios for estimate in curve])
        + (f" {plural(not_drawn, 'further pair')} of curves not drawn for want of room." if not_drawn else ""),
        pooled=[run for _, members, _ in drawn for member in members for run in member.timed_runs],
        alt=f"Chart of packed against spread runs. {_ratios_text(drawn, ratios)}",
    )


def _pairs(members: Sequence[ScalingSeries]) -> list[Pair]:
    """Points timed both ways. One GPU has no placement: there both are the same run, and no pair."""
    by_placement = {s.key.placement: {p.gpus: p for p in s.timed} for s in members}
    packed, spread = by_placement.get("packed", {}), by_placement.get("spread", {})
    return [
        (packed[gpus], spread[gpus])
        for gpus in sorted(packed.keys() & spread.keys())
        if not {run.run_id for run in packed[gpus].runs} & {run.run_id for run in spread[gpus].runs}
    ]


def _draw_times(axes: Axes, groups: Sequence[Sequence[ScalingSeries]], styles: Sequence[CurveStyle]) -> None:
    points = []
    for members, style in zip(groups, styles, strict=True):
        for member in members:
            if member.key.placement in ("packed", "spread"):
                packed = member.key.placement == "packed"
                look = CurveStyle(style.color, "o" if packed else "s", "-" if packed else _SPREAD_DASH)
                draw_series(axes, member, look, "time_s")
                points += [p for p in member.points if p.time_s]
    gpu_axis(axes, [p.gpus for p in points], width_in=2.6)
    value_axis(axes, [p.time_s.value for p in points if p.time_s], log=True)
    axes.set_ylabel("time of an epoch (s)")


def _draw_ratios(
    axes: Axes,
    groups: Sequence[Sequence[Pair]],
    ratios: Sequence[Sequence[Estimate]],
    styles: Sequence[CurveStyle],
    gpus: Sequence[int],
) -> None:
    ends = [1.0]
    axes.axhline(1.0, color=QUIET, linestyle="--", lw=1.0, zorder=1.5)
    for order, (pairs, curve, style) in enumerate(zip(groups, ratios, styles, strict=True)):
        shift = 2 ** (0.06 * (order - (len(groups) - 1) / 2))
        draw_estimates(axes, [p.gpus * shift for p, _ in pairs], curve, **style.look, zorder=3)
        ends += [end for e in curve for end in (e.value, e.low, e.high) if end is not None]
    gpu_axis(axes, gpus, width_in=2.6)
    room = max(0.02, 0.1 * (max(ends) - min(ends)))
    axes.set(ylim=(min(ends) - room, max(ends) + room), ylabel="time spread / time packed")


def _ratios_text(
    groups: Sequence[tuple[str, Sequence[ScalingSeries], Sequence[Pair]]], ratios: Sequence[Sequence[Estimate]]
) -> str:
    clauses = []
    for (title, _, pairs), curve in zip(groups, ratios, strict=True):
        listed = ", ".join(
            f"{number(value.value)} on {plural(packed.gpus, 'GPU')}"
            for (packed, _), value in zip(pairs, curve, strict=True)
        )
        clauses.append(f"{title + ': ' if title else ''}time spread over time packed {listed}.")
    return " ".join(clauses)
