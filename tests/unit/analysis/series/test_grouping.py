"""Series: what belongs together, one baseline, hand-computed speedups; whatever must not be mixed stands apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.analysis.builders import run, series_from, without_time
from vit_sweep.analysis.series.grouping import group, serial_fraction
from vit_sweep.plan.choices import Scaling
from vit_sweep.record.machine import Fingerprint
from vit_sweep.runs.run import Origin


def strong(*runs):
    return group(runs, Scaling.STRONG)


def test_strong_speedup_efficiency_and_serial_fraction_by_hand():
    single, two, four = series_from({1: (12.0, 12.0), 2: (6.5, 6.3), 4: (3.75,)}).points
    assert (single.speedup.value, single.efficiency.value, single.serial_fraction) == (1.0, 1.0, None)
    assert two.time_s.value == pytest.approx(6.4)
    assert two.speedup.value == pytest.approx(1.875)
    assert two.efficiency.value == pytest.approx(0.9375)
    assert two.images_per_s.value == pytest.approx(1000)
    # (1/3.2 - 1/4) / (1 - 1/4)
    assert four.serial_fraction.value == pytest.approx(1 / 12)


def test_weak_efficiency_is_the_ratio_and_the_speedup_is_scaled():
    _, four = series_from({1: (10.0,), 4: (12.5,)}, scaling=Scaling.WEAK).points
    assert four.efficiency.value == pytest.approx(0.8)
    assert four.speedup.value == pytest.approx(3.2)
    assert four.images_per_s.value == pytest.approx(2048)
    assert four.serial_fraction is None


def test_series_stand_in_the_order_of_what_tells_them_apart_numbers_by_their_size():
    sizes = ["1024", "[224, 96]", "[32, 96]", "96"]
    runs = [
        run(gpus, (10 / gpus,) * 2, conditions={"model.image_size": size}, run_id=f"g{gpus}-{size}")
        for size in sizes
        for gpus in (1, 2)
    ]
    assert [dict(one.key.conditions)["model.image_size"] for one in group(runs, Scaling.STRONG)] == [
        "96",
        "1024",
        "[32, 96]",
        "[224, 96]",
    ]


def test_repeats_are_one_point_with_both_spreads():
    (point,) = series_from({1: [[10.0, 11.0], [12.0, 12.0], [20.0, 20.0]]}).points
    assert point.time_s.value == 12.0
    assert (point.time_s.n, point.epochs) == (3, 6)
    assert point.between == pytest.approx((20.0 - 10.5) / 12.0)
    assert point.within == 0.0  # the median of 1/10.5, 0 and 0
    assert point.first_epoch_s == 24.0


def test_weak_work_is_counted_per_gpu():
    (series,) = group([run(1, scaling=Scaling.WEAK), run(4, scaling=Scaling.WEAK)], Scaling.WEAK)
    assert series.key.work == 6400


def test_without_its_smallest_cell_a_series_compares_nothing_and_names_the_cell():
    (series,) = strong(without_time(1, cause="oom"), run(2, (5.0,)), run(4, (3.0,)))
    assert series.baseline is None
    assert series.no_baseline == (
        "no baseline: gpus=1 (g1-s0) is failed (oom); run that cell, or nothing can be compared"
    )
    assert [point.speedup for point in series.points] == [None] * 3
    assert series.points[2].time_s.value == 3.0


def test_a_baseline_under_way_is_waited_for():
    (series,) = strong(without_time(1, status="running"), run(2, (5.0,)))
    assert "comes with its record" in series.no_baseline


def test_other_gpus_than_the_first_run_had_stand_apart_with_both_names():
    (series,) = strong(run(1), run(2, (9.0,), devices=("Tesla T4", "Tesla P4")), run(4, (3.0,)))
    (apart,) = series.apart
    assert apart.reason == "unlike GPUs: it ran on Tesla P4 + Tesla T4, the first run of its series on Tesla T4"
    assert [point.gpus for point in series.points] == [1, 4]


def test_a_repeat_on_another_driver_is_not_pooled():
    def with_cpu(name):
        return (Fingerprint(rank=0, host=name, cpu=name),)

    many = [run(1, seed=seed, machine=with_cpu("epyc")) for seed in range(2)]
    (series,) = strong(*many, run(1, seed=2, run_id="odd", machine=with_cpu("xeon")), run(2, (5.0,)))
    assert series.points[0].time_s.n == 2
    assert series.apart[0].run.run_id == "odd"
    assert "epyc against xeon" in series.apart[0].reason


def test_machines_that_differ_along_a_series_are_said():
    machine = {1: "epyc", 2: "xeon"}
    (series,) = strong(
        *(run(g, (10.0 / g,), machine=(Fingerprint(rank=0, host=f"h{g}", cpu=machine[g]),)) for g in (1, 2))
    )
    assert series.flags == ("CPU: epyc (on h1), xeon (on h2)",)
    assert series.points[1].speedup.value == 2.0


def test_superlinear_points_are_flagged_with_a_likely_cause():
    (throttled,) = strong(run(1, (11.0,), flags=("throttled: rank 0",)), run(2, (5.0,)))
    assert "superlinear: 110.0% of ideal; likely the baseline was throttled" in throttled.points[1].flags
    (elsewhere,) = strong(run(1, (11.0,), hosts=("a",)), run(2, (5.0,), hosts=("b",)))
    assert "the baseline ran on another node (a)" in elsewhere.points[1].flags[0]
    (unknown,) = strong(run(1, (11.0,)), run(2, (5.0,)))
    assert "repeat the baseline" in unknown.points[1].flags[0]
    assert unknown.points[1].serial_fraction.value < 0
    (chance,) = strong(run(1, (10.5,)), run(2, (5.0,)))
    assert chance.points[1].flags == (), "5 % is less than two standard errors of a ratio of single runs"


def test_a_shared_curve_that_ran_in_parts_says_which_points_are_not_on_the_baselines_nodes():
    shared = {"conditions": {"allocation": "shared"}}
    (series,) = strong(
        run(1, hosts=("a",), **shared),
        run(2, (5.1,), hosts=("a", "b"), **shared),
        run(4, (2.6,), hosts=("c",), **shared),
    )
    assert [point.flags for point in series.points] == [(), (), ("not in the allocation of gpus=1, which ran on a",)]
    (alone,) = strong(run(1, hosts=("a",)), run(4, (2.6,), hosts=("c",)))
    assert alone.points[1].flags == ()


def test_a_partial_run_is_marked():
    (series,) = strong(run(1), run(2, (5.0, 5.0), epochs_requested=5, epochs_done=4))
    assert series.points[1].flags == ("partial: g2-s0 stopped after 4 of 5",)


def test_labels_name_just_what_differs():
    runs = [run(1), run(1, micro_batch=32, run_id="b"), run(1, conditions={"precision": "bf16"}, run_id="c")]
    assert [series.label for series in strong(*runs)] == ["bf16, batch 16", "fp32, batch 16", "fp32, batch 32"]
    assert [series.label for series in strong(runs[0])] == ["batch 16"]
    named = [run(1, conditions={"model": m, "model.layers": n}, run_id=m) for m, n in (("a", "2"), ("b", "4"))]
    assert [series.label for series in strong(*named)] == ["a", "b"]
    same = [run(1, conditions={"model.layers": n}, run_id=n) for n in ("2", "4")]
    assert [series.label for series in strong(*same)] == ["model.layers=2", "model.layers=4"]


GPUS = st.lists(st.sampled_from([1, 2, 4, 8, 16]), min_size=1, max_size=5, unique=True)


@given(GPUS, st.floats(0.1, 1e4), st.sampled_from(Scaling))
def test_ideal_scaling_has_efficiency_one(gpus, seconds, scaling):
    times = {g: (seconds / g if scaling is Scaling.STRONG else seconds,) for g in gpus}
    for point in series_from(times, scaling=scaling).points:
        assert point.efficiency.value == pytest.approx(1.0)


RUNS = st.lists(
    st.builds(
        lambda gpus, seconds, seed, micro: run(
            gpus, (seconds,), seed=seed, micro_batch=micro, run_id=f"{gpus}-{seed}-{micro}"
        ),
        st.sampled_from([1, 2, 4]),
        st.floats(0.5, 50),
        st.integers(0, 2),
        st.sampled_from([8, 16]),
    ),
    max_size=12,
    unique_by=lambda a_run: a_run.run_id,
)


@given(RUNS, st.randoms())
def test_order_changes_nothing_and_neither_do_duplicates(runs, source):
    shuffled = [*runs, *runs[:3]]
    source.shuffle(shuffled)
    assert group(shuffled, Scaling.STRONG) == group(runs, Scaling.STRONG)


@given(st.floats(0.001, 0.999), st.integers(2, 1024))
def test_amdahls_law_gives_its_serial_fraction_back(serial, gpus):
    assert serial_fraction(1 / (serial + (1 - serial) / gpus), gpus) == pytest.approx(serial)


def test_an_imported_run_has_no_machine_and_is_pooled_all_the_same():
    many = [replace(run(1, seed=seed), origin=Origin.IMPORTED, devices=(), machine=()) for seed in range(3)]
    (series,) = strong(*many)
    assert series.points[0].time_s.n == 3


def test_a_label_says_what_is_not_stated_instead_of_none_or_nothing():
    stated = run(2, run_id="silent")
    conditions = tuple(pair for pair in stated.conditions if pair[0] != "gpu_model")
    silent = replace(stated, micro_batch=None, conditions=conditions)
    labels = {series.label for series in group([run(1), silent], Scaling.STRONG)}
    assert labels == {"Tesla T4, batch 16", "gpu_model not stated, batch not stated"}
    assert [series.label for series in group([silent], Scaling.STRONG)] == ["all runs"]
    unplaced = tuple(replace(curve, placement="") for curve in stated.curves)
    nowhere = replace(stated, curves=unplaced, work=None, run_id="nowhere")
    labels = {series.label for series in group([run(1), nowhere], Scaling.STRONG)}
    assert labels == {"packed, 6400 images", "placement not stated, images not stated"}
