"""Time that is left, against simulated queues of known truth: halfway within a quarter of it, and never invented."""

import heapq
from dataclasses import replace
from itertools import product

import pytest

from launchers.profile import Device, Scheduler
from tests.unit.builders import cell, planned_study, point, profile, record, result
from vit_sweep.outcome.ending import Progress
from vit_sweep.outcome.eta import FIRST, OWN, Job, Left, Training, forecast
from vit_sweep.outcome.eta_jobs import LOCAL_STARTUP_S, jobs_of
from vit_sweep.outcome.result import Status
from vit_sweep.plan.waiting.forecast_file import StartForecast

STARTUP_S = 5.0
EPOCHS = 10
CLOSE = 0.25
UNLIKE = [60.0, 20.0, 40.0, 10.0, 80.0, 30.0, 20.0, 60.0, 10.0, 40.0, 30.0, 20.0]
"""Work of cells, in seconds of training."""


class Queue:
    """Cells that take the first free place, in their order: when each begins and ends."""

    def __init__(self, works, places):
        free = [0.0] * places
        self.works, self.spans = works, []
        for work in works:
            begin = heapq.heappop(free)
            self.spans.append((begin, begin + STARTUP_S + work))
            heapq.heappush(free, begin + STARTUP_S + work)
        self.end = max(end for _, end in self.spans)

    def seen_at(self, now, *, epochs=True, **all_jobs):
        """What a client sees then; of a running cell the start of its present epoch, if `epochs`."""
        for number, (work, (begin, end)) in enumerate(zip(self.works, self.spans, strict=True)):
            job = Job(name=str(number), kinds=("alike",), work=7 * work, **all_jobs)
            if end <= now:
                yield job._replace(began_s=begin, took_s=end - begin, startup_s=STARTUP_S)
            elif begin <= now:
                passed = int((now - begin - STARTUP_S) / (work / EPOCHS)) if epochs else 0
                trained_s = passed * work / EPOCHS
                training = Training(begin + STARTUP_S + trained_s, trained_s, passed, EPOCHS - passed, EPOCHS)
                yield job._replace(runs=True, began_s=begin, training=training if passed > 0 else None)
            else:
                yield job


def waiting(name="w", **known):
    return Job(name=name, kinds=("alike",), work=10.0, **known)


@pytest.mark.parametrize(("places", "order", "epochs"), list(product([1, 2, 4], [1, -1], [True, False])))
def test_halfway_the_promise_for_unlike_cells_is_within_a_quarter_of_the_truth(places, order, epochs):
    queue = Queue(UNLIKE[::order], places)
    prediction = forecast(list(queue.seen_at(queue.end / 2, epochs=epochs)), queue.end / 2).sweep
    assert prediction.seconds == pytest.approx(queue.end / 2, rel=CLOSE)
    assert "ended" in prediction.basis
    assert ("one after another" if places == 1 else "side by side") in prediction.basis


@pytest.mark.parametrize("places", [1, 2, 4])
def test_a_running_cell_is_told_its_own_rest_and_the_sweep_never_less(places):
    queue = Queue(UNLIKE, places)
    for percent in range(5, 100, 5):
        now = queue.end * percent / 100
        prediction = forecast(list(queue.seen_at(now)), now)
        for name, left in prediction.cells.items():
            if left.basis == f"from {OWN}":
                assert left.seconds == pytest.approx(queue.spans[int(name)][1] - now)
        assert prediction.sweep.seconds >= max((left.seconds for left in prediction.cells.values()), default=0.0)


def test_the_last_long_cell_is_not_divided_by_the_places_that_were_busy():
    queue = Queue([10.0, 10.0, 10.0, 400.0], 4)
    prediction = forecast(list(queue.seen_at(100.0)), 100.0)
    assert prediction.sweep.seconds == pytest.approx(queue.end - 100.0) == prediction.cells["3"].seconds


def test_a_pause_between_two_sittings_does_not_count_as_slowness():
    """Two at a time, a night without any, two at a time; now none runs."""
    night = 40_000.0
    begins = [0.0, 0.0, 20.0, 20.0, night, night]
    done = [waiting(str(number), began_s=begin, took_s=20.0) for number, begin in enumerate(begins)]
    prediction = forecast([*done, *(waiting(name) for name in "abcd")], night + 30.0).sweep
    assert prediction == Left(seconds=40.0, basis="from 6 cells that ended, 2 side by side")


