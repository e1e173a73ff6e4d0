"""What is remarkable about a point of a series, in words. Pure."""

from vit_sweep.analysis.series.series import SeriesPoint
from vit_sweep.runs.run import Run

SHARED = "shared"
"""`Allocation.SHARED` as a condition says it."""
SUPERLINEAR = 1.02
"""Efficiency from which on a point without an interval is called superlinear: repeats differ by that much anyway."""


def point_flags(point: SeriesPoint, base: SeriesPoint) -> tuple[str, ...]:
    """Superlinear with its likely causes, partial runs, and what the runs' own flags say; each clause once."""
    found = [superlinear(point, base), _elsewhere(point, base), _partial(point)]
    found += [flag for run in point.runs for flag in run.flags]
    return tuple(dict.fromkeys(filter(None, found)))


def superlinear(point: SeriesPoint, base: SeriesPoint) -> str:
    """Why a point that is faster than ideal may be; empty where it is not."""
    efficiency = point.efficiency
    if efficiency is None or point.gpus == base.gpus:
        return ""
    low = efficiency.low if efficiency.low is not None else efficiency.value / SUPERLINEAR
    if low <= 1:
        return ""
    causes = []
    if any("throttled" in flag for run in base.runs for flag in run.flags):
        causes.append("the baseline was throttled")
    mine, other = _hosts(point), _hosts(base)
    if mine and other and not other <= mine:
        causes.append(f"the baseline ran on another node ({', '.join(sorted(other))})")
    if _smaller(point.runs[0], base.runs[0]):
        causes.append("a smaller micro batch fits the cache better")
    said = ", or ".join(causes) or "not explained by what was recorded: repeat the baseline"
    return f"superlinear: {efficiency.value:.1%} of ideal; likely {said}" if causes else f"superlinear: {said}"


def _elsewhere(point: SeriesPoint, base: SeriesPoint) -> str:
    """Say that runs of a shared allocation are compared with one of another: their curve was run in parts."""
    shared = any(run.condition("allocation") == SHARED for run in point.runs)
    if not shared or point.gpus == base.gpus or _hosts(base) <= _hosts(point):
        return ""
    return f"not in the allocation of gpus={base.gpus}, which ran on {', '.join(sorted(_hosts(base)))}"


def _partial(point: SeriesPoint) -> str:
    cut = [run for run in point.runs if run.partial]
    if not cut:
        return ""
    return "partial: " + ", ".join(f"{run.run_id} stopped after {run.epochs_done} of {run.epochs_asked}" for run in cut)


def _hosts(point: SeriesPoint) -> set[str]:
    return {host for run in point.runs for host in run.hosts}


def _smaller(run: Run, base: Run) -> bool:
    return run.micro_batch is not None and base.micro_batch is not None and run.micro_batch < base.micro_batch
