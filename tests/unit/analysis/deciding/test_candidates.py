"""Candidate laws are weighed by the runs: the planted one gains, and where they disagree a run tells most."""

from math import exp, log

import pytest

from tests.unit.analysis.deciding.test_decide import COUNTS, known, seconds
from vit_sweep.analysis.deciding.candidates import Candidates
from vit_sweep.analysis.deciding.evidence import Timed


def of(counts, repeats=2, serial=0.02):
    runs = [Timed(gpus=g, epoch_s=seconds(g, serial) * (1 + 0.002 * i)) for g in counts for i in range(repeats)]
    return Candidates(evidence=known(runs))


def test_weights_are_probabilities():
    for counts in ((), (1,), (1, 16), COUNTS):
        assert of(counts).weights.sum() == pytest.approx(1)
        assert (of(counts).weights >= 0).all()


def test_what_candidates_say_narrows_with_counts_and_holds_the_truth():
    truth, widths = log(seconds(1, 0.02) / seconds(64, 0.02)), []
    for counts in ((1,), (1, 2), (1, 2, 8), (1, 2, 8, 32)):
        low, high = of(counts).ratio(64).interval(0.95)
        assert low < truth < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_a_run_near_what_is_asked_tells_more_than_one_far_from_it():
    made = of((1, 2, 4))
    asked = made.ratio(64)
    assert made.gain(32, asked) > made.gain(8, asked) > made.gain(2, asked)
    assert 0 <= made.gain(2, asked) <= made.gain(32, asked) <= 1


def test_doubt_grows_beyond_the_measured_counts():
    made = of(COUNTS)
    widths = [exp(high - low) for low, high in (made.seconds(gpus).interval(0.95) for gpus in (32, 128, 256))]
    assert widths == sorted(widths)
