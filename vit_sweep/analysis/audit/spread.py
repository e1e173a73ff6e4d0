"""How far repeats of a cell lie from each other, and from what difference on a rule may speak. Pure.

The logarithms of run medians are pooled over all cells with repeats: s^2 = sum over cells of sum (x - mean)^2 / f, with
f = sum (n - 1) degrees of freedom. Few repeats say little, so s^2 is moderated by what is usual (Smyth 2004, limma):
(f0 s0^2 + f s^2) / (f0 + f). A ratio of two points with n and m runs then has the standard error s sqrt(1/n + 1/m).
"""

from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist, fmean, median

from vit_sweep.analysis.audit.finding import Evidence
from vit_sweep.analysis.series.series import SeriesPoint

USUAL = 0.02
"""Standard deviation between repeats that is assumed where there are none; published logs show 0.5 to 5 %."""
_WEIGHT = 4
"""Degrees of freedom that this assumption is worth beside measured ones."""
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
        return f"repeats differ by {self.deviation:.1%}, {self.degrees} degree{'s' * (self.degrees > 1)} of freedom"


def spread_of(evidence: Evidence) -> Spread:
    """Pool the repeats of all cells."""
    squares, degrees = 0.0, 0
    for logs in repeats_of(evidence):
        squares += sum((value - fmean(logs)) ** 2 for value in logs)
        degrees += len(logs) - 1
    if not degrees:
        return Spread(deviation=USUAL, degrees=0)
    return Spread(deviation=sqrt((_WEIGHT * USUAL**2 + squares) / (_WEIGHT + degrees)), degrees=degrees)


def repeats_of(evidence: Evidence) -> list[list[float]]:
    """Logarithms of run medians of every cell that was repeated; a cell of two series counts once."""
    cells = {
        tuple(run.run_id for run in point.runs): [log(median(run.epoch_s)) for run in point.runs]
        for series in evidence.series
        for point in series.timed
        if len(point.runs) > 1
    }
    return list(cells.values())


def quantile(probability: float, degrees: int) -> float:
    """Of Student's t with `_WEIGHT` and the measured degrees of freedom; of the normal law without measured ones.

    Abramowitz and Stegun 26.7.5, within 1 % from 5 degrees of freedom on: the audit must run without scipy.
    """
    z = NormalDist().inv_cdf(probability)
    if not degrees:
        return z
    f = degrees + _WEIGHT
    terms = (
        (z**3 + z) / 4 / f,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96 / f**2,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / f**3,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160 / f**4,
    )
    return z + sum(terms)
