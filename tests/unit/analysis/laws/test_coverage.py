"""A grid says which fits it will carry, before anything is submitted, and what to add; one cell alone says nothing."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.profile import Device, Scheduler
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
    assert "2 GPU counts (1, 2) support no scaling fit (Amdahl needs 3, USL 4, latency-bandwidth 5)" in line
    assert "a single run per count gives no interval; if runs differ by 2%, an assumption, repeats=5" in line
    assert line.endswith("; for more: gpus=1,2,4,8 repeats=5")


@pytest.mark.parametrize(
    ("gpus", "carried", "words"),
    [
        ([1, 2, 4], "support Amdahl; USL needs 4, latency-bandwidth 5", "gpus=1,2,4,8"),
        ([1, 2, 4, 8], "support Amdahl and USL; latency-bandwidth needs 5", "gpus=1,2,4,8,16"),
        ([1, 2, 4, 8, 16], "support Amdahl, USL and latency-bandwidth", "repeats=5"),
    ],
)
def test_more_counts_carry_more_laws(gpus, carried, words):
    assert carried in said(gpus)
    assert words in said(gpus)


def test_a_link_that_the_preflight_measures_spares_two_coefficients():
    (line,) = remarks(plan([1, 2, 4]), preflight=True)
    assert "support Amdahl and latency-bandwidth with the measured link; USL needs 4" in line


@pytest.mark.parametrize("gpus", [[1], [8], []])
def test_a_sweep_of_one_gpu_count_is_not_annoyed(gpus):
    assert remarks(plan(gpus)) == []


def test_the_studys_earlier_cells_count_and_are_told_from_those_of_this_grid():
    """gpus=8 alone is no curve; beside 1, 2 and 4 of an earlier sweep it is one of four counts."""
    earlier = [(c.cell, c.series) for c in plan([1, 2, 4]).cells.values()]
    (line,) = remarks(plan([8]), earlier)
    assert "1 GPU count (8) and the study's 1, 2, 4 support Amdahl, USL and" in line
    assert line.endswith("; for more: gpus=8,16 repeats=5"), "what the study has is not asked for once more"
    foreign = [(c.cell, c.series) for c in plan([1, 2, 4], batch=32).cells.values()]
    assert remarks(plan([8]), foreign) == []


def test_equal_curves_are_told_once_with_their_number():
    points = [point(gpus=g, batch=b, **BIG) for g in (1, 2) for b in (16, 32)]
    (line,) = remarks(make_plan(points))
    assert line.startswith("2 curves of this grid (strong): 2 GPU counts")


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
    assert "no further count can run there" in line
    assert "gpus=" not in line
    allowed = profile(nodes=4, allowed_gpus=(1, 2, 8, 32))
    assert "gpus=1,2,8,32" in said([1, 2], partition=allowed)
    assert "gpus=1,2,3,4" in said([1, 2], partition=profile(nodes=1, gpus_per_node=4))


@pytest.mark.parametrize(
    ("cores", "threads", "words"),
    [
        (None, 1, "; for more: gpus=1,2,4,8 repeats=5"),
        (8, 1, "; for more: gpus=1,2,4,8 repeats=5"),
        (8, 2, "; for more: gpus=1,2,3,4 repeats=5"),
        (3, 1, "; for more: gpus=1,2,3 repeats=5"),
        (2, 1, "; for more: repeats=6"),
    ],
)
def test_a_local_grid_is_told_to_run_no_more_ranks_than_there_are_cores(cores, threads, words):
    here = profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1, gpus_per_node=8, cpus_per_gpu=threads)
    (line,) = remarks(plan([1, 2], partition=here), cores=cores, preflight=False)
    assert line.endswith(words)
    assert ("no further count can run there" in line) == (cores in (2, 3))


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
    assert "Gustafson needs 3" in line
    assert "gpus=1,2,3,4" in line  # a fifth of the images each: no more than 5 GPUs


def test_one_gpu_starts_the_spread_curve_too():
    points = [point(gpus=1, **BIG), *(point(gpus=g, placement=Placement.SPREAD, **BIG) for g in (2, 4))]
    packed, spread = remarks(make_plan([*points, point(gpus=2, **BIG), point(gpus=4, **BIG)]), preflight=False)
    assert "3 GPU counts (1, 2, 4)" in packed
    assert "3 GPU counts (1, 2, 4)" in spread
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
    assert "2 GPU counts (1, 2) support no scaling fit (Amdahl needs 3" in answer.stdout
    (proposed,) = re.findall(r"for more: (?:gpus=(\S+) )?repeats=\d", answer.stdout)
    assert all(int(count) <= len(os.sched_getaffinity(0)) for count in filter(None, proposed.split(",")))


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ([1, 2, 4], "2 GPU counts (1, 2) support no scaling fit (.*; 4 not counted: more ranks than this machine has"),
        ([4, 8], "0 GPU counts support no scaling fit (.*; 4, 8 not counted"),
        ([1, 2], "2 GPU counts (1, 2) support no scaling fit ("),
    ],
)
def test_a_count_with_more_ranks_than_cores_carries_nothing(gpus, said):
    here = profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1, gpus_per_node=8)
    (line,) = remarks(plan(gpus, partition=here), cores=2, preflight=False)
    first, _, rest = said.partition("(.*")
    assert first in line and rest in line
    assert ("not counted" in line) == (max(gpus) > 2)


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
