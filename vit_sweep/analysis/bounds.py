"""What no step of a run can beat on the machine that it ran on, and where it lies under the roof. Pure.

Floors are of measured rates: products of matrices for the operations that training must do, the gradient's all-reduce
for the bytes that its collectives moved. The roofline model is Williams, Waterman and Patterson's (2009): attained
FLOP/s <= min(rate of matrix products, intensity x rate of memory).
"""

from launchers.checked import checked
from vit_sweep.plan import ring
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
    """A step of products of matrices alone; None where operations or rate are not known."""
    if run.step_flop is None or not run.matmul_tflops:
        return None
    return run.step_flop / run.matmul_tflops / 1e9


def link_floor_ms(run: Run) -> float | None:
    """A step's collectives at the measured bus bandwidth; None for one GPU, and where it is not known."""
    if run.gpus < 2 or run.bytes_per_step is None or not run.bus_gb_per_s:
        return None
    return run.bytes_per_step * ring.traffic(run.gpus) / run.bus_gb_per_s / 1e6


def of_matmul(run: Run) -> float | None:
    """Part of a step that products of matrices at their measured rate would take."""
    floor = compute_floor_ms(run)
    return floor / run.step_ms if floor is not None and run.step_ms else None


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
