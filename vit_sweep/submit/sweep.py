"""A sweep from its points to what is handed over: planned, chosen, written. An edge that prints nothing.

The command and the Python API stand on it. Rendering returns values; what a dry run writes is what is submitted.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.text import plural, some
from vit_sweep.analysis.laws import coverage
from vit_sweep.config import algebra, models
from vit_sweep.config.models import with_init
from vit_sweep.config.settings import Settings, study_folder
from vit_sweep.data import datasets
from vit_sweep.outcome.result import Result, is_idle
from vit_sweep.plan.cell import Cell, CellFile, JobOptions
from vit_sweep.plan.deciding.candidates_file import alike, candidates_file
from vit_sweep.plan.deciding.decision import BUDGET
from vit_sweep.plan.deciding.one_curve import candidates_of
from vit_sweep.plan.deciding.question import DecideRule, question_of
from vit_sweep.plan.engine.kinds import compares_engines
from vit_sweep.plan.plan import Knowledge, Plan, PlannedCell, make_plan
from vit_sweep.plan.plan_file import JobLimits
from vit_sweep.plan.point import Point
from vit_sweep.plan.repeats import seen_spread
from vit_sweep.plan.waiting.forecast_file import ForecastFile
from vit_sweep.record.stats import epoch_time, throughputs
from vit_sweep.study.check import remove_leftovers
from vit_sweep.study.code.provenance import (
    require_engines,
    require_extra,
    require_loggers,
    require_models,
    require_optimizers,
    require_tasks,
)
from vit_sweep.study.code.snapshot import Snapshot, take
from vit_sweep.study.continuing import continued
from vit_sweep.study.lock import now
from vit_sweep.study.spending import lost_gpu_hours
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study, Watched, cell_file, unwatched
from vit_sweep.submit import interrupt
from vit_sweep.submit.deciding import lines, look
from vit_sweep.submit.next import NextCells, Written, choose, write
from vit_sweep.submit.submission import Say, Submitter, resolve

_FEED_PERIOD_S = 2.0


class Ready(NamedTuple):
    """A sweep whose plan is written and of which nothing is submitted; good under the lock of its study."""

    study: Study
    plan: Plan
    chosen: NextCells
    remarks: tuple[str, ...]
    """What a person must know of it: points left out, certificates, what its curves will carry."""
    unclear: tuple[str, ...]
    """Batches of which nobody can say whether they were submitted."""
    settings: Settings
    code: Snapshot

    def write(self) -> Written:
        """Render and write the scripts of the chosen cells, packed as is asked.

        Raises `UserError` above the budget, and where `next.write` does.
        """
        limits = _limits(self.settings)
        return write(self.study, self.chosen.todo, self.code, limits=limits, results=self.chosen.results)


@contextmanager
def planned(
    requested: list[Point],
    settings: Settings,
    *,
    arguments: Sequence[str],
    overrides: Sequence[str],
    say: Say,
    watched: Watched = unwatched,
) -> Iterator[Ready]:
    """Plan a grid, write its plan into its study, choose what runs, and hold the study's lock meanwhile.

    `arguments`: the command as it is typed; `overrides`: its words alone; `say` tells a person what takes long,
    `watched` how far the writing of cells is. Raises `UserError` for a user's mistake.
    """
    rule = settings.decide_rule
    requested = continued(with_init(models.with_counts(requested, say)))
    excluded_by_grid = settings.grid.set.get("exclude", ())
    points, remarks = algebra.select(
        requested, exclude=settings.exclude, repeats=settings.repeats, grids_own=excluded_by_grid
    )
    local = all(point.partition.scheduler is Scheduler.LOCAL for point in points)
    folder = study_folder(settings, points)
    finished = Study(folder).records()
    knowledge = Knowledge(
        cores=len(os.sched_getaffinity(0)) if local else None,
        memory_check=settings.memory_check,
        minutes=settings.minutes,
        finished=throughputs(finished),
        options=settings.job_options,
    )
    plan = make_plan(points, knowledge)
    options, certified = _options(settings, plan, Study(folder))
    if options != knowledge.options:
        plan = make_plan(points, replace(knowledge, options=options))
    offered = candidates_of(points, plan, question_of(rule.until), knowledge.cores) if rule is not None else {}
    if not plan.cells:
        reasons = dict.fromkeys(reason for point in plan.infeasible for reason in point.reasons)
        raise UserError("no cell can run:\n" + "\n".join(f"  {reason}" for reason in reasons))
    if not settings.dry_run:
        _require_what_jobs_need(plan, settings)
    study = Study.create_or_resume(folder)
    with study.changing():
        code = take(folder)
        unclear = [] if settings.dry_run else resolve(study)
        root = str(Path(settings.data_root).absolute())
        looked_at, new, asked_for = list[CellFile](), list[CellFile](), study.is_asked_for
        decided = list[str]()
        if rule is not None:
            plan, decided = _decided(study, rule, points, offered, knowledge, dry_run=bool(settings.dry_run))
        if settings.dry_run and asked_for:
            study.let_run(plan)
            looked_at = _not_in(study, plan, root, options)
        else:
            study.write_command(arguments, overrides, code=code.digest, dry_run=bool(settings.dry_run))
            new = study.write_plan(
                plan,
                data_root=root,
                options=options,
                repeat=settings.repeat_rule,
                decide=rule,
                limits=_limits(settings),
                anew=not asked_for,
                watched=watched,
            )
        arrange = partial(algebra.ordered, order=settings.order, seed=settings.order_seed)
        upcoming = choose(
            study,
            plan.cells,
            code,
            retry=settings.retry,
            rerun=settings.rerun,
            arrange=arrange,
            looked_at=looked_at,
            new=new,
        )
        yield Ready(
            study=study,
            plan=plan,
            chosen=upcoming,
            remarks=(
                *remarks,
                *certified,
                *(decided if rule is not None else _carries(plan, upcoming.results, settings, knowledge.cores)),
                *_only_looked_at(study, looked_at),
            ),
            unclear=tuple(unclear),
            settings=settings,
            code=code,
        )


def _decided(
    study: Study,
    rule: DecideRule,
    points: Sequence[Point],
    offered: Mapping[int, PlannedCell],
    knowledge: Knowledge,
    *,
    dry_run: bool,
) -> tuple[Plan, list[str]]:
    """The plan of the cells that were decided so far, the next ones with them, and what a person must know of it.

    Raises `UserError` for a budget that pays not even the first of them.
    """
    entries, results = study.decisions(), settled_results(study)
    hours = {gpus: cell.gpu_hours for gpus, cell in offered.items()}
    lost = lost_gpu_hours(study, results, offered)
    upcoming = look(rule, offered, hours, entries, results, at=now(), lost=lost)
    if upcoming.entry is not None and upcoming.entry.decision.stop == BUDGET and not upcoming.entry.runs:
        guessed = any(cell.time is None for cell in offered.values())
        limits = (
            "; nothing says how long a run takes, so its time limit counts: minutes=LIMIT lowers it" if guessed else ""
        )
        raise UserError(f"{upcoming.entry.decision.why}{limits}")
    if not dry_run:
        study.write_candidates(candidates_file(offered))
        if upcoming.new and upcoming.entry is not None:
            study.journal_decision(upcoming.entry)
    cells = [result.file.cell for result in results if alike(result.file.cell, offered)]
    cells += upcoming.cells.values()
    places = {point.gpus: point for point in points}
    pairs = sorted({(cell.gpus, cell.seed) for cell in cells})
    plan = make_plan([replace(places[gpus], seed=seed) for gpus, seed in pairs], knowledge)
    counts = some(map(str, sorted(offered)), 8)
    remarks = [f"asked: {rule.until}, of gpus={counts}, with {rule.budget_gpu_hours:g} GPU-hours"]
    if upcoming.entry is None:
        return plan, [*remarks, "cells of the last decision have not ended: the next one follows them"]
    return plan, [*remarks, *lines(upcoming.entry)]


def _not_in(study: Study, plan: Plan, data_root: str, options: JobOptions) -> list[CellFile]:
    """The files that cells of `plan` would have which the study lacks."""
    existing = {file.cell_id for file in study.cell_files()}
    return [
        cell_file(cell, None, data_root=data_root, options=options)
        for cell_id, cell in plan.cells.items()
        if cell_id not in existing
    ]


def _only_looked_at(study: Study, files: Sequence[CellFile]) -> list[str]:
    if not files:
        return []
    return [
        f"{plural(len(files), 'cell is|cells are')} not in study {study.name}, and a dry run adds none; the same "
        "command without dry_run does"
    ]


def submitter_of(
    study: Study,
    chosen: NextCells,
    written: Written,
    *,
    say: Say,
    forecasts: Mapping[str, ForecastFile] | None = None,
) -> Submitter:
    """What hands `written` over, under the study's lock; what earlier runs of these cells left behind is cleared.

    `forecasts`: when batches are expected to start.
    """
    study.clear_stops(chosen.todo)
    if is_idle(chosen.results):
        remove_leftovers(study)
    return Submitter(study, written.rendered, say=say, forecasts=forecasts, first=written.first)


def feed(study: Study, submitter: Submitter) -> None:
    """Stay until the scheduler has taken the rest. Ctrl-C ends it as `KeyboardInterrupt`, between two submissions."""
    while submitter.waiting:
        interrupt.pause(_FEED_PERIOD_S)
        with study.changing():
            submitter.submit(idle=is_idle(settled_results(study)))


def same_python(cell: PlannedCell) -> bool:
    """Whether its job runs under the interpreter that submits: what another one has installed only the job can see."""
    return cell.profile.python is None and cell.profile.container is None


def _require_what_jobs_need(plan: Plan, settings: Settings) -> None:
    """Raise `UserError` for a package or a data set that is not there."""
    require_extra("train")
    if checkable := [cell for cell in plan.cells.values() if same_python(cell)]:
        require_loggers(settings.logging)
        require_engines(cell.cell.engine.kind for cell in checkable)
        require_optimizers(cell.cell.optimizer.kind for cell in checkable)
        require_models(cell.cell.model for cell in checkable)
        require_tasks(cell.cell.task for cell in checkable)
    for data in {cell.cell.data for cell in plan.cells.values()}:
        datasets.require(data, Path(settings.data_root))


def _options(settings: Settings, plan: Plan, study: Study) -> tuple[JobOptions, list[str]]:
    """What jobs are told, and what a person must know of it: whoever compares engines gets certificates unasked."""
    options = settings.job_options
    if settings.certify is not None:
        return options, []
    existing = [file.cell for file in study.cell_files()] if study.is_asked_for else []
    if not compares_engines([*existing, *(planned.cell for planned in plan.cells.values())]):
        return options, []
    remark = "engines are compared: each job certifies that its own trains what one process does (certify=false: none)"
    return replace(options, certify=True), [remark]


def _carries(plan: Plan, results: Sequence[Result], settings: Settings, cores: int | None) -> list[str]:
    """What fits the curves of this sweep will carry, with what the study has already."""
    return coverage.remarks(
        plan,
        ((result.file.cell, result.file.series) for result in results),
        cores=cores,
        preflight=settings.preflight,
        repeats_follow=settings.repeat_rule is not None,
        seen=seen_spread(_epochs(results).values()),
    )


def _epochs(results: Iterable[Result]) -> dict[Cell, list[tuple[float, ...]]]:
    """Epoch times of the runs of each cell; repeats differ in their seed."""
    epochs: dict[Cell, list[tuple[float, ...]]] = {}
    for result in results:
        if result.record is not None and result.file.cell.origin is None:
            epochs.setdefault(result.file.cell.configuration, []).append(epoch_time(result.record).values_s)
    return epochs


def _limits(settings: Settings) -> JobLimits:
    """What bounds the jobs of a sweep; one that decides keeps within its budget by itself."""
    budget = settings.budget_gpu_hours if settings.decide_rule is None else None
    return JobLimits(settings.pack, settings.max_gpus_in_flight, budget)
