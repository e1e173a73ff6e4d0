"""Two studies cell by cell: what is paired, the ratio with its interval, and where nobody can tell."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analysis.builders import run, without_time
from vit_sweep.analysis.compare import SAME, compare
from vit_sweep.analysis.pairing import pair
from vit_sweep.record.record import CERTIFIED_WITHIN, Certificate
from vit_sweep.runs.run import Origin

A = {seed: (10.0 + 0.1 * seed, 10.05 + 0.1 * seed) for seed in range(5)}


NOON = "2026-03-02T12:00:00+00:00"


def study(factor=1.0, gpus=(1, 2), seeds=range(5), **changes):
    """Five repeats a cell whose nodes differ by up to 4 %, times `factor`."""
    return [
        run(n, tuple(factor * t / n for t in A[seed]), seed=seed, run_id=f"{factor}-{n}-{seed}", **changes)
        for n in gpus
        for seed in seeds
    ]


def at_noon(times):
    """Runs of one day: the seconds of a count's repeats by GPU count."""
    return [run(n, (s,), seed=seed, started_at=NOON) for n, repeats in times.items() for seed, s in enumerate(repeats)]


def test_seeds_are_not_paired_for_the_same_seed_shares_no_node_and_no_hour():
    """Each seed of b takes 0.98 times what it takes in a: a difference below the spread between repeats."""
    other = [replace(a_run, seed=a_run.seed + 10) for a_run in study(0.98)]
    assert compare(study(), study(0.98)) == compare(study(), other)
    pair = compare(study(), other).pairs[0]
    assert (pair.a_runs, pair.b_runs) == (5, 5)
    assert pair.ratio.value == pytest.approx(0.98)
    assert (pair.verdict, pair.reason) == (SAME, "the interval contains 1")


def test_a_ratio_far_from_1_is_not_called_alike_for_few_runs():
    a, b = ([run(1, (seconds,), run_id=f"{seconds}") for seconds in side] for side in ((10.0, 11.0), (14.0, 18.0)))
    (made,) = compare(a, b).pairs
    assert made.verdict == SAME and made.ratio.low < 1 < made.ratio.high
    assert (
        made.reason == "too few runs (they differ by 14%, with 2 degrees of freedom; repeats=6 would give 10 or more)"
    )


def test_a_ratio_is_welchs_on_logarithms_with_the_spread_of_all_cells():
    """By hand: logs of a are 0 and 0.02 twice, of b as much higher by 0.1 and 0; s^2 = 0.0002 with 4 degrees."""
    times = {"a": {1: (0.0, 0.02), 2: (0.0, 0.02)}, "b": {1: (0.1, 0.12), 2: (0.0, 0.02)}}
    sides = [at_noon({gpus: map(math.exp, logs) for gpus, logs in cells.items()}) for cells in times.values()]
    first = compare(*sides).pairs[0]
    assert first.ratio.freedom == pytest.approx(4)
    assert math.log(first.ratio.high) == pytest.approx(0.1 + 2.7764 * math.sqrt(0.0002 * (1 / 2 + 1 / 2)), rel=1e-4)
    assert first.verdict == "b is slower"


def test_a_large_difference_is_told():
    assert {row.verdict for row in compare(study(), study(1.5)).pairs} == {"b is slower"}


@pytest.mark.parametrize(("repeats", "side"), [(1, "each side"), (5, "one side")])
def test_a_single_run_on_a_side_has_no_verdict_however_far_it_lies(repeats, side):
    pair = compare(study(seeds=range(repeats), gpus=(1,)), [run(1, (5.0,))]).pairs[0]
    assert (pair.ratio.known, pair.verdict) == (False, SAME)
    assert pair.reason == f"a single run on {side} says nothing of its spread"


def test_what_days_usually_do_has_no_verdict_where_each_study_is_of_one_day():
    """b is slower by 3 %, 6 standard errors of its runs: by as much two days may differ."""
    days = ([f"2026-03-0{day}T10:00:00+00:00" for day in order] for order in ((2, 2), (9, 9), (2, 9), (2, 9)))
    apart_a, apart_b, turn_a, turn_b = (
        [
            run(gpus, (factor * (1 + 0.005 * ((seed + gpus) % 2)),), seed=seed, started_at=day)
            for gpus in range(1, 7)
            for seed, day in enumerate(both)
        ]
        for both, factor in zip(days, (1.0, 1.03, 1.0, 1.03), strict=True)
    )
    assert {pair.verdict for pair in compare(apart_a, apart_b).pairs} == {SAME}
    assert {pair.verdict for pair in compare(turn_a, turn_b).pairs} == {"b is slower"}


