"""A sweep from its points to submitted jobs, as a command shows it. An edge: plan, write, submit, watch, collect."""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.text import plural
from vit_sweep.cli.terminal import show, show_plan
from vit_sweep.cli.terminal.consent import agree
from vit_sweep.cli.terminal.console import with_bar
from vit_sweep.cli.terminal.exit_codes import EXIT_DETACHED, EXIT_DONE, EXIT_FAILED
from vit_sweep.config.settings import Settings, read
from vit_sweep.config.words import Plain
from vit_sweep.data import datasets
from vit_sweep.outcome.result import Result, Status, is_idle
from vit_sweep.outcome.selection import Rerun, Retry
from vit_sweep.plan.point import Point
from vit_sweep.report.figure import formats
from vit_sweep.study.code.provenance import require_extra, require_loggers
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.store import Study
from vit_sweep.submit import interrupt
from vit_sweep.submit.next import NextCells, Written, choose, write
from vit_sweep.submit.submission import Submitter, resolve
from vit_sweep.submit.sweep import feed, planned, same_python, submitter_of
from vit_sweep.submit.tending import Keeper
from vit_sweep.submit.waiting.start_forecast import Foretold, foretell

if TYPE_CHECKING:
    # It imports numpy and more, which a dry run does not need.
    from vit_sweep.cli.terminal.collected import Collected

_FEW = 1 / 4
"""Of the cells of a sweep, so many that it is about to end."""
_SOON_S = 60.0
"""So little is left that it is about to end, too."""


def sweep(configs: Iterable[Plain], *, arguments: Sequence[str], overrides: Sequence[str]) -> int:
    """Plan, submit, watch and collect; returns the command's exit code.

    Raises `UserError` for a user's mistake, before anything is submitted.
    """
    requested, settings = read(configs)
    if settings.quiet and settings.dry_run == "stdout":
        raise UserError("quiet=true dry_run=stdout: one prints nothing, the other the scripts; leave one out")
    console = show.console(stderr=settings.dry_run == "json", quiet=settings.quiet)
    return sweep_points(requested, settings, console, arguments=arguments, overrides=overrides)


def sweep_points(
    requested: list[Point],
    settings: Settings,
    console: Console,
    *,
    arguments: Sequence[str],
    overrides: Sequence[str],
) -> int:
    """The same of points that are there already."""
    watched = partial(with_bar, console, "writing cells")
    with planned(
        requested, settings, arguments=arguments, overrides=overrides, say=console.print, watched=watched
    ) as ready:
        study, plan, chosen = ready.study, ready.plan, ready.chosen
        if settings.dry_run != "json":
            whole = settings.plan == "all"
            show_plan.plan(console, plan, study=study.name, todo=set(chosen.todo), whole=whole, words=overrides)
        for remark in ready.remarks:
            console.print(remark, soft_wrap=not console.is_terminal)
        show.selection(console, chosen.selection, ready.unclear, rerun=settings.rerun)
        written = ready.write()
        show.batches(console, [item.batch for item in written.rendered], written.remarks)
        if settings.dry_run == "json":
            plan_data = show_plan.as_data(plan, study, chosen, written, ready.remarks)
            sys.stdout.write(f"{json.dumps(plan_data, indent=1, allow_nan=False)}\n")
            return EXIT_DONE
        foretold = foretell(study, written, chosen.todo)
        show.expected_starts(console, foretold, dry_run=bool(settings.dry_run))
        if settings.dry_run:
            scripts = [Path(item.batch.folder) / item.script for item in written.rendered]
            show.scripts(console, scripts, whole=settings.dry_run == "stdout")
            return EXIT_DONE
        submitter = _submitted(study, console, chosen, written, foretold)
    return _follow(study, console, chosen, submitter, wait=settings.wait, only=set(plan.cells))


def resume(
    study: Study,
    *,
    retry: Retry | None = None,
    rerun: Rerun | None = None,
    minutes: int | None = None,
    wait: bool = True,
    quiet: bool = False,
    trust: bool = False,
) -> int:
    """Run what a study still lacks, from its own files alone; returns the command's exit code.

    `minutes`: time limit of the new jobs; None: as planned. `quiet`: print where the tables are and what went wrong,
    nothing else. `trust`: its user lets it run what its plan names. Raises
    `UserError` where the study's plan cannot be read, or is not to be run.
    """
    console = show.console(quiet=quiet)
    agree(study, show.console(stderr=quiet), trust=trust)
    require_extra("train")
    cells = study.planned()
    if not cells:
        raise UserError(
            f"{study.folder / 'plan.json'} does not say what this study's cells need; give its sweep's command again: "
            "what is done is not run again"
        )
    if minutes is not None:
        cells = {cell_id: cell.with_minutes(minutes) for cell_id, cell in cells.items()}
    files = {file.cell_id: file for file in study.cell_files()}
    with study.changing():
        code = take(study.folder)
        unclear = resolve(study)
        chosen = choose(study, cells, code, retry=retry, rerun=rerun)
        runnable = [cell for cell in chosen.todo if same_python(cells[cell])]
        require_loggers(name for cell in runnable for name in files[cell].options.logging)
        for root, data in {(files[cell].data_root, cells[cell].cell.data) for cell in chosen.todo}:
            datasets.require(data, Path(root))
        console.print(f"study {study.name}: {plural(len(cells), 'cell')}, {len(chosen.todo):,} to run")
        show.problems(console, study.problems)
        show.selection(console, chosen.selection, unclear, rerun=rerun)
        written = write(study, chosen.todo, code, limits=study.job_limits(), results=chosen.results)
        show.batches(console, [item.batch for item in written.rendered], written.remarks)
        foretold = foretell(study, written, chosen.todo)
        show.expected_starts(console, foretold)
        submitter = _submitted(study, console, chosen, written, foretold)
    return _follow(study, console, chosen, submitter, wait=wait, only=None)


