"""What a study has cost is what every attempt has cost, of whatever end; a record counts what it says itself."""

import json

import pytest

from launchers.checked import to_json
from tests.unit.builders import planned_study, point, record, result
from vit_sweep.outcome.ending import Cause, Exit, RankFile
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.study.spending import lost_gpu_hours
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study

HOUR = "2026-11-30T{:02}:00:00+00:00"


@pytest.fixture
def study(tmp_path):
    """A study of two cells, of 1 and of 2 GPUs, of which nothing ran."""
    return planned_study(tmp_path / "s", point(gpus=1), point(gpus=2))


def fail(study, cell, name, *, began, ended, by="job", cause=Cause.BUG):
    """An attempt on all ranks of a cell."""
    folder = study.cell_dir(cell.cell_id) / "attempts" / name
    folder.mkdir(parents=True)
    for rank in range(cell.gpus):
        file = RankFile(rank=rank, world_size=cell.gpus, host="n1", pid=1, job_id="7", started_at=HOUR.format(began))
        (folder / f"rank{rank}.json").write_text(to_json(file))
    study.write_exit(cell.cell_id, name, Exit(cause=cause, message="", at=HOUR.format(ended), judged_by=by))


def two_gpus(plan):
    return next(planned.cell for planned in plan.cells.values() if planned.cell.gpus == 2)


def results_of(plan, **done):
    return [result(p.cell, record=done.get(f"g{p.cell.gpus}"), status="failed") for p in plan.cells.values()]


def test_failed_attempts_cost_the_gpus_that_they_held(study):
    study, plan = study
    fail(study, two_gpus(plan), "1", began=0, ended=1)
    fail(study, two_gpus(plan), "1.1", began=1, ended=3)
    assert lost_gpu_hours(study, results_of(plan)) == pytest.approx(2 * 3)


def test_a_killed_attempt_costs_no_more_than_its_time_limit(study):
    study, plan = study
    fail(study, two_gpus(plan), "1", began=0, ended=23, by="client", cause=Cause.TIME_LIMIT)
    limit_h = plan.cells[two_gpus(plan).cell_id].shape.minutes / 60
    assert lost_gpu_hours(study, results_of(plan)) == pytest.approx(2 * min(23, limit_h))


def test_of_a_cell_with_a_record_only_the_attempts_before_count_beside_it(study):
    study, plan = study
    cell = two_gpus(plan)
    fail(study, cell, "1", began=0, ended=1)
    fail(study, cell, "2", began=1, ended=3, cause=Cause.DONE)
    assert lost_gpu_hours(study, results_of(plan, g2=record(cell, attempt="2"))) == pytest.approx(2)
    assert lost_gpu_hours(study, results_of(plan, g2=record(cell, attempt="1"))) == 0, "then nothing is read"


def test_a_dropped_cell_was_paid_for_all_the_same(study):
    study, plan = study
    cell = two_gpus(plan)
    fail(study, cell, "1", began=0, ended=1)
    second_record = record(cell, attempt="2", job_s=7200.0)
    (study.cell_dir(cell.cell_id) / "record.json").write_text(to_json(second_record))
    study.drop_cells([cell.cell_id], ["gpus==2"])
    left = [one for one in results_of(plan) if one.file.cell.gpus == 1]
    assert lost_gpu_hours(study, left) == pytest.approx(2 + spent_gpu_hours(second_record))
    ones = {1: plan.cells[left[0].file.cell_id]}
    assert lost_gpu_hours(study, left, ones) == 0, "it is none of these"


def test_files_that_make_no_sense_cost_nothing_and_are_named(study):
    study, plan = study
    cell = two_gpus(plan)
    fail(study, cell, "1", began=0, ended=1)
    for path in study.cell_dir(cell.cell_id).glob("attempts/1/rank*.json"):
        path.write_text(json.dumps({"rank": "ä"}))
    again = Study(study.folder)
    assert lost_gpu_hours(again, results_of(plan)) == 0
    assert any("rank0.json" in problem for problem in again.problems)


def test_a_study_without_attempts_has_lost_nothing(study):
    study, plan = study
    assert lost_gpu_hours(study, settled_results(study)) == 0 == lost_gpu_hours(study, [])
    assert plan.cells
