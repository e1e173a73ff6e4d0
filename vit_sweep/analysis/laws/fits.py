"""Fits of the scaling laws to a series, by robust least squares on relative residuals. Needs numpy and scipy.

An observation is one run: the median of its epochs. `solving` minimises; coefficients are times and cannot be
negative. The intervals come from the fit without that bound: Student's t with runs less coefficients, the delta method
for ratios, cut at zero. So a coefficient at zero keeps an honest upper end; one that is below zero by far more than its
interval contradicts the law, which is then refused. Repeats narrow the intervals, but no repeat heals a wrong law: what
is predicted is judged by hold-out (`fitted`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from statistics import median

from scipy.special import stdtrit

from vit_sweep.analysis.laws.fitted import Fit, Parameter, Prediction, Refusal, best, predict
from vit_sweep.analysis.laws.laws import (
    COEFFICIENTS,
    NAMES,
    OF_SCALING,
    Law,
    MeasuredLink,
    Workload,
    counts_needed,
    law_time_s,
    terms,
    workload_of,
)
from vit_sweep.analysis.laws.link import gradient_bytes, measured_link
from vit_sweep.analysis.laws.parameters import COEFFICIENT_NAMES, parameters
from vit_sweep.analysis.laws.solving import Solution, solve
from vit_sweep.analysis.series.series import ScalingSeries

__all__ = ["Fit", "Parameter", "Prediction", "Refusal", "best", "fit", "fit_law", "predict"]

_CONTRADICTION = 0.995
"""Two-sided 99 %: a coefficient whose interval lies below zero contradicts its law."""
_VISIBLE = 1e-3
"""Part of an epoch below which a coefficient is rounding, not a finding."""


def fit(series: ScalingSeries) -> tuple[Fit, ...]:
    """Fit every law that means anything under the series' scaling; what cannot be fitted says why.

    The law with the measured link is there only if a preflight measured one.
    """
    link = measured_link(series)
    laws = [law for law in OF_SCALING[series.key.scaling] if law is not Law.MEASURED_LINK or link is not None]
    return tuple(fit_law(series, law) for law in laws)


def fit_law(series: ScalingSeries, law: Law) -> Fit:
    """Fit one law to a series."""
    observed = observations(series)
    load, size = workload_of(series.key), gradient_bytes(series)
    link = measured_link(series) if law is Law.MEASURED_LINK else None
    bare = Fit(
        law=law,
        load=load,
        counts=tuple(sorted(observed)),
        runs=sum(map(len, observed.values())),
        link=link,
        size_bytes=size,
        baseline_gpus=series.baseline_gpus,
    )
    found = _too_little(bare) or _no_numbers(observed) or solve(observed, law, load, link=link, size_bytes=size)
    problem = found if isinstance(found, str) else _contradiction(bare, found)
    if problem or isinstance(found, str):
        return replace(bare, refusal=f"{NAMES[law]}: {problem}")
    t = float(stdtrit(found.freedom, 0.975))
    errors = _held_out(observed, law, load, link, size)
    return replace(
        bare,
        parameters=parameters(bare, found, t),
        residual=found.residual,
        loo_error=sum(errors.values()) / len(errors) if errors else None,
        largest_error=errors.get(max(observed)),
        held_out=tuple(errors.items()),
        coefficients=found.coefficients,
        covariance=found.covariance,
        t_quantile=t,
    )


def observations(series: ScalingSeries) -> dict[int, list[float]]:
    """Median epoch of each run by GPU count, in a fixed order; without oversubscribed points."""
    found: dict[int, list[float]] = {}
    for point in series.timed:  # several with one count, where it ran on several numbers of nodes
        found.setdefault(point.gpus, []).extend(median(run.epoch_s) for run in point.runs if not run.oversubscribed)
    return {gpus: sorted(found[gpus]) for gpus in sorted(found) if found[gpus]}


def _too_little(fit: Fit) -> str:
    needed, counts = counts_needed(fit.law), ", ".join(map(str, fit.counts)) or "none"
    if len(fit.counts) < needed:
        return (
            f"needs {needed} GPU counts ({COEFFICIENTS[fit.law]} coefficients, and one count to hold out), this series "
            f"has {len(fit.counts)} ({counts})"
        )
    if fit.law in (Law.LATENCY_BANDWIDTH, Law.MEASURED_LINK) and not fit.load.known:
        return "needs the images of an epoch, the batch and the accumulation, which this series does not say"
    return ""


def _no_numbers(observed: Mapping[int, Sequence[float]]) -> str:
    wrong = [gpus for gpus, times in observed.items() if not all(isfinite(one) and one > 0 for one in times)]
    return f"the epoch times on {', '.join(map(str, wrong))} GPUs are no positive numbers" if wrong else ""


def _contradiction(fit: Fit, found: Solution) -> str:
    """Say what the times contradict: no parallel work at all, or a coefficient far below zero."""
    work = 1 if fit.law in (Law.AMDAHL, Law.GUSTAFSON) else 0
    if found.coefficients[work] == 0:
        return "the time that shrinks with more GPUs is fitted at its bound, zero: these times do not scale at all"
    t = float(stdtrit(found.freedom, _CONTRADICTION))
    for name, value, variance, share in zip(
        COEFFICIENT_NAMES[fit.law],
        found.free,
        [row[i] for i, row in enumerate(found.covariance)],
        found.largest_share,
        strict=True,
    ):
        reach = t * float(variance) ** 0.5
        if (value + reach) * share < -_VISIBLE:
            return (
                f"{name} would be {value * share:.1%} of an epoch (99 % interval {(value - reach) * share:.1%} to "
                f"{(value + reach) * share:.1%}), below its bound, zero: these times contradict the law – a likely "
                "cause is a slow smallest count (throttled, cold, another node)"
            )
    return ""


def _held_out(
    observed: Mapping[int, Sequence[float]],
    law: Law,
    load: Workload,
    link: MeasuredLink | None,
    size: float | None,
) -> dict[int, float]:
    """|predicted / measured - 1| at each GPU count, by a fit that never saw it (nor its link); {} if one fails."""
    errors = {}
    for gpus, seconds in observed.items():
        others = {count: times for count, times in observed.items() if count != gpus}
        blind = _without(link, gpus)
        found = solve(others, law, load, link=blind, size_bytes=size)
        if isinstance(found, str):
            return {}
        total = sum(c * x for c, x in zip(found.coefficients, terms(law, gpus, load), strict=True))
        if total <= 0:
            return {}
        predicted = law_time_s(law, gpus, load, found.coefficients, link=blind, size_bytes=size)
        errors[gpus] = abs(predicted / median(seconds) - 1)
    return errors


def _without(link: MeasuredLink | None, gpus: int) -> MeasuredLink | None:
    """The link as if `gpus` had not been measured, unless nothing else was."""
    left = tuple(one for one in link.seconds_per_byte if one[0] != gpus) if link is not None else ()
    return MeasuredLink(latency_s=link.latency_s, seconds_per_byte=left) if link is not None and left else link
