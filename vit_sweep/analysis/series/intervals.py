"""Series with intervals on every time, rate and ratio (`spreads`, `pooling`). Pure; needs numpy and scipy."""

from collections.abc import Iterable
from math import log, sqrt
from statistics import NormalDist
from typing import NamedTuple

from launchers.checked import varied
from vit_sweep.analysis.series.estimates import SIGNIFICANT
from vit_sweep.analysis.series.grouping import ratios, serial_fraction
from vit_sweep.analysis.series.pooling import holm
from vit_sweep.analysis.series.series import ScalingSeries, SeriesPoint, point_flags
from vit_sweep.analysis.series.spreads import Spreads, step_ms
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.repeats import USUAL
from vit_sweep.runs.run import Run


def with_intervals(
    series: ScalingSeries, *, times: Spreads | None = None, steps: Spreads | None = None
) -> ScalingSeries:
    """The same series with an interval on each time, rate, speedup, efficiency, serial fraction of two runs or more.

    `times`, `steps`: the spread of more cells than the series' own.
    """
    cells = cells_of([series])
    times, steps = times or Spreads(cells), steps or Spreads(cells, step_ms)
    points = tuple(_timed(point, times, steps) for point in series.points)
    base = next((point for point in points if point.gpus == series.baseline_gpus and point.runs), None)
    if base is None:
        return varied(series, points=points)
    compared = [_against(point, base, series, times) for point in points]
    # Several points are looked at: by chance alone one of them may lie above ideal.
    adjusted = holm([p for _, p in compared])
    flagged = (
        varied(point, flags=point_flags(point, base, certain=bool(p < SIGNIFICANT)))
        for (point, _), p in zip(compared, adjusted, strict=True)
    )
    return varied(series, points=tuple(flagged))


class Measured(NamedTuple):
    """The spread between runs of the cells of several series."""

    times: Spreads
    steps: Spreads


def measured(series: Iterable[ScalingSeries]) -> Measured:
    """Learn it from all their cells, so that equal runs have equal intervals in whatever is made of them."""
    cells = cells_of(series)
    return Measured(Spreads(cells), Spreads(cells, step_ms))


def with_all_intervals(series: Iterable[ScalingSeries], spread: Measured | None = None) -> list[ScalingSeries]:
    """Series with intervals from the spread of all their cells; `spread`: `measured` of them."""
    curves = list(series)
    spread = spread or measured(curves)
    return [with_intervals(curve, times=spread.times, steps=spread.steps) for curve in curves]


def cells_of(series: Iterable[ScalingSeries]) -> list[tuple[Run, ...]]:
    """The runs with a time of every cell of the series."""
    return [point.runs for curve in series for point in curve.points if point.runs]


def _timed(point: SeriesPoint, times: Spreads, steps: Spreads) -> SeriesPoint:
    if point.time_s is None:
        return point
    time_s = times.estimate(point.runs, value=point.time_s.value)
    timed = varied(point, time_s=time_s)
    if point.step_ms is not None:
        timed = varied(timed, step_ms=steps.estimate(point.runs, value=point.step_ms.value))
    if point.images_per_s is not None:
        timed = varied(timed, images_per_s=time_s.inverse(point.images_per_s.value * time_s.value))
    return timed


def _by_usual_spread(point: SeriesPoint, base: SeriesPoint) -> float:
    """p value of an efficiency of 1 where no repeats say how far runs differ: by what is usual."""
    excess = log(point.efficiency.value) if point.efficiency is not None else 0.0
    error = USUAL * sqrt(1 / len(point.runs) + 1 / len(base.runs))
    return 2 * (1 - NormalDist().cdf(abs(excess) / error))


def _against(point: SeriesPoint, base: SeriesPoint, series: ScalingSeries, times: Spreads) -> tuple[SeriesPoint, float]:
    """The point with intervals on what compares it with the baseline, and the p value of its being ideal."""
    if point.speedup is None or point.efficiency is None or base.time_s is None or point.gpus == base.gpus:
        return point, 1.0
    factor = point.gpus / base.gpus
    scaling = series.key.scaling
    gain = times.ratio(base.runs, point.runs, expected=factor if scaling is Scaling.STRONG else 1.0)
    ratio = gain.estimate

    def both(value: float | None) -> tuple[float | None, float | None]:
        return (None, None) if value is None else ratios(value, factor, scaling)

    (speed_low, part_low), (speed_high, part_high) = both(ratio.low), both(ratio.high)
    compared = varied(
        point,
        speedup=varied(ratio, value=point.speedup.value, low=speed_low, high=speed_high),
        efficiency=varied(ratio, value=point.efficiency.value, low=part_low, high=part_high),
    )
    if compared.serial_fraction is not None and speed_low is not None and speed_high is not None:
        compared = varied(
            compared,
            serial_fraction=varied(
                compared.serial_fraction,
                low=serial_fraction(speed_high, factor),
                high=serial_fraction(speed_low, factor),
                freedom=ratio.freedom,
            ),
        )
    return compared, gain.p_value if ratio.known else _by_usual_spread(point, base)
