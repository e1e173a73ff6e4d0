"""How far runs of a cell lie from each other, partly pooled over cells; Student's t with it. Pure; numpy and scipy.

The model: log(run median) = cell + session + run. Runs of all cells share one variance where they agree. A cell whose
runs differ by more than those of all others (F test, `AGREE`) keeps its own; where that is beyond doubt (`DISAGREE`,
Bonferroni over the cells), it leaves the pool of the others too. A session (what differs from day to day) is common to
all cells; its variance comes from cells that ran in several (analysis of variance, Henderson's method 3, 1953). The
error of a weighted sum of cells adds these sources, with Satterthwaite's degrees of freedom (1946); of two cells it
is Welch's (1947). All functions take one study, or many at once: leading axes are studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt

import numpy as np
import numpy.typing as npt

from vit_sweep.analysis.series.distributions import fdtrc, stdtr, stdtrit

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
AGREE = 0.10
"""Below this p value a cell with a larger spread than the others' is judged by its own runs."""
DISAGREE = 0.01
"""Below this p value, over all cells, it is not pooled for the others either."""
_ASSUMED = 1e6
"""Degrees of freedom of what is assumed."""
DAYS = 0.015
"""Standard deviation between sessions in a ratio of cells that share none, where no cell ran in two: an assumption."""
EQUAL = 1e-18
"""Variance of logarithms below which runs are equal but for rounding: nothing is known of their spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which run is of which cell and of which session; k cells, s sessions, n runs."""

    cells: npt.NDArray[np.int64]
    """n: the cell of each run, in order."""
    starts: npt.NDArray[np.int64]
    """k: where the runs of a cell begin."""
    counts: Floats
    """k: runs of each cell."""
    shares: Floats
    """k x s: part of a cell's runs that a session has."""
    centred: Floats
    """n x s: whether a run is of a session, less its cell's share."""
    inverse: Floats
    """s x s: pseudoinverse of centred' x centred."""
    session_freedom: int
    """Degrees of freedom between sessions; 0 where no cell ran in two."""
    runs_per_session: float
    """What the variance between sessions is multiplied with in their mean square."""

    @property
    def run_freedom(self) -> float:
        """Degrees of freedom within cells and sessions."""
        return float((self.counts - 1).sum()) - self.session_freedom

    def sums(self, values: Floats) -> Floats:
        """... x n to ... x k: added up over the runs of a cell."""
        total: Floats = np.add.reduceat(values, self.starts, axis=-1)
        return total