def test_more_at_once_than_ever_before_is_the_rate_from_now_on():
    done = [waiting(str(number), began_s=20.0 * number, took_s=20.0) for number in range(3)]
    runs = [waiting(name, runs=True, began_s=60.0) for name in "abcd"]
    prediction = forecast([*done, *runs, *(waiting(name) for name in "efgh")], 60.0).sweep
    assert prediction == Left(seconds=40.0, basis="from 3 cells that ended, 4 side by side")


def test_cells_that_ended_are_counted_once_however_near_they_are_to_which_cell():
    """A repeat of an engine's first cell is told by that cell alone, an engine that has not run yet by both."""
    kinds = {"ddp": (("ddp",), "any"), "zero0": (("zero0",), "any"), "zero3": (("zero3",), "any")}
    done = [
        Job(name=name, kinds=kinds[name], work=10.0, began_s=began, took_s=20.0)
        for name, began in (("ddp", 0.0), ("zero0", 20.0))
    ]
    left = [Job(name=f"{name} again", kinds=kinds[name], work=10.0) for name in kinds]
    assert forecast([*done, *left], 40.0).sweep.basis == "from 2 cells that ended, one after another"


@pytest.mark.parametrize("jobs", [[], [waiting()], [waiting(runs=True, began_s=0.0)]])
def test_nothing_is_said_of_what_nothing_is_known_of(jobs):
    prediction = forecast(jobs, 9.0)
    assert prediction.cells == {}
    assert prediction.sweep is None


def test_nothing_is_said_of_a_sweep_one_of_whose_cells_nothing_is_known_of():
    stranger = Job(name="s", kinds=("another machine",), work=10.0)
    assert forecast([waiting(planned_s=70.0), stranger], 0.0).sweep is None


def test_when_everything_has_ended_nothing_is_left():
    queue = Queue(UNLIKE, 2)
    assert forecast(list(queue.seen_at(queue.end)), queue.end).sweep is None


def test_before_anything_ran_the_plan_speaks():
    prediction = forecast([waiting("a", planned_s=70.0), waiting("b", planned_s=30.0)], 0.0)
    assert prediction.sweep == Left(seconds=100.0, basis="from the plan's estimate, one after another")
    running = forecast([waiting(planned_s=70.0, runs=True, began_s=0.0)], 20.0)
    assert running.cells["w"] == Left(seconds=50.0, basis="from the plan's estimate")


def test_what_was_measured_outweighs_the_plan():
    done = waiting("a", planned_s=700.0, began_s=0.0, took_s=25.0, startup_s=5.0)
    prediction = forecast([done, waiting("b", planned_s=700.0)], 25.0)
    assert prediction.sweep == Left(seconds=25.0, basis="from 1 cell that ended")


def test_a_cell_without_a_plan_is_known_by_the_epochs_of_another():
    training = Training(at_s=9.0, trained_s=4.0, steps=2, steps_left=8, steps_in_all=10)
    runs = waiting("a", runs=True, began_s=0.0, training=training)
    prediction = forecast([runs, waiting("b")], 9.0)
    assert prediction.cells["a"] == Left(seconds=16.0, basis="from its own epochs")
    assert prediction.sweep.seconds == pytest.approx(16.0 + 25.0)
    assert prediction.sweep.basis == "from the running cells' own epochs, one after another"


def test_the_closest_kin_speaks_where_it_has_ended():
    other = Job(name="x", kinds=("b", "alike"), work=10.0, began_s=0.0, took_s=300.0)
    own = Job(name="y", kinds=("a", "alike"), work=10.0, began_s=300.0, took_s=30.0)
    assert forecast([other, own, Job(name="z", kinds=("a", "alike"), work=10.0)], 330.0).sweep.seconds == 30.0


def test_a_cell_that_takes_longer_than_anything_says_is_promised_no_end():
    late = waiting(planned_s=70.0, runs=True, began_s=0.0)
    assert forecast([late], 100.0).cells == {}
    assert forecast([late], 100.0).sweep is None
    others = forecast([late, waiting("b", planned_s=30.0)], 100.0).sweep
    assert others.seconds == 30.0


