"""A sweep from its points to submitted jobs. An edge: plan, write, submit, watch, collect.

Rendering returns values; what is written for `dry_run=true` is what a submission sends.
"""

import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from launchers.backend import Rendered, SubmitError
from launchers.errors import UserError
from launchers.job import Batch, Task, split, throttle
from launchers.profile import Device, Scheduler
from vit_sweep import algebra, datasets, show
from vit_sweep.compose import Plain
from vit_sweep.config import Retry, Settings, read, study_folder
from vit_sweep.cost import spent_gpu_hours
from vit_sweep.plan import Knowledge, Plan, PlannedCell, by_shape, make_plan
from vit_sweep.provenance import require_extra
from vit_sweep.record import Record
from vit_sweep.status import ACTIVE, launcher_of, settled_results
from vit_sweep.store import JobEntry, Study

TASK_MODULE = "vit_sweep.task"
PRELOAD = ("vit_sweep.train.preload",)

EXIT_DONE, EXIT_FAILED = 0, 1
EXIT_DETACHED = 130


def sweep(configs: Iterable[Plain], *, arguments: Sequence[str], overrides: Sequence[str]) -> int:
    """Plan, submit, watch and collect; returns the command's exit code.

    Raises `UserError` for a user's mistake, before anything is submitted.
    """
    console = show.console()
    asked, settings = read(configs)
    points, remarks = algebra.select(asked, exclude=settings.exclude, repeats=settings.repeats)
    local = all(point.partition.scheduler is Scheduler.LOCAL for point in points)
    folder = study_folder(settings, points)
    finished = Study(folder).records()
    known = Knowledge(
        cores=len(os.sched_getaffinity(0)) if local else None,
        memory_check=settings.memory_check,
        minutes=settings.minutes,
        finished=tuple(finished),
    )
    plan = make_plan(points, known)
    if not plan.cells:
        raise UserError("no cell can run:\n" + "\n".join(f"  {r}" for r in _all_reasons(plan)))
    if not settings.dry_run:
        require_extra("train")
        for data in {cell.cell.data for cell in plan.cells.values()}:
            datasets.require(data, Path(settings.data_root))
    study = Study.create_or_resume(folder)
    with study.changing():
        study.write_command(arguments, overrides)
        study.write_plan(plan, data_root=str(Path(settings.data_root).absolute()))
        missing = _what_is_missing(study, plan, settings.retry)
        line = algebra.ordered((cell for cell, _ in missing.values()), settings.order, settings.order_seed)
        todo = {cell.cell.cell_id: missing[cell.cell.cell_id] for cell in line}
        show.plan(console, plan, study=study.name, todo=set(todo))
        for remark in remarks:
            console.print(remark, soft_wrap=True)
        _check_budget(settings, [planned for planned, _ in todo.values()], finished)
        rendered = _render(study, todo, settings.max_gpus_in_flight)
        scripts = [study.write_rendered(item) for item in rendered]
        show.batches(console, [item.batch for item in rendered])
        if settings.dry_run:
            show.scripts(console, scripts, whole=settings.dry_run == "stdout")
            return EXIT_DONE
        _submit(study, rendered)
    if not settings.wait:
        show.detached(console, study.name, folder)
        return EXIT_DONE
    return watch_and_collect(study, console, only=set(plan.cells))


def watch_and_collect(study: Study, console: Console, *, only: set[str] | None = None) -> int:
    """Show progress until every cell has ended, then write and print the tables."""
    from vit_sweep import progress

    require_extra("report")
    try:
        results = progress.watch(study, console, only=only)
    except KeyboardInterrupt:
        show.detached(console, study.name, study.folder)
        return EXIT_DETACHED
    from vit_sweep import collect

    collect.collect(study, console)
    return EXIT_DONE if all(result.status == "done" for result in results) else EXIT_FAILED


