"""A sweep from its points to submitted jobs. An edge: plan, write, submit, watch, collect.

Rendering returns values; what is written for `dry_run=true` is what a submission sends.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from launchers.backend import Rendered
from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.text import plural, visible
from vit_sweep.analysis.laws import coverage
from vit_sweep.cli.terminal import show, show_plan
from vit_sweep.cli.terminal.consent import agree
from vit_sweep.cli.terminal.exit_codes import EXIT_DETACHED, EXIT_DONE, EXIT_FAILED
from vit_sweep.config import algebra, models
from vit_sweep.config.compose import Plain
from vit_sweep.config.init import begun
from vit_sweep.config.settings import Settings, read, study_folder
from vit_sweep.data import datasets
from vit_sweep.outcome.result import Result, Status
from vit_sweep.outcome.selection import Rerun, Retry
from vit_sweep.plan.cell import Cell, JobOptions
from vit_sweep.plan.engine.kinds import compares_engines
from vit_sweep.plan.plan import Knowledge, Plan, PlannedCell, make_plan
from vit_sweep.plan.repeats import seen_spread
from vit_sweep.record.record import Record
from vit_sweep.record.stats import epoch_time, spent_gpu_hours, throughput
from vit_sweep.study.check import remove_leftovers
from vit_sweep.study.provenance import require_engines, require_extra, require_loggers, require_metrics
from vit_sweep.study.snapshot import take
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit import interrupt
from vit_sweep.submit.keeper import Keeper
from vit_sweep.submit.next import Next, choose, write
from vit_sweep.submit.submission import Submitter, resolve

if TYPE_CHECKING:
    # It imports numpy and more, which a dry run does not need.
    from vit_sweep.cli.collect import Collected

_FEED_PERIOD_S = 2.0


def sweep(configs: Iterable[Plain], *, arguments: Sequence[str], overrides: Sequence[str]) -> int:
    """Plan, submit, watch and collect; returns the command's exit code.

    Raises `UserError` for a user's mistake, before anything is submitted.
    """
    requested, settings = read(configs)
    if settings.quiet and settings.dry_run == "stdout":
        raise UserError("quiet=true dry_run=stdout: one prints nothing, the other the scripts; leave one out")
    console = show.console(stderr=settings.dry_run == "json", quiet=settings.quiet)
    requested = begun(models.counted(requested, console.print))
    points, remarks = algebra.select(requested, exclude=settings.exclude, repeats=settings.repeats)
    local = all(point.partition.scheduler is Scheduler.LOCAL for point in points)
    folder = study_folder(settings, points)
    finished = Study(folder).records()
    known = Knowledge(
        cores=len(os.sched_getaffinity(0)) if local else None,
        memory_check=settings.memory_check,
        minutes=settings.minutes,
        finished=tuple(map(throughput, finished)),
        options=settings.job_options,
    )
    plan = make_plan(points, known)
    options, certified = _options(settings, plan, Study(folder))
    if options != known.options:
        plan = make_plan(points, replace(known, options=options))
    if not plan.cells:
        raise UserError("no cell can run:\n" + "\n".join(f"  {r}" for r in _all_reasons(plan)))
    if not settings.dry_run:
        require_extra("train")
        if here := [planned for planned in plan.cells.values() if _same_python(planned)]:
            require_loggers(settings.logging)
            require_engines(planned.cell.engine.kind for planned in here)
            require_metrics(planned.cell.task for planned in here)
        for data in {cell.cell.data for cell in plan.cells.values()}:
            datasets.require(data, Path(settings.data_root))
    study = Study.create_or_resume(folder)
    with study.changing():
        code = take(folder)
        unclear = [] if settings.dry_run else resolve(study)
        study.write_command(arguments, overrides, code=code.digest)
        root = str(Path(settings.data_root).absolute())
        study.write_plan(plan, data_root=root, options=options, repeat=settings.repeat_rule)
        arrange = partial(algebra.ordered, order=settings.order, seed=settings.order_seed)
        chosen = choose(study, plan.cells, code, retry=settings.retry, rerun=settings.rerun, arrange=arrange)
        if settings.dry_run != "json":
            show_plan.plan(console, plan, study=study.name, todo=set(chosen.todo))
        remarks = [*remarks, *certified, *_carries(plan, chosen.results, settings, known.cores)]
        for remark in remarks:
            console.print(remark, soft_wrap=True)
        show.selection(console, chosen.selection, unclear, rerun=settings.rerun)
        _check_budget(settings.budget_gpu_hours, [item.planned for item in chosen.todo.values()], finished)
        rendered = write(study, chosen.todo, code, max_gpus=settings.max_gpus_in_flight)
        show.batches(console, [item.batch for item in rendered])
        if settings.dry_run == "json":
            told = show_plan.as_data(plan, study, chosen, rendered, remarks)
            sys.stdout.write(f"{json.dumps(told, indent=1, allow_nan=False)}\n")
            return EXIT_DONE
        if settings.dry_run:
            scripts = [Path(item.batch.folder) / item.script for item in rendered]
            show.scripts(console, scripts, whole=settings.dry_run == "stdout")
            return EXIT_DONE
        submitter = _submitted(study, console, chosen, rendered)
    return _follow(study, console, submitter, wait=settings.wait, only=set(plan.cells))


def resume(
    study: Study,
    *,
    retry: Retry | None = None,
    rerun: Rerun | None = None,
    minutes: int | None = None,
    wait: bool = True,
    trust: bool = False,
) -> int:
    """Run what a study still lacks, from its own files alone; returns the command's exit code.

    `minutes`: time limit of the new jobs; None: as planned. `trust`: its user lets it run what its plan names. Raises
    `UserError` where the study's plan cannot be read, or is not to be run.
    """
    console = show.console()
    agree(study, console, trust=trust)
    require_extra("train")
    planned = study.planned()
    if not planned:
        raise UserError(
            f"{study.folder / 'plan.json'} does not say what this study's cells need; give its sweep's command again: "
            "what is done is not run again"
        )
    if minutes is not None:
        planned = {cell_id: cell.with_minutes(minutes) for cell_id, cell in planned.items()}
    files = {file.cell_id: file for file in study.cell_files()}
    with study.changing():
        code = take(study.folder)
        unclear = resolve(study)
        chosen = choose(study, planned, code, retry=retry, rerun=rerun)
        here = [cell for cell in chosen.todo if _same_python(planned[cell])]
        require_loggers(name for cell in here for name in files[cell].options.logging)
        for root, data in {(files[cell].data_root, planned[cell].cell.data) for cell in chosen.todo}:
            datasets.require(data, Path(root))
        console.print(f"study {study.name}: {plural(len(planned), 'cell')}, {len(chosen.todo)} to run")
        show.problems(console, study.problems)
        show.selection(console, chosen.selection, unclear, rerun=rerun)
        rendered = write(study, chosen.todo, code)
        show.batches(console, [item.batch for item in rendered])
        submitter = _submitted(study, console, chosen, rendered)
    return _follow(study, console, submitter, wait=wait, only=None)


def watch_and_collect(
    study: Study, console: Console, *, only: set[str] | None = None, submitter: Submitter | None = None
) -> int:
    """Show progress and tend the study until every cell has ended, then write and print the tables."""
    require_extra("report")
    try:
        interrupt.hold()
        from vit_sweep.cli.terminal import progress

        results = progress.watch(study, console, Keeper(study, say=console.print, waiting=submitter), only=only)
        interrupt.release()
        from vit_sweep.cli.collect import collect_study

        collected = collect_study(study, console)
    except KeyboardInterrupt:
        return _detached(study, console, submitter)
    if console.quiet:
        _print_results(results, collected)
    return EXIT_DONE if all(result.status is Status.DONE for result in results) else EXIT_FAILED


def _print_results(results: Iterable[Result], collected: "Collected") -> None:
    """What is left to say to somebody who wants quiet: where the tables are, and on stderr what went wrong."""
    errors = [f"{r.file.cell_id}: {r.status}: {r.detail}" for r in results if r.status is not Status.DONE]
    for text in (*errors, *(f"passed over {problem}" for problem in collected.gathered.problems)):
        sys.stderr.write(f"error: {visible(text)}\n")
    for path in collected.written:
        if path.suffix == ".csv":
            sys.stdout.write(f"{path}\n")


def _submitted(study: Study, console: Console, chosen: Next, rendered: Sequence[Rendered]) -> Submitter | None:
    """Submit what the scheduler takes now; the submitter holds the rest. None if Ctrl-C has ended it."""
    study.clear_stops(chosen.todo)
    if _alone(chosen.results):
        remove_leftovers(study)
    submitter = Submitter(study, rendered, say=console.print)
    interrupt.hold()
    try:
        submitter.submit(alone=_alone(chosen.results))
    except KeyboardInterrupt:
        _detached(study, console, submitter)
        return None
    return submitter


def _follow(study: Study, console: Console, submitter: Submitter | None, *, wait: bool, only: set[str] | None) -> int:
    if submitter is None:
        return EXIT_DETACHED
    if wait:
        return watch_and_collect(study, console, only=only, submitter=submitter)
    try:
        while submitter.waiting:
            interrupt.pause(_FEED_PERIOD_S)
            with study.changing():
                submitter.submit(alone=_alone(settled_results(study)))
    except KeyboardInterrupt:
        return _detached(study, console, submitter)
    show.detached(console, study.name, study.folder)
    return EXIT_DONE


def _detached(study: Study, console: Console, submitter: Submitter | None) -> int:
    show.detached(console, study.name, study.folder, waiting=len(submitter.waiting) if submitter else 0)
    return EXIT_DETACHED


def _options(settings: Settings, plan: Plan, study: Study) -> tuple[JobOptions, list[str]]:
    """What jobs are told, and what a person must know of it: whoever compares engines gets certificates unasked."""
    options = settings.job_options
    if settings.certify is not None:
        return options, []
    known = [file.cell for file in study.cell_files()]
    if not compares_engines([*known, *(planned.cell for planned in plan.cells.values())]):
        return options, []
    remark = "engines are compared: each job certifies that its own trains what one process does (certify=false: none)"
    return replace(options, certify=True), [remark]


def _carries(plan: Plan, results: Iterable[Result], settings: Settings, cores: int | None) -> list[str]:
    """What fits the curves of this sweep will carry, with what the study has already."""
    done = list(results)
    return coverage.remarks(
        plan,
        ((result.file.cell, result.file.series) for result in done),
        cores=cores,
        preflight=settings.preflight,
        repeats_follow=settings.repeat_rule is not None,
        seen=seen_spread(_epochs(done).values()),
    )


def _epochs(results: Iterable[Result]) -> dict[Cell, list[tuple[float, ...]]]:
    """Epoch times of the runs of each cell; repeats differ in their seed."""
    epochs: dict[Cell, list[tuple[float, ...]]] = {}
    for result in results:
        if result.record is not None:
            epochs.setdefault(replace(result.file.cell, seed=0), []).append(epoch_time(result.record).values_s)
    return epochs


def _same_python(planned: PlannedCell) -> bool:
    """Whether its job runs under the interpreter that submits: what another one has installed only the job can see."""
    return planned.profile.python is None and planned.profile.container is None


def _alone(results: Iterable[Result]) -> bool:
    """Whether no job of the study is queued or running."""
    return not any(result.status.under_way for result in results)


def _check_budget(budget: float | None, todo: Sequence[PlannedCell], finished: Sequence[Record]) -> None:
    """Stop before anything is submitted that would take the study above its budget."""
    spent, wanted = sum(spent_gpu_hours(record) for record in finished), sum(cell.gpu_hours for cell in todo)
    if budget is not None and spent + wanted > budget:
        enough = math.ceil(100 * (spent + wanted)) / 100
        raise UserError(
            f"budget_gpu_hours={budget:g}: {plural(len(todo), 'cell needs|cells need')} about {wanted:.2f} "
            f"GPU-hours and the study has "
            f"spent {spent:.2f}; nothing was submitted; use {enough:g} or more, or a smaller grid"
        )


def _all_reasons(plan: Plan) -> list[str]:
    return list(dict.fromkeys(reason for point in plan.infeasible for reason in point.reasons))


def run(configs: Iterable[Plain], *, overrides: Sequence[str]) -> int:
    """`sweep` with this process's own command line."""
    return sweep(configs, arguments=sys.argv[1:], overrides=overrides)
