"""Since when a time is another one: change points of a history, with a false-alarm rate. Pure; needs numpy.

Binary segmentation (Vostrikova 1981): of all places where a series could be cut in two, the one with the largest |t| of
the difference of means; it is a change point where as large a |t| is rare among random orders of the same values
(permutation test, Pitman 1937), and both parts are looked at in turn. A series without a change has a false alarm only
if the first test has one: with probability `ALARM`, shared among all series that are looked at, whatever the
distribution of its values, if they are exchangeable. Two changes that undo each other may hide from it.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, exp
from typing import NamedTuple

import numpy as np

from vit_sweep.analysis.series.pooling import Floats

ALARM = 0.01
"""Probability that a history in which nothing changed has a change point in any of its series, each time one looks."""
_ORDERS = 1999
"""Random orders at least: more where many series share the rate."""
LEAST = 3
"""Values of a part at least."""


class Change(NamedTuple):
    """Where a series changes."""

    at: int
    """Index of the first value after it."""
    ratio: float
    """Median after it over the median before, both up to their next change point."""


def change_points(values: Sequence[float], *, series: int = 1) -> list[Change]:
    """The change points of positive `values` in their order; `series`: how many such are looked at together."""
    logs = np.log(np.asarray(values, dtype=np.float64))
    if not len(logs):
        return []
    level = ALARM / max(1, series)
    orders = max(_ORDERS, ceil(20 / level))
    cuts = sorted(_cuts(logs, 0, level, orders, np.random.default_rng(len(logs))))
    edges = [0, *cuts, len(logs)]
    parts = [float(np.median(logs[start:end])) for start, end in pairwise(edges)]
    return [Change(at, exp(after - before)) for at, (before, after) in zip(cuts, pairwise(parts), strict=True)]


def _cuts(logs: Floats, start: int, level: float, orders: int, draw: np.random.Generator) -> list[int]:
    if len(logs) < 2 * LEAST or not float(np.ptp(logs)):
        return []
    observed = _largest(logs[None, :])
    shuffled = draw.permuted(np.broadcast_to(logs, (orders, len(logs))), axis=1)
    above = int((_largest(shuffled).size_of >= observed.size_of[0] * (1 - 1e-9)).sum())
    if (above + 1) / (orders + 1) > level:
        return []
    at = int(observed.place[0])
    left, right = logs[:at], logs[at:]
    return [
        *_cuts(left, start, level, orders, draw),
        start + at,
        *_cuts(right, start + at, level, orders, draw),
    ]


class _Largest(NamedTuple):
    size_of: Floats
    place: np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def _largest(rows: Floats) -> _Largest:
    """Of each row (rows x values) the largest |t| of a cut, and where it is.

    With the total fixed, |t| grows with the part of the squares between both sides, which is what is compared.
    """
    count = rows.shape[1]
    before = np.arange(LEAST, count - LEAST + 1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    sums = np.cumsum(centred, axis=1)[:, before - 1]
    between = sums**2 * count / (before * (count - before))
    place = between.argmax(axis=1)
    return _Largest(between[np.arange(len(rows)), place] / (centred**2).sum(axis=1), before[place])
