"""What a fit gives: parameters with intervals, hold-out errors, predictions or refusals. Pure, without numpy.

A prediction says no more than hold-out allows: within the measured range, its interval is never narrower than the
leave-one-out error; beyond it, it reaches to `REACH` times the measured range, and only while both the mean
leave-one-out error and that of the largest count (the one fold that is itself an extrapolation) are within
`HOLD_OUT_LIMIT`. Else a refusal with the numbers.
"""

import math
from collections.abc import Iterable, Sequence

from launchers.checked import checked
from vit_sweep.analysis.laws.laws import COEFFICIENTS, NAMES, Law, MeasuredLink, Workload, law_time_s, terms
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.plan.point import Scaling

REACH = 4.0
"""Predictions reach to this multiple of the largest measured GPU count, and down to this part of the smallest."""
HOLD_OUT_LIMIT = 0.10
"""Relative error of held-out counts up to which anything beyond the measured range is said."""
_SAME_ERROR = 3
"""Decimals to which leave-one-out errors are compared: laws equal to 0.1 % are told apart by their simplicity."""


@checked
class Parameter:
    """One parameter of a law."""

    name: str
    value: float
    low: float | None
    """95 % interval, cut at zero, where the parameter's range ends."""
    high: float | None
    unit: str = ""
    how: str = "fitted"
    """fitted, measured (by the preflight), or derived from fitted ones."""


@checked
class Fit:
    """One law over one series. With a `refusal` it holds no numbers."""

    law: Law
    load: Workload
    counts: tuple[int, ...]
    """Distinct GPU counts behind it."""
    runs: int
    """Runs behind it."""
    refusal: str = ""
    """Why the law cannot be fitted; a sentence with the numbers."""
    parameters: tuple[Parameter, ...] = ()
    residual: float | None = None
    """Standard deviation of a run around the curve, relative."""
    loo_error: float | None = None
    """Mean over GPU counts of |predicted / measured - 1|, each predicted by a fit without it."""
    largest_error: float | None = None
    """The same of the largest count alone."""
    held_out: tuple[tuple[int, float], ...] = ()
    """The same of every count."""
    coefficients: tuple[float, ...] = ()
    """See `laws.terms`."""
    covariance: tuple[tuple[float, ...], ...] = ()
    """Of the coefficients, from the fit without bounds."""
    t_quantile: float | None = None
    """97.5 % quantile of Student's t for runs less coefficients."""
    link: MeasuredLink | None = None
    size_bytes: float | None = None
    """Gradient of a step, where it is known."""
    baseline_gpus: int | None = None

    @property
    def name(self) -> str:
        """The law, as a sentence names it."""
        return NAMES[self.law]

    @property
    def reach(self) -> int:
        """Largest GPU count that a prediction may be about."""
        return math.floor(REACH * max(self.counts)) if self.counts else 0

    def parameter(self, name: str) -> Parameter:
        """One parameter by its name; raises `KeyError`."""
        return {one.name: one for one in self.parameters}[name]

    def time_s(self, gpus: int) -> float:
        """The curve, seconds of an epoch; of a fit without a refusal. No judgement whether it may be said."""
        return law_time_s(self.law, gpus, self.load, self.coefficients, link=self.link, size_bytes=self.size_bytes)

    def gradient(self, gpus: int) -> tuple[float, ...]:
        """d ln T(p) / d coefficients: what an observation at p says of them, relative errors being equal."""
        factor = -self.time_s(gpus) if self.law is Law.GUSTAFSON else 1 / self.time_s(gpus)
        return tuple(factor * term for term in terms(self.law, gpus, self.load))


@checked
class Prediction:
    """What a fit says of one GPU count."""

    law: Law
    gpus: int
    time_s: Estimate
    speedup: Estimate | None
    """Against the series' baseline; None without one."""
    efficiency: Estimate | None
    extrapolated: bool
    """Whether it lies outside the measured range."""


@checked
class Refusal:
    """Why there is no prediction."""

    law: Law
    reason: str


