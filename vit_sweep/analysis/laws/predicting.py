"""What fitted laws predict of a GPU count, or why they do not. Pure, without numpy.

A prediction is that of the best law, in the envelope of all laws that cannot be told from it: those whose mean
leave-one-out error is within one standard error of the smallest one (the one-standard-error rule of Breiman, Friedman,
Olshen and Stone 1984, section 3.4), and always USL, of which Amdahl's law is the case without coherence cost: that it
is held out worse says that its third coefficient is not known, not that it is zero. The interval is for what one more
run would take, not for the curve alone.

It says no more than hold-out allows: within the measured range its interval is never narrower than the leave-one-out
error. Beyond it that error is taken to grow with the distance, and is added to what noise alone says: no hold-out shows
that the truth is one of these laws. It reaches to `REACH` times the measured range, and only while both the mean
leave-one-out error and that of the largest count (the one fold that is itself an extrapolation) are within
`HOLD_OUT_LIMIT`. It never crosses a link that was not measured (`crossing`), and an interval wider than a factor
`WIDEST` is not given. Else a refusal with the numbers and what to run.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import stdev

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.analysis.laws.fitted import HOLD_OUT_LIMIT, REACH, Fit
from vit_sweep.analysis.laws.laws import COEFFICIENTS, Law, counts_needed
from vit_sweep.analysis.series.estimates import scaled
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.repeats import advise

WIDEST = 2.0
"""Upper over lower end of an interval up to which it is of use."""
_FARTHER = 1.5
"""Power of the distance with which the error of a law grows: with 1 the intervals held 90 % of the curves that follow
none of the laws, at twice the largest count; with 1.5 they hold 94 % (`benchmarks/judging/predictions.py`)."""
_NEVER_S = 1e-12
"""The lower end of a time of which nothing is known."""
_SAME_ERROR = 3
"""Decimals to which leave-one-out errors are compared: laws equal to 0.1 % are told apart by their simplicity."""


@checked
class Prediction:
    """What the laws of a series say of one GPU count."""

    law: Law
    """The best one, whose curve `value` is on."""
    laws: tuple[Law, ...]
    """Those whose intervals the interval holds, the best one first."""
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


def plausible(fits: Iterable[Fit]) -> tuple[Fit, ...]:
    """The best law, then those that cannot be told from it by leave-one-out; empty where none could be held out.

    The best has the smallest error; of equal ones (to 0.1 %) that with fewer coefficients.
    """
    sound = sorted(
        (fit for fit in fits if not fit.refusal and fit.loo_error is not None),
        key=lambda fit: (round(fit.loo_error or 0.0, _SAME_ERROR), COEFFICIENTS[fit.law]),
    )
    if not sound:
        return ()
    limit = (sound[0].loo_error or 0.0) + _standard_error([error for _, error in sound[0].held_out])
    return (sound[0], *(fit for fit in sound[1:] if fit.law is Law.USL or (fit.loo_error or 0.0) <= limit))


def best(fits: Iterable[Fit]) -> Fit | None:
    """The first of the `plausible` ones."""
    return next(iter(plausible(fits)), None)


def predict(laws: Sequence[Fit], gpus: int) -> Prediction | Refusal:
    """What `plausible` laws say of `gpus` GPUs, or why they say nothing.

    Raises `ValueError` for fewer than one GPU, and without a law.
    """
    if gpus < 1:
        raise ValueError(f"gpus={gpus}: a prediction is about one GPU or more")
    if not laws:
        raise ValueError("a prediction needs a law")
    lead = laws[0]
    problem = _why_not(lead, gpus)
    if problem:
        return Refusal(law=lead.law, reason=problem)
    time = _envelope([_time(fit, gpus) for fit in laws])
    if (time.high or 0.0) > WIDEST * (time.low or 0.0):
        return Refusal(law=lead.law, reason=_too_wide(lead, gpus, time))
    base = lead.baseline_gpus
    speedup = efficiency = None
    if base is not None:
        ratio, factor = _envelope([_ratio(fit, gpus, base) for fit in laws]), gpus / base
        strong = lead.load.scaling is Scaling.STRONG
        speedup = ratio if strong else scaled(ratio, factor)
        efficiency = scaled(ratio, 1 / factor) if strong else ratio
    return Prediction(
        law=lead.law,
        laws=tuple(fit.law for fit in laws),
        gpus=gpus,
        time_s=time,
        speedup=speedup,
        efficiency=efficiency,
        extrapolated=_beyond(lead, gpus),
    )


def _standard_error(errors: Sequence[float]) -> float:
    """Of their mean; 0 for one."""
    return stdev(errors) / math.sqrt(len(errors)) if len(errors) > 1 else 0.0


def _beyond(fit: Fit, gpus: int) -> bool:
    return not min(fit.counts) <= gpus <= max(fit.counts)


def _least_half(fit: Fit, gpus: int) -> float:
    """What hold-out says an interval is at least, as half of it on the logarithm."""
    if not _beyond(fit, gpus):
        return fit.loo_error or 0.0
    large, small = max(fit.counts), min(fit.counts)
    distance: float = max(gpus / large, small / gpus)
    return max(fit.loo_error or 0.0, fit.largest_error or 0.0) * math.pow(distance, _FARTHER)


def _half(fit: Fit, gpus: int, gradient: Sequence[float], *, runs: int) -> float:
    """Half of the interval on the logarithm: what noise says and what hold-out says; beyond the counts their sum."""
    noise, law = _half_width(fit, gradient, runs=runs), _least_half(fit, gpus)
    return noise + law if _beyond(fit, gpus) else max(noise, law)


def _time(fit: Fit, gpus: int) -> Estimate:
    half = _half(fit, gpus, fit.gradient(gpus), runs=1)
    low, high = _ends(fit, gpus, half)
    if gpus > max(fit.counts):
        low = max(low, _ideal_s(fit, gpus))
    return Estimate(value=fit.time_s(gpus), low=low, high=high, n=fit.runs)


def _ends(fit: Fit, gpus: int, half: float) -> tuple[float, float]:
    """Both ends of T(p): as far from the fit without bounds as `half` of T(p) says, in what the law is linear in.

    They always hold the bounded curve and what hold-out says.
    """
    value, centre, least = fit.time_s(gpus), fit.free_s(gpus), _least_half(fit, gpus)
    if fit.law is Law.GUSTAFSON:  # linear in 1/T
        slow = 1 / centre - half / value
        low, high = 1 / (1 / centre + half / value), 1 / slow if slow > 0 else math.inf
    else:
        low, high = centre - half * value, centre + half * value
    return max(_NEVER_S, min(low, value * (1 - least))), max(high, value * (1 + least))


def _ideal_s(fit: Fit, gpus: int) -> float:
    """No law here is faster than ideal beyond the largest count: a run there at its fastest, shared by more GPUs."""
    most = max(fit.counts)
    ideal = fit.time_s(most) * (most / gpus if fit.load.scaling is Scaling.STRONG else 1.0)
    return ideal / (1 + _half_width(fit, fit.gradient(most), runs=1))


def _ratio(fit: Fit, gpus: int, base: int) -> Estimate:
    """T(p0)/T(p) of one more run at each, within what the ends of T(p) allow: the delta method alone explodes."""
    if gpus == base:
        return Estimate(value=1.0, low=1.0, high=1.0, n=fit.runs)
    change = [a - b for a, b in zip(fit.gradient(gpus), fit.gradient(base), strict=True)]
    half = _half(fit, gpus, change, runs=2)
    time, base_s = _time(fit, gpus), fit.time_s(base)
    value = base_s / fit.time_s(gpus)
    spread = math.exp(min(half, 50.0))  # beyond it a float would overflow
    base_spread = 1 + _half_width(fit, fit.gradient(base), runs=1)
    slowest, fastest = base_s / (time.high or math.inf) / base_spread, base_s / (time.low or _NEVER_S) * base_spread
    return Estimate(value=value, low=max(value / spread, slowest), high=min(value * spread, fastest), n=fit.runs)


def _envelope(estimates: Sequence[Estimate]) -> Estimate:
    """The first one's value between the lowest and the highest end of all."""
    lows, highs = [e.low for e in estimates if e.low is not None], [e.high for e in estimates if e.high is not None]
    return Estimate(value=estimates[0].value, low=min(lows), high=max(highs), n=estimates[0].n)


