"""What so many runs can find, and how many more would tell. Pure; needs numpy and scipy.

An interval of half-width h lies beyond a bound with probability `POWER` where the truth is h + t(`_AIMED`) x standard
error away from it. `_AIMED` is more than `POWER`: t alone approximates the noncentral t, and a cell whose runs happen
to differ by more than others' is judged by its own (benchmarks/judging/gating.py measures what comes of it).
"""

from math import exp, log1p
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vit_sweep.analysis.series.distributions import stdtrit
from vit_sweep.analysis.series.pooling import Floats, half_width

POWER = 0.8
_AIMED = 0.9
MOST = 200
"""Runs more that are worth a proposal."""


class Sides(NamedTuple):
    """What the error of a ratio's logarithm is made of."""

    before: float
    """Variance of one run of the baseline's cell."""
    after: float
    runs_before: int
    runs_after: int
    days: float
    """What is left of the variance however many runs there are: two days differ."""
    freedom: float


class More(NamedTuple):
    """Runs to add."""

    runs: int
    both: bool
    """To the baseline too: more of the study alone would not do."""


def reach(variance: npt.ArrayLike, freedom: npt.ArrayLike, confidence: float) -> Floats:
    """How far, as a logarithm, the truth must lie beyond a bound to be found there with `POWER`."""
    quantile = stdtrit(np.maximum(np.asarray(freedom, dtype=np.float64), 1e-3), _AIMED)
    reached: Floats = half_width(variance, freedom, confidence) + quantile * np.sqrt(np.asarray(variance))
    return reached


def detectable_slowdown(slower: float, variance: float, freedom: float, confidence: float) -> float:
    """The least slow-down, as a part, that is found beyond `slower`."""
    return exp(min(50.0, log1p(slower) + float(reach(variance, freedom, confidence)))) - 1


def more_runs(sides: Sides, margin: float, confidence: float) -> More | None:
    """The fewest runs more after which a truth `margin` (a logarithm) from the bound is told from it with `POWER`.

    None where no number up to `MOST` does, of both sides neither.
    """
    added = np.arange(1, MOST + 1)
    for both in (False, True):
        variance = (
            sides.days + sides.before / (sides.runs_before + both * added) + sides.after / (sides.runs_after + added)
        )
        enough = np.flatnonzero(reach(variance, sides.freedom + (1 + both) * added, confidence) <= margin)
        if len(enough):
            return More(runs=int(added[enough[0]]), both=both)
    return None


def least_runs(cells: int, margin: float, spread: float, confidence: float) -> int | None:
    """The fewest runs of each side with which a truth `margin` (a logarithm) from the bound is told from it with
    `POWER`, where runs differ by `spread`; None where no number up to `MOST` does."""
    runs = np.arange(2, MOST + 1)
    enough = np.flatnonzero(reach(2 * spread**2 / runs, 2 * cells * (runs - 1), confidence) <= margin)
    return int(runs[enough[0]]) if len(enough) else None
