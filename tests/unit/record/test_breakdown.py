"""The formulas of docs/results/measuring.md, on numbers small enough to check by hand."""

from dataclasses import replace
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import MODEL, cell, record
from vit_sweep.plan.predict import ring
from vit_sweep.plan.predict.measuring import LEAST_ROUNDS, ROUNDS
from vit_sweep.record.breakdown import (
    Breakdown,
    Phase,
    Phases,
    collective,
    exposed,
    median_interval,
    mfu,
    rank_phases,
    step_breakdown,
)
from vit_sweep.record.counts import CollectiveKind
from vit_sweep.record.stats import breakdown, measured_columns, step_parts

VIT_B_16 = replace(MODEL, image_size=224, patch_size=16, layers=12, heads=12, width=768, mlp_width=3072)


def step(**changes):
    """One step of one rank: 1 ms in every phase unless told."""
    return {phase: changes.get(phase.value, 1.0) for phase in Phase if changes.get(phase.value, 1.0) is not None}


def without_reduction(times):
    return {phase: ms for phase, ms in times.items() if phase is not Phase.COMMUNICATION}


def rank(*steps):
    return rank_phases(steps or [step()])


def test_phases_of_a_rank_are_summed_and_their_medians_taken_over_steps():
    phases = rank(step(forward=1.0), step(forward=2.0), step(forward=9.0))
    assert (phases.steps, phases.sum_ms.forward, phases.median_ms.forward) == (3, 12.0, 2.0)
    assert phases.sum_ms.backward == 3.0


def test_a_reduction_inside_of_backward_is_unknown_and_not_zero():
    phases = rank(step(communication=None))
    assert phases.sum_ms.communication is None
    where = step_breakdown([[phases, phases]])
    assert where.communication_ms is None
    assert where.straggler_wait_ms is None
    assert where.most.communication is None


def test_the_slow_rank_shows_in_its_phase_and_the_others_wait():
    """Rank 1 takes 30 ms longer in forward; so ranks 0 and 2 wait for it in the reduction."""
    ranks = [
        rank(step(communication=34.0)),
        rank(step(forward=31.0, communication=4.0)),
        rank(step(communication=33.0)),
    ]
    where = step_breakdown([ranks])
    assert (where.most.forward, where.by_rank[0].forward) == (31.0, 1.0)
    assert (where.communication_ms, where.straggler_wait_ms) == (4.0, 30.0)
    assert where.compute_ms_by_rank == (6.0, 36.0, 6.0)
    assert (where.slowest_rank, where.slowest.forward) == (1, 31.0)
    # The last rank to arrive waits for nobody: what it computes and what it communicates is the step.
    assert where.most.forward + where.communication_ms + 5 * 1.0 == 40.0


_MS = st.floats(0, 1e4)
_STEP = st.fixed_dictionaries(dict.fromkeys(Phase, _MS))
_RANK = st.lists(_STEP, min_size=1, max_size=5)


@given(st.lists(st.lists(_RANK, min_size=3, max_size=3), min_size=1, max_size=3), st.booleans())
def test_the_parts_of_the_slowest_rank_add_up_to_its_step(epochs, inside):
    """Whatever the ranks do: maxima over ranks and medians over steps would not."""
    if inside:  # ZeRO 1 to 3 reduce inside of backward
        epochs = [[[without_reduction(step) for step in steps] for steps in ranks] for ranks in epochs]
    where = step_breakdown([[rank_phases(steps) for steps in ranks] for ranks in epochs])
    parts = step_parts(record(cell()), where).slowest
    own = [sum(step.values()) for ranks in epochs for step in ranks[parts.rank]]
    printed = {name: ms for name, ms in parts.columns.items() if name.endswith("_ms") and ms is not None}
    assert sum(printed.values()) - printed["slowest_step_ms"] == pytest.approx(printed["slowest_step_ms"], abs=1e-6)
    assert printed["slowest_step_ms"] == pytest.approx(sum(own) / len(own), abs=0.01)
    assert min(printed.values()) >= 0
    assert (parts.communication is None) is inside


def test_epochs_are_combined_by_their_median():
    epochs = [[rank(step(copy=ms))] for ms in (1.0, 3.0, 50.0)]
    assert step_breakdown(epochs).most.copy == 3.0


@pytest.mark.parametrize("epochs", [[], [[]], [[rank()], []]])
def test_without_phases_there_is_no_breakdown(epochs):
    assert step_breakdown(epochs) is None