def _why_not(fit: Fit, gpus: int) -> str:
    if fit.refusal:
        return fit.refusal
    small, large = min(fit.counts), max(fit.counts)
    if gpus > REACH * large or gpus < small / REACH:
        near, times = (large, gpus / large) if gpus > large else (small, small / gpus)
        end = "largest" if gpus > large else "smallest"
        edge = fit.reach if gpus > large else math.ceil(small / REACH)
        return (
            f"{plural(gpus, 'GPU is|GPUs are')} a factor of {times:.3g} from the {end} measured count ({near}); a fit "
            f"is trusted to a factor of {REACH:g}, that is "
            f"{plural(edge, 'GPU')} – {fit.layout.measure(edge, 'measure nearer: gpus={}')}"
        )
    crossing = fit.layout.why_not(gpus)
    if crossing:
        return crossing
    if _beyond(fit, gpus):
        if len(fit.counts) < counts_needed(Law.USL) and fit.law is not Law.MEASURED_LINK:
            near = min(2 * large, gpus) if gpus > large else gpus
            return (
                f"{plural(gpus, 'GPU lies|GPUs lie')} outside the measured {small} to {large}, and "
                f"{plural(len(fit.counts), 'GPU count')} cannot "
                f"tell whether communication grows with the GPUs, which takes {counts_needed(Law.USL)} – "
                f"{fit.layout.measure(near)}"
            )
        for error, description in (
            (fit.loo_error, "the mean error of held-out GPU counts"),
            (fit.largest_error, f"the error at {plural(large, 'GPU')} when that count is held out"),
        ):
            if error is None or error > HOLD_OUT_LIMIT:
                size = "unknown" if error is None else f"{error:.0%}"
                return (
                    f"{plural(gpus, 'GPU lies|GPUs lie')} outside the measured {small} to {large}, and {description} "
                    f"under {fit.name} is {size}, "
                    f"above {HOLD_OUT_LIMIT:.0%}: no prediction – {fit.layout.measure(gpus)}"
                )
    load = fit.load
    if load.known and load.per_gpu(gpus) * gpus > load.images(gpus):
        return (
            f"on {plural(gpus, 'GPU')} the global batch {load.per_gpu(gpus) * gpus:.0f} is more than the "
            f"{load.images(gpus)} "
            "images of an epoch: there is no such run"
        )
    return ""


