"""The laws give the numbers of their formulas, computed by hand."""

from math import log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.analysis.builders import series_from
from vit_sweep.analysis.laws.laws import (
    COEFFICIENTS,
    Law,
    MeasuredLink,
    Workload,
    counts_needed,
    known_s,
    law_time_s,
    slowest_of,
    terms,
)
from vit_sweep.analysis.laws.link import step_bytes
from vit_sweep.plan.choices import Scaling

STRONG = Workload(scaling=Scaling.STRONG, batch_per="gpu", batch=64, accum=1, work=50_000)
WEAK = Workload(scaling=Scaling.WEAK, batch_per="gpu", batch=64, accum=2, work=1280)
GLOBAL = Workload(scaling=Scaling.STRONG, batch_per="global", batch=96, accum=1, work=960)


def test_the_slowest_of_p_ranks_is_sqrt_2_ln_p_above_their_mean():
    assert slowest_of(1) == 0
    assert slowest_of(32) == pytest.approx(sqrt(2 * log(32)))


@pytest.mark.parametrize(
    ("load", "gpus", "steps", "per_gpu"),
    [
        (STRONG, 1, 782, 64),  # 50,000 / 64 = 781.25
        (STRONG, 32, 25, 64),  # 50,000 / 2,048 = 24.4: the paper's 25 steps
        (WEAK, 1, 10, 128),
        (WEAK, 7, 10, 128),
        (GLOBAL, 3, 10, 32),
        (GLOBAL, 7, 10, 96 / 7),
    ],
)
def test_steps_of_an_epoch(load, gpus, steps, per_gpu):
    assert (load.steps(gpus), load.per_gpu(gpus)) == (steps, pytest.approx(per_gpu))


def test_the_latency_bandwidth_model_by_hand():
    """32 GPUs: 25 steps x [64 x 10 ms x (1 + 0.01 x 2.633) + 62 x 50 us + 62/32 x 100 ms]."""
    seconds = law_time_s(Law.LATENCY_BANDWIDTH, 32, STRONG, (0.01, 0.0001, 50e-6, 0.1))
    assert seconds == pytest.approx(25 * (0.64 * (1 + 0.01 * sqrt(2 * log(32))) + 62 * 50e-6 + 62 / 32 * 0.1))
    link = MeasuredLink(latency_s=50e-6, seconds_per_byte=((8, 1e-9), (32, 2e-9)))
    same = law_time_s(Law.MEASURED_LINK, 32, STRONG, (0.01, 0.0001), link=link, size_bytes=0.05e9)
    assert same == pytest.approx(seconds)


def test_a_link_between_two_measured_counts_is_the_nearer_ones():
    link = MeasuredLink(latency_s=0, seconds_per_byte=((2, 1.0), (8, 2.0)))
    assert [link.at(gpus) for gpus in (1, 2, 3, 4, 8, 64)] == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert known_s(8, STRONG, link=link, size_bytes=None) == 0


@given(st.sampled_from(list(Law)), st.sampled_from([STRONG, WEAK]), st.integers(1, 512))
def test_every_law_has_its_number_of_terms_and_none_is_negative(law, load, gpus):
    parts = terms(law, gpus, load)
    assert len(parts) == COEFFICIENTS[law] == counts_needed(law) - 1
    assert min(parts) >= 0


@given(st.floats(0, 1), st.floats(0.1, 1e4), st.integers(1, 4096))
def test_times_of_a_law_give_the_speedup_of_its_authors(serial, single, gpus):
    strong = law_time_s(Law.AMDAHL, gpus, STRONG, (serial * single, (1 - serial) * single))
    assert single / strong == pytest.approx(1 / (serial + (1 - serial) / gpus))
    usl = law_time_s(Law.USL, gpus, WEAK, (single, serial * single, 1e-3 * single))
    assert gpus * single / usl == pytest.approx(gpus / (1 + serial * (gpus - 1) + 1e-3 * gpus * (gpus - 1)))
    if serial < 1:
        weak = law_time_s(Law.GUSTAFSON, gpus, WEAK, (serial / single, (1 - serial) / single))
        assert gpus * single / weak == pytest.approx(gpus - serial * (gpus - 1))


def test_a_workload_that_is_not_said_is_not_guessed():
    load = Workload(scaling=Scaling.STRONG, batch_per="gpu")
    assert not load.known
    with pytest.raises(ValueError, match="not known"):
        load.steps(2)


@pytest.mark.parametrize(
    ("stage", "accum", "whole"), [("0", 4, 1.0), ("1", 4, 1.5), ("2", 1, 1.5), ("2", 4, 4.5), ("3", 4, 4.0)]
)
def test_without_a_profiled_window_the_bytes_of_a_step_are_those_of_its_zero_stage(stage, accum, whole):
    """A million weights, 4 bytes each and 2 in bf16; in all-reduces of the whole gradient, as DeepSpeed was counted."""
    conditions = {"engine.zero_stage": stage}
    known = {"parameters": 10**6, "accum": accum}
    full = series_from({1: (10.0,), 2: (6.0,)}, conditions=conditions, **known)
    half = series_from({1: (10.0,), 2: (6.0,)}, conditions=conditions | {"precision": "bf16"}, **known)
    assert (step_bytes(full), step_bytes(half)) == (pytest.approx(4e6 * whole), pytest.approx(2e6 * whole))
    assert step_bytes(series_from({1: (10.0,), 2: (6.0,)}, bytes_per_step=7e6, **known)) == 7e6
