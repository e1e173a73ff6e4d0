"""Candidate laws of a curve, weighted by how well they agree with its runs (Bayesian model averaging). Pure; numpy.

Every law of `laws.laws` that means anything under the scaling is taken with a grid of its coefficients; each of these
curves, with a `DOUBT` how far it may be off, is a candidate. Its weight is the likelihood of the measured means, its
level fitted (Hoeting, Madigan, Raftery and Volinsky 1999): families count alike before a run is made. Where candidates
disagree a run tells most. What they say of a count is a mixture: the law's own value, how well its level is known, and
the doubt, which beyond the measured counts grows with the distance as in `laws.predicting`.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import log

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from vit_sweep.analysis.deciding.evidence import Evidence
from vit_sweep.analysis.laws.laws import OF_SCALING, Law, Workload, law_time_s
from vit_sweep.analysis.series.distributions import stdtr

Floats = npt.NDArray[np.float64]
DOUBT = (0.005, 0.01, 0.02, 0.04, 0.08)
"""Standard deviations of a count's logarithm around a law, one of which is true."""
_FARTHER = 1.5
"""Power of the distance with which it grows beyond the measured counts."""
_PARTS = (0.0, *np.geomspace(1e-4, 0.3, 15).tolist())
"""Serial fractions, contention."""
_COHERENCE = (0.0, *np.geomspace(1e-6, 1e-2, 11).tolist())
_IMBALANCE = (0.0, 0.02, 0.05, 0.1)
_LATENCY = (0.0, *np.geomspace(1e-5, 3e-2, 8).tolist())
"""Of a message, as a part of a step's computation."""
_TRANSFER = (0.0, *np.geomspace(1e-3, 1.0, 9).tolist())
"""Of a gradient, likewise."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The laws that may be true, and their weights by now: `laws x doubts`."""

    evidence: Evidence

    @cached_property
    def weights(self) -> Floats:
        """Of each law (first axis) with each doubt (second); they add up to 1."""
        prior = _shapes(self.evidence.load, self.evidence.counts)[0][:, None] + np.zeros(len(DOUBT))
        if len(self.evidence.measured) < 2:
            return np.asarray(np.exp(prior) / np.exp(prior).sum())
        residual = self._means - self._at(self.evidence.measured)
        precision = 1 / self._variances  # doubts x counts
        off = residual[:, None, :] - self._level[..., None]
        fit = -0.5 * (off**2 * precision).sum(axis=-1)
        scale = 0.5 * np.log(precision).sum(axis=-1) - 0.5 * np.log(precision.sum(axis=-1))
        total = prior + fit + scale
        likely = np.exp(total - total.max())
        return np.asarray(likely / likely.sum())

    def seconds(self, gpus: int) -> "Mixture":
        """Of the logarithm of a count's seconds, nothing measured on it being used by itself."""
        level, level_variance = self._level, self._level_variance
        means = level + self._at((gpus,))
        return Mixture(
            weights=self.weights,
            means=means,
            variances=np.broadcast_to(
                level_variance + (np.square(DOUBT) * self._distance(gpus) ** (2 * _FARTHER)), means.shape
            ),
            freedom=self._freedom,
        )

    def ratio(self, gpus: int) -> "Mixture":
        """Of ln T(smallest count) - ln T(gpus): the smallest count as it was measured, if it was."""
        base = self.evidence.base
        predicted = self.seconds(gpus)
        if base in self.evidence.measured:
            measured = self.evidence.value({base: 1.0})
            return Mixture(
                weights=self.weights,
                means=measured.mean - predicted.means,
                variances=predicted.variances + measured.error**2,
                freedom=self._freedom,
            )
        means = np.broadcast_to(self._at((base,)) - self._at((gpus,)), predicted.means.shape)
        doubt = np.square(DOUBT) * (1 + self._distance(gpus) ** (2 * _FARTHER))
        return Mixture(weights=self.weights, means=means, variances=np.broadcast_to(doubt, means.shape), freedom=1e6)

    def disagreement(self, gpus: int) -> tuple[float, float]:
        """The ratio T(smallest)/T(gpus) that 95 % of the candidates lie between."""
        low, high = self.ratio(gpus).interval(0.95)
        return float(np.exp(low)), float(np.exp(high))

    def gain(self, gpus: int, target: "Mixture") -> float:
        """Part of the variance of `target`, a mixture over these candidates, that one more run would take away, 0 to 1.

        The best linear guess from the run: Cov(asked, run)^2 / Var(run).
        """
        noise, n = self.evidence.run_variance(gpus), self.evidence.n(gpus)
        doubts = np.square(DOUBT)
        if n:  # what is left to learn of a measured count: its runs' noise, not how far its law is off
            before, after = doubts + noise / n, doubts + noise / (n + 1)
            run_variance = 1 / (1 / after - 1 / before)
        else:
            run_variance = doubts + noise
        means = self._level + self._at((gpus,))
        weights = self.weights
        centred = means - (weights * means).sum()
        sign = np.sign((weights * centred * (target.means - target.mean)).sum()) or 1.0
        covariance = (weights * centred * (target.means - target.mean)).sum()
        covariance += sign * float((weights * self._level_variance).sum())
        spread = (weights * centred**2).sum() + (weights * (self._level_variance + run_variance)).sum()
        target_variance = target.variance
        return float(min(1.0, covariance**2 / spread / target_variance)) if target_variance > 0 and spread > 0 else 0.0

    def _at(self, counts: tuple[int, ...]) -> Floats:
        """Logarithms of seconds of each law, its level left open: laws x counts."""
        all_counts = tuple(sorted({*self.evidence.counts, *counts}))
        shapes = _shapes(self.evidence.load, all_counts)[1]
        return np.asarray(shapes[:, [all_counts.index(gpus) for gpus in counts]])

    @cached_property
    def _means(self) -> Floats:
        return np.array([self.evidence.mean(gpus) for gpus in self.evidence.measured])

    @cached_property
    def _variances(self) -> Floats:
        """Of measured means around a law: doubts x counts."""
        noise = np.array([self.evidence.run_variance(gpus) / self.evidence.n(gpus) for gpus in self.evidence.measured])
        return np.asarray(np.square(DOUBT)[:, None] + noise)

    @cached_property
    def _level(self) -> Floats:
        """The level of each law that agrees best: laws x doubts."""
        if not self.evidence.measured:
            return np.zeros((len(self._at((self.evidence.base,))), len(DOUBT)))
        precision = 1 / self._variances
        off = self._means - self._at(self.evidence.measured)
        return np.asarray((off @ precision.T) / precision.sum(axis=-1))

    @property
    def _level_variance(self) -> Floats:
        return np.asarray(1 / (1 / self._variances).sum(axis=-1)) if self.evidence.measured else np.ones(len(DOUBT))

    @property
    def _freedom(self) -> float:
        if not self.evidence.measured:
            return 1.0
        return self.evidence.value({self.evidence.measured[0]: 1.0}).freedom

    def _distance(self, gpus: int) -> float:
        measured = self.evidence.measured or (gpus,)
        return max(1.0, gpus / max(measured), min(measured) / gpus)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A number that differs between candidates; each says a mean and a variance."""

    weights: Floats
    means: Floats
    variances: Floats
    freedom: float
    """Degrees of freedom of their errors."""

    @property
    def mean(self) -> float:
        """Over all candidates."""
        return float((self.weights * self.means).sum())

    @property
    def variance(self) -> float:
        """Over all candidates."""
        return float((self.weights * (self.variances + (self.means - self.mean) ** 2)).sum())

    def above(self, bound: float, error: float = 0.0) -> float:
        """The probability of more than `bound`, seen with an `error`."""
        z = (self.means - bound) / np.sqrt(self.variances + error**2)
        return float((self.weights * ndtr(z)).sum())

    def interval(self, confidence: float) -> tuple[float, float]:
        """Between which it lies with this probability; Student's t of each candidate."""
        heavy = self.weights > 1e-6 * self.weights.max()
        weights, means, errors = self.weights[heavy], self.means[heavy], np.sqrt(self.variances[heavy])
        weights = weights / weights.sum()
        return (
            _quantile((1 - confidence) / 2, weights, means, errors, self.freedom),
            _quantile((1 + confidence) / 2, weights, means, errors, self.freedom),
        )


