"""Fits recover what was planted, whatever the order, and refuse what the data cannot carry."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from tests.unit.analysis.laws.planted import COUNTS, GRADIENT, LINK, curve, load, noisy, series_of
from tests.unit.builders import cell, record, result
from vit_sweep.analysis.laws.fits import fit, fit_law
from vit_sweep.analysis.laws.fitted import Fit
from vit_sweep.analysis.laws.laws import OF_SCALING, Law, law_time_s, workload_of
from vit_sweep.analysis.laws.parameters import parameters
from vit_sweep.analysis.laws.predicting import Refusal, best, predict
from vit_sweep.analysis.laws.solving import Solution, solve
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.choices import Scaling
from vit_sweep.record.machine import AllReduce, Preflight
from vit_sweep.runs.of_study import runs_of

SEEDS = 200
T_975 = {14: 2.145, 15: 2.131, 16: 2.120}
"""Student's t, 97.5 %, by degrees of freedom (any table): 18 runs less 4, 3 or 2 coefficients."""
PLANTED = {
    (Law.AMDAHL, Scaling.STRONG): ((2.0, 98.0), {"one_gpu_s": 100.0, "serial_fraction": 0.02}),
    (Law.GUSTAFSON, Scaling.WEAK): ((0.005, 0.095), {"one_gpu_s": 10.0, "serial_fraction": 0.05}),
    (Law.USL, Scaling.STRONG): ((100.0, 3.0, 0.05), {"one_gpu_s": 100.0, "contention": 0.03, "coherence": 0.0005}),
    (Law.USL, Scaling.WEAK): ((10.0, 0.3, 0.01), {"one_gpu_s": 10.0, "contention": 0.03, "coherence": 0.001}),
    (Law.LATENCY_BANDWIDTH, Scaling.STRONG): (
        (0.01, 0.0003, 0.0004, 0.01),
        {"compute_ms_per_image": 10.0, "imbalance": 0.03, "latency_us": 400.0, "transfer_ms": 10.0},
    ),
    (Law.LATENCY_BANDWIDTH, Scaling.WEAK): (
        (0.01, 0.0005, 0.001, 0.02),
        {"compute_ms_per_image": 10.0, "imbalance": 0.05, "latency_us": 1000.0, "transfer_ms": 20.0},
    ),
    (Law.MEASURED_LINK, Scaling.STRONG): ((0.01, 0.0005), {"compute_ms_per_image": 10.0, "imbalance": 0.05}),
}


@pytest.mark.parametrize(("law", "scaling"), PLANTED)
def test_planted_parameters_lie_in_their_intervals_in_nine_of_ten_seeds(law, scaling):
    """200 seeds, 2 % noise, three runs at each of six counts; every parameter is counted by itself."""
    coefficients, planted = PLANTED[law, scaling]
    times = curve(law, scaling, coefficients)
    caught = dict.fromkeys(planted, 0)
    link = LINK if law is Law.MEASURED_LINK else None
    bare = Fit(law=law, load=load(scaling), counts=COUNTS, runs=18, link=link)
    for seed in range(SEEDS):
        solution = solve(noisy(times, seed), law, load(scaling), link=link, size_bytes=GRADIENT)
        assert isinstance(solution, Solution)
        for parameter in parameters(bare, solution, T_975[solution.freedom]):
            if parameter.name in planted:
                caught[parameter.name] += parameter.low <= planted[parameter.name] <= parameter.high
    assert min(caught.values()) >= 0.9 * SEEDS, caught


@pytest.mark.parametrize("repeats", [1, 2, 3])
@pytest.mark.parametrize(("law", "scaling"), [key for key in PLANTED if key[0] in (Law.AMDAHL, Law.GUSTAFSON, Law.USL)])
def test_small_designs_cover_as_well(law, scaling, repeats):
    """1, 2, 4, 8 GPUs, one run each or three: wide intervals, but they hold what was planted."""
    coefficients, planted = PLANTED[law, scaling]
    times = curve(law, scaling, coefficients, (1, 2, 4, 8))
    caught = dict.fromkeys(planted, 0)
    for seed in range(SEEDS):
        solution = solve(noisy(times, seed, repeats=repeats), law, load(scaling))
        bare = Fit(law=law, load=load(scaling), counts=(1, 2, 4, 8), runs=4 * repeats)
        for parameter in parameters(bare, solution, float(stdtrit(solution.freedom, 0.975))):
            high = inf if parameter.high is None else parameter.high
            caught[parameter.name] += parameter.low <= planted[parameter.name] <= high
    assert min(caught.values()) >= 0.92 * SEEDS, caught


