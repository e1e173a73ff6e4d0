"""What is known of one curve when a decision is made: its counts, the runs so far, what a run costs. Pure; numpy.

The spread of runs is that of the tables (`series.pooling`), with `ASSUMED` degrees of freedom of runs that differ by
what is usual (`plan.repeats.USUAL`): a decision is made early, when two runs that happen to agree would look like
certainty. It is the conjugate prior of a normal variance (scaled inverse chi-square; Gelman et al. 2013, section 2.6).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import log
from statistics import fmean

import numpy as np

from vit_sweep.analysis.laws.laws import Workload
from vit_sweep.analysis.series.pooling import Spread, layout_of, spread_of
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.repeats import USUAL

ASSUMED = 2.0
"""Degrees of freedom that the usual spread counts for."""

Weights = Mapping[int, float]
"""A weighted sum of the logarithms of the times of GPU counts: one count with 1, or a ratio with 1 and -1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One finished run."""

    gpus: int
    epoch_s: float
    session: int = 0
    gpu_hours: float | None = None
    """None: as predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A logarithm with its standard error and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a decision may rest on."""

    load: Workload
    counts: tuple[int, ...]
    """GPU counts that can run, rising; the first is what others are compared with."""
    predicted_hours: Mapping[int, float]
    """GPU-hours of a run, by count, as planned."""
    runs: tuple[Timed, ...] = ()
    failed: Mapping[int, str] | None = None
    """Counts that ended without a time for good, and how."""
    most: int = 10
    """Runs of one count at most."""
    lost: float = 0.0
    """GPU-hours that gave none of the runs: of attempts that failed, and of runs that stand apart."""

    @property
    def strong(self) -> bool:
        """Whether the work of an epoch is the same on every count."""
        return self.load.scaling is Scaling.STRONG

    @property
    def base(self) -> int:
        """What speedup and efficiency are relative to."""
        return self.counts[0]

    @property
    def spent(self) -> float:
        """GPU-hours of the whole study."""
        of_runs = (run.gpu_hours if run.gpu_hours is not None else self.hours(run.gpus) for run in self.runs)
        return self.lost + sum(of_runs)

    @cached_property
    def measured(self) -> tuple[int, ...]:
        """Counts with a run."""
        return tuple(sorted({run.gpus for run in self.runs}))

    def n(self, gpus: int) -> int:
        """Runs of a count."""
        return self._counted[gpus]

    def room(self, gpus: int) -> int:
        """Runs that may still be made of a count."""
        return 0 if gpus in (self.failed or {}) or gpus not in self.counts else max(0, self.most - self.n(gpus))

    def hours(self, gpus: int) -> float:
        """GPU-hours of one more run: the mean of those that ran, else as predicted, by how far predictions were off."""
        known = [run.gpu_hours for run in self.runs if run.gpus == gpus and run.gpu_hours is not None]
        if known:
            return fmean(known)
        spent = [(run.gpu_hours, self.predicted_hours[run.gpus]) for run in self.runs if run.gpu_hours is not None]
        off = sum(actual for actual, _ in spent) / sum(predicted for _, predicted in spent) if spent else 1.0
        return off * self.predicted_hours[gpus]

    def mean(self, gpus: int) -> float:
        """Mean logarithm of the seconds of a measured count."""
        return float(self._spread.mean[self.measured.index(gpus)])

    def run_variance(self, gpus: int | None = None) -> float:
        """Of the logarithm of one run, of a count or of the pool."""
        if not self.runs:
            return USUAL**2
        spread = self._spread
        if gpus in self.measured:
            place = self.measured.index(gpus)
            variance, freedom = float(spread.variance[place]), float(spread.freedom[place])
        else:
            variance, freedom = float(spread.pool_variance), float(spread.pool_freedom)
        return (freedom * variance + ASSUMED * USUAL**2) / (freedom + ASSUMED)

    def value(self, weights: Weights, more: Mapping[int, int] | None = None) -> Value:
        """A weighted sum of measured counts' logarithms; with `more` runs what its error is likely to be then.

        Raises `ValueError` for a count without a run.
        """
        where = [self.measured.index(gpus) for gpus in weights]
        mean, variance, freedom = (float(x) for x in self._spread.contrast(where, list(weights.values())))
        usual = sum(weight**2 / self.n(gpus) for gpus, weight in weights.items()) * USUAL**2
        error = (freedom * variance + ASSUMED * usual) / (freedom + ASSUMED)
        freedom += ASSUMED
        for gpus, weight in weights.items():
            extra = (more or {}).get(gpus, 0)
            n = self.n(gpus)
            error -= weight**2 * self.run_variance(gpus) * (1 / n - 1 / (n + extra))
            freedom += extra
        return Value(mean=mean, error=float(np.sqrt(max(error, 1e-16))), freedom=freedom)

    @cached_property
    def _counted(self) -> Counter[int]:
        return Counter(run.gpus for run in self.runs)

    @cached_property
    def _spread(self) -> Spread:
        runs = sorted(self.runs, key=lambda run: (run.gpus, run.session, run.epoch_s))
        which = [self.measured.index(run.gpus) for run in runs]
        return spread_of([log(run.epoch_s) for run in runs], layout_of(which, _numbered([r.session for r in runs])))


def _numbered(sessions: list[int]) -> list[int]:
    """The same sessions, from 0 without a gap."""
    known = sorted(set(sessions))
    return [known.index(session) for session in sessions]
