"""What the runs of a series measured of their network: gradient, latency, bandwidth. Pure."""

from statistics import median

from vit_sweep.analysis.laws.laws import MeasuredLink
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan import ring
from vit_sweep.plan.point import Precision
from vit_sweep.runs.run import Run

_LEAST_PART = 0.1
"""Part of a measured transfer that is never taken for latency."""


def gradient_bytes(series: ScalingSeries) -> float | None:
    """Bytes that a step reduces: as the profiled windows saw them, else of the parameters; None where neither is known.

    A parameter's gradient has 4 bytes, 2 in bf16 and fp16.
    """
    runs = [run for point in series.points for run in point.runs]
    seen = [run.bytes_per_step for run in runs if run.gpus > 1 and run.bytes_per_step]
    if seen:
        return median(seen)
    counted = [run.parameters for run in runs if run.parameters]
    if not counted:
        return None
    narrow = series.key.condition("precision") in (Precision.BF16, Precision.FP16)
    return median(counted) * (2 if narrow else 4)


def measured_link(series: ScalingSeries) -> MeasuredLink | None:
    """Latency and 1/B of the preflights, medians over runs; None where no run has both, or S is not known.

    A measured bus bandwidth is S over time x 2 (p-1)/p and so contains the latency, which is taken out:
    1/B = 1/bus - p latency / S.
    """
    size = gradient_bytes(series)
    runs = [run for point in series.points for run in point.runs if _has_link(run)]
    if size is None or not runs:
        return None
    latency = median(_latency_s(run) for run in runs)
    found: dict[int, list[float]] = {}
    for run in runs:
        whole = 1e-9 / (run.bus_gb_per_s or 0.0)
        found.setdefault(run.gpus, []).append(max(_LEAST_PART * whole, whole - run.gpus * latency / size))
    return MeasuredLink(
        latency_s=latency, seconds_per_byte=tuple((gpus, median(found[gpus])) for gpus in sorted(found))
    )


def _has_link(run: Run) -> bool:
    return run.gpus > 1 and bool(run.bus_gb_per_s) and run.latency_us is not None


def _latency_s(run: Run) -> float:
    """Of one message: the smallest all-reduce is nothing but latencies."""
    return 1e-6 * (run.latency_us or 0.0) / ring.messages(run.gpus)
