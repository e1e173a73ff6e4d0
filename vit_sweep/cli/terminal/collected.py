"""Tables and figures of a study, or of runs from elsewhere, written and printed. An edge."""

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.console import Console

from launchers.atomic import owner_of
from launchers.errors import UserError
from launchers.invocation import called
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.console import with_bar
from vit_sweep.outcome.result import Status
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import formats
from vit_sweep.report.output_paths import place_for
from vit_sweep.report.tables.form.text import to_data
from vit_sweep.runs.garbage import gc_paused
from vit_sweep.runs.run import Run
from vit_sweep.runs.sources import Source
from vit_sweep.study.store import Study

if TYPE_CHECKING:
    # They import numpy and more, which `--help` does not need.
    from vit_sweep.report.gather import Gathered
    from vit_sweep.report.records import Records
    from vit_sweep.report.tables.form.table import Table

_MOST_SENTENCES = 6
"""Sentences of one kind."""
_MOST_ROWS = 100
"""Of a table on a terminal; nobody reads more there, and laying them out takes seconds."""
_SCALING = tuple(mode.value for mode in Scaling)


class Collected(NamedTuple):
    """What was gathered and written."""

    name: str
    """Of the study, or the folder of imported runs."""
    gathered: "Gathered"
    written: list[Path]
    """Every file, in the order of writing."""

    @property
    def timed(self) -> bool:
        """Whether any run has a time: without one nothing can be compared."""
        return self.gathered.timed

    @property
    def counts(self) -> Counter[str]:
        """Runs by what became of them."""
        return Counter(str(run.status) for run in self.gathered.runs)

    def as_data(self, source: Source | None = None) -> dict[str, Any]:
        """All of it for programs; `source`: where imported runs come from, whose notes and problems are added."""
        return {
            "name": self.name,
            "counts": dict(self.counts),
            "tables": {table.name: to_data(table) for table in self.gathered.tables},
            "notes": list(source.notes) if source else [],
            "files": [str(path) for path in self.written],
            "problems": [*(source.problems if source else ()), *self.gathered.problems],
        }


def print_place(study: Study, console: Console, *, output: Path | None) -> Path:
    """Where what is made of a study goes; said where it is not the study's own folder and nobody named it."""
    folder = place_for(study, output=output)
    if folder != study.folder and output is None:
        console.print(
            f"{study.folder} is {owner_of(study.folder)}'s and yours to read only, so this goes to {folder} (or to "
            "--output)",
            soft_wrap=True,
        )
    return folder


def collect_study(
    study: Study,
    console: Console,
    *,
    output: Path | None = None,
    target: float | None = None,
    forms: Sequence[str] = (),
    draw: bool = True,
) -> Collected:
    """Rebuild every table and figure of `study` from its records and print them; needs the extra `report`.

    A sentence says so where no run has a time yet; tables of what became of the cells are written all the same.
    `target`: test accuracy whose time is reported, in place of the studies'. `draw`: print the scaling tables.
    """
    return _collect(study, _own_place(study, console, output), console, target=target, forms=forms, draw=draw)


@gc_paused()
def _collect(
    study: Study,
    folder: Path,
    console: Console,
    *,
    target: float | None,
    forms: Sequence[str] = (),
    draw: bool = True,
    records: "Records | None" = None,
) -> Collected:
    """Read, write and print; `records`: those that were looked at already."""
    from vit_sweep.report.gather import gather

    gathered = gather(study, target=target, watched=partial(with_bar, console, "reading records"), records=records)
    collected = _write(
        gathered, folder, console, name=study.name, subject=f"study {study.name}", forms=forms, draw=draw
    )
    if collected.timed:
        _print_page_command(study, console)
    return collected


@gc_paused()
def collect_again(study: Study, console: Console, *, output: Path | None = None, target: float | None = None) -> None:
    """The same; where nothing has changed since the last time and all files are there, only say what was said then.

    Raises `typer.Exit` where no run has a time yet.
    """
    from vit_sweep.report.collect_cache import remember, remembered, stamp_of
    from vit_sweep.report.records import Records

    folder = _own_place(study, console, output)
    records = Records(study, target)
    previous = remembered(folder, stamp_of(records.stamp))
    if previous is not None:
        _print_tables(console, previous.tables, previous.sentences, previous.problems)
        show.files(console, [folder / name for name, _ in previous.written])
        _print_page_command(study, console)
        return
    collected = _collect(study, folder, console, target=target, records=records)
    if not collected.timed:
        raise typer.Exit(1)
    remember(
        folder,
        stamp_of(records.stamp),
        tables=_shown_tables(collected.gathered.tables),
        sentences=[*_continued(collected.gathered.runs)],
        problems=collected.gathered.problems,
        written=collected.written,
    )


