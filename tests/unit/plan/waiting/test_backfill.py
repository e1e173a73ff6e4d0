"""When jobs start behind a queue: cases that are worked out by hand, and rules that no queue may break."""

import pytest

from launchers.queue_snapshot import Closure, NodeRoom
from tests.unit.plan.waiting.queues import HOUR, NOW, hours, look, nodes, runs, to_the_limit, waits, wants
from vit_sweep.plan.waiting.backfill import NEVER, Stay, makespan_s, promised, starts


def ours(snapshot, *wanted):
    """Starts of what we want, in hours from now, if every job runs to its limit."""
    (drawn,) = starts(snapshot, wanted, draws=1, shares=to_the_limit)
    return [hours(stays) for stays in drawn]


def test_an_idle_machine_starts_a_job_at_once():
    assert ours(look(), wants(8, 1)) == [[0]]


def test_a_job_waits_for_what_runs():
    assert ours(look(runs("1", "n0", 8, 3, ran=1)), wants(1, 1)) == [[2]]


def test_tasks_of_an_array_share_what_is_free():
    assert ours(look(), wants(4, 1, tasks=5)) == [[0, 0, 1, 1, 2]]


def test_an_array_keeps_to_its_own_limit_of_tasks():
    assert ours(look(), wants(1, 1, tasks=3, at_once=1)) == [[0, 1, 2]]


def test_a_short_job_goes_before_one_that_waits_for_more_room():
    # n0 is half free for 2 h; the first in the queue needs all of it.
    queue = look(runs("1", "n0", 4, 2), waits("2", 8, 1))
    assert ours(queue, wants(4, 1.9)) == [[0]]
    assert ours(queue, wants(4, 2)) == [[3]], "Slurm looks some seconds later, when it would not fit any more"


def test_a_promise_holds_the_whole_node_as_in_slurm():
    # The first waits for 1 GPU of 8 in an hour; a long job could have the 7 others, had Slurm counted GPUs.
    queue = look(runs("1", "n0", 7, 1), waits("2", 2, 5))
    assert ours(queue, wants(1, 5)) == [[1]]


def test_higher_priority_goes_first_whoever_came_first():
    queue = look(runs("1", "n0", 8, 1), waits("2", 8, 2, priority=1), waits("3", 8, 4, priority=2))
    assert ours(queue, wants(8, 1)) == [[7]]
    assert ours(queue, wants(8, 1, priority=3.0)) == [[1]]
    assert ours(queue, wants(8, 1, priority=1.5)) == [[5]]


def test_of_two_partitions_the_first_with_room_is_taken():
    rooms = (*nodes(1), NodeRoom(name="n1", partitions=("q",), gpus=8))
    queue = look(runs("1", "n0", 8, 2), runs("2", "n1", 8, 1, partitions=("q",)), on=rooms)
    assert ours(queue, wants(1, 1), wants(1, 1, partitions=("q", "p"))) == [[2], [1]]


def test_a_job_that_names_no_partition_goes_to_the_default_or_the_only_one():
    rooms = (*nodes(1), NodeRoom(name="n1", partitions=("q",), gpus=8))
    assert ours(look(), wants(1, 1, partitions=())) == [[0]]
    assert ours(look(on=rooms), wants(1, 1, partitions=())) == [[None]], "nobody knows which"
    running = runs("1", "n1", 8, 2, partitions=("q",))
    assert ours(look(running, on=rooms, default_partition="q"), wants(1, 1, partitions=())) == [[2]]


def test_several_nodes_must_be_free_at_the_same_time():
    queue = look(runs("1", "n0", 8, 1), runs("2", "n1", 8, 2), runs("3", "n2", 8, 5), on=nodes(3))
    assert ours(queue, wants(8, 1, nodes=2)) == [[2]]


def test_whole_nodes_are_only_those_on_which_nothing_runs():
    queue = look(runs("1", "n0", 1, 1), on=nodes(1))
    assert ours(queue, wants(1, 1), wants(1, 1, whole_nodes=True)) == [[0], [1]]