def test_the_rest_of_an_attempt_that_began_at_a_checkpoint_is_not_measured_by_all_its_steps():
    training = Training(at_s=20.0, trained_s=10.0, steps=2, steps_left=3, steps_in_all=10)
    assert forecast([waiting(runs=True, began_s=0.0, training=training)], 20.0).cells["w"].seconds == 15.0


def test_the_time_of_an_attempt_that_only_went_on_says_nothing_of_whole_cells():
    whole = record(cell(), job_s=60.0)
    requeued = replace(record(cell(seed=1), job_s=9.0), restarts=1)
    results = [
        result(cell(), record=whole),
        result(cell(seed=1), record=requeued),
        result(cell(seed=2), status="retry"),
    ]
    assert forecast(jobs_of(results, None), 1e9).sweep.seconds == 60.0
    assert forecast(jobs_of(results[1:], None), 1e9).sweep is None


def test_cells_that_failed_or_were_never_sent_are_no_part_of_what_is_left():
    results = [result(cell(), record=record(cell(), job_s=60.0))]
    results += [result(cell(seed=seed), status=status) for seed, status in enumerate(("failed", "missing"), start=1)]
    assert forecast(jobs_of(results, None), 1e9).sweep is None


def test_work_is_training_per_gpu_where_no_plan_tells_times():
    results = [result(cell(), record=record(cell(), job_s=63.0)), result(cell(gpus=4), status="queued")]
    assert forecast(jobs_of(results, None), 1e9).sweep.seconds == pytest.approx(3.0 + 60.0 / 4)
    longer = [results[0], result(cell(epochs=6), status="queued")]
    assert forecast(jobs_of(longer, None), 1e9).sweep.seconds == pytest.approx(3.0 + 60.0 * 2)


def test_a_sweep_on_slurm_is_forecast_by_its_plan_and_without_its_queue(tmp_path):
    site = profile(peak_tflops={"fp32": 8.1})
    study, plan = planned_study(tmp_path / "s", point(partition=site), point(partition=site, gpus=2))
    results = [result(planned.cell, status="queued") for planned in plan.cells.values()]
    prediction = forecast(jobs_of(results, study.plan_file()), 0.0).sweep
    assert prediction.seconds == pytest.approx(sum(planned.time.seconds for planned in plan.cells.values()))
    assert prediction.basis == "from the plan's estimate, one after another, without waiting in the queue"


def test_an_old_progress_file_says_nothing_of_its_epochs():
    at = Progress(phase="training", epoch=2, epochs=3, host="n1", started_at="2025-01-01T00:00:00+00:00")
    (job,) = jobs_of([replace(result(cell(), status="running"), progress=at)], None)
    assert job.runs
    assert job.training is None


def test_before_the_first_epoch_ends_a_cell_and_those_that_wait_are_told_by_its_first_steps():
    """Without an estimate of the plan, as on a local machine: 20 of 100 steps in 10 s after 5 s of start-up."""
    runs = waiting("r", runs=True, began_s=0.0, training=Training(15.0, 10.0, 20, 80, 100, whole_epoch=False))
    prediction = forecast([runs, waiting()], 15.0)
    assert prediction.cells["r"] == Left(seconds=40.0, basis=f"from {FIRST}")
    assert prediction.sweep.seconds == pytest.approx(40.0 + 5.0 + 50.0)
    assert prediction.sweep.basis == "from the running cells' own first steps, one after another"


def test_a_cell_that_trains_in_its_first_epoch_is_known_by_its_first_steps():
    trains = cell(epochs=4)
    at = Progress(
        phase="training",
        epoch=1,
        epochs=4,
        host="n",
        started_at="2025-01-01T00:00:00+00:00",
        at="2025-01-01T00:00:15+00:00",
        steps=20,
        trained_steps=20,
        trained_s=10.0,
    )
    (job,) = jobs_of([replace(result(trains, status="running"), attempt="1", progress=at)], None)
    assert trains.steps_per_epoch > 20
    assert (job.training.whole_epoch, job.training.steps_left) == (False, 4 * trains.steps_per_epoch - 20)
    ended = replace(at, steps=trains.steps_per_epoch, trained_steps=trains.steps_per_epoch)
    (job,) = jobs_of([replace(result(trains, status="running"), attempt="1", progress=ended)], None)
    assert job.training.whole_epoch


