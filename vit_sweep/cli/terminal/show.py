"""What a person sees: the tables, where things are. An edge; rich draws."""

import os
import re
import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from launchers.batch import Batch
from launchers.profile import Scheduler
from launchers.references import masked
from launchers.text import plural, visible
from vit_sweep.outcome.selection import Rerun, Selection
from vit_sweep.report.tables.form.columns import LEARNT
from vit_sweep.report.tables.form.rounding import field
from vit_sweep.report.tables.form.table import Cells, Column
from vit_sweep.report.tables.form.table import Table as Data
from vit_sweep.report.tables.form.text import equal_in_all_rows, is_text, printed

_SHOWN = (
    "model",
    "data",
    "precision",
    "engine",
    "optimizer",
    "partition",
    "variant",
    "placement",
    "batch_per",
    "batch",
    "accum",
    "work",
    "seeds",
    "gpus",
    "nodes",
    "epoch_s",
    "n",
    "images_per_s",
    "speedup",
    "efficiency",
    "train_accuracy",
    "test_accuracy",
    *LEARNT,
    "status",
    "note",
)
"""Of a scaling table on the terminal; the files have all of it."""
_ONCE_HERE = ("n", "seeds", "status")
_WITH_INTERVAL = ("epoch_s", "speedup", "efficiency")
_SHORT = {"images/s": "img/s"}
_NOTE_SHOWN = 120
"""Characters of a note on the terminal; the files hold it whole."""
_PLAIN_WIDTH = 160


class _Console(Console):
    """Prints what stands in files: their control characters are shown and never reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console of every command: a log has no width of its own, so it gets enough for a table.

    `stderr`: where stdout holds an object for programs and nothing else. `quiet`: it prints nothing.
    """
    # No markup: paths and the words of failures have square brackets of their own.
    make = partial(_Console, markup=False, highlight=False, stderr=stderr, quiet=quiet)
    terminal = make()
    return terminal if terminal.is_terminal else make(width=_PLAIN_WIDTH)


def scaling(table: Data, *, title: str = "") -> Table:
    """Draw one scaling table; what is equal in every row is said once in the title."""
    table = replace(table, rows=tuple(row | {"note": _marked(row)} for row in table.rows))
    same, columns = printed(table)
    # A terminal of 80 characters has no room for what says nothing row by row.
    same += [column for column in columns if column.name in _ONCE_HERE and equal_in_all_rows(table, column)]
    once = ", ".join(f"{column.name}={field(column, table.rows[0])}" for column in same if column.name in _SHOWN)
    heading = title or f"{table.name} scaling"
    drawn = Table(title=Text.assemble(f"{heading}\n", (once, "dim")), title_justify="left", box=box.SIMPLE_HEAD)
    shown = [column for name in _SHOWN for column in columns if column.name == name and column not in same]
    single = all(row.get("n") == 1 for row in table.rows) and len(table.rows) > 1
    for column in shown:
        drawn.add_column(
            _SHORT.get(column.title, column.title),
            justify="left" if is_text(table, column) else "right",
            overflow="fold",
        )
    drawn.collapse_padding, drawn.pad_edge = True, False
    for row in table.rows:
        drawn.add_row(*(_field(column, row, single=single) for column in shown), style=STYLES.get(row["status"], ""))
    for note in table.notes:
        drawn.caption = f"{drawn.caption}\n{note}" if drawn.caption else note
        drawn.caption_justify = "left"
    return drawn


STYLES = {
    "failed": "red",
    "out_of_memory": "red",
    "infeasible": "yellow",
    "apart": "yellow",
    "skipped": "yellow",
    "unreadable": "red",
    "missing": "yellow",
    "retry": "yellow",
    "unknown": "magenta",
    "running": "cyan",
    "suspended": "magenta",
    "queued": "dim",
}


def _marked(row: Cells) -> str:
    """Its note, with the names of its flags before it; the files have what these say."""
    names = dict.fromkeys(re.findall(r"(?:^|; )([a-z][a-z ]*):", row.get("flags") or ""))
    return "; ".join(filter(None, [*names, row.get("note")]))


