"""What a person sees: the tables, where things are. An edge; rich draws."""

import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from launchers.batch import Batch
from launchers.invocation import called
from launchers.profile import Scheduler
from launchers.references import masked
from launchers.text import grouped, plural, visible
from vit_sweep.cli.terminal.console import console as _console
from vit_sweep.cli.terminal.fit_width import MINOR, Fitted, Role
from vit_sweep.cli.terminal.fit_width import Column as Drawn
from vit_sweep.outcome.result import Result
from vit_sweep.outcome.selection import Rerun, Selection
from vit_sweep.report.tables.form.columns import CONFIGURATION, LEARNT
from vit_sweep.report.tables.form.rounding import field
from vit_sweep.report.tables.form.table import LOW, Cells, Column
from vit_sweep.report.tables.form.table import Table as Data
from vit_sweep.report.tables.form.text import equal_in_all_rows, is_text, printed, said_once

if TYPE_CHECKING:
    # It stands on all that submits, which `status` does not need.
    from vit_sweep.submit.waiting.start_forecast import Foretold

_CONDITIONS = (*CONFIGURATION, "placement", "batch_per", "batch", "accum", "work", "seeds")
_MEASURES = {
    "work": 6,
    "gpus": 0,
    "nodes": 6,
    "epoch_s": 0,
    "n": 8,
    "images_per_s": 5,
    "speedup": 1,
    "efficiency": 2,
    "train_accuracy": 4,
    "test_accuracy": 3,
    **dict.fromkeys(LEARNT, 7),
    "status": 0,
}
"""Of a scaling table on the terminal; the files have all of it. 0 always stays, the highest leaves first."""
_ANSWERS: dict[str, tuple[str, ...]] = {
    "batch": ("throughput_ratio", "epoch_s", "n", "images_per_s", "test_accuracy", *LEARNT, "memory_mib"),
    "accumulation": ("throughput_ratio", "epoch_s", "n", "images_per_s", "test_accuracy", *LEARNT, "memory_mib"),
    "placement": ("time_ratio", "verdict", "nodes", "reference_nodes", "epoch_s", "n", "reference_epoch_s"),
    "engines": ("time_ratio", "memory_saved", "certificate", "verdict", "reference", "time_ratio_predicted",
                "memory_saved_predicted", "epoch_s", "n", "memory_mib", "exposed_ms", "images_per_s"),
    "memory": ("measured_mib", "predicted_mib", "memory_error", "status", "n"),
    "resolutions": ("largest_px", "too_large_px", "images_per_s", "memory_mib", "predicted_mib", "smallest_px", "n"),
    "failures": ("status", "cause", "sentence", "attempts"),
    "cost": ("gpu_hours_per_epoch", "gpu_hours", "joules_per_image", "epoch_s", "n", "queue_wait_s", "job_s"),
    "waiting": ("wait_s", "expected_wait_s", "wait_error_s", "forecast_by", "note", "strategy", "jobs", "nodes"),
    "isoefficiency": ("batch_needed", "reached_batch", "reached_efficiency", "below_batch", "below_efficiency", "note"),
    "accuracy": ("time_to_accuracy_s", "reached", "n", "to_accuracy_exceeds_s", "epochs_to_accuracy", "mlperf_s",
                 "energy_to_accuracy_wh", "test_accuracy", "best_accuracy", "wall_to_accuracy_s", "note"),
    "continued": ("continued_from", "test_accuracy", *LEARNT, "gpu_hours", "note", "train_accuracy"),
    "runs": ("status", "epoch_s", "images_per_s", "test_accuracy", *LEARNT, "step_ms", "peak_reserved_mib", "note"),
}  # fmt: skip
"""What each table is asked for: what leaves a narrow terminal last, the first of it at the very end."""
_INTERVAL_GOES = 4
"""The rank of the columns that leave before the interval of the first answer."""
_COMPARED = {"placement": ("placement",), "engines": ("engine",)}
_KEYS = ("gpus", "micro_batch", "accum", "held", "sequence", "target_accuracy")
"""What names a row in any table, beside its conditions and what the table compares."""
_SHOWN = dict.fromkeys((*_CONDITIONS, *_MEASURES, "note"))
_MOST_SAID = 20
"""Columns that are equal in all rows and are all said above a table: three lines at 80 characters."""
_ONCE_HERE = ("n", "seeds", "status")
_WITH_INTERVAL = ("epoch_s", "speedup", "efficiency")
_SHORT = {"images/s": "img/s", "cell_id": "cell"}
_NOTE_SHOWN = 120
"""Characters of a note on the terminal; the files hold it whole."""


console = _console
"""Of every command; what prints nothing else takes it from where it is made."""