def test_a_cell_here_that_nothing_was_ever_measured_of_is_told_from_the_clock_of_the_processor(tmp_path):
    """Until it says its own first steps; work that no profile knows a peak for, on this machine's cores."""
    site = profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1)
    study, plan = planned_study(tmp_path / "s", point(partition=site), point(partition=site, gpus=2))
    results = [result(planned.cell, status="queued") for planned in plan.cells.values()]
    assert forecast(jobs_of(results, study.plan_file()), 0.0).sweep is None
    slow, fast = (forecast(jobs_of(results, study.plan_file(), core_flops=flops), 0.0).sweep for flops in (1e9, 1e11))
    assert slow.basis == "from the clock of this machine's processor, one after another"
    assert slow.seconds - 2 * LOCAL_STARTUP_S == pytest.approx(100 * (fast.seconds - 2 * LOCAL_STARTUP_S))
    begun = Progress(phase="starting", epoch=0, epochs=2, host="n", started_at="1970-01-01T00:00:00+00:00")
    running = [replace(results[0], status=Status.RUNNING, progress=begun), results[1]]
    prediction = forecast(jobs_of(running, study.plan_file(), core_flops=1e9), 1.0)
    assert prediction.cells[results[0].file.cell_id].basis == "from the clock of this machine's processor"


def test_a_cell_elsewhere_is_not_told_from_this_machines_processor(tmp_path):
    study, plan = planned_study(tmp_path / "s", point(partition=profile()))
    results = [result(planned.cell, status="queued") for planned in plan.cells.values()]
    assert all(planned.time is None for planned in plan.cells.values())
    assert forecast(jobs_of(results, study.plan_file(), core_flops=1e9), 0.0).sweep is None


# --- cells whose start is expected --------------------------------------------------------------------


def queued(name, starts_s=None):
    return Job(name=name, kinds=(name,), work=1.0, planned_s=100.0, queues=True, starts_s=starts_s)


def test_a_cell_ends_its_time_after_its_expected_start():
    prediction = forecast([queued("a", 1600.0)], 1000.0)
    assert prediction.cells["a"] == Left(seconds=700.0, basis="from its expected start and the plan's estimate")
    assert prediction.sweep == Left(
        seconds=700.0, basis="from the plan's estimate, with the expected waiting in the queue"
    )


def test_an_expected_start_that_has_passed_is_now():
    assert forecast([queued("a", 900.0)], 1000.0).sweep.seconds == 100.0


def test_of_cells_of_which_some_are_expected_it_is_said_how_many():
    prediction = forecast([queued("a", 1600.0), queued("b"), queued("c")], 1000.0).sweep
    assert prediction.basis.endswith(", with the expected waiting in the queue of 1 of 3 that wait")
    assert prediction.seconds == 700.0


def test_cells_start_when_each_is_expected_and_not_one_after_another_before_any_has_run():
    assert forecast([queued("a", 1600.0), queued("b", 1500.0)], 1000.0).sweep.seconds == 700.0


def test_a_cell_of_an_array_waits_for_the_one_before_it_where_one_ran_at_a_time():
    done = Job(name="d", kinds=("d",), work=1.0, began_s=800.0, took_s=100.0)
    prediction = forecast([done, queued("a", 1500.0), queued("b", 1500.0)], 1000.0).sweep
    assert prediction.seconds == 700.0
    assert "one after another, with the expected waiting in the queue" in prediction.basis


def test_a_cell_that_waits_for_long_keeps_no_place_from_one_that_starts_before_it():
    done = Job(name="d", kinds=("d",), work=1.0, began_s=800.0, took_s=100.0)
    prediction = forecast([done, queued("late", 5000.0), queued("soon", 1000.0)], 1000.0).sweep
    assert prediction.seconds == 4100.0


def test_the_expected_start_of_a_result_is_that_of_its_job():
    start = StartForecast(
        said_at="2025-01-01T00:00:00Z", start="2025-01-01T00:10:00Z", basis="b", said_start="2025-01-01T00:10:00Z"
    )
    waits, runs = (replace(result(cell(), status=status), expected=start) for status in ("queued", "running"))
    jobs = jobs_of([waits, runs], None)
    assert [job.starts_s for job in jobs] == [1735690200.0, None]
