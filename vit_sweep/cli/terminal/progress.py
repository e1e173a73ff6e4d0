"""Watching a sweep: a live view on a terminal, plain lines elsewhere. An edge."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vit_sweep.cli.terminal import show_status
from vit_sweep.outcome.eta import Forecast
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.report.tables.status import forecast
from vit_sweep.report.tables.status import left as show_left
from vit_sweep.study.store import Study
from vit_sweep.submit.keeper import Keeper
from vit_sweep.submit.watching import looks

_ROWS_SHOWN = 12

_Ahead = Callable[[Sequence[Result], datetime], Forecast]
"""What is left of results at a time."""


def watch(study: Study, console: Console, keeper: Keeper, *, only: set[str] | None = None) -> list[Result]:
    """Show each of `looks`, and return the last: no cell (of `only`, if given) is queued or running any more."""
    show_all = _live if console.is_terminal else _lines
    return show_all(looks(study, keeper, only=only), _Plans(study).forecast, console)


class _Plans:
    """The study's plan, read again only after another sweep, or a repeat, has changed it."""

    def __init__(self, study: Study) -> None:
        self._study, self._read_at = study, -1
        self._plan: PlanFile | None = None

    def forecast(self, results: Sequence[Result], now: datetime) -> Forecast:
        """What is left of `results`, from the plan and what was measured since."""
        planned_at = self._study.planned_at()
        if planned_at != self._read_at:
            self._plan, self._read_at = self._study.plan_file(), planned_at
        return forecast(results, self._plan, now=now)


def _lines(looked: Iterable[list[Result]], ahead: _Ahead, console: Console) -> list[Result]:
    """One line per change of state, the last of a look with what is left: for logs and CI."""
    begun, last_status, results = time.monotonic(), dict[str, str](), list[Result]()
    for results in looked:
        if not last_status and any(result.status.under_way for result in results):
            console.print("waiting for the cells to start (imports take a while) ...")
        changes = [r for r in results if last_status.get(r.file.cell_id) != r.status]
        last_status |= {result.file.cell_id: result.status for result in changes}
        shown = [result for result in changes if result.status != Status.QUEUED]
        if shown:
            now, done = datetime.now(UTC), sum(not result.status.under_way for result in results)
            left = show_left(ahead(results, now), now=now)
            for result in shown:
                console.print(
                    f"[{time.monotonic() - begun:6.1f} s] {done}/{len(results)} ended | "
                    f"{result.file.cell_id} {result.status}"
                    + (f": {result.detail}" if result.detail else "")
                    + (f" | {left}" if left and result is shown[-1] else ""),
                    highlight=False,
                    soft_wrap=True,
                    markup=False,
                )
    return results


def _live(looked: Iterable[list[Result]], ahead: _Ahead, console: Console) -> list[Result]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    task, results = bar.add_task("cells"), list[Result]()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for results in looked:
            counts = Counter(result.status for result in results)
            bar.update(
                task,
                total=len(results),
                completed=sum(not r.status.under_way for r in results),
                description="  ".join(f"{state} {n}" for state, n in sorted(counts.items())),
            )
            now = datetime.now(UTC)
            at_work = show_status.running(results, ahead(results, now), rows=_ROWS_SHOWN, now=now)
            live.update(Group(bar, at_work, *show_status.filling(results, rows=_ROWS_SHOWN)))
    return results
