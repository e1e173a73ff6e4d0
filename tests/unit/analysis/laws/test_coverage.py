"""A grid says which fits it will carry, before anything is submitted, and what to add; one cell alone says nothing."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.profile import Device, Host, Scheduler
from tests.unit.analysis.builders import series_from, without_time
from tests.unit.builders import data, point, profile
from vit_sweep.analysis.laws.coverage import coverage, of_plan, of_series, remarks
from vit_sweep.analysis.laws.laws import Law, counts_needed
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.choices import BatchPer, Placement, Scaling
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.repeats import SeenSpread

BIG = {"data": data(100_000), "partition": profile(nodes=4)}


def plan(gpus, **changes):
    return make_plan([point(gpus=g, **(BIG | changes)) for g in gpus])


def said(gpus, **changes):
    (line,) = remarks(plan(gpus, **changes), preflight=False)
    return line


def test_two_counts_support_no_fit_and_the_words_to_add_are_given():
    line = said([1, 2])
    assert line == (
        "this grid (strong) carries no fit and no interval; gpus=1,2,4,8 repeats=5 would add fits of Amdahl and USL, "
        "and times to ±1.9% if runs differ by 2%"
    )


@pytest.mark.parametrize(
    ("gpus", "carried", "words"),
    [
        ([1, 2, 4], "carries a fit of Amdahl, but no interval", "gpus=1,2,4,8 repeats=5 would add a fit of USL, and"),
        ([1, 2, 4, 8], "carries fits of Amdahl and USL,", "gpus=1,2,4,8,16 repeats=5 would add a fit of latency-"),
        (
            [1, 2, 4, 8, 16],
            "carries fits of Amdahl, USL and latency-bandwidth,",
            "; repeats=5 would add times to ±1.9%",
        ),
    ],
)
def test_more_counts_carry_more_laws(gpus, carried, words):
    assert carried in said(gpus)
    assert words in said(gpus)


def test_a_link_that_the_preflight_measures_spares_two_coefficients():
    (line,) = remarks(plan([1, 2, 4]), preflight=True)
    assert (
        "carries fits of Amdahl and latency-bandwidth, but no interval; gpus=1,2,4,8 repeats=5 would add a fit of USL"
        in line
    )
    (line,) = remarks(plan([1, 2, 4, 8]), preflight=True)
    assert "; repeats=5 would add times" in line, "a fifth count would add a fit that the measured link spares"


@pytest.mark.parametrize("gpus", [[1], [8], []])
def test_a_sweep_of_one_gpu_count_is_not_annoyed(gpus):
    assert remarks(plan(gpus)) == []


def test_the_studys_earlier_cells_count_and_are_told_from_those_of_this_grid():
    """gpus=8 alone is no curve; beside 1, 2 and 4 of an earlier sweep it is one of four counts."""
    earlier = [(c.cell, c.series) for c in plan([1, 2, 4]).cells.values()]
    (line,) = remarks(plan([8]), earlier)
    assert "this grid (strong, with the study's 1, 2, 4) carries fits of Amdahl, USL and" in line
    assert "; gpus=" not in line
    (line,) = remarks(plan([8]), earlier, preflight=False)
    assert "; gpus=8,16 repeats=5 would add" in line, "what the study has is not asked for once more"
    foreign = [(c.cell, c.series) for c in plan([1, 2, 4], batch=32).cells.values()]
    assert remarks(plan([8]), foreign) == []


def test_equal_curves_are_told_once_with_their_number():
    points = [point(gpus=g, batch=b, **BIG) for g in (1, 2) for b in (16, 32)]
    (line,) = remarks(make_plan(points))
    assert line.startswith("2 curves of this grid (strong) carry no fit and no interval; ")


def test_repeats_are_counted_by_seed_and_asked_for_by_the_spread_seen():
    points = [point(gpus=g, seed=s, **BIG) for g in (1, 2, 4, 8, 16) for s in range(5)]
    ((enough, curves),) = of_plan(make_plan(points))
    assert (enough.runs, curves, enough.add, enough.repeats) == (5, 1, "", "")
    ((few, _),) = of_plan(make_plan(points[:-1]))
    assert few.runs == 4
    assert few.add == "repeats=5"
    assert "4 runs per count are few" in few.repeats
    ((steady, _),) = of_plan(make_plan(points[:-1]), seen=SeenSpread(deviation=0.01, freedom=15))
    assert (steady.add, steady.repeats) == ("", "")
    ((noisy, _),) = of_plan(make_plan(points), seen=SeenSpread(deviation=0.03, freedom=20))
    assert noisy.add == "repeats=10"
    assert "runs differ by 3.0% so far (20 degrees of freedom), repeats=10 gives times to ±1.9%" in noisy.repeats
    ((growing, _),) = of_plan(make_plan(points[:-1]), repeats_follow=True)
    assert growing.add == ""


def test_only_counts_that_can_run_are_proposed():
    small = profile(nodes=1, gpus_per_node=2)
    line = said([1, 2], partition=small)
    assert "; no other GPU count can run; repeats=6 would add times" in line
    allowed = profile(nodes=4, allowed_gpus=(1, 2, 8, 32))
    assert "gpus=1,2,8,32" in said([1, 2], partition=allowed)
    assert "gpus=1,2,3,4" in said([1, 2], partition=profile(nodes=1, gpus_per_node=4))


def test_hosts_of_other_gpus_are_another_curve_and_not_proposed():
    hosts = (Host(name="a", gpu_model="P4"), *(Host(name=f"h{number}") for number in range(3)))
    unlike = {"scheduler": Scheduler.HOSTFILE, "nodes": 4, "gpus_per_node": 1, "hosts": hosts}
    assert "gpus=1,2,3 repeats=5" in said([1, 2], partition=profile(**unlike))
    two = unlike | {"nodes": 2, "hosts": hosts[:2], "mixed_hosts": True}
    line = said([1, 2], partition=profile(**two))
    assert line.startswith("2 curves of this grid (strong) carry no fit and no interval; no other GPU count can run; ")


@pytest.mark.parametrize(
    ("cores", "threads", "words"),
    [
        (None, 1, "; gpus=1,2,4,8 repeats=5"),
        (8, 1, "; gpus=1,2,4,8 repeats=5"),
        (8, 2, "; gpus=1,2,3,4 repeats=5"),
        (3, 1, "; gpus=1,2,3 repeats=5"),
        (2, 1, "; repeats=6"),
    ],
)
def test_a_local_grid_is_told_to_run_no_more_ranks_than_there_are_cores(cores, threads, words):
    here = profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1, gpus_per_node=8, cpus_per_gpu=threads)
    (line,) = remarks(plan([1, 2], partition=here), cores=cores, preflight=False)
    assert f"{words} would add" in line
    assert ("no other GPU count can run" in line) == (cores == 2)


@pytest.mark.parametrize(
    ("most", "words"), [(None, "gpus=1,2,4,8 repeats=5"), (4, "gpus=1,2,3,4 repeats=5"), (2, "repeats=6")]
)
def test_a_measured_series_asks_for_no_count_that_its_partition_cannot_run(most, words):
    series = series_from({1: (8.0,), 2: (4.0,)}, most_gpus=most)
    assert of_series(series).add == words


def test_a_global_batch_is_only_divided_evenly():
    line = said([1, 3], batch=96, batch_per=BatchPer.GLOBAL, partition=profile(nodes=1))
    assert "gpus=1,2,3,6" in line


def test_spread_needs_a_node_for_each_gpu_and_weak_scaling_images_for_all():
    assert "gpus=1,2,3,4" in said([1, 2], placement=Placement.SPREAD)
    line = said([1, 2], scaling=Scaling.WEAK, weak_fraction=0.2)
    # A fifth of the images each: no more than 5 GPUs.
    assert "; gpus=1,2,3,4 repeats=5 would add fits of Gustafson and USL" in line


def test_one_gpu_starts_the_spread_curve_too():
    points = [point(gpus=1, **BIG), *(point(gpus=g, placement=Placement.SPREAD, **BIG) for g in (2, 4))]
    packed, spread = remarks(make_plan([*points, point(gpus=2, **BIG), point(gpus=4, **BIG)]), preflight=False)
    assert "carries a fit of Amdahl," in packed
    assert "carries a fit of Amdahl," in spread
    assert ("gpus=1,2,4,8" in packed, "gpus=1,2,3,4" in spread) == (True, True)  # four nodes


# --- of measured series --------------------------------------------------------------------------------------


def test_a_measured_series_counts_what_has_a_time():
    covered = of_series(series_from({1: [(10.0,)] * 3, 2: [(5.0,)] * 3, 4: [(3.0,)] * 3}))
    assert covered.carries == (Law.AMDAHL,)
    assert covered.baseline == "the baseline is one GPU"
    assert covered.span == "the counts span a factor of 4; predictions stay between them: to go beyond takes 4 counts"
    assert covered.runs == 3
    assert covered.add == "gpus=1,2,4,8"
    assert covered.sentences[-1] == "to carry more: gpus=1,2,4,8"


def test_a_series_without_a_baseline_says_which_cell_to_run():
    done = series_from({2: (5.0,), 4: (3.0,)})
    (broken,) = group([without_time(1), *(run for p in done.points for run in p.runs)], Scaling.STRONG)
    assert of_series(broken).baseline == broken.no_baseline
    assert "gpus=1" in of_series(broken).baseline


def test_a_larger_baseline_is_named():
    assert "relative to 4 GPUs, not to one" in of_series(series_from({4: (5.0,), 8: (3.0,)})).baseline


def test_nothing_measured_is_a_sentence_too():
    covered = coverage({}, Scaling.STRONG)
    assert "0 GPU counts support no scaling fit" in covered.verdict
    assert "nothing has a time yet" in covered.baseline
    assert covered.add == ""


@given(st.dictionaries(st.integers(1, 256), st.integers(1, 5), max_size=8), st.sampled_from(list(Scaling)))
def test_a_law_is_carried_exactly_when_its_counts_are_there_and_following_the_advice_never_loses_one(counts, scaling):
    covered = coverage(counts, scaling, link=True)
    assert all((len(counts) >= counts_needed(law)) == (law in covered.carries) for law in Law if law in covered.carries)
    more = next((w.removeprefix("gpus=") for w in covered.add.split() if w.startswith("gpus=")), "")
    added = coverage({int(g): 3 for g in more.split(",")} if more else counts, scaling, link=True)
    assert set(covered.carries) <= set(added.carries)
    assert not more or (set(counts) < set(added.counts) and len(added.carries) > len(covered.carries))


def test_many_curves_are_judged_in_one_sentence():
    made = make_plan([point(gpus=g, batch=b, **BIG) for b in range(1, 51) for g in (1, 2, 4, 8)])
    others = [(c.cell, c.series) for c in made.cells.values()]
    assert len(remarks(made, others)) == 1


def test_a_dry_run_says_it_before_anything_is_submitted(sweep):
    answer = sweep("-m", "gpus=1,2", "batch=16", "dry_run=true", "study=s", "preflight=false")
    assert answer.returncode == 0, answer.stderr
    assert "this grid (strong) carries no fit and no interval; " in answer.stdout
    (proposed,) = re.findall(r"; (?:gpus=(\S+) )?repeats=\d would add", answer.stdout)
    assert all(int(count) <= len(os.sched_getaffinity(0)) for count in filter(None, proposed.split(",")))


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ([1, 2, 4], "carries no fit and no interval; 4 GPUs are not counted, for this machine has fewer cores; no"),
        ([4, 8], "carries no fit; 4, 8 GPUs are not counted"),
        ([1, 2], "carries no fit and no interval; no other"),
    ],
)
def test_a_count_with_more_ranks_than_cores_carries_nothing(gpus, said):
    here = profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1, gpus_per_node=8)
    (line,) = remarks(plan(gpus, partition=here), cores=2, preflight=False)
    assert f"this grid (strong) {said}" in line


@pytest.mark.parametrize(
    ("node_gpus", "nodes", "reach"),
    [
        (8, 1, "to 8 GPUs at most: no run crossed nodes"),
        (64, 1, "to 32 GPUs at most"),
        (None, None, "to 32 GPUs at most"),
    ],
)
def test_the_reach_of_predictions_ends_where_the_node_does_until_a_run_crosses_it(node_gpus, nodes, reach):
    times = {gpus: (8.0 / gpus,) for gpus in (1, 2, 4, 8)}
    carried = of_series(series_from(times, node_gpus=node_gpus, nodes=nodes))
    assert carried.span == f"the counts span a factor of 8; predictions reach {reach}"