# --- what a fit says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("law", "scaling"), [key for key in PLANTED if key[0] is not Law.MEASURED_LINK])
def test_exact_data_give_back_the_law_and_no_hold_out_error(law, scaling):
    coefficients, planted = PLANTED[law, scaling]
    fitted = fit_law(series_of(curve(law, scaling, coefficients), scaling), law)
    assert fitted.refusal == ""
    assert (fitted.counts, fitted.runs) == (COUNTS, 6)
    for name, value in planted.items():
        assert fitted.parameter(name).value == pytest.approx(value, rel=1e-4)
    assert fitted.loo_error == pytest.approx(0, abs=1e-4)
    assert fitted.largest_error == pytest.approx(0, abs=1e-3)
    assert fitted.time_s(64) == pytest.approx(law_time_s(law, 64, load(scaling), coefficients), rel=1e-4)


@settings(max_examples=30)
@given(st.floats(1, 1e4), st.lists(st.sampled_from([2, 3, 4, 6, 8, 12, 16, 32]), min_size=3, max_size=6, unique=True))
def test_ideal_data_have_no_serial_part(seconds, others):
    """Time exactly in inverse proportion to GPUs: Amdahl's s, USL's a and b are 0 and efficiency is 1 everywhere."""
    counts = [1, *others]
    by_law = {fitted.law: fitted for fitted in fit(series_of({gpus: seconds / gpus for gpus in counts}))}
    assert by_law[Law.AMDAHL].parameter("serial_fraction").value == pytest.approx(0, abs=1e-6)
    usl = by_law[Law.USL]
    assert usl.parameter("contention").value == pytest.approx(0, abs=1e-5)
    assert usl.parameter("coherence").value == pytest.approx(0, abs=1e-5)
    assert best([by_law[Law.AMDAHL], usl]).law is Law.AMDAHL
    assert predict([by_law[Law.AMDAHL]], 2 * max(counts)).efficiency.value == pytest.approx(1, abs=1e-4)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_points_and_runs_does_not_matter(shuffle):
    times = list(noisy(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0)), 1).items())
    straight = fit(series_of(dict(times)))
    shuffle.shuffle(times)
    for _, runs in times:
        shuffle.shuffle(runs)
    assert fit(series_of(dict(times))) == straight


@given(st.floats(0.01, 100))
@settings(max_examples=10)
def test_the_unit_of_time_does_not_matter(factor):
    times = noisy(curve(Law.USL, Scaling.STRONG, (100.0, 3.0, 0.05)), 5)
    in_s, in_ms = (
        fit_law(series_of({g: [f * s for s in runs] for g, runs in times.items()}), Law.USL) for f in (1, factor)
    )
    assert in_ms.loo_error == pytest.approx(in_s.loo_error, rel=1e-4)
    for name in ("contention", "coherence"):
        parameter, other = in_s.parameter(name), in_ms.parameter(name)
        assert (other.value, other.low, other.high) == pytest.approx(
            (parameter.value, parameter.low, parameter.high), rel=1e-4, abs=1e-9
        )


def test_one_disturbed_run_of_many_moves_a_robust_fit_little():
    times = noisy(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0)), 3, repeats=5, noise=0.005)
    times[32][0] *= 3
    assert fit_law(series_of(times), Law.AMDAHL).parameter("serial_fraction").value == pytest.approx(0.02, abs=0.005)


def test_only_laws_that_mean_something_under_the_scaling_are_fitted():
    strong = fit(series_of(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0))))
    weak = fit(series_of(curve(Law.GUSTAFSON, Scaling.WEAK, (0.005, 0.095)), Scaling.WEAK))
    assert [fitted.law for fitted in strong] == [Law.AMDAHL, Law.USL, Law.LATENCY_BANDWIDTH]
    assert [fitted.law for fitted in weak] == [Law.GUSTAFSON, Law.USL, Law.LATENCY_BANDWIDTH]
    assert all(Law.MEASURED_LINK in laws for laws in OF_SCALING.values())


def test_the_law_with_the_smallest_hold_out_error_is_the_best():
    """Times with a coherence cost that Amdahl's law does not have."""
    fits = fit(series_of(noisy(curve(Law.USL, Scaling.STRONG, (100.0, 2.0, 0.6)), 2, noise=0.003)))
    errors = {fitted.law: fitted.loo_error for fitted in fits}
    assert errors[Law.USL] < errors[Law.AMDAHL]
    assert best(fits).law in (Law.USL, Law.LATENCY_BANDWIDTH)
    assert best([]) is None


