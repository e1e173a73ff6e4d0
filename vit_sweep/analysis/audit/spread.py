"""How far repeats of a cell lie from each other, and from what difference on a rule may speak. Pure.

The logarithms of run medians are pooled over all cells with repeats: s^2 = sum over cells of sum (x - mean)^2 / f, with
f = sum (n - 1) degrees of freedom. Few repeats say little, so s^2 is moderated by what is usual (Smyth 2004, limma):
(f0 s0^2 + f s^2) / (f0 + f). A ratio of two points with n and m runs then has the standard error s sqrt(1/n + 1/m).
"""

from dataclasses import dataclass
from math import sqrt
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
    degrees: int
    """Of freedom that were measured; 0: `deviation` is what is usual."""

    def margin(self, point: SeriesPoint, other: SeriesPoint, *, tests: int) -> float:
        """The part by which `point` must differ from `other` before the difference is no chance, one-sided, where
        `tests` points are looked at in all (Bonferroni)."""
        error = self.deviation * sqrt(1 / len(point.runs) + 1 / len(other.runs))
        return quantile(1 - FALSE_ALARMS / max(1, tests), self.degrees) * error

    @property
    def words(self) -> str:
        """Where the threshold comes from."""
        if not self.degrees:
            return f"no cell was repeated, so repeats are taken to differ by {USUAL:.0%}"
        return f"repeats differ by {self.deviation:.1%}, {plural(self.degrees, 'degree')} of freedom"


def spread_of(evidence: Evidence) -> Spread:
    """Pool the repeats of all cells; a cell of two series counts once."""
    cells = {
        tuple(run.run_id for run in point.runs): [run.epoch_s for run in point.runs]
        for series in evidence.series
        for point in series.timed
    }
    seen = seen_spread(cells.values())
    if seen is None:
        return Spread(deviation=USUAL, degrees=0)
    squares, freedom = seen.freedom * seen.deviation**2, seen.freedom
    return Spread(deviation=sqrt((_WEIGHT * USUAL**2 + squares) / (_WEIGHT + freedom)), degrees=freedom)


def quantile(probability: float, degrees: int) -> float:
    """Of Student's t with `_WEIGHT` and the measured degrees of freedom; of the normal law without measured ones."""
    return t_quantile(degrees + _WEIGHT, probability) if degrees else NormalDist().inv_cdf(probability)
