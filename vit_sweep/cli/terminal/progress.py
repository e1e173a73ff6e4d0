"""Watching a sweep: a live view on a terminal, plain lines elsewhere. An edge."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from launchers.errors import UserError
from launchers.profile import Scheduler
from vit_sweep.cli.terminal import show_status
from vit_sweep.outcome.eta import Forecast
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.study.status import ENDING, Watcher
from vit_sweep.study.store import Study
from vit_sweep.submit import interrupt
from vit_sweep.submit.keeper import Keeper

_LOCAL_PERIOD_S = 0.5
_SLURM_PERIOD_S = 2.0
_SLURM_LONGEST_S = 25.0
"""Twice this, and a job that died without a word has a name: an end is believed at the second look."""
_ROWS_SHOWN = 12
_NO_ROOM = "not submitted yet: it waits for room in the queue"

_Ahead = Callable[[Sequence[Result], datetime], Forecast]
"""What is left of results at a time."""


def watch(study: Study, console: Console, keeper: Keeper, *, only: set[str] | None = None) -> list[Result]:
    """Return the results once no cell (of `only`, if given) is queued or running any more; `keeper` acts on each look.

    Ctrl-C ends it as `KeyboardInterrupt`, between two looks; the jobs do not notice.
    """
    watcher = Watcher(study)
    slurm = any(entry.scheduler == Scheduler.SLURM for entry in study.jobs())

    def look() -> list[Result]:
        if not (study.folder / "study.json").is_file():
            raise UserError(
                f"{study.folder} is no study any more: it was deleted or moved while this command waited – its jobs "
                f"may go on; a moved study: python -m vit_sweep status NEW_FOLDER; a deleted one on Slurm: "
                f"scancel --me --name=vit_sweep-{study.name}"
            )
        results = watcher.results()
        # What is handed over now was not yet the scheduler's when it was asked.
        waited, added = keeper.waiting, len(keeper.added)
        keeper.tend(results)
        if len(keeper.added) > added:
            results = watcher.results()
        waiting = waited | keeper.waiting
        results_shown = (r for r in results if only is None or r.file.cell_id in only | waiting | keeper.added)
        return [_as_kept(r, keeper, waiting) for r in results_shown]

    plans = _Plans(study)
    results = (_live if console.is_terminal else _lines)(look, plans.forecast, console, slurm)
    keeper.end_needless(results)
    return results


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
        return show_status.forecast(results, self._plan, now=now)


def _as_kept(result: Result, keeper: Keeper, waiting: frozenset[str]) -> Result:
    """What this client knows better than the study's files: what it has not submitted yet, or cannot."""
    cell = result.file.cell_id
    if cell in waiting:
        return replace(result, status=Status.QUEUED, detail=_NO_ROOM)
    if result.status == Status.RETRY and cell in keeper.given_up:
        return replace(result, status=Status.FAILED, detail=f"{result.detail}; but {keeper.given_up[cell]}")
    return result


def _busy(results: list[Result]) -> bool:
    return any(result.status.under_way for result in results)


def _ending(results: list[Result]) -> bool:
    """Whether some end is seen and not believed yet."""
    return any(result.detail == ENDING for result in results)


def _pause(slurm: bool, quiet_rounds: int) -> None:
    """Wait before the next look: a busy controller is asked less and less while nothing changes."""
    interrupt.pause(min(_SLURM_LONGEST_S, _SLURM_PERIOD_S * 1.2**quiet_rounds) if slurm else _LOCAL_PERIOD_S)


def _lines(look: Callable[[], list[Result]], ahead: _Ahead, console: Console, slurm: bool) -> list[Result]:
    """One line per change of state, the last of a look with what is left: for logs and CI."""
    begun, last_status, quiet = time.monotonic(), dict[str, str](), 0
    while True:
        results = look()
        if not last_status and _busy(results):
            console.print("waiting for the cells to start (imports take a while) ...")
        changes = [r for r in results if last_status.get(r.file.cell_id) != r.status]
        last_status |= {result.file.cell_id: result.status for result in changes}
        shown = [result for result in changes if result.status != Status.QUEUED]
        if shown:
            now, done = datetime.now(UTC), sum(not result.status.under_way for result in results)
            left = show_status.left(ahead(results, now), now=now)
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
        if not _busy(results):
            return results
        quiet = 0 if changes or _ending(results) else quiet + 1
        _pause(slurm, quiet)


def _live(look: Callable[[], list[Result]], ahead: _Ahead, console: Console, slurm: bool) -> list[Result]:
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
                completed=sum(not r.status.under_way for r in results),
                description="  ".join(f"{state} {n}" for state, n in sorted(counts.items())),
            )
            time_now = datetime.now(UTC)
            at_work = show_status.running(results, ahead(results, time_now), rows=_ROWS_SHOWN, now=time_now)
            live.update(Group(bar, at_work, *show_status.filling(results, rows=_ROWS_SHOWN)))
            if not _busy(results):
                return results
            now = {r.file.cell_id: r.status + r.detail for r in results}
            quiet, before = (0 if now != before or _ending(results) else quiet + 1), now
            _pause(slurm, quiet)
