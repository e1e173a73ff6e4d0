"""Watching a sweep: a live view on a terminal, plain lines elsewhere. An edge."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from launchers.local.processor import core_flops
from launchers.text import grouped, plural
from vit_sweep.cli.terminal import show_status
from vit_sweep.outcome.eta import Forecast
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.plan.waiting.wording import start_of
from vit_sweep.report.tables.status import forecast
from vit_sweep.report.tables.status import left as show_left
from vit_sweep.study.store import Study
from vit_sweep.submit.tending import Keeper
from vit_sweep.submit.watching import follow

_FIRST_TABLES = 2
"""Cells that are done when a log shows the scaling tables first."""
_ROWS = 20
"""Of such a table, the last ones."""

_Ahead = Callable[[Sequence[Result], datetime], Forecast]
"""What is left of results at a time."""


def watch(
    study: Study,
    console: Console,
    keeper: Keeper,
    *,
    only: set[str] | None = None,
    meanwhile: Callable[[list[Result]], bool] = lambda _: True,
) -> list[Result]:
    """Show each look of `follow`, and return the last: no cell (of `only`, if given) is queued or running any more.

    `meanwhile` is called with each that is shown while something is waited for, until it has returned True.
    """
    show_all = _live if console.is_terminal else _lines
    return show_all(_preparing(follow(study, keeper, only=only), meanwhile), _Plans(study).forecast, console)


def _preparing(looked: Iterable[list[Result]], meanwhile: Callable[[list[Result]], bool]) -> Iterator[list[Result]]:
    is_done = False
    for results in looked:
        yield results
        is_done = is_done or (any(result.status.under_way for result in results) and meanwhile(results))


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
        return forecast(results, self._plan, now=now, core_flops=core_flops())


def _lines(looked: Iterable[list[Result]], ahead: _Ahead, console: Console) -> list[Result]:
    """One line per change of state, the last of a look with what is left: for logs and CI. The scaling tables so far
    come after two cells, and again each time that twice as many are done; those of all cells are printed elsewhere.
    Why cells wait is said once for each reason, and once more when it is known when the first of them starts."""
    started, last_status, results = time.monotonic(), dict[str, str](), list[Result]()
    reasons_printed = {("", False)}
    next_tables = _FIRST_TABLES
    for results in looked:
        if not last_status and any(result.status.under_way for result in results):
            console.print("waiting for the cells to start (imports take a while) ...")
        changes = [r for r in results if last_status.get(r.file.cell_id) != r.status]
        last_status |= {result.file.cell_id: result.status for result in changes}
        changes_shown = [result for result in changes if result.status != Status.QUEUED]
        if changes_shown:
            now, done = datetime.now(UTC), sum(not result.status.under_way for result in results)
            left = show_left(ahead(results, now), now=now)
            for result in changes_shown:
                console.print(
                    f"[{time.monotonic() - started:6.1f} s] {done}/{len(results)} ended | "
                    f"{result.file.cell_id} {result.status}"
                    + (f": {result.detail}" if result.detail else "")
                    + (f" | {left}" if left and result is changes_shown[-1] else ""),
                    soft_wrap=True,
                )
        for reason, waiting in _by_reason(results).items():
            if reason not in reasons_printed:
                why = "; ".join(filter(None, [reason[0], _starts(waiting)]))
                console.print(
                    f"[{time.monotonic() - started:6.1f} s] {plural(len(waiting), 'cell')} queued: {why}",
                    soft_wrap=True,
                )
            reasons_printed.add(reason)
        finished = sum(result.status is Status.DONE for result in results)
        if finished >= next_tables and any(result.status.under_way for result in results):
            next_tables = 2 * finished
            for table in show_status.unfinished_tables(results):
                console.print(show_status.partial_table(table, rows=_ROWS))
    return results


def _by_reason(results: Iterable[Result]) -> dict[tuple[str, bool], list[Result]]:
    """Those that wait, by why, and by whether something says when they start."""
    return grouped(
        ((result.detail, result.expected is not None), result) for result in results if result.status is Status.QUEUED
    )


def _starts(results: Sequence[Result]) -> str:
    """When the first of some that wait is expected to start; empty where nothing says it."""
    earliest = min(filter(None, (result.expected for result in results)), key=attrgetter("start"), default=None)
    first = "the first is " if len(results) > 1 else ""
    return f"{first}{start_of(earliest, now=datetime.now(UTC))}" if earliest is not None else ""


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
            live.update(Screen(results, ahead(results, now), above=bar, now=now))
    return results


class Screen:
    """A sweep under way, with as many rows as the terminal has room for: none is cut off below."""

    def __init__(self, results: Sequence[Result], expected: Forecast, *, above: RenderableType, now: datetime) -> None:
        """Make the tables, which takes longer than drawing them."""
        self._results, self._expected, self._above, self._now = results, expected, above, now
        self._tables = show_status.unfinished_tables(results)
        self._fitting: tuple[tuple[int, int], RenderableType] | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw; what there is room for is found once a size."""
        size = (options.max_width, console.size.height)
        if self._fitting is None or self._fitting[0] != size:
            options = options.update(height=None)
            self._fitting = (size, self._fitted(console, options) or self._fitted(console, options, tables=False) or "")
        yield self._fitting[1]

    def _fitted(self, console: Console, options: ConsoleOptions, *, tables: bool = True) -> RenderableType | None:
        """The screen with the most rows that fit; None where not even one of each does."""

        def height(rows: int) -> int:
            return len(console.render_lines(self._group(rows, tables=tables), options, pad=False))

        longest = max([len(self._results), *(table.height for table in self._tables if tables)])
        most = min(longest, console.size.height)
        # One line stays free, or the terminal scrolls and the next frame begins a line too low.
        fit = bisect_right(range(1, most + 1), console.size.height - 1, key=height)
        return self._group(fit, tables=tables) if fit else None

    def _group(self, rows: int, *, tables: bool) -> RenderableType:
        at_work = show_status.running(self._results, self._expected, rows=rows, now=self._now)
        filling = [show_status.partial_table(table, rows=rows) for table in self._tables] if tables else []
        return Group(self._above, at_work, *filling)