@pytest.mark.parametrize(
    ("kind", "ranks", "factor"),
    [
        ("all_reduce", 2, 1.0),
        ("all_reduce", 4, 1.5),
        ("all_reduce", 1, 0.0),
        ("all_gather_into_tensor", 4, 0.75),
        ("reduce_scatter_tensor", 4, 0.75),
        ("reduce", 4, 1.0),
        ("broadcast", 4, 1.0),
    ],
)
def test_bus_factors_are_those_of_nccl_tests(kind, ranks, factor):
    assert ring.bus_factor(kind, ranks) == factor


def kinds(size=1e6):
    return [CollectiveKind(name="all_reduce", calls=1.0, bytes=size)]


def test_waiting_is_taken_off_each_collective_and_not_off_their_sum():
    """Ranks that wait in turn: each waits 10 ms once, and neither is faster than the other over both steps."""
    communication = collective([[2.0, 12.0], [12.0, 2.0]], kinds(), steps=2)
    assert communication.ms_by_rank == (7.0, 7.0)
    assert (communication.pure_ms, communication.straggler_wait_ms) == (2.0, 5.0)


def test_an_all_gather_sends_half_the_messages_and_bytes_of_an_all_reduce():
    halves = [CollectiveKind(name="all_gather_into_tensor", calls=4.0, bytes=1e6)]
    of_step = collective([[2.0]] * 4, kinds() + halves, steps=1)
    assert (of_step.all_reduced_calls, of_step.all_reduced_bytes) == pytest.approx((3.0, 1.5e6))
    assert collective([[2.0]], kinds(), steps=1).all_reduced_calls is None


def test_bandwidths_are_of_the_pure_time():
    """4 MB in 2 ms: 2 GB/s; over 4 ranks an all-reduce moves 1.5 times as much over each link."""
    communication = collective([[2.0], [5.0], [5.0], [5.0]], kinds(4e6), steps=1)
    assert communication.algorithm_gb_per_s == pytest.approx(2.0)
    assert communication.bus_gb_per_s == pytest.approx(3.0)


def test_lost_events_leave_the_least_of_the_sums():
    assert collective([[2.0, 2.0], [3.0]], kinds(), steps=1).pure_ms == 3.0


def test_a_rank_that_saw_nothing_means_that_nothing_is_known():
    assert collective([[2.0], []], kinds(), steps=1) is None
    assert collective([], kinds(), steps=1) is None


@given(st.lists(st.lists(st.floats(0.001, 100), min_size=3, max_size=3), min_size=1, max_size=4))
def test_pure_time_is_never_more_than_any_rank_saw(durations):
    communication = collective(durations, kinds(), steps=1)
    assert communication.pure_ms <= min(communication.ms_by_rank) + 1e-3
    assert communication.straggler_wait_ms >= -1e-3


def of_rounds(differences, *, without=20.0):
    """Rounds whose steps take so much longer with collectives than without."""
    with_ms = [without + difference for difference in differences]
    return exposed(with_ms, with_ms, [without] * len(differences), block_steps=3)


def test_exposed_communication_is_the_median_of_the_rounds_with_their_interval():
    interval = of_rounds([10.0, 9.0, 11.0, 10.0, 12.0, 8.0, 10.0, 9.5, 10.5])
    assert (interval.exposed_ms, interval.interval_ms, interval.is_nothing) == (10.0, (9.0, 11.0), False)
    assert of_rounds([-1.0, 2.0, -2.0, 1.0, 0.5, -0.5]).is_nothing
    assert of_rounds([-10.0 - number for number in range(9)]).is_nothing, "no communication takes less than no time"


def test_both_blocks_of_a_round_count_alike():
    exposure = exposed([23.0] * 9, [27.0] * 9, [20.0] * 9, block_steps=3)
    assert exposure.interval_ms == (5.0, 5.0)


def test_a_drift_over_the_rounds_drops_out():
    rounds = [20.0 + 5 * number for number in range(9)]
    exposure = exposed([ms + 3.0 for ms in rounds], [ms + 3.0 for ms in rounds], rounds, block_steps=3)
    assert exposure.interval_ms == (3.0, 3.0)
    jumps = exposed([23.0, 103.0, 50.0], [23.0, 103.0, 50.0], [20.0, 100.0, 30.0], block_steps=3)
    assert jumps.exposed_ms == 3.0, "of each round, not of medians that are of other rounds: 50 - 30"


