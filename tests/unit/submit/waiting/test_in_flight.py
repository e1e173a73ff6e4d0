"""What a study has in flight counts for whatever is sent beside it: GPUs, GPU-hours, jobs of a user."""

from dataclasses import replace

import pytest

from launchers.backend import TaskState, TaskStatus
from launchers.errors import UserError
from tests.unit.builders import entry, planned_study, point, profile
from tests.unit.submit.test_submission import Slurm
from vit_sweep.plan.plan_file import JobLimits
from vit_sweep.study import polling, status
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.journal import Event
from vit_sweep.submit import batches, submission
from vit_sweep.submit.next import choose, write
from vit_sweep.submit.sweep import submitter_of
from vit_sweep.submit.waiting.in_flight import in_flight, most_gpus

SITE = profile(partition="vector", max_submit=5)
SHAPE = {"gpus": 2, "batch": 8, "partition": SITE}
HOURS = 0.5
"""GPU-hours of a cell: of two GPUs for its limit of a quarter of an hour, since nothing says how long it takes."""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Eight cells of two GPUs: two of them are in an array of three that runs, the third has ended and is cancelled."""
    study, plan = planned_study(tmp_path / "s", *(point(seed=seed, **SHAPE) for seed in range(8)))
    study.let_run(plan)
    plan = study.plan_file()
    study.rewrite_plan(replace(plan, cells=tuple(replace(cell, minutes=15) for cell in plan.cells)))
    fake = Slurm(study)
    for module in (status, polling, submission, batches):
        monkeypatch.setattr(module, "launcher_of", lambda scheduler: fake)
    planned = study.planned()
    todo = choose(study, planned, take(study.folder), retry=None, rerun=None).todo
    (first, *_) = batches.batches_of(study, dict(list(todo.items())[:3]), take(study.folder))
    fake.study.write_rendered(fake.render(replace(first, parallel=2)))
    tasks = tuple((task.name, 1) for task in first.tasks)
    for event, handle in ((Event.SUBMITTING, ""), (Event.SUBMITTED, "17")):
        study.journal(replace(entry(event, first.name, *tasks, handle=handle)))
    study.journal(entry(Event.CANCELLED, first.name, tasks[2], handle="17"))
    fake.alive = True
    fake.states = lambda submissions, **_how: {
        (s.batch_name, i): TaskStatus(state=TaskState.RUNNING if fake.alive and i < 2 else TaskState.ENDED)
        for s in submissions
        for i in range(s.tasks)
    }
    fake.planned = planned
    return fake


def chosen_by(slurm):
    return choose(slurm.study, slurm.planned, take(slurm.study.folder), retry=None, rerun=None)


def written(slurm, **limits):
    chosen = chosen_by(slurm)
    code = take(slurm.study.folder)
    return write(slurm.study, chosen.todo, code, limits=JobLimits(**limits), results=chosen.results)


def test_running_cells_count_by_the_gpus_and_hours_of_their_plan_and_what_has_ended_does_not(slurm):
    results = chosen_by(slurm).results
    flight = in_flight(slurm.study, results, slurm.planned)
    assert (flight.gpus, flight.gpu_hours, dict(flight.jobs)) == (4, 2 * HOURS, {SITE.name: 2})
    slurm.alive = False
    assert in_flight(slurm.study, chosen_by(slurm).results, slurm.planned) == (0, 0.0, {})


def test_arrays_are_throttled_to_what_the_jobs_in_flight_leave(slurm):
    rendered = written(slurm, max_gpus=10).rendered
    assert most_gpus(item.batch for item in rendered) == 6


def test_where_nothing_fits_beside_them_the_rest_waits_until_they_have_ended_and_says_so_once(slurm):
    slurm.study.rewrite_plan(replace(slurm.study.plan_file(), max_gpus_in_flight=5))
    ready, chosen, said = written(slurm, max_gpus=5), chosen_by(slurm), []
    assert most_gpus(item.batch for item in ready.rendered) == 4
    submitter = submitter_of(slurm.study, chosen, ready, say=said.append)
    for _ in range(2):
        submitter.submit(idle=False)
    assert slurm.jobs == {}
    assert said == [
        "6 cells wait until the study's other jobs have ended, which hold 4 GPUs: max_gpus_in_flight=5",
    ]
    submitter.submit(idle=True)
    assert sorted(len(tasks) for tasks in slurm.jobs.values()) == [3, 3]


def test_what_fits_beside_them_waits_for_nobody(slurm):
    slurm.study.rewrite_plan(replace(slurm.study.plan_file(), max_gpus_in_flight=10))
    submitter_of(slurm.study, chosen_by(slurm), written(slurm, max_gpus=10), say=pytest.fail).submit(idle=False)
    assert sum(map(len, slurm.jobs.values())) == 6


def test_the_first_array_has_as_many_tasks_as_a_user_may_have_jobs_beside_those_in_flight(slurm):
    assert [len(item.batch.tasks) for item in written(slurm).rendered] == [3, 3], "of five at once two are taken"


def test_a_budget_counts_what_jobs_under_way_will_spend(slurm):
    assert written(slurm, budget_gpu_hours=8 * HOURS)
    with pytest.raises(UserError) as refused:
        written(slurm, budget_gpu_hours=8 * HOURS - 0.01)
    assert "6 cells need about 3.00 GPU-hours and the study has spent 0.00, and jobs under way" in str(refused.value)
    assert "will spend 1.00; nothing was submitted; use 4 or more" in str(refused.value)