def best(fits: Iterable[Fit]) -> Fit | None:
    """The law with the smallest leave-one-out error; of equal ones (to 0.1 %) that with fewer coefficients."""
    sound = [fit for fit in fits if not fit.refusal and fit.loo_error is not None]
    return min(sound, key=lambda fit: (round(fit.loo_error or 0.0, _SAME_ERROR), COEFFICIENTS[fit.law]), default=None)


def predict(fit: Fit, gpus: int) -> Prediction | Refusal:
    """What `fit` says of `gpus` GPUs, or why it says nothing. Raises `ValueError` for fewer than one GPU."""
    if gpus < 1:
        raise ValueError(f"gpus={gpus}: a prediction is about one GPU or more")
    problem = _why_not(fit, gpus)
    if problem:
        return Refusal(law=fit.law, reason=problem)
    beyond = not min(fit.counts) <= gpus <= max(fit.counts)
    held_out = max(fit.loo_error or 0.0, (fit.largest_error or 0.0) if beyond else 0.0)
    seconds, mine = fit.time_s(gpus), fit.gradient(gpus)
    time = _around(seconds, max(_half_width(fit, mine), held_out), fit.runs)
    speedup = efficiency = None
    base = fit.baseline_gpus
    if base is not None:
        ratio, factor = fit.time_s(base) / seconds, gpus / base
        change = [a - b for a, b in zip(mine, fit.gradient(base), strict=True)]
        half = 0.0 if gpus == base else max(_half_width(fit, change), held_out)
        strong = fit.load.scaling is Scaling.STRONG
        speedup = _around(ratio if strong else ratio * factor, half, fit.runs)
        efficiency = _around(ratio / factor if strong else ratio, half, fit.runs)
    return Prediction(law=fit.law, gpus=gpus, time_s=time, speedup=speedup, efficiency=efficiency, extrapolated=beyond)


def _why_not(fit: Fit, gpus: int) -> str:
    if fit.refusal:
        return fit.refusal
    small, large = min(fit.counts), max(fit.counts)
    if gpus > REACH * large or gpus < small / REACH:
        near, times = (large, gpus / large) if gpus > large else (small, small / gpus)
        end = "largest" if gpus > large else "smallest"
        edge = fit.reach if gpus > large else math.ceil(small / REACH)
        return (
            f"{gpus} GPUs are a factor {times:.3g} from the {end} measured count ({near}); a fit is trusted to a "
            f"factor {REACH:g}, that is {edge} GPUs – measure nearer: gpus={edge}"
        )
    if not small <= gpus <= large:
        for error, what in (
            (fit.loo_error, "the mean error of held-out GPU counts"),
            (fit.largest_error, f"the error at {large} GPUs when that count is held out"),
        ):
            if error is None or error > HOLD_OUT_LIMIT:
                size = "unknown" if error is None else f"{error:.0%}"
                return (
                    f"{gpus} GPUs lie outside the measured {small} to {large}, and {what} under {fit.name} is {size}, "
                    f"above {HOLD_OUT_LIMIT:.0%}: no prediction – measure it: gpus={gpus}"
                )
    load = fit.load
    if load.known and load.per_gpu(gpus) * gpus > load.images(gpus):
        return (
            f"on {gpus} GPUs the global batch {load.per_gpu(gpus) * gpus:.0f} is more than the {load.images(gpus)} "
            "images of an epoch: there is no such run"
        )
    return ""


def _half_width(fit: Fit, gradient: Sequence[float]) -> float:
    """Half of the 95 % interval of ln T, or of a difference of two."""
    variance = sum(a * fit.covariance[i][j] * b for i, a in enumerate(gradient) for j, b in enumerate(gradient))
    return (fit.t_quantile or 0.0) * math.sqrt(max(0.0, variance))


def _around(value: float, half: float, runs: int) -> Estimate:
    # Beyond a factor of e^50 an interval says nothing more, and a float would overflow.
    spread = math.exp(min(half, 50.0))
    return Estimate(value=value, low=value / spread, high=value * spread, n=runs)
