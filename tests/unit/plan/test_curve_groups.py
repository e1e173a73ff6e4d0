"""Which cells share an allocation, in which order, and what it takes: `allocation=shared`."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.batch import Shape
from launchers.errors import UserError
from launchers.profile import Host, Scheduler, Spawner
from tests.unit.builders import DATA, cell, point, profile, record, result, series
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.choices import Allocation, BatchPer, Placement, Scaling
from vit_sweep.plan.curve_groups import Member, curves_of, in_order
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.plan import Knowledge, curves, make_plan, share
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.runs.of_study import runs_of

SHARED = {"allocation": Allocation.SHARED}
GRID = [
    point(gpus=gpus, scaling=scaling, weak_fraction=0.25, placement=placement, seed=seed, **SHARED)
    for gpus in (1, 2, 4, 64)
    for scaling in Scaling
    for placement in Placement
    for seed in (0, 1)
] + [point(gpus=gpus, batch=64, batch_per=BatchPer.GLOBAL, **SHARED) for gpus in (1, 2, 4)]
PLAN = make_plan(GRID)


def plan_of(*gpus, minutes=None, **changes):
    return make_plan([point(gpus=g, **(SHARED | changes)) for g in gpus], Knowledge(minutes=minutes))


# --- groups -------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.permutations(GRID))
def test_every_shared_cell_is_in_one_curve_and_nothing_depends_on_the_order_of_the_grid(shuffled):
    plan = make_plan(shuffled)
    again = curves(plan.cells)
    assert again == curves(PLAN.cells)
    assert sorted(cell_id for curve in again for cell_id in curve.cell_ids) == sorted(plan.cells)
    assert plan.cells == PLAN.cells


@settings(max_examples=50)
@given(st.lists(st.sampled_from(GRID), min_size=1))
def test_the_cells_of_a_curve_lie_on_nested_prefixes_of_one_allocation(points):
    plan = make_plan(points)
    for curve in curves(plan.cells):
        members, job = [plan.cells[cell_id] for cell_id in curve.cell_ids], curve.job
        assert {member.job for member in members} == {job}
        nodes = [f"node{i}" for i in range(job.nodes)]
        prefixes = sorted((nodes[: m.shape.nodes] for m in members), key=len)
        assert all(set(shorter) <= set(other) for shorter, other in pairwise(prefixes))
        assert all(m.shape.gpus_per_node <= job.gpus_per_node for m in members)
        assert max(m.shape.nodes for m in members) == job.nodes
        assert len({(m.cell.seed, m.cell.model, m.cell.precision) for m in members}) == 1


def test_a_curve_keeps_what_follows_from_its_gpus_together_and_all_else_apart():
    def groups(*points):
        return len(curves(make_plan(points).cells))

    assert groups(*(point(gpus=g, **SHARED) for g in (1, 2, 4))) == 1
    assert groups(*(point(gpus=g, scaling=Scaling.WEAK, **SHARED) for g in (1, 2, 4))) == 1
    assert groups(*(point(gpus=g, batch=64, batch_per=BatchPer.GLOBAL, **SHARED) for g in (1, 2, 4))) == 1
    assert groups(*(point(gpus=2, seed=seed, **SHARED) for seed in (0, 1, 2))) == 3
    assert groups(*(point(gpus=2, batch=batch, **SHARED) for batch in (16, 32))) == 2
    assert groups(*(point(gpus=2, scaling=scaling, **SHARED) for scaling in Scaling)) == 2
    assert groups(point(gpus=2), point(gpus=4)) == 0


def test_a_cell_of_two_curves_runs_with_the_one_that_has_more_cells_here():
    """One job for the packed and the spread curve would take 4 nodes x 4 GPUs."""
    packed, spread = series(placement="packed"), series(placement="spread")
    members = {
        name: Member(
            cell(gpus=gpus, nodes=nodes, **SHARED),
            limit,
            Shape(nodes=nodes, gpus_per_node=gpus // nodes, minutes=5),
            profile(),
        )
        for name, gpus, nodes, limit in (
            ("one", 1, 1, (packed, spread)),
            ("four", 4, 1, (packed,)),
            ("apart", 4, 4, (spread,)),
            ("two", 2, 2, (spread,)),
        )
    }

    def groups():
        return sorted(sorted(curve.cell_ids) for curve in curves_of(members))

    assert groups() == [["apart", "one", "two"], ["four"]]
    del members["two"]
    assert groups() == [["apart"], ["four", "one"]]


# --- order --------------------------------------------------------------------------------------------


@given(st.sets(st.text(min_size=1), max_size=8), st.randoms())
def test_the_order_is_the_same_however_the_cells_come_and_what_is_left_keeps_it(ids, draw):
    shuffled = list(ids)
    draw.shuffle(shuffled)
    order = in_order(shuffled)
    assert order == in_order(ids)
    left = [cell_id for cell_id in order if draw.random() < 0.5]
    assert list(in_order(left)) == left


def test_another_seed_runs_the_curve_in_another_order_and_none_is_preferred():
    """Of the six orders of three cells, sixty seeds show every one."""
    orders = set()
    for seed in range(60):
        gpus = {cell(gpus=g, seed=seed, **SHARED).cell_id: g for g in (1, 2, 4)}
        orders.add(tuple(gpus[cell_id] for cell_id in in_order(gpus)))
    assert len(orders) == 6


# --- what it takes ------------------------------------------------------------------------------------


def test_a_job_takes_the_largest_shape_for_the_sum_of_the_limits():
    plan = plan_of(1, 2, 4, placement=Placement.SPREAD, minutes=20)
    assert {p.shape.minutes for p in plan.cells.values()} == {20}
    assert {p.job for p in plan.cells.values()} == {Shape(nodes=4, gpus_per_node=1, minutes=3 * 20 + 5)}


def test_gpus_that_wait_are_counted_since_they_are_paid():
    plan = plan_of(1, 4, minutes=30)
    alone = make_plan([point(gpus=g) for g in (1, 4)], Knowledge(minutes=30))
    assert sorted(p.gpu_hours for p in alone.cells.values()) == [0.5, 2.0]
    assert {p.gpu_hours for p in plan.cells.values()} == {2.0}
    assert sorted(p.idle_gpu_hours for p in plan.cells.values()) == [0.0, 1.5]


def test_whole_nodes_are_paid_with_all_their_gpus():
    whole = profile(exclusive=True)
    (planned,) = make_plan([point(partition=whole)], Knowledge(minutes=30)).cells.values()
    assert planned.gpu_hours == whole.gpus_per_node * 0.5


def test_what_a_finished_run_has_spent_counts_the_gpus_that_waited():
    shared = cell(**SHARED)
    assert spent_gpu_hours(record(shared, allocated_gpus=4)) == 4 * spent_gpu_hours(record(shared))


def test_a_curve_that_is_too_long_for_one_job_is_a_reason_on_each_of_its_points_and_no_others():
    short = profile(max_minutes=60)
    points = [point(gpus=g, partition=short, seed=s, **SHARED) for g, s in ((1, 0), (2, 0), (4, 0), (1, 7))]
    plan = make_plan([*points, point(gpus=4, partition=short)], Knowledge(minutes=30))
    assert [p.axes["gpus"] for p in plan.infeasible] == [1, 2, 4]
    (refusal,) = {reason for p in plan.infeasible for reason in p.reasons}
    assert refusal == (
        "allocation=shared gpus=1,2,4: their one job takes the sum of 3 time limits, 90 min, but lab ends a job after "
        "60 min; use fewer epochs, fewer gpus in a curve, minutes=LESS for each cell, or allocation=per_cell"
    )
    assert sorted(p.cell.seed for p in plan.cells.values()) == [0, 7]


def test_only_the_spare_minutes_give_way_to_the_partitions_limit():
    plan = plan_of(1, 2, minutes=30, partition=profile(max_minutes=60))
    assert {p.job.minutes for p in plan.cells.values()} == {60}


def test_our_own_queues_have_no_limit_that_a_curve_could_be_too_long_for():
    site = profile(scheduler=Scheduler.LOCAL, nodes=1, max_minutes=60)
    assert len(plan_of(1, 2, 4, minutes=60, partition=site).cells) == 3


def test_a_site_that_allows_the_cells_but_not_their_job_is_a_reason():
    """8 GPUs are allowed and so are 4 nodes with one; 4 nodes x 2 are not."""
    site = profile(allowed_gpus=(1, 2, 4))
    cells = {
        planned.cell.cell_id: planned
        for planned in make_plan(
            [point(gpus=4, nodes=4, partition=site, **SHARED), point(gpus=2, nodes=1, partition=site, **SHARED)]
        ).cells.values()
    }
    one_curve = {cell_id: replace(planned, series=(series(),)) for cell_id, planned in cells.items()}
    with pytest.raises(UserError, match=r"takes 4 nodes x 2 GPUs = 8, but lab allows 1 or 2 or 4 GPUs only"):
        share(one_curve)


def test_hosts_that_hold_the_largest_cell_must_have_the_gpus_that_the_cells_were_planned_for():
    """gpus=3 lies on a, b, c and gpus=4 on c, d: both P4 + T4; three hosts with two GPUs each are c, d, e."""
    hosts = [("a", 1, "P4"), ("b", 1, "T4"), ("c", 2, "P4"), ("d", 2, "T4"), ("e", 2, "A40")]
    site = profile(
        scheduler=Scheduler.HOSTFILE,
        nodes=5,
        gpus_per_node=2,
        spawner=Spawner.MPIRUN,
        mixed_hosts=True,
        hosts=tuple(Host(name=name, slots=slots, gpu_model=model) for name, slots, model in hosts),
    )
    plan = plan_of(3, 4, partition=site)
    assert plan.cells == {}
    assert {reason for p in plan.infeasible for reason in p.reasons} == {
        "allocation=shared gpus=3,4: their one job takes 3 nodes x 2 GPUs = 6 on hosts with A40 + P4 + T4, but "
        "alone the cells get P4 + T4; use gpus that fit on hosts of one kind, or allocation=per_cell"
    }


def test_what_is_left_of_a_curve_takes_no_more_than_it_needs():
    plan = plan_of(1, 2, 4, minutes=20)
    left = {i: p for i, p in plan.cells.items() if p.cell.gpus < 4}
    assert {p.job for p in share(left).values()} == {Shape(nodes=1, gpus_per_node=2, minutes=45)}


@pytest.mark.parametrize("spawner", [Spawner.TORCHRUN, Spawner.MPIRUN])
def test_a_spawner_that_takes_the_whole_job_is_a_reason(spawner):
    reasons = cell_of(point(partition=profile(spawner=spawner), **SHARED))
    assert reasons == (
        f"allocation=shared: lab starts ranks with {spawner.value}, which takes the whole of a job; only srun starts "
        "them on a part of it: use partition.spawner=srun, or allocation=per_cell",
    )


# --- tables -------------------------------------------------------------------------------------------


def rows(**hosts):
    """The curve of 1 and 2 GPUs, each run on the given nodes."""
    results = []
    for gpus, nodes in ((1, ("a",)), (2, hosts["two"])):
        this_cell = cell(gpus=gpus, nodes=gpus, **SHARED)
        ran = record(this_cell)
        results.append(
            result(
                this_cell, series(placement="spread"), record=replace(ran, resolved=replace(ran.resolved, hosts=nodes))
            )
        )
    (curve,) = group(runs_of(results), Scaling.STRONG)
    return curve.points


def test_a_run_that_is_compared_with_one_of_another_allocation_says_so():
    first, two = rows(two=("a", "b"))
    assert (first.flags, two.flags) == ((), ())
    first, two = rows(two=("b", "c"))
    assert first.flags == ()
    assert "not in the allocation of gpus=1, which ran on a" in two.flags
    assert two.speedup is not None


def test_shared_runs_and_those_with_jobs_of_their_own_are_never_one_curve():
    results = [result(made, record=record(made)) for made in (cell(), cell(gpus=2, **SHARED))]
    assert len(group(runs_of(results), Scaling.STRONG)) == 2
    assert DATA in {r.file.cell.data for r in results}