def _own_place(study: Study, console: Console, output: Path | None) -> Path:
    folder = output.absolute() if output is not None else print_place(study, console, output=None)
    if folder != study.folder and (folder / "study.json").exists():
        raise UserError(f"{folder} is the folder of another study; name another one with --output FOLDER")
    return folder


def _print_page_command(study: Study, console: Console) -> None:
    where = shlex.quote(show.shown_path(study.folder))
    console.print(f"  all of it on one page: {called()} report {where}", soft_wrap=True)


def _shown_tables(tables: "Iterable[Table]") -> "list[Table]":
    """Those that the terminal shows."""
    return [table for table in tables if table.name in (*_SCALING, "resolutions")]


def _without_remarks(table: "Table") -> "Table":
    """What the tables above it have not said yet."""
    columns = tuple(column for column in table.columns if column.name not in ("flags", "seeds", "cell_id"))
    return replace(table, columns=columns, notes=())


def _print_tables(
    console: Console, tables: "Iterable[Table]", sentences: Iterable[str], problems: Sequence[str], *, draw: bool = True
) -> None:
    for table in tables if draw else ():
        more = table.height - _MOST_ROWS
        printed = table.part(slice(_MOST_ROWS)) if more > 0 else table
        console.print(show.scaling(printed) if table.name in _SCALING else show.whole(_without_remarks(printed)))
        if more > 0:
            console.print(f"  {more:,} more rows in the table {table.name}", soft_wrap=True)
    for sentence in sentences if draw else ():
        console.print(sentence, soft_wrap=not console.is_terminal)
    show.problems(console, problems)


def collect_runs(
    runs: Iterable[Run],
    folder: Path,
    console: Console,
    *,
    target: float | None = None,
    forms: Sequence[str] = (),
    draw: bool = True,
) -> Collected:
    """The same of runs from elsewhere, into `folder`."""
    from vit_sweep.report.gather import gather_runs

    name = str(folder)
    return _write(gather_runs(runs, target=target), folder, console, name=name, subject=name, forms=forms, draw=draw)


def _continued(runs: Iterable[Run]) -> Iterator[str]:
    """What became of trainings that went on from another cell's checkpoint: no table above has them."""
    continued = [run for run in runs if run.continued_from and run.status is Status.DONE]
    for run in continued[:_MOST_SENTENCES]:
        learnt = f"; test accuracy {run.test_accuracy[-1]:.1%}" if run.test_accuracy and run.test_accuracy[-1] else ""
        yield f"{run.run_id} {run.note}{learnt}"
    if len(continued) > _MOST_SENTENCES:
        yield f"{len(continued) - _MOST_SENTENCES} more in the table continued"


def _write(
    gathered: "Gathered",
    folder: Path,
    console: Console,
    *,
    name: str,
    subject: str,
    forms: Sequence[str],
    draw: bool,
) -> Collected:
    """Write and print; without any time a sentence says so and no file is named."""
    from vit_sweep.report.table_files import write_tables

    collected = Collected(name=name, gathered=gathered, written=write_tables(gathered.tables, folder / "tables"))
    _print_tables(console, _shown_tables(gathered.tables), _continued(gathered.runs), gathered.problems, draw=draw)
    if not collected.timed:
        states = ", ".join(f"{count} {state}" for state, count in sorted(collected.counts.items()))
        console.print(
            f"no run of {subject} has a time ({states or 'none was ever planned'}), so nothing can be compared; what "
            f"became of each is in {folder / 'tables'}",
            soft_wrap=True,
        )
        return collected
    if formats(os.environ):
        from vit_sweep.report import figures

        drawn = figures.draw_all(
            gathered.strong,
            gathered.weak,
            gathered.runs,
            folder / "figures",
            ratio=gathered.ratio,
            accuracies=gathered.accuracies,
            alone=False,
        )
        collected.written.extend(path for figure in drawn for path in figure.paths.values())
    if forms:
        from vit_sweep.report.exports import export

        collected.written.extend(export(forms, gathered, folder))
    show.files(console, collected.written)
    return collected
