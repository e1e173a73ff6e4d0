"""Intervals by a two-level bootstrap, seeded. Pure; numpy is imported here, not by what plans.

Runs are drawn with replacement, then the epochs inside each drawn run; a draw is the median over runs of their medians
(Davison and Hinkley 1997, section 3.8). Runs are the upper level because epochs of one run share their nodes, clocks
and luck. A ratio is drawn from independent draws of both sides. An interval is 2.5 % to 97.5 % of the draws. One run
says nothing of its own spread: it has no interval.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import numpy.typing as npt

from vit_sweep.analysis.series.grouping import ratios
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint, point_flags

DRAWS = 1000
_TAIL = 2.5

Draws = npt.NDArray[np.float64]


def with_intervals(series: ScalingSeries, *, seed: int = 0) -> ScalingSeries:
    """The same series with an interval on every time, rate, speedup and efficiency that has two runs or more."""
    base = series.baseline
    base_draws = _times(base, seed) if base is not None else None
    points = tuple(_with_intervals(point, base, base_draws, series, seed) for point in series.points)
    made = replace(series, points=points)
    again = made.baseline
    if again is None:
        return made
    # An interval may say that a point is not superlinear after all.
    return replace(made, points=tuple(replace(point, flags=point_flags(point, again)) for point in points))


def median_draws(runs: Sequence[Sequence[float]], *, seed: int = 0, salt: int = 0, draws: int = DRAWS) -> Draws:
    """Draws of the median over runs of their medians; each of `runs` holds positive times. Order does not matter.

    Two sides of a ratio need a `salt` of their own: equal times would else be drawn alike, and the ratio never varies.
    """
    ordered = sorted(tuple(run) for run in runs)
    source = np.random.default_rng([seed, salt, zlib.crc32(repr(ordered).encode())])
    lengths = [len(run) for run in ordered]
    if len(set(lengths)) == 1:
        values = np.asarray(ordered, dtype=np.float64)
        first = lengths[0] * source.integers(len(ordered), size=(draws, len(ordered), 1), dtype=np.int32)
        epochs = source.integers(lengths[0], size=(draws, len(ordered), lengths[0]), dtype=np.int32)
        return _middle(_middle(values.ravel()[first + epochs]))
    # Medians of resampled epochs, by run; a drawn run takes one of its own at random.
    pools = np.empty((len(ordered), draws))
    for length in sorted(set(lengths)):
        mine = [place for place, own in enumerate(lengths) if own == length]
        pools[mine] = _resampled(source, [ordered[place] for place in mine], draws)
    who = source.integers(len(ordered), size=(draws, len(ordered)))
    which = source.integers(draws, size=(draws, len(ordered)))
    return _middle(pools[who, which])


def interval(draws: Draws, value: float, n: int) -> Estimate:
    """A number with the middle 95 % of its draws."""
    ordered = np.sort(draws)
    return Estimate(value=value, low=_quantile(ordered, _TAIL / 100), high=_quantile(ordered, 1 - _TAIL / 100), n=n)


def median_of(runs: Sequence[Sequence[float]], *, seed: int = 0) -> Estimate:
    """The median over runs of their medians, with its interval. Raises `ValueError` without a number."""
    if not runs or not all(runs):
        raise ValueError("an interval needs at least one run, and every run at least one number")
    value = median([median(run) for run in runs])
    if len(runs) == 1:
        return Estimate(value=value, n=1)
    return interval(median_draws(runs, seed=seed), value, len(runs))


def ratio_of(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], *, seed: int = 0) -> Estimate:
    """Median of `a` over median of `b`, with an interval where both have two runs or more."""
    value = median([median(run) for run in a]) / median([median(run) for run in b])
    n = min(len(a), len(b))
    if n < 2:
        return Estimate(value=value, n=n)
    return interval(median_draws(a, seed=seed) / median_draws(b, seed=seed, salt=1), value, n)


def _with_intervals(
    point: SeriesPoint, base: SeriesPoint | None, base_draws: Draws | None, series: ScalingSeries, seed: int
) -> SeriesPoint:
    draws = _times(point, seed)
    if draws is None or point.time_s is None:
        return point
    made = replace(point, time_s=interval(draws, point.time_s.value, point.time_s.n))
    steps = [run.step_ms for run in point.runs if run.step_ms is not None]
    if point.step_ms is not None and len(steps) > 1:
        step_draws = median_draws([(step,) for step in steps], seed=seed)
        made = replace(made, step_ms=interval(step_draws, point.step_ms.value, len(steps)))
    images = {run.images for run in point.runs}
    if point.images_per_s is not None and len(images) == 1 and None not in images:
        rates = float(next(iter(images)) or 0) / draws
        made = replace(made, images_per_s=interval(rates, point.images_per_s.value, point.images_per_s.n))
    compares = base is not None and base_draws is not None and point.gpus != base.gpus
    if not compares or base is None or base_draws is None or point.speedup is None or point.efficiency is None:
        return made
    ratio = base_draws / draws
    speedups, efficiencies = ratios(ratio, point.gpus / base.gpus, series.key.scaling)  # type: ignore[arg-type]  # arrays
    return replace(
        made,
        speedup=interval(np.asarray(speedups), point.speedup.value, point.speedup.n),
        efficiency=interval(np.asarray(efficiencies), point.efficiency.value, point.efficiency.n),
    )


def _times(point: SeriesPoint, seed: int) -> Draws | None:
    """Draws of a point's epoch time; None with fewer than two runs."""
    if len(point.runs) < 2:
        return None
    return median_draws([run.epoch_s for run in point.runs], seed=seed, salt=point.gpus)


def _resampled(source: np.random.Generator, runs: Sequence[Sequence[float]], draws: int) -> Draws:
    """Medians of resampled epochs, runs x draws; all runs have equally many epochs."""
    values = np.asarray(runs, dtype=np.float64)
    count, length = values.shape
    if length == 1:
        return values
    picks = source.integers(length, size=(count, draws, length)) + length * np.arange(count)[:, None, None]
    return _middle(values.ravel()[picks])


# numpy's own median and percentile spend most of their time on cases that there are none of here; a study of 10,000
# records asks some ten thousand times.


def _middle(values: Draws) -> Draws:
    """The median along the last axis."""
    if values.shape[-1] < 3:
        few: Draws = values[..., 0] if values.shape[-1] == 1 else (values[..., 0] + values[..., 1]) / 2
        return few
    ordered, half = np.sort(values, axis=-1), values.shape[-1] // 2
    middle: Draws = ordered[..., half] if values.shape[-1] % 2 else (ordered[..., half - 1] + ordered[..., half]) / 2
    return middle


def _quantile(ordered: Draws, part: float) -> float:
    """Linear between the two nearest of sorted draws."""
    place = part * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return min(high, low + (high - low) * (place - below))