def test_a_job_of_which_the_gpus_are_unknown_counts_as_its_whole_node():
    assert ours(look(runs("1", "n0", None, 1)), wants(1, 1)) == [[1]]


def test_cores_are_counted_where_they_are_known():
    rooms = (NodeRoom(name="n0", partitions=("p",), gpus=8, cpus=8),)
    queue = look(runs("1", "n0", 1, 1, cpus_per_node=6), on=rooms)
    assert ours(queue, wants(1, 1, cpus_per_node=2), wants(1, 1, cpus_per_node=4)) == [[0], [1]]


def test_a_maintenance_is_waited_for_by_what_would_reach_into_it():
    closed = (Closure(hosts=("n0",), from_s=NOW + HOUR, until_s=NOW + 3 * HOUR),)
    assert ours(look(closed=closed), wants(1, 0.9), wants(1, 1.5)) == [[0], [3]]


def test_a_node_that_is_down_starts_nothing():
    rooms = (NodeRoom(name="n0", partitions=("p",), gpus=8, usable=False),)
    assert ours(look(on=rooms), wants(1, 1)) == [[None]]


def test_pinned_and_excluded_nodes_are_heeded():
    queue = look(runs("1", "n1", 8, 2), on=nodes(3))
    assert ours(queue, wants(1, 1, hosts=("n1",)), wants(8, 1, tasks=2, exclude=("n0",))) == [[2], [0, 1]]


@pytest.mark.parametrize("more", [{"gpus": 9}, {"nodes": 2}, {"partitions": ("elsewhere",)}, {"exclude": ("n0",)}])
def test_what_no_node_has_never_starts(more):
    assert ours(look(), wants(more.pop("gpus", 1), 1, **more)) == [[None]]


def test_what_waits_behind_a_job_without_a_limit_never_starts():
    assert ours(look(runs("1", "n0", 8, 1, limit_s=None)), wants(1, 1)) == [[None]]


def test_held_jobs_and_those_that_wait_for_others_are_left_out():
    assert ours(look(waits("1", 8, 9, held="JobHeldUser"), waits("2", 8, 9, held="Dependency")), wants(8, 1)) == [[0]]


def test_a_job_past_its_limit_is_about_to_end():
    (((stay,),),) = starts(look(runs("1", "n0", 8, 1, ran=2)), [wants(1, 1)], draws=1)
    assert NOW < stay.start_s <= NOW + 60


def test_nothing_wanted_is_no_makespan():
    assert starts(look(), [], draws=1) == ((),)
    assert makespan_s(look(), ()) == 0


def test_a_makespan_ends_with_the_last_task():
    (drawn,) = starts(look(), [wants(8, 1), wants(8, 2)], draws=1, shares=to_the_limit)
    assert makespan_s(look(), drawn) == 3 * HOUR


def test_a_task_ends_at_its_limit():
    assert starts(look(), [wants(1, 1, runs_s=(9 * HOUR,))], draws=1) == (((Stay(NOW, NOW + HOUR, (0,)),),),)


def test_draws_are_the_same_for_whatever_is_wanted():
    queue = look(*[runs(str(index), "n0", 1, 10) for index in range(8)])
    one, other = (starts(queue, [wants(1, 1), *more], draws=3) for more in ([], [wants(8, 1)]))
    assert [drawn[0] for drawn in one] == [drawn[0] for drawn in other]
    assert len({drawn[0] for drawn in one}) == 3, "each draw has other run times"


def test_what_slurm_would_forecast_counts_limits_and_whole_nodes():
    queue = look(runs("1", "n0", 8, 1), waits("2", 1, 2, priority=2), waits("3", 1, 2, priority=1))
    assert promised(queue) == {"2": NOW + HOUR, "3": NOW + 3 * HOUR}
    assert ours(queue, wants(1, 1)) == [[1]], "in truth both fit on the node at once"
    assert promised(look(runs("1", "n0", 8, 30), waits("2", 1, 2))) == {"2": None}, "beyond backfill's window"


def test_what_never_starts_is_never_over():
    assert NEVER.start_s == NEVER.end_s == float("inf")
