"""Of the rows of one run those of the attempt that counts; jobs that began again wrote into the same table. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launchers.text import plural, some
from vit_sweep.runs.tidy.columns import TidyRow, scaling_of


class Attempt(NamedTuple):
    """The rows of a run that count, and what was left out beside them."""

    rows: list[TidyRow]
    others: int = 0
    """Earlier or shorter attempts that were left out."""
    restart: str = ""
    """The run and its attempts; empty where it ran once."""
    second_means: tuple[int, ...] = ()
    """Lines of further means over the same epochs, which were left out."""


def attempt_that_counts(rows: list[TidyRow]) -> Attempt:
    """The last complete attempt, else the longest; of several means over the same epochs the first."""
    places = [(row.rank, row.first, row.last) for row in rows]
    if len(set(places)) == len(places):
        return Attempt(rows)
    ordered = sorted(rows, key=lambda row: row.line)
    if any(row.first != row.last for row in rows):
        first: dict[tuple[object, ...], TidyRow] = {}
        for row in ordered:
            first.setdefault((row.rank, row.first, row.last), row)
        extra = sorted({row.line for row in rows} - {row.line for row in first.values()})
        return Attempt(list(first.values()), second_means=tuple(extra))
    attempts: dict[int, list[TidyRow]] = {}
    number: dict[int | None, int] = {}
    last_epoch: dict[int | None, int] = {}
    for row in ordered:
        if row.rank in last_epoch and row.first <= last_epoch[row.rank]:
            number[row.rank] = number.get(row.rank, 0) + 1
        last_epoch[row.rank] = row.first
        attempts.setdefault(number.get(row.rank, 0), []).append(row)
    epochs = {index: len({row.first for row in attempt}) for index, attempt in attempts.items()}
    best = max(epochs, key=lambda index: (epochs[index], index))
    lengths = some((str(epochs[index]) for index in sorted(epochs)), 5)
    restart = f"{_name(rows[0])} (attempts of {lengths} epochs, number {best + 1} counts)"
    return Attempt(attempts[best], others=len(attempts) - 1, restart=restart)


def problems_of(attempts: Iterable[Attempt]) -> list[str]:
    """What a reader must be told of all runs: one sentence per kind."""
    known = list(attempts)
    restarts = [attempt.restart for attempt in known if attempt.restart]
    lines: Sequence[int] = sorted(line for attempt in known for line in attempt.second_means)
    problems = []
    if restarts:
        problems.append(
            f"{plural(len(restarts), 'run begins|runs begin')} again in this file: {some(restarts, 3)}; tell repeats "
            "apart with seed or run"
        )
    if lines:
        problems.append(
            f"{plural(len(lines), 'second mean')} over the same epochs of the same run left out (line "
            f"{some(map(str, lines), 5)}); tell repeats apart with seed or run"
        )
    return problems


def _name(row: TidyRow) -> str:
    """`weak, batch 16, 2 GPUs`."""
    gpus = int(row.values["gpus"])
    batch = row.integer("batch")
    words = [scaling_of(row).value, f"batch {batch}" if batch else "", plural(gpus, "GPU")]
    return ", ".join(filter(None, words))
