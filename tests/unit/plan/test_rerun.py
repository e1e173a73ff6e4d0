"""A published cell is asked for again as the same cell, and a sample is the same for everybody."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from launchers.profile import Device
from tests.unit.builders import cell, data, point
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import BatchPer, LrScaling, Placement, Scaling
from vit_sweep.plan.grid import cell_of, series_of
from vit_sweep.plan.rerun import Offer, changed_fields, point_of, sampled

CURVES = st.sampled_from(
    [(Scaling.STRONG, BatchPer.GPU), (Scaling.STRONG, BatchPer.GLOBAL), (Scaling.WEAK, BatchPer.GPU)]
)


@settings(deadline=None, max_examples=200)
@given(
    curve=CURVES,
    gpus=st.sampled_from([1, 2, 4, 8, 16]),
    batch=st.integers(1, 96),
    accum=st.integers(1, 5),
    nodes=st.sampled_from([None, None, None, 1, 2]),
    placement=st.sampled_from(Placement),
    fraction=st.floats(0.001, 1),
    weak_fraction=st.floats(0.001, 1),
    images=st.integers(1000, 100_000),
    sequence=st.sampled_from([1, 1, 1, 2]),
    seed=st.integers(0, 9),
    lr_scaling=st.sampled_from(LrScaling),
)
def test_whatever_a_grid_asked_for_is_the_same_cell_again(curve, images, batch, **values):
    scaling, batch_per = curve
    ways = values["gpus"] // values["sequence"] * values["accum"] if batch_per is BatchPer.GLOBAL else 1
    requested_point = point(
        data=data(images), scaling=scaling, batch_per=batch_per, batch=batch * max(1, ways), **values
    )
    built = cell_of(requested_point)
    assume(isinstance(built, Cell))
    again = point_of(built, series_of(requested_point), requested_point.partition)
    assert cell_of(again) == built
    assert series_of(again) == series_of(requested_point)
    assert changed_fields(built, built) == ()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"partition": "mine"}, ()),
        ({"gpu_model": "A100"}, ("gpu_model",)),
        ({"device": Device.CPU, "gpu_model": "CPU process"}, ("device", "gpu_model")),
        ({"seed": 1}, ("seed",)),
        ({"cpus_per_gpu": 4, "epochs": 9}, ("cpus_per_gpu", "epochs")),
    ],
)
def test_what_a_cell_differs_in_is_named_but_for_the_name_of_its_partition(change, names):
    assert changed_fields(cell(), cell(**change)) == names


def offers(*gpus, hours=1.0, repeats=1):
    return [
        Offer(cell_id=f"n1-g{n}-{repeat}", gpus=n, configuration=str(n), gpu_hours=hours)
        for n in gpus
        for repeat in range(repeats)
    ]


@settings(deadline=None)
@given(
    gpus=st.lists(st.integers(1, 64), min_size=1, max_size=8, unique=True),
    repeats=st.integers(1, 3),
    most=st.integers(1, 12),
    seed=st.integers(0, 99),
    budget=st.floats(0, 20),
)
def test_a_sample_keeps_its_bounds_and_does_not_hang_on_the_order_of_the_cells(gpus, repeats, most, seed, budget):
    offers_made = offers(*gpus, repeats=repeats)
    sample = sampled(offers_made, count=most, seed=seed, budget=budget)
    assert sample == sampled(reversed(offers_made), count=most, seed=seed, budget=budget)
    assert len(sample.chosen) == min(most, len(offers_made), int(budget)) and sample.gpu_hours <= budget
    assert len({offer.cell_id for offer in sample.chosen}) == len(sample.chosen)
    ends = [min(gpus), max(gpus)]
    assert [offer.gpus for offer in sample.chosen[:2]] == ends[: len(sample.chosen[:2])] or len(gpus) == 1
    gpu_counts = [offer.gpus for offer in sample.chosen]
    assert max(map(gpu_counts.count, gpu_counts), default=0) <= min(map(gpu_counts.count, gpus), default=0) + 1


def test_another_seed_draws_other_cells_between_the_ends_and_a_machine_that_holds_fewer_keeps_their_order():
    drawn = {tuple(o.gpus for o in sampled(offers(*range(1, 21)), count=4, seed=s, budget=99).chosen) for s in range(9)}
    assert len(drawn) > 3 and {sample[:2] for sample in drawn} == {(1, 20)}
    wide = [o.gpus for o in sampled(offers(*range(1, 21)), count=20, seed=0, budget=99).chosen[2:]]
    small = [o.gpus for o in sampled(offers(*range(1, 11)), count=20, seed=0, budget=99).chosen[2:]]
    assert small == [gpus for gpus in wide if gpus < 10]


def test_what_is_too_dear_is_passed_over_and_named():
    offered = [*offers(1, 2), *offers(8, hours=50.0)]
    sample = sampled(offered, count=3, seed=0, budget=2.5)
    assert [offer.gpus for offer in sample.chosen] == [1, 2] and [offer.gpus for offer in sample.dear] == [8]
    assert sampled([], count=2, seed=0, budget=1).chosen == ()
