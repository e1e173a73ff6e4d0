"""`pack=auto`: one job a cell or fewer jobs, whichever ends sooner in simulated queues."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.batch import Shape, Task
from launchers.queue_snapshot import Closure, NodeRoom, QueuedJob, QueueSnapshot, QueueState
from tests.unit.builders import batch, profile
from vit_sweep.plan.waiting.strategy import ALIKE_S, LAG_S, STEP_S, Strategy, candidates, choose, expected, planned_jobs

NOW = 1.8e9
LAB = profile(partition="vector")
SECONDS = {f"c{i}": 60.0 for i in range(48)}


def snapshot(*jobs, gpus=8, nodes=1):
    rooms = tuple(NodeRoom(name=f"n{i}", partitions=("vector",), gpus=gpus) for i in range(nodes))
    return QueueSnapshot(at_s=NOW, nodes=rooms, jobs=jobs)


def other(gpus, hours, *, state=QueueState.RUNNING, **changes):
    defaults = {"handle": "7", "partitions": ("vector",), "nodes": 1}
    runs = {"hosts": ("n0",), "started_s": NOW} if state is QueueState.RUNNING else {"priority": 100.0}
    return QueuedJob(state=state, gpus_per_node=gpus, limit_s=3600.0 * hours, **(defaults | runs | changes))


FOR_EVER = replace(other(7, 1), limit_s=None)
"""Leaves one GPU of eight."""


def sent(count, pack, *, minutes=5):
    """`count` cells of one GPU as an array, or in jobs of `pack`."""
    shape = Shape(nodes=1, gpus_per_node=1, minutes=minutes * pack)
    tasks = [Task(name=f"c{i}", attempt=1) for i in range(count)]
    if pack == 1:
        return [batch(profile=LAB, shape=shape, tasks=tuple(tasks))]
    groups = [tuple(tasks[i : i + pack]) for i in range(0, count, pack)]
    return [batch(profile=LAB, shape=shape, tasks=group, shared=True) for group in groups]


def compared(look, count, packs, seconds=SECONDS):
    return choose([expected(look, pack, sent(count, pack), seconds).strategy for pack in packs])


def test_where_there_is_room_for_all_cells_side_by_side_nothing_is_packed():
    choice = compared(snapshot(), 8, (1, 4))
    alone, packed = choice.strategies
    assert (alone.jobs, packed.jobs) == (8, 2)
    assert alone.makespan_s == pytest.approx(60 + LAG_S)
    assert packed.makespan_s == pytest.approx(4 * 60 + 3 * STEP_S + LAG_S)
    assert choice.pack == 1
    assert choice.why == ("expected, queue and run: one job a cell ends in 75 s, pack=4 (2 jobs) in 4 min, 3 min later")


def test_where_cells_take_turns_on_few_gpus_a_job_that_keeps_them_ends_sooner():
    """The looks of backfill between two jobs are saved."""
    choice = compared(snapshot(FOR_EVER), 24, (1, 12))
    assert choice.pack == 12
    alone, packed = choice.strategies
    assert alone.makespan_s == pytest.approx(24 * (60 + LAG_S))
    assert packed.makespan_s == pytest.approx(2 * (12 * 60 + 11 * STEP_S + LAG_S))
    assert choice.why.endswith("one job a cell ends in 30 min, pack=12 (2 jobs) in 25 min, 5 min sooner")


def test_a_gap_takes_short_jobs_and_no_long_one():
    """A maintenance begins in an hour: jobs of 6 min fit before it one by one, one of 80 min does not."""
    closed = Closure(hosts=("n0",), from_s=NOW + 3600, until_s=NOW + 10800)
    look = replace(snapshot(FOR_EVER), closed=(closed,))
    alone, packed = (
        expected(look, pack, sent(8, pack, minutes=minutes), SECONDS).strategy for pack, minutes in ((1, 6), (8, 10))
    )
    assert alone.makespan_s == pytest.approx(8 * (60 + LAG_S))
    assert packed.makespan_s == pytest.approx(10800 + 8 * 60 + 7 * STEP_S + LAG_S)
    assert choose([alone, packed]).pack == 1


def test_how_long_jobs_of_others_run_is_not_known_and_shows_as_an_interval():
    busy = snapshot(other(8, 2))
    alone, packed = (expected(busy, pack, sent(8, pack), SECONDS).strategy for pack in (1, 4))
    assert alone.low_s < alone.makespan_s < alone.high_s
    assert packed.low_s - alone.low_s == pytest.approx(packed.high_s - alone.high_s), "both meet the same queues"
    assert " (" in choose([alone, packed]).why


def test_what_never_starts_has_no_forecast():
    endless = replace(other(8, 1), limit_s=None)
    assert "partition vector has 0 nodes with 1 GPU or more" in expected(snapshot(gpus=0), 1, sent(2, 1), SECONDS)
    assert "held by jobs without a time limit" in expected(snapshot(endless), 1, sent(2, 1), SECONDS)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 24), st.integers(2, 6), st.integers(0, 7))
def test_both_ways_cost_the_same_gpu_hours_and_the_same_question_has_the_same_answer(count, pack, busy):
    look = snapshot(*([other(busy, 3)] if busy else []))
    alone, packed = (expected(look, n, sent(count, n), SECONDS).strategy for n in (1, pack))
    assert alone.gpu_hours == packed.gpu_hours == pytest.approx(count * 60 / 3600)
    assert packed == expected(look, pack, sent(count, pack), SECONDS).strategy
    assert packed.jobs == -(-count // pack)
    assert alone.low_s <= alone.makespan_s <= alone.high_s


def test_whole_nodes_and_excluded_ones_are_asked_for_as_the_script_does():
    this_batch = batch(profile=profile(partition="a,b", exclusive=True, cpus_per_gpu=4), exclude=("n1",), parallel=3)
    (one,) = planned_jobs([this_batch], {"n1-g2-a": 10.0, "n1-g2-b": 20.0})
    assert (one.partitions, one.whole_nodes, one.exclude, one.at_once) == (("a", "b"), True, ("n1",), 3)
    assert (one.nodes, one.gpus_per_node, one.cpus_per_node, one.limit_s) == (1, 2, 8, 3600.0)
    assert one.runs_s == (10.0 + LAG_S, 20.0 + LAG_S)


def strategy(pack, makespan_s, gpu_hours=1.0):
    return Strategy(
        pack=pack, jobs=8 // pack, makespan_s=makespan_s, low_s=makespan_s, high_s=makespan_s, gpu_hours=gpu_hours
    )


@pytest.mark.parametrize(
    ("ways", "chosen_pack"),
    [
        ([strategy(1, 1000.0), strategy(2, 1000.0 - ALIKE_S)], 2),
        ([strategy(1, 1000.0), strategy(2, 1001.0 - ALIKE_S)], 1),
        ([strategy(1, 1000.0, 2.0), strategy(2, 1030.0, 1.5)], 2),
        ([strategy(1, 1000.0), strategy(2, 500.0), strategy(4, 480.0)], 2),
        ([strategy(1, 1000.0), strategy(2, 500.0), strategy(4, 300.0)], 4),
        ([strategy(1, 1000.0)], 1),
    ],
)
def test_the_least_makespan_is_taken_and_of_equal_ones_the_cheapest_then_the_smallest(ways, chosen_pack):
    choice = choose(ways)
    assert choice.pack == chosen_pack
    assert choice.strategies == tuple(ways)


def test_a_choice_says_both_figures_also_where_they_are_alike():
    assert choose([strategy(1, 1000.0), strategy(2, 1010.0)]).why.endswith(
        "ends in 17 min, pack=2 (4 jobs) in 17 min, no sooner"
    )
    assert choose([strategy(1, 1000.0)]).why.endswith("; nothing else is possible")


def test_what_is_compared_are_doublings():
    assert [candidates(most) for most in (1, 2, 3, 4, 9)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 8, 9]]