def _quantile(probability: float, weights: Floats, means: Floats, errors: Floats, freedom: float) -> float:
    low, high = float((means - 50 * errors).min()), float((means + 50 * errors).max())
    for _ in range(60):
        middle = (low + high) / 2
        below = float((weights * stdtr(freedom, (middle - means) / errors)).sum())
        low, high = (middle, high) if below < probability else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=256)
def _shapes(load: Workload, counts: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Of every candidate: the logarithm of its weight before a run, and its logarithms of seconds at `counts`."""
    names: list[str] = []
    rows: list[list[float]] = []
    for law in OF_SCALING[load.scaling]:
        if law is Law.MEASURED_LINK or (law is Law.LATENCY_BANDWIDTH and not load.known):
            continue
        for coefficients in _coefficients(law, load, counts[0]):
            names.append(law.value)
            rows.append([log(law_time_s(law, gpus, load, coefficients)) for gpus in counts])
    share = {name: 1 / names.count(name) / len(set(names)) for name in set(names)}
    return np.log([share[name] for name in names]), np.array(rows)


def _coefficients(law: Law, load: Workload, first: int) -> list[tuple[float, ...]]:
    """The grid of a law's coefficients, as `laws.terms` orders them, for a computation of 1 on one GPU."""
    match law:
        case Law.AMDAHL | Law.GUSTAFSON:
            return [(part, 1 - part) for part in _PARTS]
        case Law.USL:
            return [(1.0, part, coherence) for part, coherence in product(_PARTS, _COHERENCE)]
        case _:
            step = load.per_gpu(first)  # images, each of which takes 1
            return [
                (1.0, wait, latency * step, transfer * step)
                for wait, latency, transfer in product(_IMBALANCE, _LATENCY, _TRANSFER)
            ]
