"""Every cause has a policy, every policy a bound, and a full GPU or a bug is said to those whom it concerns."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.checked import words_under
from tests.unit.builders import DATA, ENGINE, MODEL, cell, cells
from vit_sweep.outcome.ending import Cause, DeviceMemory, Exit
from vit_sweep.outcome.policy import POLICIES, Action, Stop, decide, makes_stop, stopped_by
from vit_sweep.plan.choices import Attention, Pipeline


def end(cause, **fields):
    return Exit(cause=cause, message="said so", **fields)


def stop(stopped, cause, code="abc"):
    return Stop(cell_id=stopped.cell_id, cell=stopped, cause=cause, message="56 MiB short", code=code)


def test_every_cause_has_a_policy_and_words():
    assert set(POLICIES) == set(Cause)
    assert set(words_under(Cause)) == set(Cause.__members__)


@pytest.mark.parametrize("cause", [c for c, p in POLICIES.items() if p.action in (Action.AGAIN, Action.ELSEWHERE)])
def test_what_is_retried_is_retried_so_often_and_no_more(cause):
    history, policy = [], POLICIES[cause]
    for n in range(policy.times):
        history.append(end(cause, epoch=n + 1, host="node7"))
        assert decide(history).action is policy.action
    history.append(end(cause, epoch=99, host="node7"))
    assert decide(history).action is Action.NOTHING
    assert "at most" in decide(history).reason


@given(st.lists(st.sampled_from(Cause), min_size=1, max_size=200))
def test_no_history_is_retried_for_ever(causes):
    history, steps = [], 0
    for n, cause in enumerate(causes):
        history.append(end(cause, epoch=n))
        steps += decide(history).action in (Action.AGAIN, Action.ELSEWHERE)
    assert steps <= sum(policy.times for policy in POLICIES.values())


def test_a_time_limit_that_brings_it_no_further_is_not_tried_again():
    history = [end(Cause.TIME_LIMIT, epoch=2, step=10), end(Cause.TIME_LIMIT, epoch=2, step=10)]
    assert decide(history[:1]).action is Action.AGAIN
    assert decide(history).action is Action.NOTHING
    assert "minutes=MORE" in decide(history).reason
    assert decide([history[0], end(Cause.TIME_LIMIT, epoch=2, step=11)]).action is Action.AGAIN


def test_a_run_that_diverged_is_not_started_again_by_itself():
    assert decide([end(Cause.PREEMPTED), end(Cause.DIVERGED)]).action is Action.NOTHING


def test_a_node_that_failed_is_not_used_again():
    history = [end(Cause.NODE_FAILURE, host="node3"), end(Cause.PREEMPTED), end(Cause.NODE_FAILURE, host="node5")]
    assert decide(history).exclude == ("node3", "node5")


def test_a_larger_micro_batch_of_the_same_kind_is_skipped_after_out_of_memory():
    full = stop(cell(micro_batch=64), Cause.OUT_OF_MEMORY)
    reason = stopped_by(cell(micro_batch=128), "other", [full])
    assert "micro batch 64 ran out" in reason
    assert "56 MiB short" in reason
    assert stopped_by(cell(micro_batch=32), "abc", [full]) is None
    assert stopped_by(cell(micro_batch=64, seed=5), "abc", [full]) is not None


@pytest.mark.parametrize(
    "other",
    [
        {"model": replace(MODEL, layers=9)},
        {"engine": replace(ENGINE, zero_stage=1)},
        {"data": replace(DATA, classes=11)},
        {"partition": "elsewhere"},
        {"gpu_model": "H100"},
        {"activation_checkpointing": True},
        {"compile": True},
        {"sequence": 2},
        {"attention": Attention.MATH},
        {"pipeline": Pipeline.LOADER},
    ],
)
def test_another_model_engine_or_gpu_is_not_skipped(other):
    stops = [stop(cell(micro_batch=64), Cause.OUT_OF_MEMORY), stop(cell(micro_batch=64), Cause.BUG)]
    assert stopped_by(cell(micro_batch=128, **other), "abc", stops) is None


def test_with_zero_more_gpus_may_hold_what_fewer_could_not():
    zero = replace(ENGINE, zero_stage=2)
    full = stop(cell(gpus=2, nodes=1, micro_batch=64, engine=zero), Cause.OUT_OF_MEMORY)
    assert stopped_by(cell(gpus=8, nodes=1, micro_batch=128, engine=zero), "abc", [full]) is None
    assert stopped_by(cell(gpus=1, micro_batch=128, engine=zero), "abc", [full]) is not None


def test_a_bug_stops_its_series_for_as_long_as_the_code_is_the_same():
    stops = [stop(cell(gpus=1), Cause.BUG)]
    assert "bug in n1-g1" in stopped_by(cell(gpus=4, nodes=1), "abc", stops)
    assert stopped_by(cell(gpus=4, nodes=1), "mended", stops) is None
    assert stopped_by(cell(gpus=4, nodes=1), None, stops) is None


@given(cells(), st.sampled_from([Cause.OUT_OF_MEMORY, Cause.BUG]))
def test_no_cell_stops_itself(stopped, cause):
    assert stopped_by(stopped, "abc", [stop(stopped, cause)]) is None


def test_a_gpu_that_somebody_else_had_filled_says_nothing_of_other_cells():
    alone = DeviceMemory(allocated_mib=14000.0, reserved_mib=14800.0, free_mib=100.0, total_mib=15000.0)
    crowded = replace(alone, allocated_mib=3000.0, reserved_mib=3200.0)
    assert makes_stop(end(Cause.OUT_OF_MEMORY, device_memory=alone))
    assert makes_stop(end(Cause.OUT_OF_MEMORY))
    assert not makes_stop(end(Cause.OUT_OF_MEMORY, device_memory=crowded))
    assert makes_stop(end(Cause.BUG))
    assert not any(makes_stop(end(c)) for c in Cause if c not in (Cause.BUG, Cause.OUT_OF_MEMORY))
