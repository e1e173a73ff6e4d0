"""From the rows of a tidy table to runs, with a count of all that was wrong with them. Pure.

An epoch is as long as its slowest rank. A repeated line counts once. An epoch that comes twice for the same rank with
different times means that the job began again: the file's order then splits it into attempts, and the last complete one
is kept, else the longest. Without such a repetition the order of lines means nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace

from launchers.checked import checked
from launchers.text import grouped, plural, short, some
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import BatchPer
from vit_sweep.record.record import CERTIFIED_WITHIN, Certificate
from vit_sweep.runs.run import Origin, Run
from vit_sweep.runs.tidy.attempts import Attempt, attempt_that_counts, problems_of
from vit_sweep.runs.tidy.columns import CONDITIONS, DEFAULTS, TidyRow, Wrong, first_rank, read_row, scaling_of
from vit_sweep.runs.tidy.measures import (
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
        counts = {
            "row left out|rows left out": self.bad_rows,
            "repeated row counted once|repeated rows counted once": self.duplicates,
            "earlier attempt left out|earlier attempts left out": self.attempts,
            "run with missing ranks|runs with missing ranks": self.missing_ranks,
            "partial run": self.partial,
        }
        return ", ".join(
            [
                f"{plural(self.runs, 'run')} of {plural(self.rows, 'row')}",
                *(plural(n, name) for name, n in counts.items() if n),
            ]
        )


def total(counts: Iterable[ImportCounts]) -> ImportCounts:
    """Of several tables."""
    columns = zip(*(astuple(count) for count in counts), strict=True)
    return ImportCounts(
        **{field.name: sum(column) for field, column in zip(fields(ImportCounts), columns, strict=True)}
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
    unique = _without_duplicates(read)
    groups = grouped((row.identity, row) for row in unique)
    problems = _sentences(wrong)
    runs: list[Run] = []
    attempts: list[Attempt] = []
    for key in sorted(groups, key=lambda identity: [(value is not None, str(value).rjust(12)) for value in identity]):
        attempts.append(attempt_that_counts(groups[key]))
        runs.append(_run(attempts[-1].rows, source, origin))
    problems += problems_of(attempts)
    if any(row.values.get("communication_s") and steps_of(row) is None for row in unique):
        problems.append("communication_s is left out: without images, batch and accum it is not known per step")
    notes = ["epochs count from 0 here; they are read as from 1"] if shift else []
    notes += ["ranks count from 1 here; they are read as from 0"] if from_rank else []
    of_rank_0 = sum(
        {row.rank for row in attempt.rows} == {0} != set(range(run.gpus))
        for attempt, run in zip(attempts, runs, strict=True)
    )
    notes += (
        [f"{plural(of_rank_0, 'run has|runs have')} rows of rank 0 alone: such times are rank 0's"] if of_rank_0 else []
    )
    counts = ImportCounts(
        rows=len(table),
        runs=len(runs),
        bad_rows=len(table) - len(read),
        duplicates=len(read) - len(unique),
        attempts=sum(attempt.others for attempt in attempts),
        missing_ranks=sum(any(flag.startswith(MISSING) for flag in run.flags) for run in runs),
        partial=sum(run.partial for run in runs),
    )
    return Imported(runs=tuple(runs), counts=counts, problems=tuple(problems), notes=tuple(notes))


def _without_duplicates(rows: Iterable[TidyRow]) -> list[TidyRow]:
    unique: dict[tuple[object, ...], TidyRow] = {}
    for row in rows:
        # Values stand in the order of the columns, which all rows share.
        unique.setdefault(tuple(row.values.items()), row)
    return list(unique.values())


def _run(rows: list[TidyRow], source: str, origin: Origin) -> Run:
    top, gpus = min(rows, key=lambda row: row.line), int(rows[0].values["gpus"])
    per = BatchPer(top.text("batch_per") or DEFAULTS["batch_per"])
    seconds = seconds_of(rows)
    times = [seconds[epoch] for epoch in sorted(seconds)]
    single = {row.first for row in rows if row.first == row.last}
    mean = next((row for row in rows if row.first == 1 and row.last > 1 and row.rank is None), None)
    warm = mean.number("warm_epoch_time_s") if mean is not None else None
    # A first epoch that is only known within a mean cannot be taken out of it.
    first_epoch_s = seconds.get(1) if len(seconds) > 1 and (1 in single or warm is not None) else None
    counted = {epoch: value for epoch, value in sorted(seconds.items()) if first_epoch_s is None or epoch > 1}
    conditions = {CONDITIONS[name]: top.text(name) for name in CONDITIONS if top.text(name)}
    hosts = tuple(dict.fromkeys(words_by_rank(rows, "host")))
    return Run(
        run_id=f"{source} line {top.line}",
        origin=origin,
        gpus=gpus,
        nodes=top.integer("nodes") or (len(hosts) if len(words_by_rank(rows, "host")) == gpus else None),
        curves=(Membership(scaling=scaling_of(top), batch_per=per, placement=top.text("placement")),),
        micro_batch=micro_batch(top),
        accum=top.integer("accum"),
        work=top.integer("images"),
        images=top.integer("images"),
        conditions=tuple(sorted(conditions.items())),
        seed=top.integer("seed"),
        note="; ".join(dict.fromkeys(row.text("note") for row in rows if row.text("note"))),
        # Epochs that share a mean are one number: their spread is not known.
        epoch_s=tuple(counted.values())
        if counted.keys() <= single
        else (warm or sum(counted.values()) / len(counted),),
        first_epoch_s=first_epoch_s,
        epochs_requested=top.integer("epochs") or max(seconds),
        epochs_done=len(seconds),
        published_s=mean.seconds if mean is not None else None,
        published_sd_s=mean.number("epoch_time_sd_s") if mean is not None else None,
        step_ms=slowest(rows, "step_ms"),
        parts=parts_of(rows, gpus),
        compute_ms_by_rank=per_rank(rows, "compute_ms", gpus),
        rank_0_compute_ms=rank_0_compute(rows),
        rank_0_only=rank_0_only(rows, gpus),
        assumed=tuple(name for name in DEFAULTS if name not in top.values),
        step_ms_by_rank=per_rank(rows, "step_ms", gpus),
        test_accuracy=accuracy_of(rows, max(seconds), "test_accuracy"),
        train_accuracy=accuracy_of(rows, max(seconds), "train_accuracy", "accuracy"),
        epoch_all_s=tuple(times),
        hosts=hosts,
        devices=words_by_rank(rows, "device"),
        flags=missing_ranks(rows, gpus),
        parameters=top.integer("parameters"),
        bytes_per_step=top.number("bytes_per_step"),
        certificate=_certificate(top.number("certificate")),
    )


def _certificate(difference: float | None) -> Certificate | None:
    """What the source measured; where, and over how many steps, is not said."""
    if difference is None:
        return None
    return Certificate(steps=0, difference=difference, absolute=None, parameter="a weight", tolerance=CERTIFIED_WITHIN)


def nothing_to_compare(runs: Sequence[Run]) -> list[str]:
    """What must be said of runs on one GPU count only."""
    counts = {run.gpus for run in runs}
    if len(counts) != 1:
        return []
    return [
        f"every run has gpus={counts.pop()}: there is no baseline, so no speedup and no efficiency; "
        "add rows of a smaller GPU count"
    ]


def _sentences(wrong: Sequence[Wrong]) -> list[str]:
    """One sentence per column and rule."""
    kinds = grouped(((mistake.column, mistake.rule, mistake.whole_row), mistake) for mistake in wrong)
    return [
        f"{_lines([mistake.line for mistake in mistakes])}: {column}={short(mistakes[0].text)} – {rule}; "
        + (f"{plural(len(mistakes), 'row')} left out" if whole else "the value is left out, the row is kept")
        for (column, rule, whole), mistakes in kinds.items()
    ]


def _lines(numbers: Sequence[int]) -> str:
    return f"line{'s' if len(numbers) > 1 else ''} {some(map(str, numbers), 5)}"
