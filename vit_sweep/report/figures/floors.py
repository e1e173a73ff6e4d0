"""Bounds as lines: what an epoch's matrix products, or its all-reduces, alone would take at measured rates. An edge."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.bounds import compute_floor_ms, link_floor_ms, no_bounds
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.report.figures.sheet.style import QUIET
from vit_sweep.runs.run import Run

_NEAR = 2
"""Times the ideal speedup above which a bound binds nobody."""


class Floor(NamedTuple):
    """What an epoch would take if a step were nothing but one thing at the rate that the preflight measured."""

    of_step_ms: Callable[[Run], float | None]
    label: str
    dash: Any

    def epochs_s(self, series: Sequence[ScalingSeries]) -> dict[int, float]:
        """Seconds of an epoch by GPUs, the least of any run; empty where it was not measured."""
        least: dict[int, float] = {}
        for run in (run for curve in series for run in curve.timed_runs):
            step_ms = self.of_step_ms(run)
            if step_ms and run.steps is not None:
                least[run.gpus] = min(step_ms * run.steps / 1000, least.get(run.gpus, inf))
        return dict(sorted(least.items()))

    def speedups(self, series: Sequence[ScalingSeries], top: float) -> dict[int, float]:
        """T(p0) over the floor by GPUs, the most of any series; empty if none is near its ideal and below `top`."""
        most: dict[int, float] = {}
        near = False
        for curve in series:
            if curve.baseline is not None and (base := curve.baseline.time_s) is not None:
                for gpus, seconds in self.epochs_s([curve]).items():
                    most[gpus] = max(base.value / seconds, most.get(gpus, 0.0))
                    near |= base.value / seconds < min(top, _NEAR * gpus / curve.baseline.gpus)
        return dict(sorted(most.items())) if near else {}

    def handle(self) -> Line2D:
        """For the legend."""
        return Line2D([], [], color=QUIET, linestyle=self.dash, lw=1.0, label=self.label)

    def draw(self, axes: Axes, line: Mapping[int, float]) -> None:
        """Draw it against GPUs; a line of one point is none, so that point is a dash."""
        axes.plot(
            list(line),
            list(line.values()),
            color=QUIET,
            linestyle=self.dash,
            marker="_" if len(line) == 1 else "",
            ms=12,
            lw=1.0,
            zorder=1.5,
        )


FLOORS = (
    Floor(compute_floor_ms, "its matrix products alone, at the rate measured before", (0, (1, 1.5))),
    Floor(link_floor_ms, "its all-reduces alone, over the link measured before", (0, (4, 1.5, 1, 1.5))),
)


def no_bounds_text(series: Sequence[ScalingSeries]) -> str:
    """That preflights were slower than what they should bound; empty where none was."""
    unbound = sum(bool(no_bounds(run)) for curve in series for run in curve.timed_runs)
    if not unbound:
        return ""
    runs = plural(unbound, "run gives|runs give")
    return f" {runs} no bound: others used the host, or training was faster than the preflight."