def test_leave_one_out_by_hand():
    """Amdahl over 1, 2, 4 GPUs, each pair of counts predicts the third: a + b/p through two points."""
    times = {1: 10.0, 2: 6.0, 4: 3.0}
    fitted = fit_law(series_of(times), Law.AMDAHL)
    left_1 = 9 + 3  # through (2, 6), (4, 3): b = 12, a = 0 -> T(1) = 12
    left_2 = 2 / 3 + 28 / 3 / 2  # through (1, 10), (4, 3): b = 28/3, a = 2/3
    left_4 = 2 + 8 / 4  # through (1, 10), (2, 6): b = 8, a = 2
    errors = [abs(left_1 / 10 - 1), abs(left_2 / 6 - 1), abs(left_4 / 3 - 1)]
    assert fitted.loo_error == pytest.approx(sum(errors) / 3, rel=1e-6)
    assert fitted.largest_error == pytest.approx(errors[2], rel=1e-6)


# --- the measured link ---------------------------------------------------------------------------------------


def with_links(times, *, bus=5.0, latency_us=20.0, size=346e6, **changes):
    made = series_of(times, **changes)
    points = []
    for point in made.points:
        known = {"parameters": int(size / 4)} | (
            {"bus_gb_per_s": bus, "latency_us": 2 * (point.gpus - 1) * latency_us} if point.gpus > 1 else {}
        )
        points.append(replace(point, runs=tuple(replace(run, **known) for run in point.runs)))
    return replace(made, points=tuple(points))


def test_a_measured_link_is_taken_as_measured_and_only_the_rest_is_fitted():
    """T = steps x [16 x 10 ms x (1 + 0.02 sqrt(2 ln p)) + ring], S = 4 x parameters; three counts suffice."""
    size, bus, alpha = 346e6, 5e9, 20e-6
    times = {}
    for gpus in (1, 2, 4):
        # The bus bandwidth of a preflight contains its latency: time = 2 (p-1)/p x S/bus.
        ring = 2 * (gpus - 1) / gpus * size / bus
        times[gpus] = load(Scaling.STRONG).steps(gpus) * ring + law_time_s(
            Law.LATENCY_BANDWIDTH, gpus, load(Scaling.STRONG), (0.01, 0.0002, 0, 0)
        )
    fitted = fit_law(with_links(times), Law.MEASURED_LINK)
    assert fitted.refusal == ""
    assert fitted.parameter("compute_ms_per_image").value == pytest.approx(10, rel=1e-4)
    assert fitted.parameter("imbalance").value == pytest.approx(0.02, rel=1e-3)
    assert fitted.parameter("latency_us").value == pytest.approx(20)
    assert {parameter.name: parameter.how for parameter in fitted.parameters} == {
        "compute_ms_per_image": "fitted",
        "imbalance": "fitted",
        "latency_us": "measured",
        "bus_gb_per_s": "measured",
    }
    step = fitted.link.at(4) * size * 2 * 3 / 4 + 2 * 3 * alpha
    assert step == pytest.approx(2 * 3 / 4 * size / bus, rel=1e-6)
    assert [law_fit.law for law_fit in fit(with_links(times))][-1] is Law.MEASURED_LINK


def test_a_bandwidth_is_derived_where_the_gradient_is_known():
    """S = 346 MB and 100 ms of transfer are 3.46 GB/s."""
    times = curve(Law.LATENCY_BANDWIDTH, Scaling.STRONG, (0.01, 0.0, 0.0, 0.1))
    fitted = fit_law(series_of(times, bytes_per_step=346e6), Law.LATENCY_BANDWIDTH)
    assert fitted.parameter("bus_gb_per_s").value == pytest.approx(3.46, rel=1e-3)
    assert fitted.parameter("bus_gb_per_s").how == "derived"
    loose = noisy(curve(Law.LATENCY_BANDWIDTH, Scaling.STRONG, (0.05, 0.02, 0.0, 0.01)), 1, noise=0.05)
    fitted = fit_law(series_of(loose, bytes_per_step=346e6), Law.LATENCY_BANDWIDTH)
    transfer, bandwidth = fitted.parameter("transfer_ms"), fitted.parameter("bus_gb_per_s")
    assert transfer.low == 0 and bandwidth.high == inf and bandwidth.low > 0, "a transfer that may be none"
    with pytest.raises(KeyError):
        fit_law(series_of(times), Law.LATENCY_BANDWIDTH).parameter("bus_gb_per_s")


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "counts", "words"),
    [
        (Law.AMDAHL, (1, 2), "Amdahl: needs 3 GPU counts (2 coefficients, and one count to hold out); this series"),
        (Law.USL, (1, 2, 4), "USL: needs 4 GPU counts"),
        (Law.LATENCY_BANDWIDTH, (1, 2, 4, 8), "needs 5 GPU counts"),
    ],
)
def test_too_few_counts_are_refused_with_both_numbers(law, counts, words):
    fitted = fit_law(series_of({gpus: 100 / gpus for gpus in counts}), law)
    assert words in fitted.refusal
    assert fitted.parameters == ()
    assert predict([fitted], 2) == Refusal(law=law, reason=fitted.refusal)