def _what_is_missing(study: Study, plan: Plan, retry: Retry | None) -> dict[str, tuple[PlannedCell, int]]:
    """Cells of this sweep that need a run, each with the number of its next attempt."""
    jobs = study.jobs()
    results = {result.file.cell_id: result for result in settled_results(study)}
    todo: dict[str, tuple[PlannedCell, int]] = {}
    for cell_id, planned in plan.cells.items():
        status = results[cell_id].status
        if status == "done" or status in ACTIVE or (status == "failed" and retry is None):
            continue
        todo[cell_id] = (planned, _next_attempt(study, cell_id, jobs))
    return todo


def _next_attempt(study: Study, cell_id: str, jobs: list[JobEntry]) -> int:
    submitted = [n for entry in jobs for name, n in entry.tasks if name == cell_id]
    started = [int(attempt.name.split(".")[0]) for attempt in study.attempts(cell_id)]
    return max([*submitted, *started], default=0) + 1


def _check_budget(settings: Settings, todo: Sequence[PlannedCell], finished: Sequence[Record]) -> None:
    """Stop before anything is submitted that would take the study above its budget."""
    budget = settings.budget_gpu_hours
    spent, wanted = sum(spent_gpu_hours(record) for record in finished), sum(cell.gpu_hours for cell in todo)
    if budget is not None and spent + wanted > budget:
        enough = math.ceil(100 * (spent + wanted)) / 100
        raise UserError(
            f"budget_gpu_hours={budget:g}: {len(todo)} cell(s) need about {wanted:.2f} GPU-hours and the study has "
            f"spent {spent:.2f}; nothing was submitted; use {enough:g} or more, or a smaller grid"
        )


def _render(study: Study, todo: dict[str, tuple[PlannedCell, int]], max_gpus: int | None) -> list[Rendered]:
    """One batch per resource shape, in the order of `todo`, split at the largest array, throttled together."""
    batches: list[Batch] = []
    place = {cell_id: i for i, cell_id in enumerate(todo)}
    groups = by_shape(planned for planned, _ in todo.values())
    for profile, shape, members in sorted(groups, key=lambda group: place[group[2][0].cell.cell_id]):
        on_cpu = profile.device is Device.CPU
        batch = Batch(
            study=study.name,
            study_dir=str(study.folder),
            profile=profile,
            shape=shape,
            tasks=tuple(Task(name=member.cell.cell_id, attempt=todo[member.cell.cell_id][1]) for member in members),
            module=TASK_MODULE,
            # DeepSpeed picks its accelerator when it is imported; a virtual node's GPU is no device.
            environment={"DS_ACCELERATOR": "cpu" if on_cpu else "cuda"},
            # A process that has touched CUDA cannot fork, and imports may touch it.
            preload=PRELOAD if on_cpu else (),
        )
        batches += split(batch)
    if max_gpus is not None:
        batches = throttle(batches, max_gpus)
    return [launcher_of(batch.profile.scheduler).render(batch) for batch in batches]


def _submit(study: Study, rendered: list[Rendered]) -> None:
    """Write each intention before the submission and each handle after it."""
    for scheduler in Scheduler:
        mine = [item for item in rendered if item.batch.profile.scheduler is scheduler]
        if not mine:
            continue
        for item in mine:
            study.journal_batch("submitting", item)
        try:
            for item, submission in zip(mine, launcher_of(scheduler).submit(mine), strict=True):
                study.journal_batch("submitted", item, submission.handle)
        except SubmitError as error:
            raise UserError(
                f"{error}; what was submitted before goes on; mend it and give the same command again for the rest"
            ) from None


def _all_reasons(plan: Plan) -> list[str]:
    return list(dict.fromkeys(reason for point in plan.infeasible for reason in point.reasons))


def run(configs: Iterable[Plain], *, overrides: Sequence[str]) -> int:
    """`sweep` with this process's own command line."""
    return sweep(configs, arguments=sys.argv[1:], overrides=overrides)
