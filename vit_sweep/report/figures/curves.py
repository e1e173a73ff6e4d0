"""A scaling series as a curve: intervals, hollow and crossed marks, failures at the axis, published curves."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.outcome.result import Status
from vit_sweep.report.figures.sheet.panels import Arrangement, Panel, arrange, series_traits
from vit_sweep.report.figures.sheet.style import QUIET, CurveStyle, curve_handles, curve_styles

FAILED = frozenset({Status.OUT_OF_MEMORY, Status.FAILED, Status.CANCELLED})
NOT_COMPARABLE = ("model", "data", "work", "epochs")
"""Series that differ in these did not do the same work; they are never in one panel."""


class Curves(NamedTuple):
    """Series laid out over panels, and what is published beside them."""

    series: Sequence[ScalingSeries]
    layout: Arrangement
    styles: dict[str, CurveStyle]
    reference: Sequence[ScalingSeries]

    @property
    def gpus(self) -> list[int]:
        """Every count that was run or is published, by runs kept apart too."""
        apart = {a.run.gpus for s in self.series for a in s.apart if a.run.timed}
        return sorted({p.gpus for s in (*self.series, *self.reference) for p in s.points} | apart)

    def on(self, panel: Panel) -> list[tuple[ScalingSeries, CurveStyle]]:
        """The series of a panel with their styles."""
        return [(self.series[index], self.styles[label]) for index, label in panel.curves]


def lay_out(series: Sequence[ScalingSeries], reference: Sequence[ScalingSeries]) -> Curves:
    """Panels and styles for series; their own labels where one panel takes them all."""
    layout = arrange(series_traits(series), apart=NOT_COMPARABLE)
    labels = [curve.label for curve in series]
    if len(layout.panels) == 1 and all(labels) and len(set(labels)) == len(labels) and len(series) > 1:
        order = [index for index, _ in layout.panels[0].curves]
        layout = layout._replace(
            panels=(Panel("", tuple((i, labels[i]) for i in order)),), labels=tuple(labels[i] for i in order)
        )
    return Curves(series, layout, curve_styles(layout.labels), reference)


def scatter(axes: Axes, points: Sequence[tuple[float, float]], style: CurveStyle, *, size: float) -> None:
    """Draw loose points in a curve's style; `size` in points squared. Nothing without points."""
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=size, color=style.color, marker=style.marker, edgecolor="white", linewidth=0.4, zorder=3)


def draw_series(axes: Axes, series: ScalingSeries, style: CurveStyle, quantity: str, *, shift: float = 1.0) -> None:
    """Draw `quantity` (time_s, speedup, efficiency) of a series against GPUs.

    `shift` moves the marks along the axis by a factor, so that intervals of several curves do not cover each other.
    Oversubscribed points are hollow and off the line: their times say nothing about scaling.
    """
    known = [(p, estimate) for p in series.points if (estimate := value_of(p, quantity)) is not None]
    for crowded, line, face in ((False, style.dash, style.color), (True, "none", "white")):
        points = [(p.gpus * shift, estimate) for p, estimate in known if p.oversubscribed is crowded]
        if points:
            gpus, estimates = zip(*points, strict=True)
            look = style.look | {"linestyle": line, "markerfacecolor": face}
            draw_estimates(axes, gpus, estimates, **look, capthick=0.9, zorder=3)
    if quantity == "time_s":
        odd = [(a.run.gpus, median(a.run.epoch_s)) for a in series.apart if a.run.timed]
        if odd:
            axes.plot(*zip(*odd, strict=True), linestyle="none", marker="x", ms=4, mew=1.0, color=style.color, zorder=4)


def draw_estimates(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], **look: Any) -> None:
    """Draw numbers with their intervals; `look`: as of `Axes.errorbar`."""
    values = [estimate.value for estimate in estimates]
    axes.errorbar(x, values, yerr=whiskers(estimates), elinewidth=0.9, **look)


def draw_reference(axes: Axes, series: ScalingSeries, order: int, quantity: str) -> None:
    """A published curve: dashed, grey, small marks."""
    points = [(p.gpus, estimate.value) for p in series.points if (estimate := value_of(p, quantity)) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **_published(order), mew=0.9, lw=1.0, zorder=2)


