"""From the results of a study to jobs whose end can be told: what its plan and its records say of each. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from launchers.profile import Scheduler
from vit_sweep.outcome.eta import Job, Training
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.plan_file import CellForecast, PlanFile
from vit_sweep.plan.predict.cost import FRACTION_OF_PEAK, TEST_SHARE
from vit_sweep.plan.predict.pairs import loss_flop
from vit_sweep.plan.predict.vit import train_flop

PROCESSOR = "the clock of this machine's processor"
LOCAL_STARTUP_S = 5.0
"""Of a cell here: its ranks are forked from a process that has imported all."""


def jobs_of(results: Sequence[Result], plan: PlanFile | None, *, core_flops: float | None = None) -> list[Job]:
    """The cells that are done or under way, and what the plan says of them.

    `core_flops`: operations a second of a core of this machine at its peak; where the plan has no estimate of a cell
    that runs here on cores, its time is told from them.
    """
    open_or_done = [r for r in results if r.status.under_way or r.status is Status.DONE]
    planned = {cell.cell_id: cell for cell in plan.cells} if plan else {}
    queues = {i for i, profile in enumerate(plan.profiles) if profile.scheduler is Scheduler.SLURM} if plan else set()
    timed = all(_step_ms(planned, result) is not None for result in open_or_done)
    local_profiles = (
        {i for i, profile in enumerate(plan.profiles) if profile.scheduler is Scheduler.LOCAL} if plan else set()
    )
    jobs = [_job(r, planned, queues, timed=timed) for r in open_or_done]
    if core_flops is None:
        return jobs
    return [
        _timed_by_cores(job, r, planned, local_profiles, core_flops) for job, r in zip(jobs, open_or_done, strict=True)
    ]


def _timed_by_cores(
    job: Job, result: Result, planned: Mapping[str, CellForecast], local_profiles: set[int], core_flops: float
) -> Job:
    """The same job, with a time from this machine's cores where it will run on them and nothing else says one."""
    cell, forecast = result.file.cell, planned.get(result.file.cell_id)
    if (
        forecast is None
        or forecast.seconds is not None
        or forecast.profile_index not in local_profiles
        or cell.device != "cpu"
    ):
        return job
    tests = cell.data.test_images / cell.images_per_epoch * TEST_SHARE
    seconds = _flop(cell) * (1 + tests) / (FRACTION_OF_PEAK[cell.precision.products] * core_flops * cell.cpus_per_gpu)
    return job._replace(planned_s=LOCAL_STARTUP_S + seconds, basis=PROCESSOR)


def _job(result: Result, planned: Mapping[str, CellForecast], queues: set[int], *, timed: bool) -> Job:
    cell, brief, progress = result.file.cell, result.brief, result.progress
    forecast = planned.get(result.file.cell_id)
    step_ms = _step_ms(planned, result) if timed else None
    steps = cell.steps_per_epoch * cell.epochs_here
    job = Job(
        name=result.file.cell_id,
        kinds=(cell.configuration, (cell.partition, cell.device, cell.gpu_model, cell.precision)),
        work=steps * step_ms if step_ms else _flop(cell),
        planned_s=forecast.seconds if forecast else None,
        queues=forecast is not None and forecast.profile_index in queues,
    )
    if result.status is Status.DONE and brief is not None:
        took_s, trained_s = brief.job_s, brief.trained_s
        return job._replace(
            began_s=_clock(brief.started_at),
            took_s=took_s if took_s is not None else 0.0,
            whole=took_s is not None and brief.restarts == 0,
            startup_s=brief.startup_s,
            after_s=max(0.0, took_s - brief.startup_s - trained_s) if took_s and trained_s else 0.0,
        )
    if result.status is not Status.RUNNING:
        return job._replace(starts_s=_clock(result.expected.start)) if result.expected is not None else job
    training = None
    if progress is not None and progress.at and progress.trained_s and progress.trained_steps:
        training = Training(
            _clock(progress.at),
            progress.trained_s,
            progress.trained_steps,
            max(0, steps - progress.steps),
            steps,
            whole_epoch=progress.trained_steps >= min(cell.steps_per_epoch, steps)
            or progress.steps % cell.steps_per_epoch == 0,
        )
    began = progress.started_at if progress is not None else ""
    return job._replace(runs=True, began_s=_clock(began) if began else None, training=training)


def _step_ms(planned: Mapping[str, CellForecast], result: Result) -> float | None:
    forecast = planned.get(result.file.cell_id)
    return forecast.step_ms if forecast else None


def _flop(cell: Cell) -> float:
    """Operations of each GPU in the whole run."""
    flop = train_flop(cell.model, cell.outputs) + loss_flop(cell)
    return flop * cell.images_per_epoch * cell.epochs_here / cell.gpus


def _clock(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
