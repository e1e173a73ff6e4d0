"""Predictions hold the truth, reach as far as stated, and are refused with the numbers where hold-out forbids them."""

from dataclasses import replace
from math import exp, sqrt

import pytest

from tests.unit.analysis.planted import curve, noisy, series_of
from vit_sweep.analysis.laws.fits import best, fit, fit_law, predict
from vit_sweep.analysis.laws.fitted import HOLD_OUT_LIMIT, REACH, Prediction, Refusal
from vit_sweep.analysis.laws.laws import Law
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.point import Scaling
from vit_sweep.runs.sources import from_reference


def amdahl(counts=(1, 2, 4, 8), **changes):
    times = noisy(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0), counts), 4)
    return fit_law(series_of(times, **changes), Law.AMDAHL)


def test_a_prediction_holds_the_truth_and_says_that_it_is_one():
    made = predict(amdahl(), 32)
    assert isinstance(made, Prediction)
    assert made.extrapolated
    assert made.time_s.low < 2 + 98 / 32 < made.time_s.high
    assert made.efficiency.low < 1 / (0.02 * 32 + 0.98) < made.efficiency.high
    assert made.speedup.value == pytest.approx(32 * made.efficiency.value)
    assert not predict(amdahl(), 3).extrapolated


def test_the_baseline_is_predicted_at_exactly_one():
    made = predict(amdahl(), 1)
    assert (made.efficiency.low, made.efficiency.value, made.efficiency.high) == (1, 1, 1)


def test_the_published_curve_to_8_gpus_predicts_its_own_16_and_32():
    """arXiv:2602.21081, one GPU a node: Amdahl's law from 1 to 8 GPUs holds the measured epochs in its intervals."""
    (spread,) = [
        one for one in group(from_reference("paper_cifar100").runs, Scaling.STRONG) if one.key.placement == "spread"
    ]
    near = replace(spread, points=tuple(point for point in spread.points if point.gpus <= 8))
    law = best(fit(near))
    assert law.law is Law.AMDAHL
    measured = {point.gpus: point.time_s.value for point in spread.timed if point.gpus > 8}
    assert set(measured) == {16, 32}
    for gpus, seconds in measured.items():
        made = predict(law, gpus)
        assert made.extrapolated
        assert made.time_s.low <= seconds <= made.time_s.high


def test_without_a_baseline_no_speedup_is_predicted():
    made = predict(replace(amdahl(), baseline_gpus=None), 4)
    assert (made.speedup, made.efficiency) == (None, None)
    assert made.time_s.value > 0


def test_beyond_the_stated_multiple_of_the_measured_range_there_is_a_refusal_with_the_numbers():
    found = amdahl()
    assert REACH == 4
    assert isinstance(predict(found, 32), Prediction)
    refused = predict(found, 33)
    assert isinstance(refused, Refusal)
    assert "33 GPUs are a factor 4.12 from the largest measured count (8)" in refused.reason
    assert "gpus=32" in refused.reason
    upper = fit_law(series_of(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0), (8, 16, 32))), Law.AMDAHL)
    assert isinstance(predict(upper, 2), Prediction)
    assert "smallest measured count (8)" in predict(upper, 1).reason


def test_hold_out_errors_above_the_limit_forbid_extrapolation_but_not_interpolation():
    found = amdahl()
    for change in ({"loo_error": 0.12}, {"largest_error": 0.12}, {"loo_error": None}):
        bad = replace(found, **change)
        refused = predict(bad, 16)
        assert isinstance(refused, Refusal)
        assert f"above {HOLD_OUT_LIMIT:.0%}" in refused.reason
        assert isinstance(predict(bad, 3), Prediction)
    assert "12%" in predict(replace(found, loo_error=0.12), 16).reason


def test_a_prediction_is_never_narrower_than_the_hold_out_error():
    made = predict(replace(amdahl(), loo_error=0.08), 3)
    assert made.time_s.high / made.time_s.value == pytest.approx(exp(0.08))


def test_a_global_batch_above_the_data_is_no_run():
    times = curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0), (100, 500, 1000))
    found = fit_law(series_of(times), Law.AMDAHL)
    refused = predict(found, 2000)
    assert "global batch 32000 is more than the 25600 images" in refused.reason


def test_a_prediction_needs_a_gpu():
    with pytest.raises(ValueError, match="gpus=0"):
        predict(amdahl(), 0)


def test_repeats_narrow_the_interval_with_their_square_root():
    few, many = (
        fit_law(series_of(noisy(curve(Law.AMDAHL, Scaling.STRONG, (2.0, 98.0)), 7, repeats=n)), Law.AMDAHL)
        for n in (4, 64)
    )
    ratio = (few.covariance[0][0] / many.covariance[0][0]) ** 0.5
    assert ratio == pytest.approx(sqrt(64 / 4), rel=0.5)
