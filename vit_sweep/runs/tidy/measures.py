"""What the rows of one run amount to: epochs over ranks, parts of a step, accuracies, missing ranks. Pure."""

from collections.abc import Sequence
from math import ceil
from statistics import fmean, median

from launchers.text import plural, some
from vit_sweep.plan.choices import BatchPer
from vit_sweep.record.stats import StepParts
from vit_sweep.runs.tidy.columns import TidyRow

MISSING = "rows missing: "
"""How the flag of a run with missing ranks begins."""


def seconds_of(rows: Sequence[TidyRow]) -> dict[int, float]:
    """Seconds of every epoch: the slowest rank's. What a mean leaves over is shared by the epochs not given singly."""
    longest: dict[int, float] = {}
    for rank in {row.rank for row in rows}:
        times: dict[int, float] = {}
        rank_rows = sorted((row for row in rows if row.rank == rank), key=lambda row: (row.last - row.first, row.first))
        for row in rank_rows:
            epochs = range(row.first, row.last + 1)
            open_epochs = [epoch for epoch in epochs if epoch not in times]
            open_s = row.seconds * len(epochs) - sum(times[epoch] for epoch in epochs if epoch in times)
            warm_mean_s = row.number("warm_epoch_time_s")
            if (
                warm_mean_s is not None
                and len(open_epochs) == row.last > 1
                and open_s - warm_mean_s * (row.last - 1) > 0
            ):
                # The first epoch is what the two means leave for it: n x mean - (n - 1) x mean without it.
                times[open_epochs.pop(0)] = open_s - warm_mean_s * (row.last - 1)
                open_s = warm_mean_s * len(open_epochs)
            times |= {epoch: open_s / len(open_epochs) for epoch in open_epochs}
        for epoch, value in times.items():
            longest[epoch] = max(value, longest.get(epoch, 0.0))
    return longest


def accuracy_of(rows: Sequence[TidyRow], epochs: int, *names: str) -> tuple[float | None, ...]:
    """After each epoch the mean over ranks; a mean over epochs says that of its last."""
    by_epoch: dict[int, list[float]] = {}
    for row in rows:
        value = next((row.number(name) for name in names if row.number(name) is not None), None)
        if value is not None:
            by_epoch.setdefault(row.last, []).append(value)
    if not by_epoch:
        return ()
    return tuple(fmean(by_epoch[epoch]) if epoch in by_epoch else None for epoch in range(1, epochs + 1))


def parts_of(rows: Sequence[TidyRow], gpus: int) -> StepParts | None:
    """Parts of a step; there is a straggler wait only where every rank's time in collectives is known."""
    times: dict[int | None, list[float]] = {}
    for row in _warm(rows):
        value, seconds, steps = row.number("communication_ms"), row.number("communication_s"), steps_of(row)
        if value is None and seconds is not None and steps:
            value = 1000 * seconds / steps
        if value is not None:
            times.setdefault(row.rank, []).append(value)
    by_rank = [median(values) for values in times.values()]
    wait = slowest(rows, "data_wait_ms")
    if not by_rank and wait is None:
        return None
    return StepParts(
        data_wait=wait,
        communication=min(by_rank, default=None),
        straggler_wait=max(by_rank) - min(by_rank) if len(by_rank) == gpus > 1 else None,
    )


def per_rank(rows: Sequence[TidyRow], name: str, gpus: int) -> tuple[float, ...]:
    """The median of a column over each rank's warm epochs; empty unless every rank has one."""
    times: dict[int, list[float]] = {}
    for row in _warm(rows):
        value, rank = row.number(name), 0 if gpus == 1 else row.rank
        if value is not None and rank is not None:
            times.setdefault(rank, []).append(value)
    return tuple(median(times[rank]) for rank in range(gpus)) if len(times) == gpus else ()


_OF_A_RANK = ("communication_ms", "communication_s", "compute_ms", "data_wait_ms", "host", "device")


def rank_0_only(rows: Sequence[TidyRow], gpus: int) -> tuple[str, ...]:
    """The columns that rank 0 reports and no other rank of several."""
    if gpus == 1:
        return ()
    ranks = {name: {row.rank for row in rows if name in row.values} for name in _OF_A_RANK}
    return tuple(name for name, reporting in ranks.items() if reporting == {0})


def rank_0_compute(rows: Sequence[TidyRow]) -> float | None:
    """The median of `compute_ms` over rank 0's warm epochs."""
    times = [value for row in _warm(rows) if row.rank == 0 and (value := row.number("compute_ms")) is not None]
    return median(times) if times else None


def slowest(rows: Sequence[TidyRow], name: str) -> float | None:
    """The most over ranks of each rank's median over its warm epochs."""
    times: dict[int | None, list[float]] = {}
    for row in _warm(rows):
        value = row.number(name)
        if value is not None:
            times.setdefault(row.rank, []).append(value)
    return max((median(values) for values in times.values()), default=None)


def _warm(rows: Sequence[TidyRow]) -> Sequence[TidyRow]:
    return [row for row in rows if row.last > 1] or rows


def words_by_rank(rows: Sequence[TidyRow], name: str) -> tuple[str, ...]:
    """A column of words, one per rank that says it, or one for all where rows are not of ranks."""
    ordered = sorted(rows, key=lambda row: (row.rank or 0, row.line))
    words = {row.rank: row.text(name) for row in reversed(ordered) if row.text(name)}
    return tuple(words[rank] for rank in sorted(words, key=lambda rank: rank or 0))


def missing_ranks(rows: Sequence[TidyRow], gpus: int) -> tuple[str, ...]:
    """Which ranks have no row in which epoch; nothing where rows are not of ranks, or all of them of rank 0: a log of
    its own, of which none was lost."""
    ranks: dict[int, set[int]] = {}
    if {row.rank for row in rows} == {0}:
        return ()
    for row in rows:
        if row.rank is None:
            return ()
        for epoch in range(row.first, row.last + 1):
            ranks.setdefault(epoch, set()).add(row.rank)
    short = {epoch: gpus - len(seen) for epoch, seen in sorted(ranks.items()) if len(seen) < gpus}
    if not short:
        return ()
    lacking = some((f"{count} of {plural(gpus, 'rank')} in epoch {epoch}" for epoch, count in short.items()), 5)
    return (f"{MISSING}{lacking}; its epoch is the slowest of those that are there",)


def micro_batch(row: TidyRow) -> int | None:
    """Images per GPU and forward; None where it is not said or a global batch cannot be divided."""
    batch, accum = row.integer("batch"), row.integer("accum") or 1
    if batch is None or row.text("batch_per") != BatchPer.GLOBAL:
        return batch
    ranks = int(row.values["gpus"]) * accum
    return batch // ranks if batch % ranks == 0 else None


def steps_of(row: TidyRow) -> int | None:
    """Optimizer steps of an epoch."""
    images, micro, accum = row.integer("images"), micro_batch(row), row.integer("accum")
    if images is None or micro is None or accum is None:
        return None
    return ceil(images / (micro * accum * int(row.values["gpus"])))
