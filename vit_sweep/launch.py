"""A sweep from its points to submitted jobs. An edge: plan, write, submit, watch, collect.

Rendering returns values; what is written for `dry_run=true` is what a submission sends.
"""

import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from launchers.backend import Rendered, SubmitError
from launchers.errors import UserError
from launchers.job import Batch, Task, split
from launchers.profile import Device, Scheduler
from vit_sweep import datasets, show
from vit_sweep.compose import Plain
from vit_sweep.config import Retry, read, study_folder
from vit_sweep.plan import Plan, PlannedCell, by_shape, make_plan
from vit_sweep.status import ACTIVE, launcher_of, settled_results
from vit_sweep.store import JobEntry, Study

TASK_MODULE = "vit_sweep.task"
PRELOAD = ("vit_sweep.train.preload",)

EXIT_DONE, EXIT_FAILED, EXIT_MISTAKE = 0, 1, 2
EXIT_DETACHED = 130


def sweep(configs: Iterable[Plain], *, arguments: Sequence[str], overrides: Sequence[str]) -> int:
    """Plan, submit, watch and collect; returns the command's exit code.

    Raises `UserError` for a user's mistake, before anything is submitted.
    """
    console = show.console()
    points, settings = read(configs)
    local = all(point.partition.scheduler is Scheduler.LOCAL for point in points)
    plan = make_plan(points, cores=len(os.sched_getaffinity(0)) if local else None)
    if not plan.cells:
        raise UserError("no cell can run:\n" + "\n".join(f"  {r}" for r in _all_reasons(plan)))
    folder = study_folder(settings, points)
    if not settings.dry_run:
        _require_packages("train", "torch", "torchvision", "deepspeed", "sklearn")
        for data in {cell.cell.data for cell in plan.cells.values()}:
            datasets.require(data, Path(settings.data_root))
    study = Study.create_or_resume(folder)
    with study.changing():
        study.write_command(arguments, overrides)
        study.write_plan(plan, data_root=str(Path(settings.data_root).absolute()))
        todo = _what_is_missing(study, plan, settings.retry)
        rendered = _render(study, todo)
        scripts = [study.write_rendered(item) for item in rendered]
        show.plan(console, plan, study=study.name, todo=set(todo))
        if settings.dry_run:
            show.scripts(console, scripts)
            return EXIT_DONE
        _submit(study, rendered)
    if not settings.wait:
        show.detached(console, study.name, folder)
        return EXIT_DONE
    return watch_and_collect(study, console, only=set(plan.cells))


def watch_and_collect(study: Study, console: Console, *, only: set[str] | None = None) -> int:
    """Show progress until every cell has ended, then write and print the tables."""
    from vit_sweep import progress

    _require_packages("report", "pandas", "seaborn", "matplotlib", "jinja2", "tabulate")
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


def _render(study: Study, todo: dict[str, tuple[PlannedCell, int]]) -> list[Rendered]:
    """One batch per resource shape, split at the partition's largest array."""
    rendered: list[Rendered] = []
    for profile, shape, members in by_shape(planned for planned, _ in todo.values()):
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
        rendered += [launcher_of(profile.scheduler).render(part) for part in split(batch)]
    return rendered


def _submit(study: Study, rendered: list[Rendered]) -> None:
    """Write each intention before the submission and each handle after it."""
    for scheduler in Scheduler:
        mine = [item for item in rendered if item.batch.profile.scheduler is scheduler]
        for item in mine:
            study.journal_batch("submitting", item)
        try:
            for item, submission in zip(mine, launcher_of(scheduler).submit(mine), strict=True):
                study.journal_batch("submitted", item, submission.handle)
        except SubmitError as error:
            raise UserError(
                f"{error}; what was submitted before goes on; mend it and give the same command again for the rest"
            ) from None


def _require_packages(extra: str, *modules: str) -> None:
    """Refuse, without importing anything, what could only fail later in a job or at the end of a wait."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f"{', '.join(absent)} not installed here: pip install 'vit_sweep[{extra}]'")


def _all_reasons(plan: Plan) -> list[str]:
    return list(dict.fromkeys(reason for point in plan.infeasible for reason in point.reasons))


def run(configs: Iterable[Plain], *, overrides: Sequence[str]) -> int:
    """`sweep` with this process's own command line."""
    return sweep(configs, arguments=sys.argv[1:], overrides=overrides)
