"""Cost against time: GPU-hours and seconds of an epoch, and what nobody beats in both (Pareto). An edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import Curves, lay_out, scatter
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.save import save, settle
from vit_sweep.report.figures.sheet.style import QUIET, SMALL, curve_handles, number, plain_log

NAME = "cost_time"


class Offer(NamedTuple):
    """A GPU count as a buyer sees it."""

    time_s: float
    gpu_hours: float
    gpus: int
    label: str


def draw_cost(series: Sequence[ScalingSeries], folder: Path | None) -> Figure | Skipped:
    """Draw every timed count of the strong series; panels keep apart what is not the same work."""
    timed = [s for s in series if s.timed]
    if not timed:
        return Skipped(name=NAME, reason="no run of strong scaling has a time; weak runs differ in their work")
    if len({(p.gpus, p.time_s.value) for s in timed for p in s.timed if p.time_s}) < 2:
        return Skipped(name=NAME, reason="one point only: nothing to choose from")
    curves = lay_out(timed, ())
    handles: list[Any] = [*curve_handles(curves.styles, line=False)]
    handles.append(Line2D([], [], color=QUIET, lw=1.0, drawstyle="steps-post", label="none is faster and cheaper"))
    panels = curves.layout.panels
    titles, left = [panel.title for panel in panels], curves.layout.left_out
    sheet, axes = sheet_of(titles, handles, x="time of an epoch (s)", y="GPU-hours of an epoch", left_out=left)
    fronts = []
    for index, panel_axes in enumerate(axes):
        fronts.append(pareto(_offers(curves, index)))
        _draw_panel(panel_axes, curves, index, fronts[-1])
    _scales(axes, [offer for index in range(len(panels)) for offer in _offers(curves, index)])
    settle(sheet)
    for panel_axes, front in zip(axes, fronts, strict=True):
        _name_counts(panel_axes, front)
    return save(
        sheet,
        folder,
        NAME,
        title="Cost against time",
        caption="GPU-hours = GPUs x time of a warm epoch / 3600; start-up, evaluation and queue are not in it. "
        "Numbers: GPUs of the points that no other beats in both time and cost, by their values alone."
        + (f" {left}." if left else ""),
        pooled=[run for curve in timed for run in curve.timed_runs],
        alt=_alt(fronts, titles),
    )


def pareto(offers: Sequence[Offer]) -> list[Offer]:
    """Those that no other beats or equals in both time and cost, fastest first."""
    front: list[Offer] = []
    for offer in sorted(offers):
        if not front or offer.gpu_hours < front[-1].gpu_hours:
            front.append(offer)
    return front


def _offers(curves: Curves, panel: int) -> list[Offer]:
    return [
        Offer(p.time_s.value, p.runs[0].paid_gpus * p.time_s.value / 3600, p.gpus, label)
        for index, label in curves.layout.panels[panel].curves
        for p in curves.series[index].timed
        if p.time_s is not None
    ]


def _draw_panel(axes: Axes, curves: Curves, panel: int, front: Sequence[Offer]) -> None:
    axes.plot(
        [o.time_s for o in front], [o.gpu_hours for o in front], color=QUIET, lw=1.0, drawstyle="steps-post", zorder=2
    )
    offers = _offers(curves, panel)
    for label, style in curves.styles.items():
        scatter(axes, [(o.time_s, o.gpu_hours) for o in offers if o.label == label], style, size=26)


def _scales(axes: Sequence[Axes], offers: Sequence[Offer]) -> None:
    """Time on a log scale where it spans more than a factor of three; cost from 0: its amounts are compared."""
    times, costs = [o.time_s for o in offers], [o.gpu_hours for o in offers]
    for panel in axes:
        if max(times) > 3 * min(times):
            panel.set_xscale("log")
            panel.set_xlim(min(times) / 1.5, max(times) * 1.25)
            plain_log(panel.xaxis, 1.0)
        else:
            panel.set_xlim(0, max(times) * 1.1)
        panel.set_ylim(0, 1.12 * max(costs))


def _name_counts(axes: Axes, front: Sequence[Offer]) -> None:
    """Write the GPU count at each point of the front, where it does not cover another."""
    boxes: list[Any] = []
    for offer in front:
        text = axes.annotate(
            f"{offer.gpus:,}",
            (offer.time_s, offer.gpu_hours),
            xytext=(-2, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=SMALL - 0.5,
            zorder=5,
        )
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in boxes):
            text.remove()
        else:
            boxes.append(box)


def _alt(fronts: Sequence[Sequence[Offer]], titles: Sequence[str]) -> str:
    clauses = []
    for front, title in list(zip(fronts, titles, strict=True))[:6]:
        fast, cheap = front[0], front[-1]
        where = f"{title}: " if title else ""
        clauses.append(f"{where}fastest {_offer_text(fast)}; cheapest {_offer_text(cheap)}.")
    return f"Scatter plot of GPU-hours against time of an epoch with the Pareto front. {' '.join(clauses)}"


def _offer_text(offer: Offer) -> str:
    label = f" ({offer.label})" if offer.label else ""
    return f"{plural(offer.gpus, 'GPU')}{label} with {number(offer.time_s)} s and {number(offer.gpu_hours)} GPU-hours"
