"""The table of waiting: what was expected of each array beside what came, and how far off forecasts were."""

from dataclasses import replace

import pytest

from tests.unit.plan.waiting.test_learning import HOUR, NOW, SAID, waited
from vit_sweep.plan.waiting.expected import from_slurm
from vit_sweep.plan.waiting.forecast_file import QUEUE, SLURMS_PLAN, ForecastFile, Strategy, Waited, instant
from vit_sweep.plan.waiting.learning import start_forecast
from vit_sweep.report.tables.waiting import waiting_table

BY_QUEUE = start_forecast(SAID, [], QUEUE)
BY_SLURM = start_forecast(from_slurm(NOW + 30, NOW + 3 * HOUR), [], SLURMS_PLAN)


def both(started_s):
    one = waited(BY_QUEUE, started_s)
    file = one.forecast
    told = ForecastFile(
        partition=file.partition,
        shape=file.shape,
        tasks=file.tasks,
        strategy=file.strategy,
        unknown="",
        before=BY_QUEUE,
        submitted=BY_SLURM,
    )
    return Waited(batch=one.batch, forecast=told, submitted_at=one.submitted_at, started_at=one.started_at)


def test_each_forecast_of_an_array_has_a_row_with_its_error():
    table = waiting_table([both(NOW + 2 * HOUR)])
    rows = [(row["forecast_by"], row["expected_wait_s"], row["wait_s"], row["wait_error_s"]) for row in table.rows]
    assert rows == [(QUEUE, HOUR, 2 * HOUR, HOUR), (SLURMS_PLAN, 3 * HOUR, 2 * HOUR, -HOUR)]
    assert (table.rows[0]["expected_wait_s_low"], table.rows[0]["expected_wait_s_high"]) == (0.0, 2 * HOUR)
    assert (table.rows[0]["gpus"], table.rows[0]["nodes"], table.rows[0]["jobs"]) == (8, 2, 2)


def test_its_notes_say_how_far_off_each_forecaster_was_and_how_many_lay_inside():
    table = waiting_table([both(NOW + HOUR / 2), both(NOW + 2 * HOUR), both(NOW + 4 * HOUR)])
    assert table.notes == (
        "a look at the queue: of 3 arrays the first start came 3600 s later than expected (median; -1800 to 10800 s); "
        "2 of 3 inside the interval, give or take a minute",
        "Slurm's plan: of 3 arrays the first start came 3600 s earlier than expected (median; -9000 to 3600 s); "
        "2 of 3 inside the interval, give or take a minute",
    )


def test_an_array_of_which_nothing_has_begun_has_no_error_and_says_so():
    (row,) = waiting_table([waited(BY_QUEUE, None)]).rows
    assert (row["wait_s"], row["wait_error_s"], row["note"]) == (None, None, "none of its jobs has begun")


def test_an_array_that_nobody_foresaw_says_why():
    file = ForecastFile(
        partition="lab", shape=both(NOW).forecast.shape, tasks=1, strategy="one job a cell", unknown="no squeue here"
    )
    one = Waited(batch="b", forecast=file, submitted_at=instant(NOW), started_at=instant(NOW + 60))
    (row,) = waiting_table([one]).rows
    assert (row["forecast_by"], row["wait_s"], row["note"]) == (None, 60.0, "no squeue here")


@pytest.mark.parametrize("nothing", [[], ()])
def test_without_jobs_of_slurm_there_is_no_table(nothing):
    assert waiting_table(nothing) is None


@pytest.mark.parametrize(("late_s", "inside"), [(59, 1), (61, 0)])
def test_an_interval_is_not_missed_by_less_than_a_minute(late_s, inside):
    (note,) = waiting_table([waited(BY_QUEUE, NOW + 2 * HOUR + late_s)]).notes
    assert f"; {inside} of 1 inside the interval" in note


WAYS = tuple(
    Strategy(pack=pack, jobs=8 // pack, makespan_s=mean, low_s=mean / 2, high_s=2 * mean, gpu_hours=1.0)
    for pack, mean in ((1, 1000.0), (4, 800.0))
)


def packed(ended_s):
    file = replace(both(NOW).forecast, strategies=WAYS, pack=4)
    ended_at = instant(ended_s) if ended_s else ""
    return Waited(batch="b", forecast=file, submitted_at=instant(NOW), started_at=instant(NOW + 1), ended_at=ended_at)


@pytest.mark.parametrize(
    ("ends", "came"),
    [
        ((NOW + 600, NOW + 900), "it took 900 s, 100 s more than expected"),
        ((NOW + 600, NOW + 700), "it took 700 s, 100 s less than expected"),
        ((NOW + 600, None), "the last cell has not ended"),
    ],
    ids=["later", "sooner", "under way"],
)
def test_what_was_expected_of_each_way_to_send_the_cells_stands_beside_what_came(ends, came):
    table = waiting_table([packed(end) for end in ends])
    expected = "pack=1 1000 s (500 to 2000), pack=4 800 s (400 to 1600)"
    assert f"pack=auto chose pack=4: queue and run were expected to take {expected}; {came}" in table.notes