def _field(column: Column, row: Cells, *, single: bool) -> str:
    """A value with its interval; where every row is of a single run, which the title says, without that mark."""
    with_interval = column.name in _WITH_INTERVAL and not single
    text = field(column, row if with_interval else {column.name: row[column.name]})
    return f"{text[:_NOTE_SHOWN]}..." if column.name == "note" and len(text) > _NOTE_SHOWN else text


def batches(console: Console, planned: Sequence[Batch]) -> None:
    """Say how the cells to run are put together: one array per resource shape."""
    if planned:
        parts = (
            f"{batch.shape.label} x {len(batch.tasks)}{' in one allocation' if batch.shared else ''}"
            + (f" (at most {batch.parallel} at once)" if batch.parallel else "")
            for batch in planned
        )
        noun = "array" if planned[0].profile.scheduler is Scheduler.SLURM else "batch|batches"
        console.print(f"{plural(len(planned), noun)}: {', '.join(parts)}")


def selection(console: Console, chosen: Selection, unclear: Sequence[str], *, rerun: Rerun | None) -> None:
    """Say which cells are left out, and what a reader of the tables should know of the finished ones."""
    for reason, cells in _by_reason(chosen.skipped).items():
        subject = cells[0] if len(cells) == 1 else f"{len(cells)} cells"
        console.print(Text.assemble(("skipped", "yellow"), f" {subject}: {reason}"), soft_wrap=True)
    if chosen.stale and rerun is None:
        console.print(
            f"{plural(len(chosen.stale), 'finished cell')} ran with other code than today's, as the records say; "
            "rerun=stale runs them again"
        )
    if unclear:
        console.print(
            f"in doubt, and the scheduler cannot say: {plural(len(unclear), 'submission')} of a client that went away; "
            "their cells wait: give the same command again later",
            style="yellow",
        )


def _by_reason(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for cell, reason in skipped.items():
        groups.setdefault(reason, []).append(cell)
    return groups


def scripts(console: Console, paths: Sequence[Path], *, whole: bool) -> None:
    """Say where a dry run wrote its scripts; print them too if `whole`."""
    for path in paths if whole else ():
        console.print(masked(path.read_text()), soft_wrap=True)
    console.print(f"dry run: {plural(len(paths), 'script')} written, nothing submitted")
    for path in paths:
        console.print(f"  {path}", soft_wrap=True)


def detached(console: Console, name: str, folder: Path, *, waiting: int = 0) -> None:
    """Say that the jobs go on, how to look again, and what is left to submit."""
    if waiting:
        console.print(
            f"{plural(waiting, 'cell is|cells are')} not submitted yet; later: python -m vit_sweep resume {folder}",
            soft_wrap=True,
        )
    console.print(
        f"detached: the jobs of study {name} go on without this command\n"
        f"  look again:  python -m vit_sweep status {folder} --watch\n"
        f"  tables now:  python -m vit_sweep collect {folder}\n"
        f"  end them:    python -m vit_sweep cancel {folder}",
        soft_wrap=True,
    )


def files(console: Console, written: Sequence[Path]) -> None:
    """Say where tables and figures lie: one line per folder, each name once."""
    by_folder: dict[Path, list[Path]] = {}
    for path in written:
        by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        stems, suffixes = dict.fromkeys(path.stem for path in paths), dict.fromkeys(path.suffix[1:] for path in paths)
        console.print(f"  {folder}/: {', '.join(stems)} ({', '.join(suffixes)})", soft_wrap=True)


def problems(console: Console, texts: Sequence[str]) -> None:
    """Name the files that were passed over."""
    for problem in texts:
        console.print(Text.assemble(("passed over", "yellow"), f" {problem}"), soft_wrap=True)


def page(console: Console, path: Path) -> None:
    """Show a page in a browser with windows; on a machine without a screen say what to do instead."""
    has_screen = sys.platform == "darwin" or not {"DISPLAY", "WAYLAND_DISPLAY"}.isdisjoint(os.environ)
    if not has_screen or not webbrowser.open(path.as_uri()):
        console.print("no browser with windows here: copy the file to a machine that has one; it needs no network")
