"""When cells that wait are expected to start, what is noted of that, and what came: files of a study alone."""

import json
import os
import time
from dataclasses import replace

import pytest

from launchers.backend import TaskState, TaskStatus
from launchers.checked import to_json
from launchers.profile import Scheduler
from tests.unit.builders import cell, entry
from tests.unit.outcome.test_verdict import rank
from tests.unit.plan.waiting.test_learning import batch
from tests.unit.study.test_status import leave, plan
from vit_sweep.outcome.ending import Cause
from vit_sweep.plan.waiting.expected import from_slurm
from vit_sweep.plan.waiting.forecast_file import QUEUE, SLURMS_PLAN, Strategy, forecast_file, instant, seconds
from vit_sweep.plan.waiting.learning import start_forecast
from vit_sweep.study.journal import Event, SubmittedAttempt
from vit_sweep.study.store import Study
from vit_sweep.study.waiting import Waiting, waited

HOUR = 3600.0


@pytest.fixture
def study(tmp_path):
    (tmp_path / "s" / "cells").mkdir(parents=True)
    (tmp_path / "s" / "jobs" / "b").mkdir(parents=True)
    (tmp_path / "s" / "study.json").write_text("{}")
    return Study(tmp_path / "s")


def sent(**changes):
    defaults = {
        "batch": "b",
        "scheduler": Scheduler.SLURM,
        "handle": "7",
        "index": 0,
        "tasks": 1,
        "attempt": 1,
        "since": 1,
    }
    return SubmittedAttempt(**(defaults | changes))


def queued(expected_s=None):
    return TaskStatus(state=TaskState.QUEUED, detail="Priority", expected_s=expected_s)


def test_a_job_that_a_limit_holds_back_is_not_said_to_start_when_there_is_room(study):
    start_s = time.time() + HOUR
    study.write_forecast("b", forecast_file(batch(), before(start_s)))
    limited = replace(queued(), held="QOSMaxJobsPerUserLimit")
    assert Waiting(study).expected(sent(), queued()) is not None
    assert Waiting(study).expected(sent(), limited) is None
    assert Waiting(study).expected(sent(), replace(limited, expected_s=start_s)).basis.startswith(SLURMS_PLAN)


def before(start_s):
    """A forecast that was made before the submission."""
    return start_forecast(from_slurm(time.time(), start_s), [], QUEUE)


def test_slurms_first_word_on_a_batch_is_shown_and_kept(study):
    study.write_forecast("b", forecast_file(batch()))
    start_s = time.time() + HOUR
    forecast = Waiting(study).expected(sent(), queued(start_s))
    assert seconds(forecast.start) == pytest.approx(start_s, abs=1)
    assert study.forecast("b").submitted == forecast
    Waiting(study).expected(sent(), queued(start_s + HOUR))
    assert study.forecast("b").submitted == forecast


def test_what_was_foreseen_counts_until_slurm_says_more(study):
    foreseen = before(time.time() + HOUR)
    study.write_forecast("b", forecast_file(batch(), foreseen))
    waiting = Waiting(study)
    assert waiting.expected(sent(), queued()) == foreseen
    assert waiting.expected(sent(), queued(time.time() + 9 * HOUR)).basis.startswith(SLURMS_PLAN)
    assert study.forecast("b").before == foreseen


def test_a_start_that_has_passed_is_expected_no_more(study):
    study.write_forecast("b", forecast_file(batch(), before(time.time() - HOUR)))
    assert Waiting(study).expected(sent(), queued()) is None
    assert Waiting(study).expected(sent(), queued(time.time() - 5)) is None


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.UNKNOWN])
def test_only_what_waits_is_expected(study, state):
    status = TaskStatus(state=state, expected_s=time.time() + HOUR)
    assert Waiting(study).expected(sent(), status) is None


def test_cells_of_this_machine_are_not_looked_up(study):
    assert Waiting(study).expected(sent(scheduler=Scheduler.LOCAL), queued(time.time() + HOUR)) is None