def watch_and_collect(
    study: Study, console: Console, *, only: set[str] | None = None, submitter: Submitter | None = None
) -> int:
    """Show progress and tend the study until every cell has ended, then write and print the tables."""
    require_extra("report")
    try:
        interrupt.hold()
        from vit_sweep.cli.terminal import progress

        keeper = Keeper(study, say=console.print, waiting=submitter)
        results = progress.watch(study, console, keeper, only=only, meanwhile=_DrawingImport(study))
        interrupt.release()
        from vit_sweep.cli.terminal.collected import collect_study

        collected = collect_study(study, console)
    except KeyboardInterrupt:
        return _detached(study, console, submitter)
    if console.quiet:
        _print_results(results, collected)
    return EXIT_DONE if all(result.status is Status.DONE for result in results) else EXIT_FAILED


class _DrawingImport:
    """Imports what draws while something is waited for, once it is time: later it would take somebody's time.

    That is while the ranks of this machine import torch. On Slurm a client that waits for days on a login node had
    better be small: there it is once all cells but a few have ended and the rest runs, or once the rest is a matter of
    seconds at the pace of those that have ended.
    """

    def __init__(self, study: Study) -> None:
        self._local = all(entry.scheduler == Scheduler.LOCAL for entry in study.jobs())
        self._begun: tuple[float, int] | None = None
        """When the first look was, and how many cells had ended by then."""

    def __call__(self, results: Sequence[Result]) -> bool:
        """Do so if it is time; whether it was."""
        left = [result for result in results if result.status.under_way]
        if self._begun is None:
            self._begun = time.monotonic(), len(results) - len(left)
        since, ended_before = self._begun
        ended = len(results) - len(left) - ended_before
        few = len(left) <= _FEW * len(results) and all(result.status is Status.RUNNING for result in left)
        soon = len(left) * (time.monotonic() - since) < _SOON_S * ended
        ready = self._local or few or soon
        if ready and formats(os.environ):
            import vit_sweep.report.figures
            import vit_sweep.report.gather  # noqa: F401
        return ready


def _print_results(results: Iterable[Result], collected: "Collected") -> None:
    """What is left to say to somebody who wants quiet: where the tables are, and on stderr what went wrong."""
    show.errors((result for result in results if result.status is not Status.DONE), collected.gathered.problems)
    for path in collected.written:
        if path.suffix == ".csv":
            sys.stdout.write(f"{path}\n")


def _submitted(
    study: Study, console: Console, chosen: NextCells, written: Written, foretold: Foretold
) -> Submitter | None:
    """Submit what the scheduler takes now; the submitter holds the rest. None if Ctrl-C has ended it."""
    submitter = submitter_of(study, chosen, written, say=console.print, forecasts=foretold.forecasts)
    interrupt.hold()
    try:
        submitter.submit(idle=is_idle(chosen.results))
    except KeyboardInterrupt:
        _detached(study, console, submitter)
        return None
    return submitter


def _follow(
    study: Study, console: Console, chosen: NextCells, submitter: Submitter | None, *, wait: bool, only: set[str] | None
) -> int:
    if submitter is None:
        return EXIT_DETACHED
    if not wait and not chosen.todo and not any(result.status.under_way for result in chosen.results):
        console.print(f"nothing to run, and no job of study {study.name} is under way")
        return EXIT_DONE
    if wait:
        return watch_and_collect(study, console, only=only, submitter=submitter)
    try:
        feed(study, submitter)
    except KeyboardInterrupt:
        return _detached(study, console, submitter)
    show.detached(console, study.name, study.folder)
    return EXIT_DONE


def _detached(study: Study, console: Console, submitter: Submitter | None) -> int:
    show.detached(console, study.name, study.folder, waiting=len(submitter.waiting) if submitter else 0)
    return EXIT_DETACHED


def run(configs: Iterable[Plain], *, overrides: Sequence[str]) -> int:
    """`sweep` with this process's own command line."""
    return sweep(configs, arguments=sys.argv[1:], overrides=overrides)
