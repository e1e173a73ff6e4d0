"""What no step of a run can beat on the machine that it ran on, and where it lies under the roof. Pure.

Floors are of measured rates: products of matrices for the operations that training must do, the gradient's all-reduce
for the bytes that its collectives moved. What lies above the step that was measured is no floor, nor is what a
preflight on a contended host measured. The roofline model is Williams, Waterman and Patterson's (2009): attained
FLOP/s <= min(rate of matrix products, intensity x rate of memory).
"""

from launchers.checked import checked
from vit_sweep.analysis.series.contention import is_contended
from vit_sweep.plan.predict import ring
from vit_sweep.runs.run import Run


@checked
class Roofline:
    """Where a run's step lies, per GPU."""

    flop_per_byte: float
    """Operations of a step over the bytes that its operations read and write in memory."""
    tflops: float
    """Reached in the median step, in 1e12 a second."""
    roof_tflops: float
    """What this intensity allows."""


def compute_floor_ms(run: Run) -> float | None:
    """A step of products of matrices alone; None where operations or rate are not known, or it bounds nothing."""
    return _bound(run, _products_ms(run))


def link_floor_ms(run: Run) -> float | None:
    """A step's collectives at measured latency and bandwidth; None for one GPU, where not known, or no bound."""
    return _bound(run, _collectives_ms(run))


def of_matmul(run: Run) -> float | None:
    """Part of a step that products of matrices at their measured rate would take; above 1 it was faster than that."""
    products = _products_ms(run)
    return products / run.step_ms if products is not None and run.step_ms else None


def no_bounds(run: Run) -> tuple[str, ...]:
    """Why what its preflight measured bounds nothing, a clause for each; empty where it does, or nothing is known."""
    measured = {"compute_floor_ms": _products_ms(run), "link_floor_ms": _collectives_ms(run)}
    reasons = {name: (ms, _why_not(run, ms)) for name, ms in measured.items() if ms is not None}
    return tuple(f"{name}: {ms:.3g} is no bound, {why}" for name, (ms, why) in reasons.items() if why)


def _bound(run: Run, least_ms: float | None) -> float | None:
    return None if least_ms is None or _why_not(run, least_ms) else least_ms


def _why_not(run: Run, least_ms: float) -> str:
    if is_contended(run):
        return "since others used the host, in the preflight perhaps too"
    if run.step_ms is not None and least_ms > run.step_ms:
        return f"since the step took {run.step_ms:.3g} ms: training was faster than the preflight"
    return ""


def _products_ms(run: Run) -> float | None:
    if run.step_flop is None or not run.matmul_tflops:
        return None
    return run.step_flop / run.matmul_tflops / 1e9


def _collectives_ms(run: Run) -> float | None:
    """calls x L + bytes x 2 (p-1)/p / bus x (1 - L/t): the preflight's all-reduce took t, L of it beside its bytes."""
    if run.gpus < 2 or run.bytes_per_step is None or not run.bus_gb_per_s:
        return None
    ms_per_byte = ring.traffic(run.gpus) / run.bus_gb_per_s / 1e6
    whole = run.bytes_per_step * ms_per_byte
    if run.latency_us is None or run.collectives_per_step is None or not run.bus_bytes:
        return whole
    latency_ms = run.latency_us / 1000
    return run.collectives_per_step * latency_ms + whole * max(0.0, 1 - latency_ms / (run.bus_bytes * ms_per_byte))


def roofline(run: Run) -> Roofline | None:
    """None where operations, bytes, a rate or the step are not known."""
    if not (run.step_flop and run.moved_bytes and run.step_ms and run.matmul_tflops and run.memory_gb_per_s):
        return None
    intensity = run.step_flop / run.moved_bytes
    return Roofline(
        flop_per_byte=intensity,
        tflops=run.step_flop / run.step_ms / 1e9,
        roof_tflops=min(run.matmul_tflops, intensity * run.memory_gb_per_s / 1000),
    )