def layout_of(cells: Sequence[int], sessions: Sequence[int]) -> Layout:
    """The layout of runs numbered by cell, in this order, and by session; both from 0 without a gap."""
    which, when = np.asarray(cells, dtype=np.int64), np.asarray(sessions, dtype=np.int64)
    inside = np.zeros((which.max() + 1, when.max() + 1))
    np.add.at(inside, (which, when), 1.0)
    counts = inside.sum(axis=1)
    shares = inside / counts[:, None]
    centred = np.eye(inside.shape[1])[when] - shares[which]
    gram = centred.T @ centred
    freedom = int(np.linalg.matrix_rank(gram, tol=1e-9 * max(1, len(which))))
    return Layout(
        cells=which,
        starts=np.searchsorted(which, np.arange(len(counts))),
        counts=counts,
        shares=shares,
        centred=centred,
        inverse=np.linalg.pinv(gram, rcond=1e-9),
        session_freedom=freedom,
        runs_per_session=float(np.trace(gram)) / freedom if freedom else 1.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What runs say of their cells' logarithms and of their own spread. `...` are studies."""

    layout: Layout
    mean: Floats
    """... x k: mean logarithm of a cell's runs."""
    variance: Floats
    """... x k: of one run of the cell, without what sessions differ by."""
    freedom: Floats
    """... x k: degrees of freedom of it."""
    own: npt.NDArray[np.bool_]
    """... x k: whether it is of the cell's own runs only."""
    pool_variance: Floats
    pool_freedom: Floats
    session_square: Floats
    """Mean square between sessions."""

    @property
    def session_variance(self) -> Floats:
        """Between sessions, beyond what runs differ by; not below 0."""
        return np.maximum(0.0, (self.session_square - self.pool_variance) / self.layout.runs_per_session)

    def contrast(self, cells: Sequence[int], weights: Sequence[float]) -> tuple[Floats, Floats, Floats]:
        """Value, variance and degrees of freedom of a weighted sum of cells' logarithms; each cell named once.

        One cell with weight 1 is its time, two with 1 and -1 a ratio. Zero variance: nothing is known of it.
        A ratio between sessions of which nothing is known takes them to differ by `DAYS`, a time does not.
        """
        where, weight = list(cells), np.asarray(weights, dtype=np.float64)
        factors = weight**2 / self.layout.counts[where]
        own = self.own[..., where]
        value = (weight * self.mean[..., where]).sum(axis=-1)
        pooled = (factors * ~own).sum(axis=-1) * self.pool_variance
        apart = factors * own * self.variance[..., where]
        common = self._common(where, weight)
        if not common and not own.any():
            known = pooled > EQUAL
            return value, np.where(known, pooled, 0.0), np.where(known, self.pool_freedom, 0.0)
        if self.layout.session_freedom:
            between = common * np.maximum(self.session_square, self.pool_variance)
            # The mean square between sessions holds the runs' variance too: it is not counted twice.
            pooled = np.maximum(0.0, pooled - common * self.pool_variance)
        else:
            between = np.where(pooled + apart.sum(axis=-1) > 0, common * DAYS**2, 0.0)
        sources = np.concatenate([between[..., None], pooled[..., None], apart], axis=-1)
        freedoms = np.concatenate(
            [
                np.broadcast_to(float(self.layout.session_freedom or _ASSUMED), between.shape)[..., None],
                np.maximum(1e-9, self.pool_freedom)[..., None],
                np.maximum(1e-9, self.freedom[..., where]),
            ],
            axis=-1,
        )
        return value, *satterthwaite(sources, freedoms)

    def _common(self, where: Sequence[int], weight: Floats) -> float:
        """What a weighted sum takes of the sessions' mean square; 0 between cells that share theirs."""
        if not self.layout.session_freedom and abs(weight.sum()) > 1e-9:
            return 0.0  # a time, of which nothing is known between sessions
        common = float(((weight @ self.layout.shares[where]) ** 2).sum())
        return 0.0 if common < 1e-12 else common / self.layout.runs_per_session


def spread_of(logs: npt.ArrayLike, layout: Layout) -> Spread:
    """Fit the model to logarithms of run medians, ... x n."""
    values = np.asarray(logs, dtype=np.float64)
    mean = layout.sums(values) / layout.counts
    deviations = values - mean[..., layout.cells]
    effects = deviations @ layout.centred @ layout.inverse
    explained = np.einsum("...s,...s->...", effects, deviations @ layout.centred)
    residual = deviations - effects @ layout.centred.T
    freedoms = layout.counts - 1
    if freedoms.sum():
        freedoms = freedoms * (max(0.0, layout.run_freedom) / freedoms.sum())
    variance, freedom, own, pool, pool_freedom = partly_pooled(layout.sums(residual**2), freedoms)
    return Spread(
        layout=layout,
        mean=mean,
        variance=variance,
        freedom=freedom,
        own=own,
        pool_variance=pool,
        pool_freedom=pool_freedom,
        session_square=explained / max(1, layout.session_freedom),
    )


def of_one_cell(logs: Sequence[float]) -> tuple[float, float, float]:
    """What `Spread.contrast` says of a single cell of one session, without its matrices: mean logarithm of its runs
    (two or more), variance of that, degrees of freedom."""
    values = np.asarray(logs, dtype=np.float64)
    freedom = len(values) - 1.0
    mean = np.add.reduceat(values, [0])[0] / len(values)
    variance = 1 / len(values) * (np.add.reduceat((values - mean) ** 2, [0])[0] / freedom)
    return float(mean), float(variance if variance > EQUAL else 0.0), freedom


def partly_pooled(squares: Floats, freedoms: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_], Floats, Floats]:
    """Variance, degrees of freedom and whether they are its own, of each cell; then both of the pool.

    `squares`: ... x k sums of squares; `freedoms`: k, zero for a cell with one run.
    """
    positive_freedoms = np.maximum(freedoms, 1e-9)
    total, freedom = squares.sum(axis=-1, keepdims=True), freedoms.sum()
    others, others_freedom = total - squares, np.maximum(freedom - freedoms, 1e-9)
    comparable = (freedoms > 0) & (freedom - freedoms > 1e-6) & (others / others_freedom > EQUAL)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(comparable, (squares / positive_freedoms) / (others / others_freedom), 0.0)
    p = fdtrc(np.broadcast_to(positive_freedoms, ratio.shape), np.broadcast_to(others_freedom, ratio.shape), ratio)
    own = comparable & (p < AGREE)
    pooled = ~(comparable & (p < DISAGREE / max(1, int(np.count_nonzero(freedoms)))))
    pool_freedom = (freedoms * pooled).sum(axis=-1)
    pool = (squares * pooled).sum(axis=-1) / np.maximum(pool_freedom, 1e-9)
    return (
        np.where(own, squares / positive_freedoms, pool[..., None]),
        np.where(own, freedoms, pool_freedom[..., None]),
        own,
        pool,
        pool_freedom,
    )


