"""Named parameters of a fitted law, with intervals by the delta method. Pure.

An interval is value +- t x standard error around the fit without bounds, cut where the parameter's range ends, and
always holds the value itself.
"""

from math import inf, sqrt

from vit_sweep.analysis.laws.fitted import Fit, Parameter
from vit_sweep.analysis.laws.laws import Law
from vit_sweep.analysis.laws.solving import Solution

COEFFICIENT_NAMES = {
    Law.AMDAHL: ("the serial time", "the parallel time"),
    Law.GUSTAFSON: ("the serial part", "the parallel part"),
    Law.USL: ("the time on one GPU", "the contention", "the coherence cost"),
    Law.LATENCY_BANDWIDTH: ("the computation", "the imbalance", "the latency", "the transfer"),
    Law.MEASURED_LINK: ("the computation", "the imbalance"),
}
"""As a sentence names the coefficients of `laws.terms`."""


def parameters(fit: Fit, solution: Solution, t: float) -> tuple[Parameter, ...]:
    """What the coefficients mean; `t` is the quantile of the interval, `fit` says what is known beside them."""
    match fit.law:
        case Law.AMDAHL:
            whole = _linear(solution, t, "one_gpu_s", (1.0, 1.0), "s")
            return (whole, _fraction(solution, t, "serial_fraction", 0, (1.0, 1.0), most=1.0))
        case Law.GUSTAFSON:
            rate = _linear(solution, t, "", (1.0, 1.0), "")
            slow, fast = rate.low or 0.0, rate.high or rate.value
            whole = Parameter(
                name="one_gpu_s",
                value=1 / rate.value,
                low=1 / fast,
                high=1 / slow if slow > 0 else None,
                unit="s",
            )
            return (whole, _fraction(solution, t, "serial_fraction", 0, (1.0, 1.0), most=1.0))
        case Law.USL:
            return (
                _linear(solution, t, "one_gpu_s", (1.0, 0.0, 0.0), "s"),
                _fraction(solution, t, "contention", 1, (1.0, 0.0, 0.0)),
                _fraction(solution, t, "coherence", 2, (1.0, 0.0, 0.0)),
            )
        case Law.MEASURED_LINK:
            return (
                _linear(solution, t, "compute_ms_per_image", (1e3, 0.0), "ms"),
                _fraction(solution, t, "imbalance", 1, (1.0, 0.0)),
                *_measured(fit),
            )
        case _:
            transfer = _linear(solution, t, "transfer_ms", (0.0, 0.0, 0.0, 1e3), "ms")
            return (
                _linear(solution, t, "compute_ms_per_image", (1e3, 0.0, 0.0, 0.0), "ms"),
                _fraction(solution, t, "imbalance", 1, (1.0, 0.0, 0.0, 0.0)),
                _linear(solution, t, "latency_us", (0.0, 0.0, 1e6, 0.0), "us"),
                transfer,
                *_bandwidth(transfer, fit.size_bytes),
            )


def _linear(solution: Solution, t: float, name: str, weights: tuple[float, ...], unit: str) -> Parameter:
    """A weighted sum of coefficients."""
    return _around(
        name, _dot(weights, solution.coefficients), _dot(weights, solution.free), t * _error(solution, weights), unit
    )


def _fraction(
    solution: Solution, t: float, name: str, index: int, whole: tuple[float, ...], *, most: float | None = None
) -> Parameter:
    """One coefficient over a weighted sum; its slope is (e_index - ratio x whole) / sum."""
    below = _dot(whole, solution.free)
    free = solution.free[index] / below
    slope = tuple(((i == index) - free * weight) / below for i, weight in enumerate(whole))
    value = solution.coefficients[index] / _dot(whole, solution.coefficients)
    return _around(name, value, free, t * _error(solution, slope), "", most=most)


def _error(solution: Solution, slope: tuple[float, ...]) -> float:
    return sqrt(max(0.0, _dot(slope, [_dot(row, slope) for row in solution.covariance])))


def _dot(left: tuple[float, ...], right: tuple[float, ...] | list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _around(name: str, value: float, free: float, spread: float, unit: str, *, most: float | None = None) -> Parameter:
    low, high = min(max(0.0, free - spread), value), max(free + spread, value)
    return Parameter(name=name, value=value, low=low, high=high if most is None else min(high, most), unit=unit)


def _measured(fit: Fit) -> tuple[Parameter, ...]:
    """What the preflight gave; the bandwidth at the largest count."""
    if fit.link is None:
        return ()
    speed = 1e-9 / fit.link.at(max(fit.counts))
    return (
        Parameter(name="latency_us", value=1e6 * fit.link.latency_s, low=None, high=None, unit="us", how="measured"),
        Parameter(name="bus_gb_per_s", value=speed, low=None, high=None, unit="GB/s", how="measured"),
    )


def _bandwidth(transfer: Parameter, size: float | None) -> tuple[Parameter, ...]:
    """B = S / transfer, where the gradient's size is known and a transfer is seen at all."""
    if size is None or transfer.value <= 0 or transfer.low is None or transfer.high is None:
        return ()
    gb_ms = 1e-6 * size
    return (
        Parameter(
            name="bus_gb_per_s",
            value=gb_ms / transfer.value,
            low=gb_ms / transfer.high,
            high=gb_ms / transfer.low if transfer.low > 0 else inf,
            unit="GB/s",
            how="derived",
        ),
    )