def test_one_count_and_no_run_at_all_are_refused_alike():
    single = series_of({1: [1.0, 1.1, 1.2]})
    assert all("has 1 (1)" in fitted.refusal for fitted in fit(single))
    none = replace(single, points=(), baseline_gpus=None)
    assert all("has 0 (none)" in fitted.refusal for fitted in fit(none))


def test_an_unknown_batch_refuses_only_the_model_that_counts_steps():
    made = series_of(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0)))
    made = replace(made, key=replace(made.key, batch=None))
    refusals = {fitted.law: fitted.refusal for fitted in fit(made)}
    assert refusals[Law.AMDAHL] == ""
    assert "the batch" in refusals[Law.LATENCY_BANDWIDTH]
    assert not workload_of(made.key).known


def test_times_faster_than_ideal_contradict_the_law_and_name_the_likely_cause():
    """Every doubling of GPUs divides the time by 2.07."""
    times = {gpus: 100 / gpus**1.05 for gpus in (1, 2, 4, 8, 16)}
    fitted = fit_law(series_of(noisy(times, 0, noise=0.002)), Law.AMDAHL)
    assert "below its bound, zero: these times contradict the law" in fitted.refusal
    assert "throttled" in fitted.refusal


def test_times_that_do_not_fall_at_all_are_no_parallel_work():
    fitted = fit_law(series_of({1: 10.0, 2: 10.5, 4: 11.0}), Law.AMDAHL)
    assert "do not scale at all" in fitted.refusal


@pytest.mark.parametrize("time", [0.0, -1.0])  # a run holds neither NaN nor infinity
def test_a_time_that_is_no_positive_number_is_a_refusal(time):
    made = series_of({1: 8.0, 2: 4.0, 4: 2.0})
    points = tuple(replace(p, runs=(replace(p.runs[0], epoch_s=(time,)),)) if p.gpus == 4 else p for p in made.points)
    fitted = fit_law(replace(made, points=points), Law.AMDAHL)
    assert fitted.refusal == "Amdahl: the epoch times on 4 GPUs are no positive numbers"


def test_oversubscribed_points_are_no_evidence():
    times = {1: 8.0, 2: 4.0, 4: 2.0, 8: 9.0}
    made = series_of(times)
    points = tuple(replace(p, oversubscribed=p.gpus == 8) for p in made.points)
    assert fit_law(replace(made, points=points), Law.AMDAHL).counts == (1, 2, 4)


# --- from records --------------------------------------------------------------------------------------------


def test_records_with_a_preflight_are_fitted_with_the_link_that_they_measured():
    """1,600 images by 16, c = 10 ms an image; the ring at 2 GB/s bus bandwidth and 30 us; S = 4 x 1,000 parameters."""
    results = []
    for gpus in (1, 2, 4):
        planned = cell(gpus=gpus, nodes=1)
        smallest, ring = 2 * (gpus - 1) * 0.03, 2 * (gpus - 1) / gpus * 4000 / 2e9 * 1e3
        probes = (
            AllReduce(size_bytes=4, repetitions=9, min_ms=smallest, median_ms=smallest),
            AllReduce(size_bytes=4000, repetitions=9, min_ms=ring, median_ms=ring),
        )
        before = Preflight(rank=0, precision="fp32", all_reduce=probes if gpus > 1 else (), seconds=1.0)
        seconds = planned.steps_per_epoch * (0.16 + ring / 1e3)
        results.append(result(planned, record=record(planned, (9.0, seconds, seconds), preflight=(before,))))
    (made,) = group(runs_of(results), Scaling.STRONG)
    by_law = {fitted.law: fitted for fitted in fit(made)}
    law = by_law[Law.MEASURED_LINK]
    assert law.refusal == ""
    assert law.size_bytes == 4000
    assert law.parameter("latency_us").value == pytest.approx(30, rel=1e-4)
    assert law.parameter("compute_ms_per_image").value == pytest.approx(10, rel=1e-3)
    assert law.loo_error < 0.01
    assert by_law[Law.AMDAHL].refusal == ""
    assert "needs 4 GPU counts" in by_law[Law.USL].refusal


def test_a_fit_uses_students_t_of_its_runs():
    fitted = fit_law(series_of(noisy(curve(Law.USL, Scaling.STRONG, (100.0, 3.0, 0.05)), 0)), Law.USL)
    assert fitted.runs == 18
    assert fitted.t_quantile == pytest.approx(T_975[15], abs=1e-3)
