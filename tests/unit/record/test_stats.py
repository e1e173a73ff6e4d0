"""Summaries of a run: restarts never count as work in a timing; GPU-hours count every rank."""

from dataclasses import replace

import pytest

from tests.unit.builders import cell, record
from vit_sweep.plan.choices import Precision
from vit_sweep.record.stats import (
    epoch_time,
    skipped,
    spent_gpu_hours,
    steady_steps_ms,
    step_ms,
    step_percentiles_ms,
    step_tail_ms,
)


def run_of(seconds, *, cold=(), interrupted=(), warmup=1):
    """A run whose epochs take `seconds`, two steps each; `cold` and `interrupted` name epochs from 1."""
    plain = record(
        cell(epochs=len(seconds), warmup_steps=warmup), seconds, step_ms=tuple((500 * s, 500 * s) for s in seconds)
    )
    epochs = tuple(
        replace(epoch, cold=epoch.epoch in cold, interrupted=epoch.epoch in interrupted) for epoch in plain.epochs
    )
    return replace(plain, epochs=epochs)


def test_an_epoch_with_a_restart_inside_and_a_cold_one_after_a_restart_are_left_out():
    time = epoch_time(run_of((9.0, 1.0, 70.0, 80.0, 3.0), cold=(1, 3, 4), interrupted=(3,)))
    assert (time.median_s, time.spread_s, time.n, time.first_s) == (2.0, 2.0, 2, 9.0)


def test_cold_epochs_count_only_where_there_are_no_others():
    time = epoch_time(run_of((9.0, 8.0), cold=(1, 2)))
    assert (time.median_s, time.n) == (8.5, 2)
    only = epoch_time(run_of((9.0,), cold=(1,)))
    assert (only.median_s, only.n, only.first_s) == (9.0, 1, 9.0)


def test_nothing_but_interrupted_epochs_is_said_by_n_zero():
    time = epoch_time(run_of((9.0, 8.0), cold=(1, 2), interrupted=(1, 2)))
    assert (time.median_s, time.n) == (8.5, 0)


def test_an_interrupted_epoch_never_joins_a_whole_one():
    assert epoch_time(run_of((9.0, 80.0), cold=(1, 2), interrupted=(2,))).median_s == 9.0


def test_steps_that_a_restart_disturbed_are_left_out():
    assert step_ms(run_of((9.0, 1.0, 70.0, 80.0, 3.0), cold=(1, 3, 4), interrupted=(3,), warmup=2)) == 1000.0
    assert step_ms(run_of((9.0, 1.0), cold=(1,), warmup=1)) == 500.0
    assert step_ms(run_of((9.0,), cold=(1,), interrupted=(1,))) is None


def with_steps(times_ms, **changes):
    """A run of two epochs: a step of warm-up, then these."""
    return record(cell(epochs=2, warmup_steps=1, **changes), (1.0, 1.0), step_ms=((900.0,), tuple(times_ms)))


def test_warm_up_steps_are_counted_over_epochs():
    """Two steps an epoch: three are left out of the first epoch and the second."""
    assert steady_steps_ms(run_of((9.0, 8.0, 7.0), warmup=3)) == [4000.0, 3500.0, 3500.0]
    assert steady_steps_ms(run_of((9.0, 8.0, 7.0), warmup=3, cold=(1, 2))) == [3500.0, 3500.0]


def test_the_tail_of_steps_is_a_step_that_was_measured_and_needs_one_above_it():
    hundred_and_one = with_steps(float(ms) for ms in range(101, 0, -1))
    assert step_tail_ms(hundred_and_one) == (96.0, 100.0)
    assert step_tail_ms(with_steps([1.0] * 19 + [7.0] * 2)) == (7.0, None)
    assert step_tail_ms(with_steps([1.0] * 20)) == (1.0, None)
    assert step_tail_ms(with_steps([1.0] * 19)) == (None, None)


def test_percentiles_are_steps_that_were_measured():
    ladder = step_percentiles_ms(with_steps(float(ms) for ms in range(200, 0, -1)))
    assert (len(ladder), ladder[0], ladder[50], ladder[95], ladder[100]) == (101, 1.0, 100.0, 190.0, 200.0)
    assert step_percentiles_ms(with_steps([1.0] * 19)) == ()


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.FP16_AMP])
def test_steps_that_loss_scaling_threw_away_are_counted_with_their_part_of_the_time(precision):
    stepped = with_steps([25.0, 50.0, 25.0], precision=precision)
    epochs = (replace(stepped.epochs[0], skipped_steps=(0,)), replace(stepped.epochs[1], skipped_steps=(1,)))
    assert skipped(replace(stepped, epochs=epochs)) == (2, 0.95)
    assert skipped(stepped) == (0, 0.0)
    assert skipped(with_steps([25.0])) is None, "only fp16 scales its loss"


def test_spent_gpu_hours_count_every_rank():
    single, four = (record(cell(gpus=g, nodes=1), (10.0, 10.0)) for g in (1, 4))
    assert spent_gpu_hours(four) == pytest.approx(4 * spent_gpu_hours(single))


def test_spent_gpu_hours_are_the_whole_jobs_where_it_was_timed():
    pair = cell(gpus=2)
    assert spent_gpu_hours(record(pair, job_s=3600.0)) == 2.0
    # Restarted: the last attempt's own time is less than what all of its epochs took.
    long = record(pair, epoch_seconds=(3600.0, 3600.0), job_s=10.0)
    assert spent_gpu_hours(long) == pytest.approx(2 * (7200 + long.startup_s) / 3600)
