"""What is written of a forecast comes back as it was said, and corrects the next one."""

from math import inf

import pytest

from launchers.batch import Batch, Shape, Task
from launchers.checked import parse_json, to_json
from tests.unit.builders import profile
from vit_sweep.plan.waiting.expected import RawForecast, from_slurm
from vit_sweep.plan.waiting.forecast_file import (
    EACH_ALONE,
    NOT_LOOKED,
    QUEUE,
    SLURMS_PLAN,
    TOGETHER,
    ForecastFile,
    Waited,
    forecast_file,
    instant,
    seconds,
)
from vit_sweep.plan.waiting.learning import earlier, start_forecast

NOW = 1_796_032_000.0
HOUR = 3600.0
SAID = RawForecast(NOW, NOW + HOUR, NOW, NOW + 2 * HOUR)


def batch(**changes):
    defaults = {
        "study": "s",
        "study_dir": "/s",
        "profile": profile(),
        "shape": Shape(nodes=2, gpus_per_node=4, minutes=30),
        "tasks": (Task(name="a", attempt=1), Task(name="b", attempt=1)),
        "module": "m",
    }
    return Batch(**(defaults | changes))


def waited(forecast, started_s, *, source=QUEUE, submitted_s=NOW):
    forecast_fields = {"before": forecast} if source == QUEUE else {"submitted": forecast}
    return Waited(
        batch="n2-g8-1",
        forecast=ForecastFile(
            partition="lab", shape=batch().shape, tasks=2, strategy=EACH_ALONE, unknown="", **forecast_fields
        ),
        submitted_at=instant(submitted_s),
        started_at=instant(started_s) if started_s is not None else "",
    )


def test_without_earlier_jobs_it_is_what_was_said_with_its_interval():
    forecast = start_forecast(SAID, [], QUEUE)
    assert (seconds(forecast.start), seconds(forecast.earliest), seconds(forecast.latest)) == (
        NOW + HOUR,
        NOW,
        NOW + 2 * HOUR,
    )
    assert forecast.basis == "a look at the queue, no earlier job of this study to correct it by"


def test_what_is_written_comes_back_and_teaches_what_was_said_and_not_what_was_shown():
    first = start_forecast(SAID, [], QUEUE)
    corrected = start_forecast(SAID, earlier([waited(first, NOW + HOUR / 10)], QUEUE), QUEUE)
    assert seconds(corrected.start) < NOW + HOUR
    (past,) = earlier([waited(corrected, NOW + HOUR / 10)], QUEUE)
    assert past.forecast == SAID
    assert past.started_s == NOW + HOUR / 10


def test_an_end_that_nobody_knows_stays_open():
    forecast = start_forecast(SAID._replace(latest_s=inf), [], QUEUE)
    assert forecast.latest == ""
    (past,) = earlier([waited(forecast, NOW)], QUEUE)
    assert past.forecast.latest_s == inf


def test_a_start_that_is_never_is_no_forecast():
    assert start_forecast(RawForecast(NOW, inf, inf, inf), [], QUEUE) is None


def test_each_source_learns_from_its_own_errors_and_only_from_jobs_that_began():
    queue = waited(start_forecast(SAID, [], QUEUE), NOW + HOUR)
    slurm = waited(start_forecast(from_slurm(NOW, NOW + HOUR), [], SLURMS_PLAN), NOW + 60, source=SLURMS_PLAN)
    waits = waited(start_forecast(SAID, [], QUEUE), None)
    assert [len(earlier([queue, slurm, waits], source)) for source in (QUEUE, SLURMS_PLAN)] == [1, 1]


def test_a_wait_is_counted_from_the_submission_and_an_error_from_what_was_shown():
    one = waited(start_forecast(SAID, [], QUEUE), NOW + HOUR + 90, submitted_s=NOW + 30)
    assert one.wait_s == HOUR + 60
    assert [one.error_s(said) for _, said in one.forecasts] == [90.0]
    assert waited(start_forecast(SAID, [], QUEUE), None).wait_s is None


@pytest.mark.parametrize(("shared", "strategy"), [(False, EACH_ALONE), (True, TOGETHER)])
def test_the_file_names_what_was_submitted_and_how(shared, strategy):
    file = forecast_file(batch(shared=shared))
    assert (file.partition, file.shape.gpus, file.tasks, file.strategy) == ("lab", 8, 2, strategy)
    assert file.unknown == NOT_LOOKED
    assert parse_json(ForecastFile, to_json(file), source="it") == file
    assert forecast_file(batch(), start_forecast(SAID, [], QUEUE)).unknown == ""