@pytest.mark.parametrize("rounds", range(LEAST_ROUNDS, ROUNDS + 1))
def test_where_nothing_is_exposed_the_interval_holds_zero_in_95_percent(rounds):
    """Planted: 5 % noise, skewed as times are, and a drift over the rounds; no communication. 2,000 cells."""
    random = Random(rounds)

    def block(number):
        return 20.0 * (1 + 0.02 * number) * random.lognormvariate(0, 0.05)

    def nothing():
        kinds_of_block = ([block(number) for number in range(rounds)] for _ in range(3))
        return exposed(*kinds_of_block, block_steps=3).is_nothing

    silent = sum(nothing() for _ in range(2000))
    assert silent >= 0.94 * 2000  # 95 % at least, and three standard errors of the count below it


def test_few_rounds_have_no_interval():
    assert of_rounds([1.0] * 5).interval_ms is None
    assert not of_rounds([1.0] * 5).is_nothing


@given(st.lists(st.floats(-1e3, 1e3), max_size=40))
def test_an_interval_of_the_median_holds_the_median_of_its_values(values):
    interval = median_interval(values)
    assert (interval is None) == (len(values) < 6)
    assert interval is None or interval[0] <= median(values) <= interval[1]


def test_mfu_counts_three_forwards():
    """4,230 images/s of ViT-B/16 at 224 are 45 % of 989 TFLOP/s: 105.15 GFLOP per image."""
    assert mfu(VIT_B_16, 1000, images_per_s=4230, gpus=1, peak_tflops=989) == pytest.approx(0.45, abs=0.001)
    assert mfu(VIT_B_16, 1000, images_per_s=8460, gpus=2, peak_tflops=989) == pytest.approx(0.45, abs=0.001)
    assert mfu(VIT_B_16, 1000, images_per_s=4230, gpus=1, peak_tflops=None) is None


def test_an_old_record_has_empty_columns():
    columns = measured_columns(record(cell()))
    assert set(columns.values()) == {None}


def measured(phases, **changes):
    """A record of two ranks whose epochs have these phases (first epoch: cold and much slower)."""
    base_record = record(cell(gpus=2))
    slow = rank(*[step(forward=1000.0)] * 2)
    epochs = tuple(
        replace(epoch, phases_by_rank=(slow, slow) if number == 0 else phases)
        for number, epoch in enumerate(base_record.epochs)
    )
    return replace(base_record, epochs=epochs, **changes)


def test_the_cold_first_epoch_is_not_in_the_breakdown():
    assert breakdown(measured((rank(), rank()))).most.forward == 1.0


def test_columns_say_what_was_measured():
    measured_record = measured(
        (rank(step(communication=34.0)), rank(step(forward=31.0, communication=4.0))),
        breakdown=Breakdown(
            exposed=of_rounds([10.0] * 9),
            collective=collective([[2.0], [5.0]], kinds(4e6), steps=1),
            notes=("one", "two"),
        ),
    )
    columns = measured_columns(measured_record)
    assert list(columns) == list(measured_columns(record(cell())))
    assert columns["forward_ms"] == 31.0
    assert (columns["communication_ms"], columns["straggler_wait_ms"]) == (4.0, 30.0)
    assert [columns[f"exposed_{name}ms"] for name in ("", "low_", "high_")] == [10.0] * 3
    assert (columns["collective_ms"], columns["communicated_mb"], columns["bus_gb_per_s"]) == (2.0, 4.0, 2.0)
    assert columns["measuring_notes"] == "one; two"


def test_exposed_communication_whose_interval_holds_zero_is_not_shown_but_its_interval_is():
    silent = Breakdown(exposed=of_rounds([-1.0, 2.0, -2.0, 1.0, 0.5, -0.5]))
    columns = measured_columns(measured((rank(), rank()), breakdown=silent))
    assert [columns[f"exposed_{name}ms"] for name in ("", "low_", "high_")] == [None, -2.0, 2.0]


def test_what_is_none_of_the_named_phases_has_a_column_too():
    assert measured_columns(measured((rank(step(other=7.0)), rank())))["other_ms"] == 7.0


def test_under_zero_the_wait_comes_from_the_window():
    inside = rank(step(communication=None))
    measured_record = measured(
        (inside, inside), breakdown=Breakdown(collective=collective([[2.0], [5.0]], kinds(), steps=1))
    )
    columns = measured_columns(measured_record)
    assert (columns["communication_ms"], columns["straggler_wait_ms"]) == (None, 3.0)


def test_phases_know_what_a_rank_does_alone():
    alone = Phases(data_wait=1.0, copy=1.0, forward=1.0, backward=1.0, communication=9.0, optimizer=1.0, other=1.0)
    assert alone.compute == 6.0
