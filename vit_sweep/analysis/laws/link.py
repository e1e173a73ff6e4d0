"""What the runs of a series measured of their network: bytes of a step, latency, bandwidth. Pure."""

from statistics import median

from vit_sweep.analysis.laws.laws import MeasuredLink
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.predict import ring, traffic
from vit_sweep.plan.specs import DEEPSPEED, EngineSpec
from vit_sweep.runs.run import Run

_LEAST_PART = 0.1
"""Part of a measured transfer that is never taken for latency."""


def step_bytes(series: ScalingSeries) -> float | None:
    """Bytes of all-reduces that load a link as a step does: as the profiled windows saw them, else as the plan counts.

    None where neither is known. All-gathers and reduce-scatters count half (`ring.bus_factor`, `traffic`).
    """
    runs = [run for point in series.points for run in point.runs]
    profiled = [run.bytes_per_step for run in runs if run.gpus > 1 and run.bytes_per_step]
    if profiled:
        return median(profiled)
    parameters = _parameters(runs)
    if parameters is None:
        return None
    moved = traffic.of_step(_engine(series), series.key.accum or 1, parameters)
    return moved.all_reduces * parameters * _bytes_each(series)


def measured_link(series: ScalingSeries) -> MeasuredLink | None:
    """Latency and 1/B of the preflights, medians over runs; None where no run has both, or the gradient is not known.

    A measured bus bandwidth is S over time x 2 (p-1)/p, S being the bytes of the gradient, and so contains the latency,
    which is taken out: 1/B = 1/bus - p latency / S.
    """
    all_runs = [run for point in series.points for run in point.runs]
    runs = [run for run in all_runs if run.gpus > 1 and run.bus_gb_per_s and run.latency_us is not None]
    parameters = _parameters(all_runs)
    size = parameters * _bytes_each(series) if parameters is not None else step_bytes(series)
    if size is None or not runs:
        return None
    latency = median(_latency_s(run) for run in runs)
    per_byte: dict[int, list[float]] = {}
    for run in runs:
        whole = 1e-9 / (run.bus_gb_per_s or 0.0)
        per_byte.setdefault(run.gpus, []).append(max(_LEAST_PART * whole, whole - run.gpus * latency / size))
    return MeasuredLink(
        latency_s=latency,
        seconds_per_byte=tuple((gpus, median(per_byte[gpus])) for gpus in sorted(per_byte)),
        inside_up_to=max((run.gpus for run in all_runs if run.nodes == 1), default=0),
    )


def _engine(series: ScalingSeries) -> EngineSpec:
    """As its conditions say; without ZeRO where they say nothing."""
    stage, kind = series.key.condition("engine.zero_stage"), series.key.condition("engine.kind")
    return EngineSpec(
        name="engine",
        zero_stage=int(stage) if stage.isdigit() else 0,
        kind=kind or DEEPSPEED,
        reshard_after_forward=series.key.condition("engine.reshard_after_forward") == "True",
        distributed_optimizer=series.key.condition("engine.distributed_optimizer") == "True",
    )


def _parameters(runs: list[Run]) -> int | None:
    counted = [run.parameters for run in runs if run.parameters]
    return round(median(counted)) if counted else None


def _bytes_each(series: ScalingSeries) -> int:
    """Of a gradient: 4, and 2 in bf16 and fp16."""
    return 2 if series.key.condition("precision") in (Precision.BF16, Precision.FP16) else 4


def _latency_s(run: Run) -> float:
    """Of one message: the smallest all-reduce is nothing but latencies."""
    return 1e-6 * (run.latency_us or 0.0) / ring.messages(run.gpus)