def test_without_a_file_of_ours_slurms_word_is_shown_and_nothing_is_written(study):
    assert Waiting(study).expected(sent(), queued(time.time() + HOUR)) is not None
    assert not (study.batch_dir("b") / "forecast.json").exists()


@pytest.mark.parametrize("text", ["{", "{}", '{"schema_version": 99}'])
def test_a_file_that_makes_no_sense_is_named_and_passed_over(study, text):
    (study.batch_dir("b") / "forecast.json").write_text(text)
    assert Waiting(study).expected(sent(), queued(time.time() + HOUR)) is not None
    assert "forecast.json" in study.problems[0]
    assert (study.batch_dir("b") / "forecast.json").read_text() == text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_who_may_only_look_is_shown_the_same(study):
    study.write_forecast("b", forecast_file(batch()))
    study.batch_dir("b").chmod(0o500)
    assert Waiting(study).expected(sent(), queued(time.time() + HOUR)) is not None


def submitted(study, one, name="b", at="2026-01-01T00:00:00+00:00"):
    plan(study, one)
    study.batch_dir(name).mkdir(exist_ok=True)
    study.journal(entry(Event.SUBMITTED, name, (one.cell_id, 1), handle="7", at=at))


def test_how_long_a_batch_waited_is_told_from_the_first_rank_that_began(study):
    one = cell()
    submitted(study, one)
    study.write_forecast("b", forecast_file(batch()))
    (waits,) = waited(study)
    assert (waits.batch, waits.started_at, waits.wait_s) == ("b", "", None)
    leave(study.cell_dir(one.cell_id), "1", "rank0.json", rank(0, at="2026-01-01T00:20:00+00:00"))
    assert waited(study)[0].wait_s == 1200.0


def test_a_batch_whose_makespan_was_expected_ends_with_the_last_of_its_cells(study):
    first, last = cell(seed=0), cell(seed=1)
    plan(study, first)
    plan(study, last)
    tasks = ((first.cell_id, 1), (last.cell_id, 1))
    study.journal(entry(Event.SUBMITTED, "b", *tasks, handle="7", at="2026-01-01T00:00:00+00:00"))
    way = Strategy(pack=2, jobs=1, makespan_s=9.0, low_s=1.0, high_s=99.0, gpu_hours=1.0)
    study.write_forecast("b", replace(forecast_file(batch()), strategies=(way,), pack=2))
    for one, at in ((first, "2026-01-01T00:10:00+00:00"), (last, "2026-01-01T00:20:00+00:00")):
        assert waited(study)[0].ended_at == ""
        leave(study.cell_dir(one.cell_id), "1", "rank0.json", rank(0, Cause.DONE, at=at))
    assert waited(study)[0].ended_at == "2026-01-01T00:20:00+00:00"


def test_later_forecasts_are_corrected_by_how_far_off_slurms_plans_were(study):
    """Ten jobs that Slurm planned for an hour later began after six minutes."""
    for number in range(10):
        one, name, at = cell(seed=number), f"b{number}", f"2026-01-{number + 1:02}T00:00:00+00:00"
        submitted(study, one, name, at)
        planned = start_forecast(from_slurm(seconds(at), seconds(at) + HOUR), [], SLURMS_PLAN)
        file = json.loads(to_json(forecast_file(batch()))) | {"submitted": json.loads(to_json(planned))}
        (study.batch_dir(name) / "forecast.json").write_text(json.dumps(file))
        began = instant(seconds(at) + HOUR / 10)
        leave(study.cell_dir(one.cell_id), "1", "rank0.json", rank(0, at=began))
    at_s = time.time()
    forecast = Waiting(study).expected(sent(), queued(at_s + HOUR))
    assert seconds(forecast.start) - at_s < HOUR / 4
    assert seconds(forecast.latest) - at_s < HOUR / 2
    assert "corrected by 10 earlier jobs of this study" in forecast.basis
    assert "few" not in forecast.basis
