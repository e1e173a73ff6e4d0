"""Watching a sweep: a live view on a terminal, plain lines elsewhere. An edge."""

import time
from collections import Counter
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from launchers.profile import Scheduler
from vit_sweep import show
from vit_sweep.point import Scaling
from vit_sweep.scaling import Result
from vit_sweep.status import ACTIVE, Watcher
from vit_sweep.store import Study
from vit_sweep.tables import scaling_table

_LOCAL_PERIOD_S = 0.5
_SLURM_PERIOD_S = 2.0
_SLURM_LONGEST_S = 30.0
_ROWS_SHOWN = 12


def watch(study: Study, console: Console, *, only: set[str] | None = None) -> list[Result]:
    """Return the results once no cell (of `only`, if given) is queued or running any more.

    Ctrl-C passes through as `KeyboardInterrupt`; the jobs do not notice.
    """
    watcher = Watcher(study)
    slurm = any(entry.scheduler == Scheduler.SLURM for entry in study.jobs())

    def look() -> list[Result]:
        return [r for r in watcher.results() if only is None or r.file.cell_id in only]

    if console.is_terminal:
        return _live(look, console, slurm)
    return _lines(look, console, slurm)


def _busy(results: list[Result]) -> bool:
    return any(result.status in ACTIVE for result in results)


def _pause(slurm: bool, quiet_rounds: int) -> None:
    """Wait before the next look: a busy controller is asked less and less while nothing changes."""
    time.sleep(min(_SLURM_LONGEST_S, _SLURM_PERIOD_S * 1.2**quiet_rounds) if slurm else _LOCAL_PERIOD_S)


def _lines(look: Callable[[], list[Result]], console: Console, slurm: bool) -> list[Result]:
    """One line per change of state: for logs and CI."""
    begun, told, quiet = time.monotonic(), dict[str, str](), 0
    while True:
        results = look()
        if not told and _busy(results):
            console.print("waiting for the cells to start (imports take a while) ...")
        changes = [r for r in results if told.get(r.file.cell_id) != r.status]
        for result in changes:
            told[result.file.cell_id] = result.status
            if result.status != "queued":
                done = sum(r.status not in ACTIVE for r in results)
                console.print(
                    f"[{time.monotonic() - begun:6.1f} s] {done}/{len(results)} ended | "
                    f"{result.file.cell_id} {result.status}" + (f": {result.detail}" if result.detail else ""),
                    highlight=False, soft_wrap=True, markup=False,
                )  # fmt: skip
        if not _busy(results):
            return results
        quiet = 0 if changes else quiet + 1
        _pause(slurm, quiet)


def _live(look: Callable[[], list[Result]], console: Console, slurm: bool) -> list[Result]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    task = bar.add_task("cells")
    quiet, before = 0, dict[str, str]()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            results = look()
            counts = Counter(result.status for result in results)
            bar.update(
                task,
                total=len(results),
                completed=sum(r.status not in ACTIVE for r in results),
                description="  ".join(f"{state} {n}" for state, n in sorted(counts.items())),
            )
            live.update(Group(bar, _running(results), _filling(results)))
            if not _busy(results):
                return results
            now = {r.file.cell_id: r.status + r.detail for r in results}
            quiet, before = (0 if now != before else quiet + 1), now
            _pause(slurm, quiet)


def _running(results: list[Result]) -> Table:
    """The cells at work, and why the first queued ones wait."""
    table = Table(box=None)
    for title in ("cell", "state", ""):
        table.add_column(title)
    ordered = [r for state in ("running", "unknown", "queued") for r in results if r.status == state]
    for result in ordered[:_ROWS_SHOWN]:
        table.add_row(result.file.cell_id, result.status, result.detail)
    if len(ordered) > _ROWS_SHOWN:
        table.add_row(f"... and {len(ordered) - _ROWS_SHOWN} more", "", "")
    return table


def _filling(results: list[Result]) -> Group:
    """The scaling tables so far: rows that have a time, against the baseline that was planned."""
    tables = [(mode, [row for row in scaling_table(results, (), mode) if row["epoch_s"]]) for mode in Scaling]
    return Group(*(show.scaling(f"{m.value} scaling so far", rows[-_ROWS_SHOWN:]) for m, rows in tables if rows))
