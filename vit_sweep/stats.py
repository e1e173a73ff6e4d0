"""Summaries of repeated measurements within a run. Pure.

What a restart disturbed is left out: the epoch that it lies in, and the first whole one of the new process, which is
cold. The very first epoch of a run is cold too and kept apart.
"""

from statistics import median

from launchers.checked import checked
from vit_sweep.record import EpochReport, Record


@checked
class EpochTime:
    """How long an epoch takes in steady state."""

    median_s: float
    """Median over the epochs that count, each the max over ranks."""
    spread_s: float
    """Largest minus smallest of them."""
    n: int
    """How many epochs count. Cold ones do only if there are no others; 0: every epoch has a restart inside, and the
    median is over the sums of their parts."""
    first_s: float


def epoch_time(record: Record) -> EpochTime:
    """Summarise a run's epochs; cold ones never join others, and interrupted ones never join whole ones."""
    steady = [epoch for epoch in record.epochs[1:] if not _disturbed(epoch)]
    whole = [epoch for epoch in record.epochs if not epoch.interrupted]
    counted = steady or whole
    seconds = [epoch.seconds for epoch in counted or record.epochs]
    return EpochTime(
        median_s=median(seconds),
        spread_s=max(seconds) - min(seconds),
        n=len(counted),
        first_s=record.epochs[0].seconds,
    )


def step_ms(record: Record) -> float | None:
    """Median optimizer step (max over ranks) after the warm-up steps, without the epochs that a restart disturbed.

    None if nothing is left.
    """
    # Warm-up is counted in steps for the first process only: later ones lose their whole first epoch.
    counts = [not (epoch.interrupted or (epoch.cold and number)) for number, epoch in enumerate(record.epochs)]
    steps = [(ms, good) for epoch, good in zip(record.epochs, counts, strict=True) for ms in epoch.step_ms]
    kept = [ms for ms, good in steps[record.requested.warmup_steps :] if good]
    return median(kept) if kept else None


def _disturbed(epoch: EpochReport) -> bool:
    return epoch.interrupted or epoch.cold