def _too_wide(fit: Fit, gpus: int, time: Estimate) -> str:
    """The interval, and the nearest count that would narrow it."""
    large = max(fit.counts)
    nearer = min(gpus, 2 * large) if gpus > large else gpus
    single = fit.runs == len(fit.counts)
    repeats = advise(len(fit.counts), 1, seen=None).repeats
    fewer = ", or" if fit.layout.most is None or nearer <= fit.layout.most else "; what helps:"
    repeat = f"{fewer} repeats={repeats}, since every count ran once" if single else ""
    return (
        f"on {plural(gpus, 'GPU')} an epoch would take {time.low:.3g} to {time.high:.3g} s by the laws that fit, "
        "more than a "
        f"factor of {WIDEST:g} apart: too wide to be of use – {fit.layout.measure(nearer, 'measure gpus={}')}{repeat}"
    )


def _half_width(fit: Fit, gradient: Sequence[float], *, runs: int) -> float:
    """Half of the 95 % interval of ln T of one more run (`runs`=1), or of a difference of two."""
    curve = sum(a * fit.covariance[i][j] * b for i, a in enumerate(gradient) for j, b in enumerate(gradient))
    return (fit.t_quantile or 0.0) * math.sqrt(max(0.0, curve) + runs * (fit.residual or 0.0) ** 2)
