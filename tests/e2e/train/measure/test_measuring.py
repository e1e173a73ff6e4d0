"""An injected delay shows in its column and in no other; measuring changes nothing that is learned.

A delay of 150 ms per step lands whole in its column: time is made up (`trainers.Clock`), but for torch's profiler, for
which a delay takes a second: what it sees is held to 30 % of that.
"""

import gzip
import json
from dataclasses import replace

import pytest

from tests.e2e.train.ranks import Job, small_cell
from tests.e2e.train.trainers import PROFILED_DELAY_S, measured_cell, run
from tests.unit.builders import OPTIMIZER
from vit_sweep.plan.choices import OptimizerKind, Precision
from vit_sweep.record.breakdown import Phase, step_breakdown

pytestmark = pytest.mark.train

DELAY_MS = 150.0


def phases_of(tmp_path, delay, ranks=None, **changes):
    """The median phases of every rank in the second epoch, in milliseconds, with a delay on one rank (None: all)."""
    delays = [(delay, ranks, DELAY_MS / 1000)]
    epochs, _, _ = run(tmp_path / "run", measured_cell(**changes), delays=delays, measure=False)
    return step_breakdown([epochs[-1].phases_by_rank])


def is_delayed(phases):
    """Names of the phases that hold the delay; the others hold nothing."""
    ms_by_phase = {phase.value: ms for phase in Phase if (ms := getattr(phases, phase))}
    assert all(ms == pytest.approx(DELAY_MS) for ms in ms_by_phase.values()), phases
    return set(ms_by_phase)


def test_a_rank_that_sleeps_in_forward_shows_there_and_as_the_others_wait(tmp_path):
    where = phases_of(tmp_path, "forward", ranks=1, gpus=4)
    for rank, phases in enumerate(where.by_rank):
        assert is_delayed(phases) == ({"forward"} if rank == 1 else {"communication"})
    assert where.communication_ms == 0
    assert where.straggler_wait_ms == pytest.approx(DELAY_MS)


def test_a_slow_pipeline_is_data_wait_and_nothing_else(tmp_path):
    where = phases_of(tmp_path, "data", gpus=2)
    assert all(is_delayed(phases) == {"data_wait"} for phases in where.by_rank)
    assert where.straggler_wait_ms == 0


def test_a_throttled_all_reduce_is_communication_and_nothing_else(tmp_path):
    where = phases_of(tmp_path, "all_reduce", gpus=2)
    assert all(is_delayed(phases) == {"communication"} for phases in where.by_rank)
    assert where.communication_ms == pytest.approx(DELAY_MS)
    assert where.straggler_wait_ms == 0


@pytest.mark.parametrize("phase", ["copy", "backward", "optimizer"])
def test_every_other_phase_holds_what_is_slow_in_it(tmp_path, phase):
    where = phases_of(tmp_path, phase, gpus=1)
    assert is_delayed(where.most) == {phase}


def test_a_slow_loader_of_one_rank_makes_the_others_wait(tmp_path):
    where = phases_of(tmp_path, "data", ranks=0, gpus=2)
    assert [is_delayed(phases) for phases in where.by_rank] == [{"data_wait"}, {"communication"}]


def test_accumulation_pays_for_data_per_micro_step_and_for_communication_once(tmp_path):
    for slow, times in {"data": 4, "all_reduce": 1}.items():
        where = phases_of(tmp_path / slow, slow, gpus=2, accum=4)
        column = "data_wait" if slow == "data" else "communication"
        for phases in where.by_rank:
            ms_by_phase = {phase.value: ms for phase in Phase if (ms := getattr(phases, phase))}
            assert ms_by_phase == {column: pytest.approx(times * DELAY_MS)}


def test_phases_add_up_to_the_steps(tmp_path):
    epochs, _, _ = run(tmp_path / "run", measured_cell(gpus=2, accum=2), measure=False)
    for epoch in epochs:
        for phases, steps in zip(epoch.phases_by_rank, epoch.step_ms_by_rank, strict=True):
            assert phases.steps == len(steps) == 8
            assert sum(getattr(phases.sum_ms, phase) for phase in Phase) == pytest.approx(sum(steps), abs=0.1)


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_what_cannot_be_taken_apart_is_left_out(tmp_path, zero):
    """ZeRO reduces in hooks of the backward pass; exposed and collective times are there, and weights stay."""
    epochs, after, ranks = run(tmp_path / "run", measured_cell(gpus=2, zero=zero, accum=2))
    assert all(phases.median_ms.communication is None for phases in epochs[-1].phases_by_rank)
    assert after.exposed is not None
    assert {kind.name for kind in after.collective.kinds} >= {"all_gather_into_tensor"}
    assert all(rank["before"] == rank["after"] for rank in ranks)
    assert after.notes == ()


@pytest.mark.parametrize("kind", [OptimizerKind.ADAMW, OptimizerKind.SGD])
def test_measuring_leaves_the_weights_as_they_were_evaluated(tmp_path, kind):
    optimizer = replace(OPTIMIZER, name=kind.value, kind=kind, learning_rate=0.1)
    _, _, ranks = run(tmp_path / "run", measured_cell(gpus=2, optimizer=optimizer))
    assert all(rank["before"] == rank["after"] for rank in ranks)
    assert ranks[0]["before"] == ranks[1]["before"]


