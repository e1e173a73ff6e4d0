"""Coefficients of a law by robust least squares on relative residuals. Needs numpy and scipy.

Minimised is the sum over runs of soft_l1(predicted / measured - 1) with `scipy.optimize.least_squares`, started from
the (non-negative) least squares solution, `scipy.optimize.nnls` (Lawson and Hanson 1974). Coefficients are times and
cannot be negative; the covariance is that of the fit without this bound, s^2 (J'WJ)^-1, s being at least `SINGLE_RUN`
over Student's t where no count ran twice.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from launchers.checked import checked
from vit_sweep.analysis.laws.laws import COEFFICIENTS, Law, MeasuredLink, Workload, known_s, terms
from vit_sweep.analysis.series.distributions import stdtrit
from vit_sweep.plan.repeats import USUAL

SINGLE_RUN = 2 * USUAL
"""What 95 % of single runs are taken to be good to, two standard deviations of what is usual: an assumption."""
OUTLIER = 0.1
"""Relative residual from which on a run counts less than its square."""
SINGULAR = 1e7
"""Condition number above which coefficients cannot be told apart in double precision with measured times."""
Array = NDArray[np.float64]


@checked
class Solution:
    """Coefficients of a law and what the runs say of their spread."""

    coefficients: tuple[float, ...]
    """None below zero."""
    free: tuple[float, ...]
    """Without that bound: where the intervals are centred."""
    covariance: tuple[tuple[float, ...], ...]
    residual: float
    """Standard deviation of a run, relative; of single runs never less than what makes them good to `SINGLE_RUN`."""
    freedom: int
    """Runs less coefficients."""
    largest_share: tuple[float, ...]
    """Largest part of any run's time that one unit of a coefficient makes up."""


def solve(
    observed: Mapping[int, Sequence[float]],
    law: Law,
    load: Workload,
    *,
    link: MeasuredLink | None = None,
    size_bytes: float | None = None,
) -> Solution | str:
    """Coefficients of `law` for epoch seconds by GPU count, or a sentence why there are none.

    Raises `ValueError` for times that are not positive numbers.
    """
    rows = [(gpus, seconds) for gpus in sorted(observed) for seconds in observed[gpus]]
    times = np.array([seconds for _, seconds in rows])
    if not np.all(np.isfinite(times) & (times > 0)):
        raise ValueError("epoch times must be positive numbers")
    factors = np.array([terms(law, gpus, load) for gpus, _ in rows])
    known = np.array([known_s(gpus, load, link=link, size_bytes=size_bytes) for gpus, _ in rows])
    weights = times if law is Law.GUSTAFSON else 1 / times
    design, target = factors * weights[:, None], 1 - known / times
    share = np.max(np.abs(design), axis=0)
    design = design / share
    condition = float(np.linalg.cond(design))
    if not condition < SINGULAR:
        counts = ", ".join(map(str, sorted(observed)))
        return f"GPU counts {counts} cannot tell its {COEFFICIENTS[law]} coefficients apart (condition {condition:.1e})"
    free = _least(design, target, bounded=False)
    bounded = free if np.all(free >= 0) else _least(design, target, bounded=True)
    off = design @ free - target
    weight = 1 / np.sqrt(1 + (off / OUTLIER) ** 2)  # soft_l1's weight of a residual
    freedom = len(rows) - len(share)
    variance = float(weight @ off**2) / freedom if freedom > 0 else 0.0
    if freedom > 0 and len(rows) == len(observed):  # few residuals of single runs are small by chance alone
        variance = max(variance, (SINGLE_RUN / float(stdtrit(freedom, 0.975))) ** 2)
    scatter = variance * np.linalg.inv(design.T @ (weight[:, None] * design))
    return Solution(
        coefficients=tuple((bounded / share).tolist()),
        free=tuple((free / share).tolist()),
        covariance=tuple(map(tuple, (scatter / np.outer(share, share)).tolist())),
        residual=variance**0.5,
        freedom=freedom,
        largest_share=tuple(share.tolist()),
    )


def _least(design: Array, target: Array, *, bounded: bool) -> Array:
    """Minimise soft_l1 of design x - target; with a bound no x is below zero."""
    start = nnls(design, target)[0] if bounded else np.linalg.lstsq(design, target)[0]
    minimum = least_squares(
        lambda x: design @ x - target,
        start,
        jac=lambda _: design,
        bounds=(0 if bounded else -np.inf, np.inf),
        loss="soft_l1",
        f_scale=OUTLIER,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    x: Array = minimum.x
    # The solver works in the interior; the bound itself is what it approaches.
    return np.where(x < 1e-9, 0.0, x) if bounded else x