def _published(order: int) -> dict[str, Any]:
    return {"linestyle": (0, (3, 2)), "color": "0.5", "marker": "1234"[order % 4], "ms": 5}


def mark_failed(axes: Axes, x: float, height: float, color: str) -> None:
    """A crossed mark for what has no value, at a `height` of the axes, 0 to 1."""
    axes.plot(
        [x],
        [height],
        transform=axes.get_xaxis_transform(),
        marker="X",
        ms=5,
        mfc="white",
        mec=color,
        mew=0.9,
        linestyle="none",
        zorder=5,
    )


def draw_failures(axes: Axes, series: Sequence[tuple[ScalingSeries, CurveStyle]]) -> None:
    """A crossed mark on the axis for every count that failed; several of one count stand above each other."""
    at: Counter[int] = Counter()
    for curve, style in series:
        for point in curve.points:
            if failed(point):
                mark_failed(axes, point.gpus, 0.025 + 0.05 * at[point.gpus], style.color)
                at[point.gpus] += 1


def legend(curves: Curves, quantity: str, *extra: Any) -> list[Any]:
    """Handles: curves, what the special marks mean, published curves, and `extra`."""
    handles: list[Any] = [*curve_handles(curves.styles)]
    points = [p for s in curves.series for p in s.points]
    handles += extra
    if any(p.oversubscribed and value_of(p, quantity) for p in points):
        text = "oversubscribed: not comparable"
        handles.append(Line2D([], [], linestyle="none", marker="o", mfc="white", color=QUIET, label=text))
    if quantity == "time_s" and any(a.run.timed for s in curves.series for a in s.apart):
        handles.append(apart_handle())
    if any(failed(p) for p in points):
        text = f"no time: {failures_text(points)}"
        handles.append(Line2D([], [], linestyle="none", marker="X", ms=5, mfc="white", mec=QUIET, label=text))
    for order, curve in enumerate(curves.reference):
        if any(value_of(p, quantity) is not None for p in curve.points):
            handles.append(Line2D([], [], **_published(order), label=f"published: {curve.label}"))
    return handles


def apart_handle() -> Line2D:
    """What the legend says of small crosses."""
    return Line2D([], [], linestyle="none", marker="x", ms=4, mew=1.0, color=QUIET, label="run kept apart")


def failed(point: SeriesPoint) -> bool:
    """Whether a count was tried and gave nothing."""
    return not point.runs and any(run.status in FAILED for run in point.without)


def failures_text(points: Sequence[SeriesPoint]) -> str:
    """How many counts failed, by cause: `2 out_of_memory, 1 cancelled`."""
    causes = Counter(
        next(run.cause or run.status for run in p.without if run.status in FAILED) for p in points if failed(p)
    )
    return ", ".join(f"{count} {cause}" for cause, count in causes.most_common())


def intervals_text(estimates: Sequence[Estimate | None]) -> str:
    """One sentence on spread: what the bars are, how many runs are behind a point, where there is no bar."""
    known = [e for e in estimates if e is not None and e.known]
    single = [e for e in estimates if e is not None and not e.known and e.n == 1]
    if not known:
        return "n=1: one run a point, so no interval." if single else ""
    runs = sorted({e.n for e in known})
    several = plural(runs[0], "run") if len(runs) == 1 else f"{runs[0]} to {runs[-1]} runs"
    without_bar = f"; {plural(len(single), 'point')} with n=1 and no bar" if single else ""
    return f"Bars: 95% intervals over {several} a point{without_bar}."


def value_of(point: SeriesPoint, quantity: str) -> Estimate | None:
    """One of a point's estimates by its name."""
    estimate: Estimate | None = getattr(point, quantity)
    return estimate


def whiskers(estimates: Sequence[Estimate | None]) -> list[list[float]] | None:
    """Distances down and up; None where no point has an interval."""
    if not any(e is not None and e.known for e in estimates):
        return None
    down = [max(0.0, e.value - e.low) if e and e.low is not None else 0.0 for e in estimates]
    up = [max(0.0, e.high - e.value) if e and e.high is not None else 0.0 for e in estimates]
    return [down, up]
