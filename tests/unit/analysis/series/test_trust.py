"""Planted truths: how often intervals hold them and verdicts are false. The tables: docs/results/trust.md.

A bound is what a share that keeps its word would fall below in one of 10,000 tests. With VIT_SWEEP_LONG_TESTS=1 as many
studies as the tables show, and the goals themselves.
"""

import random
from math import exp

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.judging.coverage import CELLS, REPEATS, Simulation
from tests.conftest import LONG
from tests.unit.analysis.builders import run
from vit_sweep.analysis.compare import SAME, compare
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.repeats import RepeatRule

STUDIES = 3000 if LONG else 300
NOON = "2026-03-02T12:00:00+00:00"


def least(share, studies=STUDIES):
    """What a share of at least `share` does not fall below by chance."""
    return binom.ppf(1e-4, studies, share) / studies


def most(share, studies=STUDIES):
    """What a share of at most `share` does not exceed by chance."""
    return binom.ppf(1 - 1e-4, studies, share) / studies


@pytest.mark.parametrize("repeats", REPEATS)
def test_intervals_hold_the_truth_as_often_as_they_say(repeats):
    shares = Simulation(STUDIES, seed=repeats).coverage(CELLS, repeats)
    for name in ("time", "throughput", "speedup", "efficiency", "serial"):
        assert least(0.95) <= shares[name] <= (0.97 if LONG else most(0.965)), shares
        assert shares[name] >= 0.94 or not LONG, shares


@pytest.mark.parametrize("repeats", REPEATS)
def test_they_do_where_the_spread_grows_with_the_gpus_and_where_sessions_differ(repeats):
    simulation = Simulation(STUDIES, seed=repeats)
    growing = 0.01 * 4 ** (np.arange(CELLS) / (CELLS - 1))
    assert simulation.coverage(CELLS, repeats, spread=growing)["time"] >= least(0.935)
    sessions = np.tile(np.arange(repeats), CELLS)
    shares = simulation.coverage(CELLS, repeats, sessions=sessions)
    assert min(shares["time"], shares["speedup"]) >= least(0.94)


@pytest.mark.parametrize("days", ["none", "in turn", "each its own", "one each"])
def test_a_comparison_of_twelve_equal_cells_has_a_false_verdict_in_one_of_twenty(days):
    for repeats in REPEATS if LONG else REPEATS[:2]:
        false, _ = Simulation(STUDIES, seed=repeats).false_verdicts(repeats, days=days)
        assert false <= (0.05 if LONG else most(0.05))


def test_a_true_difference_is_found():
    _, power = Simulation(STUDIES, seed=1).false_verdicts(5, days="none", truth=0.08)
    assert power >= least(0.9)


@pytest.mark.parametrize("cells", [1, 2, 4, 8])
def test_the_stopping_rule_stops_where_its_interval_holds_the_truth(cells):
    studies = STUDIES if LONG else 150
    for spread in (0.01, 0.02, 0.03) if LONG else (0.02,):
        held, _ = Simulation(studies, seed=cells).stopping(cells, spread, RepeatRule(half_width=0.02, most=30))
        assert held >= (0.93 if LONG else least(0.94, studies))


def test_the_fitted_serial_fraction_holds_the_truth():
    fits = 200 if LONG else 40
    assert Simulation(fits, seed=1).fitted_fractions(3) >= least(0.94, fits)


# --- through the whole house: runs in, rows and verdicts out -------------------------------------------------


def study(draw, counts, repeats, side=""):
    """Runs that differ by 2 %, of Amdahl's law with 3 % that does not shrink."""
    return [
        run(
            gpus,
            (100 * (0.03 + 0.97 / gpus) * exp(draw.gauss(0, 0.02)),),
            seed=seed,
            run_id=f"{side}{gpus}-{seed}",
            started_at=NOON,
        )
        for gpus in counts
        for seed in range(repeats)
    ]


def test_the_rows_of_a_series_hold_the_truth():
    draw, counts, studies = random.Random(1), (1, 2, 4, 8, 16, 32, 64, 128), 100
    held = dict.fromkeys(("time_s", "images_per_s", "speedup", "efficiency", "serial_fraction"), 0)
    for _ in range(studies):
        (series,) = group(study(draw, counts, 2), Scaling.STRONG)
        for point in with_intervals(series).points[1:]:
            seconds = 100 * (0.03 + 0.97 / point.gpus)
            truths = {
                "time_s": seconds,
                "images_per_s": point.runs[0].images / seconds,
                "speedup": 100 / seconds,
                "efficiency": 100 / seconds / point.gpus,
                "serial_fraction": 0.03,
            }
            for name, truth in truths.items():
                estimate = getattr(point, name)
                held[name] += estimate.low <= truth <= estimate.high
    for name, count in held.items():
        assert count / (studies * (len(counts) - 1)) >= least(0.94, studies), name


def test_two_equal_studies_are_told_apart_in_one_of_twenty_and_unlike_ones_nearly_always():
    draw, counts, studies = random.Random(2), range(1, 13), 60
    false = detected = 0
    for _ in range(studies):
        a, b = study(draw, counts, 3, "a"), study(draw, counts, 3, "b")
        equal = compare(a, b)
        assert equal.mean is not None
        false += any(row.verdict != SAME for row in (*equal.pairs, equal.mean))
        slow = [
            a_run if a_run.gpus > 1 else run(1, (1.15 * a_run.epoch_s[0],), seed=a_run.seed, started_at=NOON)
            for a_run in b
        ]
        detected += compare(a, slow).pairs[0].verdict == "b is slower"
    assert false / studies <= most(0.05, studies)
    assert detected / studies >= least(0.95, studies)
