"""The learning rate of every step, the time to a target accuracy, and a loss that is none."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import OPTIMIZER, cell, cells, record
from vit_sweep.plan.choices import LrScaling, LrSchedule
from vit_sweep.record.learning import diverged, lr_at, peak_rate, time_to_accuracy, when_reached

RATE = OPTIMIZER.learning_rate


def at_batch(batch, rule, base=256):
    """A cell with this global batch, over 2 GPUs x 2 micro steps."""
    optimizer = replace(OPTIMIZER, base_batch=base)
    return cell(gpus=2, accum=2, micro_batch=batch // 4, train_images=10 * batch, lr_scaling=rule, optimizer=optimizer)


# --- the rule with the global batch ------------------------------------------------------------------------


def test_without_a_rule_the_rate_is_the_optimizers_whatever_the_batch_is():
    assert {peak_rate(at_batch(batch, LrScaling.NONE)) for batch in (4, 256, 4096)} == {RATE}


@pytest.mark.parametrize(
    ("rule", "batch", "factor"),
    [
        (LrScaling.LINEAR, 256, 1),
        (LrScaling.LINEAR, 1024, 4),
        (LrScaling.LINEAR, 64, 1 / 4),
        (LrScaling.SQRT, 256, 1),
        (LrScaling.SQRT, 1024, 2),
        (LrScaling.SQRT, 64, 1 / 2),
    ],
)
def test_the_rate_follows_the_global_batch_from_the_base_batch_on(rule, batch, factor):
    assert peak_rate(at_batch(batch, rule)) == pytest.approx(factor * RATE)


def test_the_base_batch_is_what_the_rate_was_meant_for():
    assert peak_rate(at_batch(1024, LrScaling.LINEAR, base=1024)) == RATE


@given(any_cell=cells(), rule=st.sampled_from(LrScaling), factor=st.sampled_from([2, 4]))
def test_only_the_global_batch_counts_not_how_it_is_made(any_cell, rule, factor):
    """More GPUs, a larger micro batch or more accumulation are the same to the rule."""
    scaled = replace(any_cell, lr_scaling=rule, train_images=10**6)
    ways = [
        {"micro_batch": scaled.micro_batch * factor},
        {"accum": scaled.accum * factor},
        {"gpus": scaled.gpus * factor},
    ]
    assert len({peak_rate(replace(scaled, **way)) for way in ways}) == 1


# --- warm-up -----------------------------------------------------------------------------------------------

RISING = {"train_images": 160, "micro_batch": 16, "epochs": 4}
"""Ten steps an epoch."""


def test_without_warm_up_the_rate_is_constant_from_the_first_step_on():
    assert {lr_at(cell(**RISING), step) for step in range(40)} == {RATE}


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 10), (2.0, 20), (0.5, 5)])
def test_the_rate_rises_by_equal_parts_over_the_warm_up_and_stays(epochs, steps):
    this_cell = cell(**RISING, lr_warmup_epochs=epochs)
    rates = [lr_at(this_cell, step) for step in range(40)]
    assert rates[:steps] == pytest.approx([RATE * (step + 1) / steps for step in range(steps)])
    assert set(rates[steps:]) == {RATE}


@given(cells(), st.floats(0, 3), st.integers(0, 10_000))
def test_the_rate_never_falls_and_never_leaves_its_range(any_cell, warmup, step):
    any_cell = replace(any_cell, lr_warmup_epochs=warmup, lr_scaling=LrScaling.SQRT)
    assert 0 < lr_at(any_cell, step) <= lr_at(any_cell, step + 1) <= peak_rate(any_cell)


def test_a_warm_up_shorter_than_a_step_is_none():
    assert lr_at(cell(**RISING, lr_warmup_epochs=0.05), 0) == RATE


@pytest.mark.parametrize(
    ("schedule", "halfway"), [(LrSchedule.CONSTANT, 1.0), (LrSchedule.COSINE, 1 / 2), (LrSchedule.LINEAR, 1 / 2)]
)
def test_a_schedule_goes_from_the_peak_to_0_behind_the_last_step(schedule, halfway):
    """Ten steps of warm-up, thirty that follow the schedule."""
    this_cell = cell(**RISING, lr_warmup_epochs=1.0, schedule=schedule)
    rates = [lr_at(this_cell, step) for step in range(40)]
    assert rates[9] == rates[10] == RATE
    assert rates[25] == pytest.approx(halfway * RATE)
    assert 0 < rates[39] <= rates[25]
    if schedule is not LrSchedule.CONSTANT:
        assert lr_at(this_cell, 40) == pytest.approx(0)
        assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_cosine_is_half_of_one_and_the_line_is_straight():
    cosine, line = (cell(**RISING, schedule=schedule) for schedule in (LrSchedule.COSINE, LrSchedule.LINEAR))
    assert lr_at(cosine, 10) == pytest.approx(RATE * math.cos(math.pi / 8) ** 2)
    assert [lr_at(line, step) for step in (0, 10, 30)] == pytest.approx([RATE, 0.75 * RATE, 0.25 * RATE])


# --- time to accuracy --------------------------------------------------------------------------------------


def run(accuracies, seconds=(3.0, 1.0, 2.0), interrupted=()):
    base_record = record(cell(epochs=len(accuracies)), seconds)
    epochs = tuple(
        replace(epoch, test_accuracy=accuracy, interrupted=epoch.epoch in interrupted)
        for epoch, accuracy in zip(base_record.epochs, accuracies, strict=True)
    )
    return replace(base_record, epochs=epochs)


def test_the_time_is_of_all_epochs_up_to_the_first_that_reached_it():
    reached = time_to_accuracy(run((0.5, 0.7, 0.9)), 0.7)
    assert (reached.seconds, reached.epoch, reached.reason) == (4.0, 2, "")
    assert (reached.below_s, reached.wall_s) == (3.0, None)
    assert time_to_accuracy(run((0.5, 0.7, 0.9)), 0.5).below_s == 0.0


def test_the_clock_of_mlperf_is_that_of_the_epoch_whose_evaluation_had_it():
    this_run = run((0.5, 0.7, 0.9))
    this_run = replace(this_run, epochs=tuple(replace(epoch, wall_s=10.0 * epoch.epoch) for epoch in this_run.epochs))
    assert time_to_accuracy(this_run, 0.7).wall_s == 20.0


def test_the_last_evaluation_below_is_the_last_that_is_known():
    reached = when_reached([0.1, None, 0.6], [3.0, 1.0, 2.0], 0.5)
    assert (reached.below_s, reached.seconds, reached.epoch) == (3.0, 6.0, 3)
    assert when_reached([None], [3.0], 0.5).reason == "its test accuracy was not recorded"


def test_an_accuracy_that_falls_again_was_reached_the_first_time():
    assert time_to_accuracy(run((0.8, 0.6, 0.9)), 0.75).epoch == 1


def test_a_run_that_never_reached_it_says_how_far_it_came():
    reached = time_to_accuracy(run((0.5, 0.7, 0.6)), 0.9)
    assert (reached.seconds, reached.epoch) == (None, None)
    assert reached.reason == "never reached 0.9 in 3 epochs; the best was 0.7"
    assert (reached.never, reached.trained_s) == (True, 6.0)


def test_a_restart_before_it_leaves_no_time_and_says_so_and_one_after_it_does_not_matter():
    reached = time_to_accuracy(run((0.5, 0.7, 0.9), interrupted={1}), 0.7)
    assert (reached.seconds, reached.epoch) == (None, 2)
    assert "a restart lies inside epoch 1" in reached.reason
    assert time_to_accuracy(run((0.5, 0.7, 0.9), interrupted={3}), 0.7).seconds == 4.0


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_target_never_takes_less_time(accuracies, target, other):
    lower, higher = (time_to_accuracy(run(accuracies), target) for target in sorted((target, other)))
    if higher.seconds is not None:
        assert lower.seconds <= higher.seconds


# --- a loss that is none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_named_with_a_next_step(loss):
    assert diverged(loss, 1.0).startswith(f"the training loss is {loss};")
    assert diverged(1.0, loss).startswith(f"the test loss is {loss};")
    assert diverged(loss, loss).startswith(f"the training loss is {loss} and the test loss is {loss};")
    assert "learning_rate" in diverged(loss)


@given(st.floats(allow_nan=False, allow_infinity=False), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_bad_loss_is_not_a_lost_one(train, test):
    """However large: whether a run learns well is the reader's to say."""
    assert diverged(train, test) is None
