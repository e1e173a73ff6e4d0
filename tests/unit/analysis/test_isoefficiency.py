"""Isoefficiency: of a law whose isoefficiency function is known, that function is found, and nothing beyond it."""

import random
from math import exp, log2

import pytest

from tests.unit.analysis.builders import run
from vit_sweep.analysis.isoefficiency import TARGETS
from vit_sweep.analysis.isoefficiency import planes as planes_of
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import cells_of, with_all_intervals
from vit_sweep.analysis.series.spreads import Spreads
from vit_sweep.plan.choices import Scaling

T_C = 0.01
BATCHES = (2, 8, 32, 128)


def overhead(gpus):
    return 0.045 * log2(gpus)


def needed_images(gpus, target):
    """W with W t_c / (W t_c + p overhead(p)) = E."""
    return target / (1 - target) * gpus * overhead(gpus) / T_C


def curves(gpus=(1, 2, 4, 8), batches=BATCHES, *, noise=0.0, repeats=1, seed=0, mode=Scaling.STRONG):
    """Series of a step that takes W t_c / p + overhead(p)."""
    luck, runs = random.Random(seed), []
    for count in gpus:
        for micro in batches:
            for repeat in range(repeats):
                made = run(
                    count, (1.0,), scaling=mode, micro_batch=micro, seed=repeat, run_id=f"{count}-{micro}-{repeat}"
                )
                step = micro * T_C + overhead(count)
                epoch = made.images / made.global_batch * step * exp(luck.gauss(0, noise))
                runs.append(run(count, (epoch,), scaling=mode, micro_batch=micro, seed=repeat, run_id=made.run_id))
    return with_all_intervals(group(runs, mode))


def planes(series):
    """With the spread of all of them."""
    return planes_of(series, Spreads(cells_of(series)).ratio)


@pytest.mark.parametrize("mode", list(Scaling))
def test_the_function_of_a_known_law_is_found(mode):
    (plane,) = planes(curves(mode=mode))
    found = {(each.target, each.gpus): each for each in plane.needed if each.gpus > 1}
    assert set(found) == {(target, gpus) for target in TARGETS for gpus in (2, 4, 8)}
    for (target, gpus), each in found.items():
        truth = needed_images(gpus, target)
        assert each.images.value == pytest.approx(truth)
        assert each.below.images < truth <= each.reached.images
        assert each.below.efficiency.value < target <= each.reached.efficiency.value


def test_nothing_is_said_beyond_the_measured_batches_but_a_bound():
    (plane,) = planes(curves(batches=(2, 4)))
    (alone, *_, most) = plane.needed[:4]
    assert (alone.gpus, alone.images, alone.below) == (1, None, None)
    assert alone.note == "at most 2, the smallest batch measured"
    assert (most.gpus, most.images, most.reached) == (8, None, None)
    assert most.note == "more than 32, the largest batch measured"


@pytest.mark.parametrize("changes", [{"batches": (8,)}, {"gpus": (4,)}], ids=["one batch", "one count"])
def test_two_batches_on_two_counts_are_the_least(changes):
    assert planes(curves(**changes)) == []


def test_strong_runs_are_taken_where_both_modes_were_run():
    (plane,) = planes([*curves(mode=Scaling.WEAK), *curves()])
    assert plane.key.scaling is Scaling.STRONG


def test_intervals_hold_the_planted_function_and_single_runs_have_none():
    held, total = 0, 0
    for seed in range(100):
        (plane,) = planes(curves(noise=0.01, repeats=3, seed=seed))
        for each in plane.needed:
            if each.images is not None and each.images.known and each.gpus > 1:
                held += each.images.low <= needed_images(each.gpus, each.target) <= each.images.high
                total += 1
    assert total > 500
    print(held, total)
    assert 0.94 <= held / total <= 1
    (plane,) = planes(curves(noise=0.02))
    assert not any(each.images.known for each in plane.needed if each.images is not None)


def test_a_batch_without_an_interval_says_why_beside_the_reference_too():
    """There the upper batch is the reference, whose efficiency has no interval for another reason than one run."""
    (plane,) = planes(curves(batches=(2, 128), noise=0.3, repeats=2, seed=1))
    assert plane.reference.efficiency.n == 2
    needed = [each for each in plane.needed if each.images is not None and not each.images.known]
    assert needed
    assert {each.note for each in needed} == {"its interval reaches beyond the batches measured"}