@pytest.mark.parametrize(
    "changes",
    [{"gpus": 2}, {"gpus": 2, "accum": 2}, {"gpus": 2, "precision": Precision.BF16, "accum": 2}],
    ids=["plain", "accumulated", "bf16"],
)
def test_taking_the_reduction_apart_changes_no_bit(tmp_path, changes):
    cell = measured_cell(**changes)
    _, _, with_it = run(tmp_path / "with", cell, measure=False)
    _, _, without = run(tmp_path / "without", cell, measure=False, instrumented=False)
    assert [rank["before"] for rank in with_it] == [rank["before"] for rank in without]


def test_exposed_communication_is_what_the_network_takes(tmp_path):
    """The collectives are not turned off for a rank that only computes longer: that is no communication."""
    delays = [("all_reduce", None, DELAY_MS / 1000)]
    _, after, _ = run(tmp_path / "network", measured_cell(gpus=2, accum=2), delays=delays)
    assert after.exposed.exposed_ms == pytest.approx(DELAY_MS)
    assert after.exposed.interval_ms == pytest.approx((DELAY_MS, DELAY_MS))
    _, after, _ = run(tmp_path / "compute", measured_cell(gpus=2), delays=[("forward", 1, DELAY_MS / 1000)])
    assert after.exposed.exposed_ms == pytest.approx(0)
    assert after.collective.pure_ms < 0.3 * PROFILED_DELAY_S * 1000
    assert after.collective.straggler_wait_ms == pytest.approx(PROFILED_DELAY_S * 1000, rel=0.3)


def test_the_profiled_window_counts_bytes_and_leaves_a_trace(tmp_path):
    _, after, _ = run(tmp_path / "run", measured_cell(gpus=2, accum=2))
    (kind,) = after.collective.kinds
    assert (kind.name, kind.calls) == ("all_reduce", 1.0)  # at the boundary only
    assert kind.bytes == 4 * 19428  # every parameter, fp32
    assert after.collective.steps == 2
    assert after.collective.bus_gb_per_s == after.collective.algorithm_gb_per_s > 0
    trace = json.loads(gzip.decompress((tmp_path / "run" / after.trace).read_bytes()))
    assert any("gloo:all_reduce" in event["name"] for event in trace["traceEvents"])


def test_one_rank_has_a_trace_and_no_communication(tmp_path):
    _, after, _ = run(tmp_path / "run", measured_cell(gpus=1))
    assert (after.exposed, after.collective, after.notes) == (None, None, ())
    assert (tmp_path / "run" / after.trace).exists()


def test_a_profiler_that_cannot_start_is_a_note(tmp_path):
    _, after, _ = run(tmp_path / "run", measured_cell(gpus=2), probe="no_profiler")
    assert after.notes == ("rank 1: no profile: RuntimeError: CUPTI is in use by another process",)
    assert after.collective is None
    assert after.exposed is not None
    assert after.trace is not None  # rank 0's profiler did start


def test_a_stop_while_measuring_ends_the_measuring_and_not_the_run(tmp_path):
    _, after, ranks = run(tmp_path / "run", measured_cell(gpus=2), probe="stop_in_measuring")
    assert after.notes == ("measuring was cut short: told to end",)
    assert after.exposed is None
    assert all(rank["before"] == rank["after"] for rank in ranks)


def test_accumulation_learns_the_same_as_a_larger_micro_batch(tmp_path):
    """Equal global batch of 16 images over 2 ranks: 1 x 8, 2 x 4 and 4 x 2 images per rank."""
    base = measured_cell(gpus=2)
    losses = []
    for accum in (1, 2, 4):
        cell = replace(base, accum=accum, micro_batch=8 // accum, epochs=3)
        epochs, _, _ = run(tmp_path / f"accum{accum}", cell, measure=False)
        losses.append([loss for epoch in epochs for loss in (epoch.train_loss, epoch.test_loss)])
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=1e-4)


def test_a_job_keeps_what_was_measured_in_its_record_and_its_folder(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2), exposed=True, profile_steps=1)
    assert job.run() == [0, 0], job.log()
    record = job.json("record.json")
    assert all(len(epoch["phases_by_rank"]) == 2 for epoch in record["epochs"])
    assert record["breakdown"]["exposed"]["rounds"] >= 3
    assert record["breakdown"]["collective"]["steps"] == 1
    assert record["breakdown"]["counts"]["collectives"] == record["breakdown"]["collective"]["kinds"]
    assert (job.dir / "attempts/1" / record["breakdown"]["trace"]).exists()


def test_an_epoch_with_a_restart_inside_has_no_phases(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2))
    assert job.run(probe=("signal_at", 1, "SIGUSR2", 2, 3)) == [1, 1]
    assert job.run(2) == [0, 0], job.log(attempt=2)
    epochs = job.json("record.json")["epochs"]
    assert [len(epoch["phases_by_rank"]) for epoch in epochs] == [2, 0, 2]
    assert job.json("record.json")["breakdown"]["trace"] is None