def scaling(table: Data, *, title: str = "") -> Fitted:
    """Draw one scaling table; what is equal in every row is said once in the title."""
    table = replace(table, values=table.values | {"note": [*map(_marked, table.rows)]})
    same, columns = printed(table)
    # A terminal of 80 characters has no room for what says nothing row by row.
    same += [column for column in columns if column.name in _ONCE_HERE and equal_in_all_rows(table, column)]
    if table.height == 1:
        same = [column for column in columns if column.name in _CONDITIONS]
    columns_shown = [column for name in _SHOWN for column in columns if column.name == name and column not in same]
    return _table(
        table,
        [column for column in same if column.name in _SHOWN],
        [_drawn(table, column) for column in columns_shown],
        title=title or f"{table.name} scaling",
    )


def whole(table: Data) -> Fitted:
    """Draw any table, with all of its columns that have something in them; what answers its question leaves last."""
    same, columns = printed(table)
    if table.height == 1:
        same = [column for column in columns if column.name in _CONDITIONS]
    columns_shown = [column for column in columns if column not in same]
    answers = {*_CONDITIONS, *_KEYS, *_ANSWERS.get(table.name, ())}
    less = same if len(same) <= _MOST_SAID else [column for column in same if column.name in answers]
    drawn = [_drawn(table, column, place=place) for place, column in enumerate(columns_shown)]
    return _table(table, less, drawn, title=table.title, unsaid=len(same) - len(less))


def _table(table: Data, same: Sequence[Column], drawn: Sequence[Drawn], *, title: str, unsaid: int = 0) -> Fitted:
    shared = ", ".join(f"{column.name}={text}" for column, text in said_once(table, same))
    if unsaid:
        shared += f"; --json and tables/{table.name}.csv have {unsaid} more columns that are equal in all rows"
    return Fitted(
        columns=tuple(drawn),
        title=Text("\n").join(Text(*part) for part in ((title, ""), (shared, "dim")) if part[0]),
        notes=table.notes,
        styles=tuple(STYLES.get(row.get("status", ""), "") for row in table.rows),
        frame=box.SIMPLE_HEAD,
        left_out=f"a wider terminal, or tables/{table.name}.csv, shows {{}}",
        stacks=2 * sum(column.role is Role.REMARK for column in drawn) > len(drawn),  # sentences are what it is about
    )


_REMARKS = ("flags", "sentence", "verdict", "seeds", "cell_id", "certificate", "answer", "changed", "chosen", "why")
"""Columns of any table that hold sentences, or lists."""


def _drawn(table: Data, column: Column, *, place: int | None = None) -> Drawn:
    """A column as text; `place`: of any table, where it stands, the first of which names the row."""
    rank = _MEASURES.get(column.name, 0) if place is None else _rank(table, column, place)
    bounded = place is not None and column.name + LOW in table.values
    with_interval, rows = bounded or column.name in _WITH_INTERVAL, table.rows
    return Drawn(
        heading=_SHORT.get(column.title, column.title or column.name),
        values=tuple(_field(column, row, interval=with_interval) for row in rows),
        short=tuple(_field(column, row, interval=False) for row in rows) if with_interval else (),
        role=_role(table, column, None if place is None else rank),
        is_text=is_text(table, column),
        rank=rank,
        short_rank=_INTERVAL_GOES if bounded and rank == 1 else MINOR,
    )


def _rank(table: Data, column: Column, place: int) -> int:
    """Of any table: 0 for what names its rows, then what answers its question, then the rest from the left."""
    answers = _ANSWERS.get(table.name, ())
    if not place or column.name in (*_KEYS, *_COMPARED.get(table.name, ())):
        return 0
    if column.name in answers:
        return 1 + answers.index(column.name)
    keeps = column.name in _CONDITIONS and column.name not in _REMARKS
    return place if keeps or not answers else MINOR + place


def _role(table: Data, column: Column, rank: int | None) -> Role:
    """Of any table by its `rank`; None: of a scaling table."""
    if column.name == "note" or (rank and column.name in _REMARKS):
        return Role.REMARK
    compared = column.name in _COMPARED.get(table.name, ())
    if column.name in _CONDITIONS and not compared and not (column.name == "work" and table.name == "weak"):
        return Role.CONDITION  # under weak scaling, the work follows the GPUs and is no condition
    return Role.MEASURE if (_MEASURES.get(column.name, 0) if rank is None else rank) else Role.KEY


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


def _field(column: Column, row: Cells, *, interval: bool) -> str:
    """A value, perhaps with its interval; how many runs it is of another column or the title says."""
    has_interval = interval and row.get(f"{column.name}{LOW}") is not None
    text = field(column, row if has_interval else {column.name: row[column.name]})
    if column.name == "note":
        return "" if row["note"] in (None, "") else f"{text[:_NOTE_SHOWN]}..." if len(text) > _NOTE_SHOWN else text
    return text


