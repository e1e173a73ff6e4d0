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

from launchers.text import grouped, plural
from vit_sweep.analysis.laws.crossing import layout_of
from vit_sweep.analysis.laws.fitted import Fit
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
from vit_sweep.analysis.laws.link import measured_link, step_bytes
from vit_sweep.analysis.laws.parameters import COEFFICIENT_NAMES, parameters
from vit_sweep.analysis.laws.solving import Solution, solve
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.distributions import stdtrit
from vit_sweep.analysis.series.series import ScalingSeries

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
    load, size = workload_of(series.key), step_bytes(series)
    link = measured_link(series) if law is Law.MEASURED_LINK else None
    bare = Fit(
        law=law,
        load=load,
        counts=tuple(sorted(observed)),
        runs=sum(map(len, observed.values())),
        link=link,
        size_bytes=size,
        baseline_gpus=series.baseline_gpus,
        layout=layout_of(series),
        notes=contention(series.timed_runs),
    )
    solution = _too_little(bare) or _no_numbers(observed) or solve(observed, law, load, link=link, size_bytes=size)
    problem = solution if isinstance(solution, str) else _contradiction(bare, solution)
    if problem or isinstance(solution, str):
        return replace(bare, refusal=f"{NAMES[law]}: {problem}")
    t = float(stdtrit(solution.freedom, 0.975))
    errors = _held_out(observed, law, load, link, size)
    return replace(
        bare,
        parameters=parameters(bare, solution, t),
        residual=solution.residual,
        loo_error=sum(errors.values()) / len(errors) if errors else None,
        largest_error=errors.get(max(observed)),
        held_out=tuple(errors.items()),
        coefficients=solution.coefficients,
        free=solution.free,
        covariance=solution.covariance,
        t_quantile=t,
    )


def observations(series: ScalingSeries) -> dict[int, list[float]]:
    """Median epoch of each run by GPU count, in a fixed order; without oversubscribed points."""
    times = grouped((run.gpus, median(run.epoch_s)) for run in series.timed_runs if not run.oversubscribed)
    return {gpus: sorted(times[gpus]) for gpus in sorted(times)}


def _too_little(fit: Fit) -> str:
    needed, counts = counts_needed(fit.law), ", ".join(map(str, fit.counts)) or "none"
    if len(fit.counts) < needed:
        return (
            f"needs {plural(needed, 'GPU count')} ({COEFFICIENTS[fit.law]} coefficients, and one count to hold "
            "out); this series "
            f"has {len(fit.counts)} ({counts})"
        )
    if fit.law in (Law.LATENCY_BANDWIDTH, Law.MEASURED_LINK) and not fit.load.known:
        return "needs the images of an epoch, the batch and the accumulation, which this series does not say"
    return ""


def _no_numbers(observed: Mapping[int, Sequence[float]]) -> str:
    wrong = [
        gpus for gpus, times in observed.items() if not all(isfinite(seconds) and seconds > 0 for seconds in times)
    ]
    return f"the epoch times on {', '.join(map(str, wrong))} GPUs are no positive numbers" if wrong else ""


def _contradiction(fit: Fit, solution: Solution) -> str:
    """Say what the times contradict: no parallel work at all, or a coefficient far below zero."""
    work = 1 if fit.law in (Law.AMDAHL, Law.GUSTAFSON) else 0
    if solution.coefficients[work] == 0:
        return "the time that shrinks with more GPUs is fitted at its bound, zero: these times do not scale at all"
    t = float(stdtrit(solution.freedom, _CONTRADICTION))
    for name, value, variance, share in zip(
        COEFFICIENT_NAMES[fit.law],
        solution.free,
        [row[i] for i, row in enumerate(solution.covariance)],
        solution.largest_share,
        strict=True,
    ):
        reach = t * float(variance) ** 0.5
        if (value + reach) * share < -_VISIBLE:
            return (
                f"{name} would be {value * share:.1%} of an epoch (99% interval {(value - reach) * share:.1%} to "
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
        blind = link.without(gpus) if link is not None else None
        solution = solve(others, law, load, link=blind, size_bytes=size)
        if isinstance(solution, str):
            return {}
        total = sum(c * x for c, x in zip(solution.coefficients, terms(law, gpus, load), strict=True))
        if total <= 0:
            return {}
        predicted = law_time_s(law, gpus, load, solution.coefficients, link=blind, size_bytes=size)
        errors[gpus] = abs(predicted / median(seconds) - 1)
    return errors
