"""Planted truths: how often a gate is wrong, and how often it finds a slow-down. The tables: docs/results/gate.md.

A bound is what a share that keeps its word would pass in one of 10,000 tests. With VIT_SWEEP_LONG_TESTS=1 as many gates
as the tables show.
"""

import random
from math import exp

import pytest
from scipy.stats import binom

from benchmarks.judging.gating import PLANTED, REPEATS, SPREADS, Simulation, runs_for
from tests.conftest import LONG
from tests.unit.analysis.gate.builders import COUNTS, side
from vit_sweep.analysis.gate.checks import Kind, Rules, Standing
from vit_sweep.analysis.gate.judging import judge

GATES = 4000 if LONG else 400


def least(share, gates=GATES):
    return binom.ppf(1e-4, gates, share) / gates


def most(share, gates=GATES):
    return binom.ppf(1 - 1e-4, gates, share) / gates


@pytest.mark.parametrize("repeats", REPEATS)
def test_equal_studies_hardly_ever_alarm_and_such_at_the_bound_in_less_than_one_of_twenty(repeats):
    for spread in SPREADS:
        simulation = Simulation(GATES, seed=repeats)
        assert simulation.gates(repeats, spread).worse.any(axis=-1).mean() <= most(0.005)
        at_bound = simulation.gates(repeats, spread, planted=0.05, everywhere=True).worse.any(axis=-1).mean()
        assert at_bound <= (0.05 if LONG else most(0.05))


@pytest.mark.parametrize(("planted", "slower"), PLANTED)
def test_a_slow_down_is_found_as_often_as_is_said(planted, slower):
    for spread in SPREADS if LONG else SPREADS[1:2]:
        runs = runs_for(planted, slower, spread)
        made = Simulation(GATES, seed=1).gates(runs, spread, slower=slower, planted=planted)
        assert made.worse[:, 0].mean() >= least(0.77 if runs == 2 else 0.8), (spread, runs)


@pytest.mark.parametrize(("spread", "repeats"), [(0.02, 2), (0.03, 5)])
def test_as_many_runs_more_as_are_advised_tell_as_often_as_is_said(spread, repeats):
    _, settled = Simulation(GATES, seed=1).advised(repeats, spread)
    assert settled >= least(0.8, 200)


# --- through the whole gate: runs in, verdicts out -----------------------------------------------------------


def study(draw, *, spread, repeats, slower=1.0, counts=COUNTS):
    """4 cells of Amdahl's law, the first slower by a factor."""
    truths = {gpus: 100 * (0.03 + 0.97 / gpus) * (slower if gpus == 1 else 1.0) for gpus in (1, 2, 4, 8)}
    times = {gpus: [s * exp(draw.gauss(0, spread)) for _ in range(repeats)] for gpus, s in truths.items()}
    return side(times, counts=counts)


def test_a_hundred_clean_pairs_raise_no_alarm_on_counts_and_at_most_five_on_times():
    draw = random.Random(1)
    pairs = 100 if LONG else 40
    gates = [judge(*(study(draw, spread=0.02, repeats=3) for _ in "ab")) for _ in range(pairs)]
    assert sum(bool(gate.of(Standing.WORSE, Kind.COUNT)) for gate in gates) == 0
    assert sum(bool(gate.of(Standing.WORSE, Kind.TIME)) for gate in gates) <= 0.05 * pairs


@pytest.mark.parametrize("name", ["host_reads", "collectives.all_reduce.calls"])
def test_one_more_a_step_on_one_of_many_ranks_is_caught_every_time(name):
    """On one of 64 ranks: the mean over ranks grows by a sixty-fourth."""
    draw = random.Random(2)
    for _ in range(30 if LONG else 10):
        more = COUNTS | {name: COUNTS[name] + 1 / 64}
        gate = judge(study(draw, spread=0.05, repeats=2), study(draw, spread=0.05, repeats=2, counts=more))
        assert [check.name for check in gate.of(Standing.WORSE, Kind.COUNT)] == [name] * 4


def test_a_planted_slow_down_is_found_through_the_whole_gate():
    draw = random.Random(3)
    runs, gates = runs_for(0.10, 0.05, 0.01), 40
    found = sum(
        bool(
            judge(
                study(draw, spread=0.01, repeats=runs),
                study(draw, spread=0.01, repeats=runs, slower=1.1),
                Rules(slower=0.05),
            ).of(Standing.WORSE)
        )
        for _ in range(gates)
    )
    assert found / gates >= least(0.8, gates)