def test_among_many_cells_one_that_stands_out_by_chance_has_no_verdict():
    """Of 12 equal cells one pair differs by 2.3 standard errors: alone that is 5 %, among 13 ratios it is nothing."""
    a = at_noon({n: map(math.exp, (-0.02, 0.0, 0.02)) for n in range(1, 13)})
    b = [replace(a_run, epoch_s=(a_run.epoch_s[0] * (1.0376 if a_run.gpus == 1 else 1.0),)) for a_run in a]
    alone = compare([a_run for a_run in a if a_run.gpus == 1], [a_run for a_run in b if a_run.gpus == 1]).pairs[0]
    first = compare(a, b).pairs[0]
    assert first.ratio.low > 1
    assert first.verdict == SAME
    assert first.reason.startswith("among so many comparisons it may be chance (adjusted p = ")
    assert alone.ratio.low < 1, "by its own runs it is known less well"


def test_studies_of_unlike_days_say_that_days_may_be_the_difference():
    a = [replace(a_run, started_at="2026-03-02T10:00:00+00:00") for a_run in study()]
    b = [replace(a_run, started_at="2026-03-09T10:00:00+00:00") for a_run in study(1.5)]
    (note,) = [text for text in compare(a, b).notes if "day to day" in text]
    assert "2 sessions (2026-03-02 to 2026-03-09), and no cell ran in two" in note


def test_the_mean_is_geometric_and_of_these_cells():
    """sqrt(0.5 x 2) = 1; its interval is that of the runs, however unlike the cells."""
    a, b = at_noon({1: (10.0, 10.1), 2: (5.0, 5.05)}), at_noon({1: (5.0, 5.05), 2: (10.0, 10.1)})
    mean = compare(a, b).mean
    assert mean.ratio.value == pytest.approx(1.0)
    assert 0.95 < mean.ratio.low < 1 < mean.ratio.high < 1.05
    assert (mean.ratio.n, mean.verdict) == (2, SAME)
    single = compare(a, b[:1] + b[2:]).mean
    assert (single.ratio.known, single.verdict) == (False, SAME)


def test_what_is_not_paired_is_named_with_its_reason():
    a = [run(1, run_id="x"), run(2, run_id="y"), run(4, run_id="only a"), without_time(8, cause="oom", run_id="lost")]
    b = [run(1, run_id="x"), run(2, run_id="y", conditions={"precision": "bf16"}), run(8, run_id="z"), run(16)]
    comparison = compare(a, b)
    assert [row.gpus for row in comparison.pairs] == [1]
    reasons = {(cell.side, cell.cell.split()[0]): cell.reason for cell in comparison.unpaired}
    assert reasons["a", "gpus=2"] == "the nearest cell differs in precision (fp32 here, bf16 there)"
    assert reasons["a", "gpus=4"] == "the other study has no run on 4 GPUs"
    assert reasons["a", "gpus=8"] == "lost has no time that counts: oom"
    assert reasons["b", "gpus=16"] == "the other study has no run on 16 GPUs"
    assert ("b", "gpus=2") in reasons


def test_cells_that_are_not_paired_are_told_apart_by_their_images():
    comparison = compare([run(2, work=100, run_id="x"), run(2, work=200, run_id="y")], [run(4, run_id="z")])
    titles = [cell.cell for cell in comparison.unpaired if cell.side == "a"]
    assert len(set(titles)) == 2 and "images=100" in " ".join(titles)


def test_other_engines_are_compared_across_their_name_and_the_values_behind_it():
    a = [run(1, conditions={"engine": "zero0", "engine.zero_stage": "0"})]
    b = [run(1, (9.0,), conditions={"engine": "zero1", "engine.zero_stage": "1"})]
    nothing = compare(a, b)
    assert not nothing.pairs
    assert nothing.mean is None
    assert nothing.across == ("engine",)
    made = compare(a, b, across=["engine"])
    assert len(made.pairs) == 1
    assert any(
        note.startswith("1 of 1 pair of cells put one engine beside another, and no certificate") for note in made.notes
    )
    exact = Certificate(steps=50, difference=0.0, absolute=0.0, parameter="a", tolerance=CERTIFIED_WITHIN)
    certified = ([replace(one, certificate=exact) for one in side] for side in (a, b))
    assert not any("certificate" in note for note in compare(*certified, across=["engine"]).notes)


def strong_and_weak(seconds=1.0, **conditions):
    """Two GPUs on half the images each, and on as many as one has."""
    return [
        run(2, (seconds * work / 6400,), work=work, run_id=f"{seconds}-{work}-{seed}", seed=seed, conditions=conditions)
        for work in (6400, 12800)
        for seed in range(2)
    ]


@pytest.mark.parametrize("across", [["images"], ["epochs", "images"], ["images", "engine"]])
def test_strong_and_weak_runs_are_never_pooled_as_repeats_whatever_is_let_differ(across):
    made = compare(strong_and_weak(epochs="3"), strong_and_weak(2.0, epochs="5"), across=across)
    assert not made.pairs
    assert any(
        "its runs differ in images (6400, 12800), so they are no repeats" in cell.reason for cell in made.unpaired
    )


