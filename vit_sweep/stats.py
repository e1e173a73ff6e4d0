"""Summaries of repeated measurements within a run. Pure."""

from collections.abc import Sequence
from statistics import median

from launchers.checked import checked
from vit_sweep.record import Record


@checked
class EpochTime:
    """How long an epoch takes in steady state."""

    median_s: float
    """Median over the epochs that count, each the max over ranks."""
    spread_s: float
    """Largest minus smallest of them."""
    n: int
    """How many epochs count. The first is cold and kept apart, unless it is the only one."""
    first_s: float


def epoch_time(record: Record) -> EpochTime:
    """Summarise a run's epochs; the first one never joins others."""
    seconds = [epoch.seconds for epoch in record.epochs]
    steady = seconds[1:] or seconds
    return EpochTime(median_s=median(steady), spread_s=max(steady) - min(steady), n=len(steady), first_s=seconds[0])


def step_ms(record: Record) -> float | None:
    """Median optimizer step (max over ranks) after the warm-up steps; None if the warm-up took them all."""
    warmup = record.requested.warmup_steps
    steps: Sequence[float] = [ms for epoch in record.epochs for ms in epoch.step_ms]
    return median(steps[warmup:]) if len(steps) > warmup else None
