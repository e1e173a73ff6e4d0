"""A plan keeps every point, runs equal cells once, and does not depend on the order of the grid."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.checked import parse_json, to_json, to_plain
from launchers.profile import Device
from tests.unit.builders import OPTIMIZER, data, point, profile, series
from vit_sweep.plan.choices import BatchPer, Placement, Scaling
from vit_sweep.plan.plan import Knowledge, by_shape, make_plan, merge_points, merge_series
from vit_sweep.plan.plan_file import plan_file

GRID = [
    point(gpus=gpus, batch=batch, scaling=scaling, weak_fraction=0.25, placement=placement)
    for gpus in (1, 2, 4, 64)
    for batch in (16, 100)
    for scaling in Scaling
    for placement in Placement
]


def test_points_that_are_the_same_run_are_one_cell_on_every_curve_that_asked():
    grid_points = [
        point(gpus=4),
        point(gpus=4, scaling=Scaling.WEAK, weak_fraction=0.25),
        point(gpus=4, batch=64, batch_per=BatchPer.GLOBAL),
        point(gpus=4),
    ]
    plan = make_plan(grid_points)
    (planned,) = plan.cells.values()
    assert set(planned.series) == {series(), series(Scaling.WEAK), series(batch_per=BatchPer.GLOBAL)}
    assert len(planned.series) == 3
    assert (len(plan.points), plan.duplicates) == (4, 3)
    assert {made.cell_id for made in plan.points} == {planned.cell.cell_id}


def test_points_without_a_cell_are_kept_with_their_reasons():
    plan = make_plan([point(), point(gpus=33), point(gpus=4, nodes=3)])
    assert [made.axes["gpus"] for made in plan.infeasible] == [33, 4]
    assert all(made.reasons and made.cell_id is None for made in plan.infeasible)
    assert (len(plan.points), len(plan.cells), plan.duplicates) == (3, 1, 0)


def test_a_grid_of_nothing_feasible_is_a_plan_too():
    plan = make_plan([point(gpus=33)])
    assert (len(plan.infeasible), plan.cells, plan.duplicates) == (1, {}, 0)


@given(st.permutations(GRID))
def test_the_order_of_the_grid_does_not_change_the_plan(shuffled):
    plan, other = make_plan(GRID), make_plan(shuffled)
    assert plan.cells == other.cells
    assert sorted(map(repr, plan.points)) == sorted(map(repr, other.points))


@given(st.lists(st.sampled_from(GRID)))
def test_every_point_is_in_the_plan_and_every_cell_has_a_point(points):
    plan = make_plan(points)
    assert [made.axes for made in plan.points] == [wanted.axes for wanted in points]
    assert {made.cell_id for made in plan.points} - {None} == set(plan.cells)
    assert plan.duplicates >= 0


def test_a_cell_asks_for_its_layout_and_the_partitions_time():
    wanted = point(gpus=4, placement=Placement.SPREAD, partition=profile(default_minutes=17))
    (planned,) = make_plan([wanted]).cells.values()
    assert (planned.shape.nodes, planned.shape.gpus_per_node, planned.shape.minutes) == (4, 1, 17)


# --- arrays -------------------------------------------------------------------------------------------


def test_only_cells_of_equal_partition_and_shape_share_an_array():
    grid_points = [
        point(gpus=gpus, batch=batch, placement=placement, partition=profile(name=name))
        for name in ("b", "a")
        for gpus, placement in ((2, Placement.SPREAD), (2, Placement.PACKED), (1, Placement.PACKED))
        for batch in (16, 32)
    ]
    groups = by_shape(make_plan(grid_points).cells.values())
    assert [(where.name, shape.label, len(members)) for where, shape, members in groups] == [
        (name, label, 2) for name in "ab" for label in ("n1-g1", "n1-g2", "n2-g2")
    ]
    for where, shape, members in groups:
        assert all((member.profile, member.shape) == (where, shape) for member in members)


@given(st.lists(st.sampled_from(GRID), min_size=1))
def test_every_cell_is_in_exactly_one_array(points):
    plan = make_plan(points)
    members = [member.cell.cell_id for _, _, group in by_shape(plan.cells.values()) for member in group]
    assert sorted(members) == sorted(plan.cells)


def test_cells_of_unlike_profiles_with_one_name_do_not_share_an_array():
    cells = make_plan(point(partition=profile(cpus_per_gpu=cpus)) for cpus in (1, 4)).cells.values()
    rendered = [
        (where.cpus_per_gpu, member.cell.cpus_per_gpu) for where, _, group in by_shape(cells) for member in group
    ]
    assert sorted(rendered) == [(1, 1), (4, 4)]


# --- a study's memory of its points --------------------------------------------------------------------


def test_the_newest_word_on_a_point_wins_and_the_others_stay():
    old = make_plan([point(gpus=33), point(gpus=2)]).points
    (new,) = make_plan([point(gpus=33, partition=profile(nodes=33))]).points
    assert old[0].cell_id is None
    assert new.cell_id is not None
    assert merge_points(old, [new]) == (new, old[1])


def test_merging_the_same_points_again_changes_nothing():
    points = make_plan(GRID).points
    assert merge_points(points, points) == merge_points((), points) == points


def test_points_that_differ_in_a_value_inside_a_group_are_both_kept():
    grid_points = [point(), point(optimizer=replace(OPTIMIZER, learning_rate=0.01)), point(warmup_steps=2)]
    assert len(merge_points((), make_plan(grid_points).points)) == 3


@given(st.permutations([series(), series(Scaling.WEAK), series(placement="spread")]), st.integers(0, 3))
def test_curves_are_united_in_one_order(shuffled, cut):
    assert merge_series(shuffled[:cut], shuffled) == merge_series((), sorted(shuffled, key=lambda s: s.sort_key))


# --- remarks ------------------------------------------------------------------------------------------


def cpu(**changes):
    return profile(device=Device.CPU, gpu_model="CPU process", **changes)


def remarks(wanted, cores=None):
    (planned_point,) = make_plan([wanted], Knowledge(cores=cores)).points
    return planned_point.remarks


def test_more_ranks_than_cores_is_remarked():
    assert remarks(point(gpus=4, partition=cpu()), cores=2) == ("oversubscribed: 4 ranks on 2 cores",)


@pytest.mark.parametrize(
    ("where", "cores"), [(cpu(), 4), (cpu(), None), (profile(), 2)], ids=["enough", "unknown", "cuda"]
)
def test_oversubscription_is_remarked_only_where_cores_are_known_and_too_few(where, cores):
    assert remarks(point(gpus=4, partition=where), cores=cores) == ()


def test_many_repeated_images_are_remarked_with_their_number():
    assert remarks(point(batch=100, data=data(150))) == ("the last step repeats 50 images (33%)",)


def test_few_repeated_images_are_not_worth_a_remark():
    assert remarks(point(batch=100, data=data(1590))) == ()


def test_a_plan_file_names_the_profile_of_each_cell_by_its_index():
    lab, other = profile(name="lab"), profile(name="other")
    cells = (point(partition=lab), point(partition=other))
    file = plan_file(make_plan(cells), None)
    assert [cell["profile"] for cell in to_plain(file)["cells"]] == [0, 1]
    assert [file.profiles[cell.profile_index] for cell in file.cells] == [lab, other]
    assert parse_json(type(file), to_json(file), source="plan.json") == file


def test_repeats_of_a_point_are_planned_as_if_each_were_alone():
    """Their texts, predictions and refusals are worked out once for all: nobody may see that."""
    points = [point(gpus=gpus, batch=batch, seed=1) for gpus in (1, 2, 64) for batch in (16, 32)]
    repeats = [one.repeated(seed) for seed in (1, 7, 2**40) for one in points]
    alone = [point(gpus=one.gpus, batch=one.batch, seed=one.seed) for one in repeats]
    assert make_plan(repeats) == make_plan(alone)
    assert [one.point_id for one in repeats] == [one.point_id for one in alone]
    assert len({one.point_id for one in repeats}) == len(repeats)
    assert {cell.cell.seed for cell in make_plan(repeats).cells.values()} == {1, 7, 2**40}
