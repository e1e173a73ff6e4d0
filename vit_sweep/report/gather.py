"""From records to files: tables and figures of a study, or of runs from elsewhere. An edge."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from launchers.errors import UserError
from vit_sweep.analysis.series import bootstrap
from vit_sweep.analysis.series.bootstrap import with_intervals
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.cli import show
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.plan.plan_file import strangers
from vit_sweep.plan.point import Scaling
from vit_sweep.record.learning import Reached
from vit_sweep.report.tables.accuracy import reached_by
from vit_sweep.report.tables.every import tables_of
from vit_sweep.report.tables.runs import imported_row
from vit_sweep.report.tables.table import Cells, Table
from vit_sweep.report.tables.write import write_tables
from vit_sweep.runs.reading import Read, Reader, uncollected
from vit_sweep.runs.run import Run
from vit_sweep.study.store import Study

__all__ = ["Gathered", "collect", "collect_runs", "gather", "gather_runs", "write_tables"]
_FIGURES = "VIT_SWEEP_FIGURES"
_TELL_FROM = 500
"""Runs from which on reading them takes long enough for a bar."""


class Gathered(NamedTuple):
    """What a study, or imported runs, amount to; nothing is written yet."""

    runs: list[Run]
    strong: list[ScalingSeries]
    weak: list[ScalingSeries]
    tables: list[Table]
    problems: tuple[str, ...]
    """Files that were passed over, and why."""

    @property
    def timed(self) -> bool:
        """Whether there is any time at all."""
        return any(run.timed for run in self.runs)


def collect(study: Study, console: Console, *, target: float | None = None) -> list[Path]:
    """Rebuild every table and figure of `study` from its records and print them.

    Returns the files written; none, after a sentence that says so, where no run has a time yet (tables of what became
    of the cells are written all the same). `target`: test accuracy whose time is reported, in place of the studies'.
    """
    written = _put(gather(study, target=target, console=console), study.folder, console, what=f"study {study.name}")
    if written:
        console.print(f"  all of it on one page: python -m vit_sweep report {study.folder}", soft_wrap=True)
    return written


def collect_runs(
    runs: Iterable[Run],
    folder: Path,
    console: Console,
    *,
    problems: Sequence[str] = (),
    target: float | None = None,
    reference: Sequence[ScalingSeries] = (),
) -> list[Path]:
    """The same of runs from elsewhere, into `folder`; `reference`: published series to draw beside them."""
    gathered = gather_runs(runs, problems=problems, target=target)
    return _put(gathered, folder, console, what=str(folder), reference=reference)


def gather(study: Study, *, target: float | None = None, console: Console | None = None) -> Gathered:
    """Read a study: its runs, their series with intervals, its tables. Holds one record at a time."""
    plan = study.plan_file()
    with uncollected():
        reader = Reader(study, plan, target=target)
        found: Iterable[Read] = reader.read()
        if console is not None and console.is_terminal and len(reader.files) >= _TELL_FROM:
            found = track(found, "reading records", total=len(reader.files), console=console, transient=True)
        by_id = {one.run.run_id: one for one in found}
        order = [file.cell_id for file in reader.files]
        runs, rows = [by_id[name].run for name in order], [by_id[name].row for name in order]
        reached = {name: one.reached for name, one in by_id.items() if one.reached is not None}
        problems = (*study.problems, *strangers(plan, order))
        return _gathered(runs, rows, plan.points if plan is not None else (), reached, problems)


def gather_runs(runs: Iterable[Run], *, problems: Sequence[str] = (), target: float | None = None) -> Gathered:
    """Series with intervals and tables of runs from elsewhere; of equal ids the last one counts."""
    every = list({run.run_id: run for run in runs}.values())
    reached = {} if target is None else {run.run_id: (target, reached_by(run, target)) for run in every if run.timed}
    rows = [imported_row(run, reached.get(run.run_id)) for run in every]
    return _gathered(every, rows, (), reached, problems)


def _gathered(
    runs: list[Run],
    rows: list[Cells],
    points: Sequence[PlannedPoint],
    reached: dict[str, tuple[float, Reached]],
    problems: Sequence[str],
) -> Gathered:
    strong, weak = ([with_intervals(series) for series in group(runs, mode)] for mode in Scaling)
    tables = tables_of(runs, [*strong, *weak], rows, statistics=bootstrap, points=points, reached=reached)
    return Gathered(runs=runs, strong=strong, weak=weak, tables=tables, problems=tuple(problems))


def _put(
    gathered: Gathered, folder: Path, console: Console, *, what: str, reference: Sequence[ScalingSeries] = ()
) -> list[Path]:
    """Write and print; without any time a sentence says so and no file is named."""
    written = write_tables(gathered.tables, folder / "tables")
    for table in gathered.tables:
        if table.name in [mode.value for mode in Scaling]:
            console.print(show.scaling(table))
    show.problems(console, gathered.problems)
    if not gathered.timed:
        counts = Counter(run.status for run in gathered.runs)
        states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none was ever planned"
        console.print(
            f"no run of {what} has a time ({states}), so nothing can be compared; what became of each is in "
            f"{folder / 'tables'}",
            soft_wrap=True,
        )
        return []
    if _draws(os.environ):
        from vit_sweep.report import figures

        drawn = figures.draw_all(gathered.strong, gathered.weak, gathered.runs, folder / "figures", reference=reference)
        written += [path for figure in drawn for path in figure.paths.values()]
    show.files(console, written)
    return written


def _draws(environ: Mapping[str, str]) -> bool:
    """Whether figures are wanted: drawing a dozen in three formats takes seconds, which some would rather not wait.

    Raises `UserError` for a word that is neither.
    """
    word = environ.get(_FIGURES, "on")
    if word not in ("on", "off"):
        raise UserError(f"{_FIGURES}={word}: on (the default) draws figures with the tables, off leaves them to report")
    return word == "on"
