"""From the rows of a tidy table to runs, with a count of all that was wrong with them. Pure.

An epoch is as long as its slowest rank. A repeated line counts once. An epoch that comes twice for the same rank with
different times means that the job began again: the file's order then splits it into attempts, and the last complete one
is kept, else the longest. Without such a repetition the order of lines means nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from launchers.checked import checked
from launchers.text import some
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.point import BatchPer, Scaling
from vit_sweep.runs.run import Origin, Run
from vit_sweep.runs.tidy_columns import CONDITIONS, TidyRow, Wrong, first_rank, read_row
from vit_sweep.runs.tidy_measures import (
    MISSING,
    accuracy_of,
    micro_batch,
    missing_ranks,
    parts_of,
    per_rank,
    rank_0_compute,
    rank_0_only,
    seconds_of,
    slowest,
    steps_of,
    words_by_rank,
)

DEFAULTS = {"scaling": Scaling.STRONG, "batch_per": BatchPer.GPU}
"""Columns that may be left open, and what is read then; `Run.assumed` names them."""


@checked
class ImportCounts:
    """What a table held."""

    rows: int = 0
    """Lines below the header that are not empty."""
    runs: int = 0
    bad_rows: int = 0
    """Left out: a value that must be there is missing or impossible."""
    duplicates: int = 0
    """Left out: the same as another line in every column that is understood."""
    attempts: int = 0
    """Left out: earlier, or shorter, attempts of a run that began again."""
    missing_ranks: int = 0
    """Runs with an epoch of which not all ranks are there."""
    partial: int = 0
    """Runs with fewer epochs than were asked for."""

    @property
    def sentence(self) -> str:
        """In one line for people; what is 0 is not said."""
        said = {
            "row(s) left out": self.bad_rows,
            "repeated row(s) counted once": self.duplicates,
            "earlier attempt(s) left out": self.attempts,
            "run(s) with missing ranks": self.missing_ranks,
            "partial run(s)": self.partial,
        }
        return ", ".join(
            [f"{self.runs} run(s) of {self.rows} row(s)", *(f"{n} {name}" for name, n in said.items() if n)]
        )


@checked
class Imported:
    """The runs of a table."""

    runs: tuple[Run, ...]
    counts: ImportCounts
    problems: tuple[str, ...] = ()
    """What was left out: one sentence per kind of trouble, with the numbers of the lines."""
    notes: tuple[str, ...] = ()
    """What had to be assumed, and what the table cannot say."""


def tidy(rows: Iterable[tuple[int, Mapping[str, str]]], *, source: str, origin: Origin = Origin.IMPORTED) -> Imported:
    """Make runs of `rows`: the number of each line and its texts by column.

    `source` begins the id of every run. Whatever the order of the rows, the runs come sorted by what they are.
    """
    read: list[TidyRow] = []
    wrong: list[Wrong] = []
    table = list(rows)
    from_rank = first_rank(texts for _, texts in table)
    for line, texts in table:
        row, mistakes = read_row(line, texts, from_rank=from_rank)
        wrong += mistakes
        if row is not None:
            read.append(row)
    shift = any(row.first == 0 for row in read)
    if shift:
        read = [replace(row, first=row.first + 1, last=row.last + 1) for row in read]
    kept = _without_duplicates(read)
    groups: dict[tuple[object, ...], list[TidyRow]] = {}
    for row in kept:
        groups.setdefault(row.identity, []).append(row)
    problems = _sentences(wrong)
    runs: list[Run] = []
    lost = 0
    for key in sorted(groups, key=lambda one: [(value is not None, str(value).rjust(12)) for value in one]):
        mine, left_out, problem = _last_attempt(groups[key])
        lost += left_out
        problems += problem
        runs.append(_run(mine, source, origin))
    if any(row.values.get("communication_s") and steps_of(row) is None for row in kept):
        problems.append("communication_s is left out: without images, batch and accum nobody knows it per step")
    notes = ["epochs count from 0 here; they are read as from 1"] if shift else []
    notes += ["ranks count from 1 here; they are read as from 0"] if from_rank else []
    notes += _nothing_to_compare(runs)
    counts = ImportCounts(
        rows=len(table),
        runs=len(runs),
        bad_rows=len(table) - len(read),
        duplicates=len(read) - len(kept),
        attempts=lost,
        missing_ranks=sum(any(flag.startswith(MISSING) for flag in run.flags) for run in runs),
        partial=sum(run.partial for run in runs),
    )
    return Imported(runs=tuple(runs), counts=counts, problems=tuple(problems), notes=tuple(notes))


def _without_duplicates(rows: Iterable[TidyRow]) -> list[TidyRow]:
    seen: dict[tuple[object, ...], TidyRow] = {}
    for row in rows:
        # Values stand in the order of the columns, which all rows share.
        seen.setdefault(tuple(row.values.items()), row)
    return list(seen.values())


def _last_attempt(rows: list[TidyRow]) -> tuple[list[TidyRow], int, list[str]]:
    """The rows of the attempt that counts, how many others there are, and what a reader must be told."""
    places = [(row.rank, row.first, row.last) for row in rows]
    if len(set(places)) == len(places):
        return rows, 0, []
    if any(row.first != row.last for row in rows):
        first: dict[tuple[object, ...], TidyRow] = {}
        for row in sorted(rows, key=lambda one: one.line):
            first.setdefault((row.rank, row.first, row.last), row)
        extra = sorted({row.line for row in rows} - {row.line for row in first.values()})
        return list(first.values()), 0, [
            f"{_lines(extra)}: a second mean over the same epochs of the same run is left out; tell repeats apart "
            "with seed or run"
        ]  # fmt: skip
    attempts: dict[int, list[TidyRow]] = {}
    number: dict[int | None, int] = {}
    latest: dict[int | None, int] = {}
    for row in sorted(rows, key=lambda one: one.line):
        if row.rank in latest and row.first <= latest[row.rank]:
            number[row.rank] = number.get(row.rank, 0) + 1
        latest[row.rank] = row.first
        attempts.setdefault(number.get(row.rank, 0), []).append(row)
    lengths = {index: len({row.first for row in mine}) for index, mine in attempts.items()}
    best = max(lengths, key=lambda index: (lengths[index], index))
    said = some((str(lengths[index]) for index in sorted(lengths)), 5)
    again = len(attempts) - 1
    return attempts[best], again, [
        f"line {attempts[best][0].line}: a run of {rows[0].values['gpus']} GPU(s) begins again {again} time(s) in this "
        f"file; of its attempts with {said} epoch(s) number {best + 1} is kept. If these are repeats, tell them apart "
        "with seed or run"
    ]  # fmt: skip


def _run(rows: list[TidyRow], source: str, origin: Origin) -> Run:
    some, gpus = min(rows, key=lambda one: one.line), int(rows[0].values["gpus"])
    scaling = Scaling(some.text("scaling") or DEFAULTS["scaling"])
    per = BatchPer(some.text("batch_per") or DEFAULTS["batch_per"])
    seconds = seconds_of(rows)
    whole = [seconds[epoch] for epoch in sorted(seconds)]
    single = {row.first for row in rows if row.first == row.last}
    mean = next((row for row in rows if row.first == 1 and row.last > 1 and row.rank is None), None)
    warm = mean.number("warm_epoch_time_s") if mean is not None else None
    # A first epoch that is only known within a mean cannot be taken out of it.
    cold = seconds.get(1) if len(seconds) > 1 and (1 in single or warm is not None) else None
    counted = {epoch: value for epoch, value in sorted(seconds.items()) if cold is None or epoch > 1}
    conditions = {CONDITIONS[name]: some.text(name) for name in CONDITIONS if some.text(name)}
    hosts = tuple(dict.fromkeys(words_by_rank(rows, "host")))
    return Run(
        run_id=f"{source} line {some.line}",
        origin=origin,
        gpus=gpus,
        nodes=some.integer("nodes") or (len(hosts) if len(words_by_rank(rows, "host")) == gpus else None),
        curves=(Membership(scaling=scaling, batch_per=per, placement=some.text("placement")),),
        micro_batch=micro_batch(some),
        accum=some.integer("accum"),
        work=some.integer("images"),
        images=some.integer("images"),
        conditions=tuple(sorted(conditions.items())),
        seed=some.integer("seed"),
        note="; ".join(dict.fromkeys(row.text("note") for row in rows if row.text("note"))),
        # Epochs that share a mean are one number: their spread is not known.
        epoch_s=tuple(counted.values())
        if counted.keys() <= single
        else (warm or sum(counted.values()) / len(counted),),
        first_epoch_s=cold,
        epochs_asked=some.integer("epochs") or max(seconds),
        epochs_done=len(seconds),
        published_s=mean.seconds if mean is not None else None,
        published_sd_s=mean.number("epoch_time_sd_s") if mean is not None else None,
        step_ms=slowest(rows, "step_ms"),
        parts=parts_of(rows, gpus),
        compute_ms_by_rank=per_rank(rows, "compute_ms", gpus),
        rank_0_compute_ms=rank_0_compute(rows),
        rank_0_only=rank_0_only(rows, gpus),
        assumed=tuple(name for name in DEFAULTS if name not in some.values),
        step_ms_by_rank=per_rank(rows, "step_ms", gpus),
        test_accuracy=accuracy_of(rows, max(seconds), "test_accuracy"),
        train_accuracy=accuracy_of(rows, max(seconds), "train_accuracy", "accuracy"),
        epoch_all_s=tuple(whole),
        hosts=hosts,
        devices=words_by_rank(rows, "device"),
        flags=missing_ranks(rows, gpus),
        parameters=some.integer("parameters"),
        bytes_per_step=some.number("bytes_per_step"),
    )


def _nothing_to_compare(runs: Sequence[Run]) -> list[str]:
    counts = {run.gpus for run in runs}
    if len(counts) != 1:
        return []
    return [
        f"every run has gpus={counts.pop()}: there is no baseline, so no speedup and no efficiency; "
        "add rows of a smaller GPU count"
    ]


def _sentences(wrong: Sequence[Wrong]) -> list[str]:
    """One sentence per column and rule."""
    kinds: dict[tuple[str, str, bool], list[Wrong]] = {}
    for one in wrong:
        kinds.setdefault((one.column, one.rule, one.whole_row), []).append(one)
    return [
        f"{_lines([one.line for one in found])}: {column}={found[0].text} – {rule}; "
        + (f"{len(found)} row(s) left out" if whole else "the value is left out, the row is kept")
        for (column, rule, whole), found in kinds.items()
    ]


def _lines(numbers: Sequence[int]) -> str:
    return f"line{'s' if len(numbers) > 1 else ''} {some(map(str, numbers), 5)}"
