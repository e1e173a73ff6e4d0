"""How far repeats of a cell lie from each other, and from what difference on a rule may speak. Pure.

The logarithms of run medians are pooled over all cells with repeats: s^2 = sum over cells of sum (x - mean)^2 / f, with
f = sum (n - 1) degrees of freedom. Few repeats say little, so s^2 is moderated by what is usual (Smyth 2004, limma):
(f0 s0^2 + f s^2) / (f0 + f), unless they differ by more than the usual allows (chi-squared test, 5 %). A ratio of two
points with n and m runs then has the standard error s sqrt(1/n + 1/m).
"""

from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

from launchers.text import plural
from vit_sweep.analysis.audit.finding import Evidence
from vit_sweep.analysis.series.series import SeriesPoint
from vit_sweep.plan.repeats import USUAL, seen_spread, t_quantile

_WEIGHT = 4
"""Degrees of freedom that the usual spread is worth beside measured ones."""
FALSE_ALARMS = 0.03
"""How often a rule may speak of a study in which nothing is wrong, over all points that it looks at: below the 5 % that
are promised, as the spread is never known exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of the logarithms of run medians between repeats."""

    deviation: float
    freedom: float
    """Degrees of freedom of it; infinite where it is what is usual."""
    words: str
    """Where the threshold comes from."""

    def margin(self, point: SeriesPoint, other: SeriesPoint, *, tests: int) -> float:
        """The part by which `point` must differ from `other` before the difference is no chance, one-sided, where
        `tests` points are looked at in all (Bonferroni)."""
        error = self.deviation * sqrt(1 / len(point.runs) + 1 / len(other.runs))
        return t_quantile(self.freedom, 1 - FALSE_ALARMS / max(1, tests)) * error


def spread_of(evidence: Evidence) -> Spread:
    """Pool the repeats of all cells; a cell of two series counts once."""
    cells = {
        tuple(run.run_id for run in point.runs): [run.epoch_s for run in point.runs]
        for series in evidence.series
        for point in series.timed
    }
    seen = seen_spread(cells.values())
    if seen is None:
        words = f"no cell was repeated, so repeats are taken to differ by {USUAL:.0%}"
        return Spread(deviation=USUAL, freedom=inf, words=words)
    words = f"repeats differ by {seen.deviation:.1%}, {plural(seen.freedom, 'degree')} of freedom"
    if seen.freedom * (seen.deviation / USUAL) ** 2 > chi_squared(seen.freedom):
        return Spread(deviation=seen.deviation, freedom=seen.freedom, words=words)
    squares = _WEIGHT * USUAL**2 + seen.freedom * seen.deviation**2
    freedom = _WEIGHT + seen.freedom
    deviation = sqrt(squares / freedom)
    return Spread(
        deviation=deviation, freedom=freedom, words=f"{words}, taken as {deviation:.1%} beside the usual {USUAL:.0%}"
    )


def chi_squared(freedom: int) -> float:
    """What chi-squared exceeds in 5 % of cases, to 2 % (Wilson and Hilferty 1931)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NormalDist().inv_cdf(0.95) * sqrt(part)) ** 3)