def satterthwaite(sources: Floats, freedoms: Floats) -> tuple[Floats, Floats]:
    """Sum of independent variances, ... x sources, and its degrees of freedom (Satterthwaite 1946); 0 of nothing."""
    total = sources.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (sources**2 / freedoms).sum(axis=-1)
    return np.where(total > EQUAL, total, 0.0), np.where(total > EQUAL, freedom, 0.0)


def half_width(variance: npt.ArrayLike, freedom: npt.ArrayLike, confidence: float = CONFIDENCE) -> Floats:
    """Half of the interval of a logarithm with this variance; infinite without a degree of freedom."""
    freedoms = np.asarray(freedom, dtype=np.float64)
    quantile = stdtrit(np.maximum(freedoms, 1e-3), (1 + confidence) / 2)
    width: Floats = np.where(freedoms > 0, quantile * np.sqrt(np.asarray(variance)), np.inf)
    return width


def half_width_of_one(variance: float, freedom: float) -> float:
    """The same of one logarithm, with 95 %: a study's cells have few different degrees of freedom."""
    return _t_quantile(freedom) * sqrt(variance) if freedom > 0 else inf


@lru_cache(maxsize=2**12)
def _t_quantile(freedom: float) -> float:
    return float(stdtrit(max(freedom, 1e-3), (1 + CONFIDENCE) / 2))


def p_value(value: npt.ArrayLike, variance: npt.ArrayLike, freedom: npt.ArrayLike) -> Floats:
    """Two-sided p value of a logarithm's being 0; 1 where its variance is not known."""
    error = np.sqrt(np.asarray(variance, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(np.asarray(value)) / error
    p: Floats = np.where(error > 0, 2 * stdtr(np.maximum(np.asarray(freedom), 1e-3), -t), 1.0)
    return p


def p_value_of_one(value: float, variance: float, freedom: float) -> float:
    """The same of one logarithm."""
    return float(2 * stdtr(max(freedom, 1e-3), -abs(value) / sqrt(variance))) if variance > 0 else 1.0


def holm(p_values: npt.ArrayLike) -> Floats:
    """p values adjusted for being looked at together, ... x comparisons (Holm 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    rising = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(1.0, rising), axis=-1)
    return adjusted
