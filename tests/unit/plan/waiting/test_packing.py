"""Which cells run one after another in one job: `pack=N`."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.batch import Shape
from launchers.profile import Scheduler, Spawner
from tests.unit.builders import point, profile
from vit_sweep.plan.choices import Allocation
from vit_sweep.plan.plan import Knowledge, make_plan
from vit_sweep.plan.waiting.packing import SMALL, most_that_fit, packed

BATCHES = (8, 16, 32, 64)
PROFILES = (profile(), profile(name="short", max_minutes=100), profile(name="here", scheduler=Scheduler.LOCAL, nodes=1))


def cells_of(*points, minutes=20):
    return make_plan(points, Knowledge(minutes=minutes)).cells


def grid(**changes):
    return cells_of(*(point(batch=batch, **changes) for batch in BATCHES))


POINTS = st.lists(
    st.builds(
        point,
        gpus=st.sampled_from((1, 2, 4)),
        batch=st.sampled_from(BATCHES),
        seed=st.integers(0, 3),
        epochs=st.sampled_from((1, 3)),
        partition=st.sampled_from(PROFILES),
        allocation=st.sampled_from((Allocation.PER_CELL, Allocation.PER_CELL, Allocation.SHARED)),
    ),
    min_size=1,
    max_size=24,
)


@settings(deadline=None, max_examples=40)
@given(POINTS, st.integers(1, 9), st.sampled_from((5, 20, 30)))
def test_every_cell_is_in_one_job_at_most_and_all_that_a_job_promises_holds(points, most, minutes):
    cells = cells_of(*points, minutes=minutes)
    jobs = packed(cells, most).jobs
    named = [cell_id for job in jobs for cell_id in job.cell_ids]
    assert len(named) == len(set(named))
    assert set(named) <= set(cells)
    for job in jobs:
        members = [cells[cell_id] for cell_id in job.cell_ids]
        (shape,), (its_profile,) = {member.shape for member in members}, {member.profile.name for member in members}
        limit = members[0].profile.max_minutes
        assert 2 <= len(members) <= most
        assert len({replace(member.cell, seed=0) for member in members}) == len(members), "no two repeats of one cell"
        assert {member.cell.allocation for member in members} == {Allocation.PER_CELL}
        assert (job.shape.nodes, job.shape.gpus_per_node) == (shape.nodes, shape.gpus_per_node)
        assert len(members) * shape.minutes <= job.shape.minutes <= limit
        assert shape.minutes <= SMALL * limit
        assert its_profile != "here"


@settings(deadline=None, max_examples=20)
@given(POINTS, st.integers(2, 9), st.randoms())
def test_neither_jobs_nor_their_orders_depend_on_the_order_of_the_cells(points, most, draw):
    cells = cells_of(*points)
    shuffled = list(cells.items())
    draw.shuffle(shuffled)
    assert packed(dict(shuffled), most) == packed(cells, most)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 6))
def test_jobs_are_as_few_and_as_equal_as_their_bounds_let_them_be(kinds, repeats, most):
    cells = cells_of(*(point(batch=batch, seed=seed) for batch in BATCHES[:kinds] for seed in range(repeats)))
    sizes = [len(job.cell_ids) for job in packed(cells, most).jobs]
    sizes += [1] * (len(cells) - sum(sizes))
    assert len(sizes) == max(-(-len(cells) // most), repeats)
    assert max(sizes) - min(sizes) <= 1


def test_where_all_cells_are_repeated_alike_a_job_is_one_repeat_of_the_whole_grid():
    """So that every ratio of two cells is of the same nodes."""
    cells = cells_of(*(point(batch=batch, seed=seed) for batch in BATCHES for seed in range(3)))
    seeds = [{cells[cell_id].cell.seed for cell_id in job.cell_ids} for job in packed(cells, 4).jobs]
    assert sorted(seeds, key=min) == [{0}, {1}, {2}]


def test_an_axis_is_confounded_neither_with_the_job_nor_with_the_time_since_it_began():
    """Over sixty grids each of two values of an axis comes first about as often, and both are in either job."""
    first, apart = 0, 0
    for epochs in range(1, 61):
        cells = cells_of(*(point(batch=batch, epochs=epochs, accum=accum) for accum in (1, 2) for batch in (8, 16)))
        jobs = packed(cells, 2).jobs
        first += cells[jobs[0].cell_ids[0]].cell.accum == 1
        apart += len({cells[cell_id].cell.accum for cell_id in jobs[0].cell_ids}) == 1
    assert 15 < first < 45
    assert 5 < apart < 35, "of three ways to pair four cells one keeps the axis together"


def test_another_repeat_runs_its_cells_in_another_order():
    """Or a cell that always comes first would always have the coldest nodes."""
    cells = cells_of(*(point(batch=batch, seed=seed) for batch in BATCHES for seed in range(6)))
    orders = {tuple(cells[cell_id].cell.micro_batch for cell_id in job.cell_ids) for job in packed(cells, 4).jobs}
    assert len(orders) > 3


def test_what_is_left_of_a_job_keeps_its_order():
    cells = grid()
    (job,) = packed(cells, 4).jobs
    left = {cell_id: cells[cell_id] for cell_id in job.cell_ids if cell_id != job.cell_ids[1]}
    assert packed(left, 4).jobs[0].cell_ids == tuple(left)


def test_a_job_lasts_for_the_limits_of_its_cells_and_what_lies_between_them():
    (job,) = packed(grid(), 4).jobs
    assert job.shape == Shape(nodes=1, gpus_per_node=1, minutes=4 * 20 + 5)
    (tight,) = packed(grid(partition=profile(max_minutes=80)), 4).jobs
    assert tight.shape.minutes == 80, "only the spare minutes give way to the partition's limit"


def test_fewer_cells_a_job_than_asked_for_are_said_with_their_reason():
    cells = cells_of(*(point(batch=b, accum=a, partition=profile(max_minutes=90)) for b in BATCHES for a in (1, 2)))
    few = packed(cells, 6)
    assert [len(job.cell_ids) for job in few.jobs] == [4, 4]
    assert few.remarks == (
        "pack=6: cells of n1-g1 on lab take up to 20 min each, so 4 fit into the 90 min that a job may last there",
    )


def test_a_cell_that_is_not_small_is_a_job_of_its_own():
    long = packed(grid(partition=profile(max_minutes=79)), 2)
    assert long.jobs == ()
    assert long.remarks == (
        "pack=2: cells of n1-g1 on lab take up to 20 min, more than a quarter of the 79 min that a job may last there: "
        "each has a job of its own; minutes=LESS if they need less",
    )
    assert len(packed(grid(partition=profile(max_minutes=80)), 2).jobs) == 2


def test_repeats_that_make_more_jobs_are_said():
    cells = cells_of(*(point(batch=b, seed=s) for b, seeds in ((8, 4), (16, 1)) for s in range(seeds)))
    packing = packed(cells, 5)
    assert [len(job.cell_ids) for job in packing.jobs] == [2]
    assert packing.remarks == (
        "pack=5: of 5 cells of n1-g1 on lab 4 repeat one another and share no job, so there are 4 jobs",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"partition": PROFILES[2]}, "here has no jobs that wait, its cells take turns as soon as there is room"),
        ({"allocation": Allocation.SHARED}, "allocation=shared puts whole curves into a job each already"),
        (
            {"partition": profile(spawner=Spawner.TORCHRUN)},
            "lab starts ranks with torchrun, and only srun starts one cell after another in one job",
        ),
    ],
)
def test_what_cannot_be_packed_is_left_as_it_is_and_said(changes, why):
    cells = grid(**changes)
    assert packed(cells, 4) == ((), (f"pack=4 leaves 4 cells as they are: {why}",))
    assert most_that_fit(cells.values()) == 1


def test_cells_that_must_not_get_the_same_nodes_share_no_job():
    cells = grid()
    first = min(cells)
    jobs = packed(cells, 4, exclusions={cell_id: ("n1",) if cell_id == first else () for cell_id in cells}).jobs
    assert [len(job.cell_ids) for job in jobs] == [3]
    assert first not in jobs[0].cell_ids


def test_one_cell_a_job_is_no_packing_and_says_nothing():
    assert packed(grid(), 1) == ((), ())
    assert packed({}, 4) == ((), ())


def test_the_most_that_makes_a_difference():
    assert most_that_fit(grid().values()) == 4, "there are four cells that do not repeat one another"
    assert most_that_fit(grid(partition=profile(max_minutes=90)).values()) == 4
    assert most_that_fit(grid(partition=profile(max_minutes=79)).values()) == 1
    assert most_that_fit(cells_of(*(point(seed=seed) for seed in range(5))).values()) == 1
    assert most_that_fit([]) == 1