def test_what_is_proposed_leaves_strong_and_weak_apart_and_pairs_each_with_its_own():
    a, b = strong_and_weak(epochs="3"), strong_and_weak(2.0, epochs="5")
    proposed = compare(a, b).across
    assert proposed == ("epochs",)
    made = compare(a, b, across=proposed)
    assert [pair.ratio.value for pair in made.pairs] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"work": 6400}, {"work": 12800}),
        ({"micro_batch": 16}, {"micro_batch": 32}),
        ({"conditions": {"model": "vit_b_16"}}, {"conditions": {"model": "vit_l_16"}}),
        ({"conditions": {"data": "cifar10"}}, {"conditions": {"data": "cifar100"}}),
    ],
)
def test_other_work_is_never_proposed_for_comparison(ours, theirs):
    assert compare([run(2, **ours)], [run(2, (9.0,), **theirs)]).across == ()


def test_nothing_is_proposed_that_would_not_pair():
    """Both engines on one side: `--across engine` could not say which of them is meant."""
    a = [run(1, conditions={"engine": name}, run_id=name) for name in ("zero0", "zero1")]
    assert compare(a, [run(1, conditions={"engine": "ddp"})]).across == ()


def test_epochs_of_unlike_numbers_of_images_are_said_to_be_other_work():
    made = compare([run(2, work=6400)], [run(2, (9.0,), work=12800)], across=["images"])
    assert any("1 of 1 pair of cells cover unlike numbers of images" in note for note in made.notes)


def test_a_table_that_says_less_is_compared_in_what_both_say():
    theirs = replace(
        run(2, (6.0,), origin=Origin.IMPORTED), conditions=(("data", "cifar100"), ("node", "x")), nodes=None
    )
    comparison = compare([run(2)], [theirs])
    assert len(comparison.pairs) == 1
    assert {"engine", "gpu_model", "node"} <= set(comparison.one_sided)
    assert "data" not in comparison.one_sided


def test_cells_that_a_shorter_table_cannot_tell_apart_are_not_paired():
    ours = [run(2, conditions={"engine": name}, run_id=name) for name in ("zero0", "zero1")]
    theirs = replace(run(2, run_id="t"), conditions=(("data", "cifar100"),))
    pairs = pair(ours, [theirs])
    assert not pairs.pairs
    assert all("several cells of the first study" in cell.reason for cell in pairs.unpaired)
    assert "2 cells of the other study agree" in pair([theirs], ours).unpaired[0].reason


def test_packed_and_spread_runs_are_other_cells():
    a = [run(2, nodes=1, run_id="p"), run(2, (12.0,), nodes=2, run_id="s")]
    assert [(row.nodes, row.a_s) for row in compare(a, a).pairs] == [(1, 10.0), (2, 12.0)]


def test_oversubscribed_runs_are_no_partners():
    assert not compare([run(2, oversubscribed=True)], [run(2)]).pairs


def test_a_study_is_not_apart_from_itself():
    comparison = compare(study(), study())
    assert {row.ratio.value for row in comparison.pairs} == {1.0}
    assert {row.verdict for row in comparison.pairs} == {SAME}
    assert comparison.mean.ratio.value == pytest.approx(1.0)
    assert not comparison.unpaired


def test_runs_of_both_sides_are_said_to_be_counted_twice():
    twice = "and counted twice: intervals and verdicts need runs of their own on each side"
    (note,) = [text for text in compare(study(), study()).notes if twice in text]
    assert note.startswith("10 of the 10 runs compared are of both sides")
    (note,) = [text for text in compare(study(gpus=(1,)), [*study(gpus=(1,))[:1], run(1)]).notes if twice in text]
    assert note.startswith("1 of the 6 runs compared is of both sides")
    # Another study has the same cells, and so the same ids, but times of its own.
    again = [replace(a_run, epoch_s=tuple(1.001 * s for s in a_run.epoch_s)) for a_run in study()]
    assert not [text for text in compare(study(), again).notes if twice in text]


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.floats(0.5, 2.0))
def test_the_order_of_runs_and_repetitions_change_nothing(random, factor):
    a, b = study(), study(factor)
    mixed_a, mixed_b = random.sample(a, len(a)), [*random.sample(b, len(b)), b[0]]
    assert compare(mixed_a, mixed_b) == compare(a, b)


@settings(max_examples=25)
@given(st.floats(0.5, 2.0))
def test_the_other_way_round_is_the_inverse(factor):
    there, back = compare(study(), study(factor)), compare(study(factor), study())
    for there_row, back_row in zip(there.pairs, back.pairs, strict=True):
        assert math.isclose(there_row.ratio.value * back_row.ratio.value, 1, rel_tol=1e-9)
    assert math.isclose(there.mean.ratio.value * back.mean.ratio.value, 1, rel_tol=1e-9)