def batches(console: Console, planned: Sequence[Batch], remarks: Sequence[str] = ()) -> None:
    """Say how the cells to run are put together, one array per resource shape, and what is remarked of that."""
    for remark in remarks:
        console.print(remark, soft_wrap=not console.is_terminal)
    if planned:
        parts = Counter(
            f"{batch.shape.label} x {len(batch.tasks)}{' in one allocation' if batch.shared else ''}"
            + (f" (at most {batch.parallel} at once)" if batch.parallel else "")
            for batch in planned
        )
        noun = "array" if planned[0].profile.scheduler is Scheduler.SLURM else "batch|batches"
        texts = (f"{count} times {text}" if count > 1 else text for text, count in parts.items())
        console.print(f"{plural(len(planned), noun)}: {', '.join(texts)}")


def expected_starts(console: Console, foretold: "Foretold", *, dry_run: bool = False) -> None:
    """Say when the arrays are expected to start; a dry run on a machine without a queue to look at says nothing."""
    for line in foretold.lines if foretold.seen or not dry_run else ():
        console.print(line, soft_wrap=not console.is_terminal)


def selection(console: Console, chosen: Selection, unclear: Sequence[str], *, rerun: Rerun | None) -> None:
    """Say which cells are left out, and what a reader of the tables should know of the finished ones."""
    for reason, cells in grouped((reason, cell) for cell, reason in chosen.skipped.items()).items():
        subject = cells[0] if len(cells) == 1 else f"{len(cells)} cells"
        console.print(Text.assemble(("skipped", "yellow"), f" {subject}: {reason}"), soft_wrap=not console.is_terminal)
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


def scripts(console: Console, paths: Sequence[Path], *, whole: bool) -> None:
    """Say where a dry run wrote its scripts; print them too if `whole`."""
    for path in paths if whole else ():
        console.print(masked(path.read_text()), soft_wrap=True)
    console.print(f"dry run: {plural(len(paths), 'script')} written, nothing submitted")
    for path in paths:
        console.print(f"  {shown_path(path)}", soft_wrap=True)


def detached(console: Console, name: str, folder: Path, *, waiting: int = 0) -> None:
    """Say that the jobs go on, how to look again, and what is left to submit."""
    where = shlex.quote(shown_path(folder))
    if waiting:
        console.print(
            f"{plural(waiting, 'cell is|cells are')} not submitted yet; later: {called()} resume {where}",
            soft_wrap=True,
        )
    console.print(
        f"detached: the jobs of study {name} go on without this command\n"
        f"  look again:  {called()} status {where} --watch\n"
        f"  tables now:  {called()} collect {where}\n"
        f"  end them:    {called()} cancel {where}",
        soft_wrap=True,
    )


def files(console: Console, written: Sequence[Path]) -> None:
    """Say where tables and figures lie: one line per folder, each name once; names are not broken, nor are paths."""
    by_folder = grouped((path.parent, path) for path in written)
    for folder, paths in by_folder.items():
        stems, suffixes = dict.fromkeys(path.stem for path in paths), dict.fromkeys(path.suffix[1:] for path in paths)
        where, names = f"  {shown_path(folder)}/:", f"{', '.join(stems)} ({', '.join(suffixes)})"
        if not console.is_terminal or len(where) + 1 + len(names) <= console.width:
            console.print(f"{where} {names}", soft_wrap=True)
        else:
            console.print(where, soft_wrap=True)
            console.print(Padding(Text(names), (0, 0, 0, 4)))


def shown_path(path: Path) -> str:
    """A path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(path)


def problems(console: Console, texts: Sequence[str]) -> None:
    """Name the files that were passed over."""
    for problem in texts:
        console.print(Text.assemble(("passed over", "yellow"), f" {problem}"), soft_wrap=True)


def errors(results: Iterable[Result], problems: Iterable[str]) -> None:
    """Say on stderr what went wrong, a line each: for somebody who wants quiet."""
    texts = [f"{result.file.cell_id}: {result.status}: {result.detail}" for result in results]
    for text in (*texts, *(f"passed over {problem}" for problem in problems)):
        sys.stderr.write(f"error: {visible(text)}\n")


def page(console: Console, path: Path) -> None:
    """Show a page in a browser with windows; on a machine without a screen say what to do instead."""
    has_screen = sys.platform == "darwin" or not {"DISPLAY", "WAYLAND_DISPLAY"}.isdisjoint(os.environ)
    import webbrowser

    if not has_screen or not webbrowser.open(path.as_uri()):
        console.print("no browser with windows here: copy the file to a machine that has one; it needs no network")
