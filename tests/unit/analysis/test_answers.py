"""Every question gets one honest sentence: measured or predicted, a tie is called one, a refusal has its numbers."""

from dataclasses import replace
from math import exp, sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analysis.builders import series_from, without_time
from vit_sweep.analysis.answers import Question, answers
from vit_sweep.analysis.laws.design import candidates, gain, next_cell
from vit_sweep.analysis.laws.fits import fit, fit_law
from vit_sweep.analysis.laws.laws import Law
from vit_sweep.analysis.laws.predicting import best
from vit_sweep.analysis.series.estimates import difference, scaled
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.plan.choices import Scaling

WIGGLE = (0.99, 1.0, 1.01)


def repeated(times):
    """Three runs of each count, one per cent apart."""
    return {gpus: [(seconds * w,) for w in WIGGLE] for gpus, seconds in times.items()}


def amdahl(serial, counts=(1, 2, 4, 8), work=100.0):
    return {gpus: work * (serial + (1 - serial) / gpus) for gpus in counts}


def ask(times, *, scaling=Scaling.STRONG, intervals=True, **words):
    series = series_from(times, scaling=scaling)
    series = with_intervals(series) if intervals else series
    return {answer.question: answer for answer in answers(series, fit(series), **words)}


def test_every_question_is_answered_in_one_sentence():
    for times in (repeated(amdahl(0.05)), {1: (10.0,)}, {1: (10.0,), 2: (5.0,)}):
        made = ask(times)
        assert list(made) == list(Question)
        assert all(answer.sentence and "\n" not in answer.sentence for answer in made.values())


def test_why_no_law_is_fitted_stands_with_the_laws_and_not_in_every_answer():
    made = ask({1: (10.0,), 2: (5.0,)})
    assert made[Question.EFFICIENT].sentence.endswith("; nothing is predicted, as no law is fitted")
    assert "needs 3 GPU counts" in made[Question.LAW].sentence


# --- efficiency ----------------------------------------------------------------------------------------------


def test_the_largest_measured_efficient_count_is_named_with_its_interval_and_the_next():
    """E = 1/(1 + s (p-1)), s = 4.8 %: 87 % on 4 GPUs, 75 % on 8; 80 % is crossed at p = 1 + 0.25/0.048 = 6.2."""
    made = ask(repeated(amdahl(0.048)))[Question.EFFICIENT]
    assert (made.gpus, made.predicted) == (4, False)
    assert "80% or more: 4, measured (87%, 95% interval" in made.sentence
    assert "at 8 GPUs it is 75%" in made.sentence
    assert "Amdahl puts it at 6 (" in made.sentence


def test_when_all_measured_counts_are_efficient_the_answer_is_a_prediction():
    """s = 0.98 %: 80 % is crossed at p = 1 + 0.25/0.0098 = 26.5; measured are 16."""
    answer = ask(repeated(amdahl(0.0098, counts=(1, 2, 4, 8, 12, 16))))[Question.EFFICIENT]
    assert (answer.gpus, answer.predicted) == (26, True)
    assert "; Amdahl puts it at 26 (" in answer.sentence


def test_a_curve_that_stays_efficient_is_followed_only_as_far_as_allowed():
    answer = ask({g: (100 / g,) for g in (1, 2, 4, 8)})[Question.EFFICIENT]
    assert "predicts 80% or more up to 19, the limit of its predictions" in answer.sentence
    assert answer.gpus == 19, "beyond, single runs leave more than a factor of two"


def test_another_threshold_is_another_answer():
    """s = 5 %: 70 % is crossed at p = 1 + (1/0.7 - 1)/0.05 = 9.6; 99 % by none but the baseline."""
    times = repeated(amdahl(0.05))
    lower, upper = (ask(times, threshold=t)[Question.EFFICIENT] for t in (0.7, 0.99))
    assert (lower.gpus, lower.predicted) == (9, True)
    assert "8, measured (74%" in lower.sentence
    assert (upper.gpus, upper.predicted) == (1, False)
    assert "1, the baseline itself" in upper.sentence


def test_an_interval_across_the_threshold_cannot_be_told_apart_from_it():
    times = {1: [(9.8,), (10.0,), (10.2,)], 2: [(6.1,), (6.2,), (6.5,)]}
    assert "which cannot be told apart from 80%" in ask(times)[Question.EFFICIENT].sentence


def test_a_dip_below_the_threshold_before_the_answer_is_said():
    times = {1: (100.0,), 2: (70.0,), 4: (30.0,)}
    assert "though it is 71% at 2 GPUs" in ask(times)[Question.EFFICIENT].sentence


def test_without_a_baseline_efficiency_is_not_known_and_the_cell_to_run_is_named():
    done = series_from({2: (5.0,), 4: (3.0,)})
    (broken,) = group([without_time(1), *(run for p in done.points for run in p.runs)], Scaling.STRONG)
    made = {answer.question: answer for answer in answers(broken, fit(broken))}
    assert made[Question.EFFICIENT].sentence.endswith(broken.no_baseline)
    assert made[Question.EFFICIENT].gpus is None
    assert made[Question.FASTEST].gpus == 4


# --- cost and time -------------------------------------------------------------------------------------------


def test_the_cheapest_count_costs_the_fewest_gpu_seconds_and_has_a_price():
    """100 s on one GPU is 100 GPU-s; at 36 per GPU-hour one GPU-s costs 0.01. 8 GPUs: 8 x 16.875 = 135."""
    made = ask(repeated(amdahl(0.05)), gpu_price=36)[Question.CHEAPEST]
    assert made.gpus == 1
    assert "1 GPU, measured: 100 GPU-s (95% interval" in made.sentence
    assert ", 1 at 36 per GPU-hour" in made.sentence
    assert "at 8 GPUs +35%" in made.sentence


def test_costs_that_overlap_are_a_tie():
    times = {1: [(99.0,), (100.0,), (101.0,)], 2: [(49.6,), (50.1,), (50.4,)], 4: [(30.0,), (30.1,), (30.2,)]}
    made = ask(times)[Question.CHEAPEST]
    assert made.gpus == 1
    assert "cannot be told apart from 2 GPUs (+0.2%);" in made.sentence


def test_single_runs_are_a_tie_within_a_stated_spread():
    made = ask({1: (100.0,), 2: (53.0,), 4: (30.0,)})[Question.CHEAPEST]
    assert "cannot be told apart from 2 GPUs (+6.0%)" in made.sentence
    assert made.assumption == "single runs are taken to differ by 2%, an assumption"
    assert "4 GPUs (" not in made.sentence


def test_an_order_that_stands_on_single_runs_says_so_without_a_tie_too():
    """Whether 100 and 200 s differ beyond chance, no single run says; three of each do."""
    assumed = "single runs are taken to differ by 2%, an assumption"
    single, mixed, repeated = (
        ask({1: [(200.0 * w,) for w in first], 2: [(100.0 * w,) for w in second]})[Question.FASTEST].assumption
        for first, second in (((1.0,), (1.0,)), ((1.0,), WIGGLE), (WIGGLE, WIGGLE))
    )
    assert single == mixed == assumed
    assert repeated == ""


@pytest.mark.parametrize(("runs", "spread"), [(1, 0.02), (2, 0.1), (3, 0.02)])
@pytest.mark.parametrize("counts", [(1, 2), (1, 2, 4, 8), (1, 2, 3, 4, 5, 6, 8, 16)])
def test_of_counts_that_cost_the_same_none_is_called_cheapest_but_in_one_of_twenty_studies(counts, runs, spread):
    """Each costs 100 GPU-s. The spread of single runs is the assumed one. Tests of pairs at 5 % each would fail."""
    random, studies, strict = Random(1), 300, 0
    for _ in range(studies):
        times = {p: [(100 / p * exp(random.gauss(0, spread)),) for _ in range(runs)] for p in counts}
        series = with_intervals(series_from(times))
        costs = [scaled(point.time_s, point.gpus) for point in series.timed]
        best = min(costs, key=lambda cost: cost.value)
        strict += any(difference(best, cost, costs).clear for cost in costs if cost is not best)
    assert strict <= 0.05 * studies + 2 * sqrt(0.05 * 0.95 * studies)


def test_a_single_run_among_noisy_repeats_is_no_surer_than_they_are():
    """All counts cost 100 GPU-s; runs differ by 10 %, and only the first count is not repeated."""
    random, studies, strict = Random(2), 200, 0
    for _ in range(studies):
        times = {p: [(100 / p * exp(random.gauss(0, 0.1)),) for _ in range(3 if p > 1 else 1)] for p in (1, 2, 4, 8)}
        costs = [scaled(point.time_s, point.gpus) for point in with_intervals(series_from(times)).timed]
        best = min(costs, key=lambda cost: cost.value)
        strict += any(difference(best, cost, costs).clear for cost in costs if cost is not best)
    assert strict <= 0.05 * studies + 2 * sqrt(0.05 * 0.95 * studies)


def test_what_only_few_runs_hide_is_not_called_alike_and_the_repeats_that_are_named_show_it():
    """Costs are 100 and 180 GPU-s, and runs differ by 15 %: two runs of each leave two degrees of freedom."""
    random, studies = Random(3), 100

    def made(repeats):
        times = {
            p: [(cost / p * exp(random.gauss(0, 0.15)),) for _ in range(repeats)] for p, cost in ((1, 100), (2, 180))
        }
        return ask(times)[Question.CHEAPEST]

    few = [made(2).sentence for _ in range(studies)]
    hidden = [
        text
        for text in few
        if "with 2 degrees of freedom; repeats=6 would give 10 or more) to tell it from 2 GPUs" in text
    ]
    assert len(hidden) > studies / 4
    assert not [text for text in few if "cannot be told apart" in text]
    again = [made(6) for _ in range(studies)]
    assert sum(answer.gpus == 1 and not answer.ties for answer in again) >= 0.95 * studies


def test_repeats_of_one_count_are_counted_for_all_that_a_grid_repeats():
    """One count of six was repeated once: 1 degree of freedom; three runs of each give 6 x 2."""
    times = {p: [(100.0 / p,)] for p in (1, 2, 4, 8, 16)} | {32: [(5.0,), (7.0,)]}
    made = ask(times)[Question.CHEAPEST]
    text = made.sentence
    few = "too few runs (they differ by 24%, with 1 degree of freedom; repeats=3 would give 10 or more)"
    assert f"; {few} to tell it from 32 GPUs (+92.0%)" in text
    assert made.assumption == "single runs are taken to differ by 24%, an assumption"
    assert "cannot be told apart from 2 GPUs (+0.0%), 4 GPUs (+0.0%)" in text


def test_a_large_difference_among_wild_runs_is_called_that():
    wild = [(100.0 * w,) for w in (0.5, 0.7, 0.8, 1.2, 1.5, 1.9)]
    text = ask({1: wild, 2: [(0.75 * t,) for (t,) in wild]})[Question.CHEAPEST].sentence
    assert "; runs differ too much (50%) to tell it from 2 GPUs (+50.0%)" in text


def test_an_efficiency_far_from_the_threshold_is_called_unsure_for_its_few_runs():
    times = {1: [(100.0,), (104.0,)], 2: [(75.0,), (95.0,)]}
    few = "too few runs (they differ by 12%, with 2 degrees of freedom; repeats=6 would give 10 or more)"
    assert f", {few} to tell it from 80%" in ask(times)[Question.EFFICIENT].sentence


def test_a_clear_order_is_told_with_single_runs_too():
    """30 % is far beyond two runs that differ by 2 % each."""
    numbers = [Estimate(value=100.0), *(Estimate(value=130.0),) * 7]
    assert difference(*numbers[:2], numbers).clear


def test_under_weak_scaling_costs_are_compared_per_image():
    made = ask({1: (10.0,), 2: (10.9,), 4: (12.0,)}, scaling=Scaling.WEAK)
    assert "cheapest per image: 1 GPU" in made[Question.CHEAPEST].sentence
    assert made[Question.FASTEST].gpus == 4  # 4 / 12.0 shares a second against 2 / 10.9 and 1 / 10
    assert "4 GPUs, measured: 2,133 images/s (n=1, no interval), 12 s an epoch" in made[Question.FASTEST].sentence


def test_the_fastest_count_is_not_the_largest_where_times_rise_again():
    times = repeated({1: 100.0, 2: 52.0, 4: 30.0, 8: 22.0, 16: 27.0})
    made = ask(times)[Question.FASTEST]
    assert made.gpus == 8
    assert "8 GPUs, measured: 22 s an epoch (95% interval" in made.sentence


def test_what_lies_beyond_is_a_prediction_or_a_refusal_never_a_fact():
    falling = ask({g: (t,) for g, t in amdahl(0.01).items()})[Question.FASTEST]
    assert falling.gpus == 8
    assert "Amdahl predicts 6.21 s" in falling.sentence  # 100 (0.01 + 0.99 / 19)
    assert "on 19 GPUs, the limit of its predictions" in falling.sentence
    wild = ask({1: (100.0,), 2: (50.0,), 4: (60.0,), 8: (20.0,), 16: (30.0,)})[Question.FASTEST]
    assert "beyond 16 nothing is predicted" in wild.sentence
    assert "above 10%" in wild.sentence


# --- next, support, law --------------------------------------------------------------------------------------


def test_without_a_law_the_next_cells_are_those_that_allow_one():
    made = ask({1: (10.0,), 2: (5.5,)})
    assert made[Question.NEXT].words == "gpus=1,2,4,8 repeats=5" == made[Question.SUPPORT].words
    assert "no law is fitted yet" in made[Question.NEXT].sentence
    assert "support no scaling fit (Amdahl needs 3" in made[Question.SUPPORT].sentence
    assert "best law: none – Amdahl: needs 3 GPU counts" in made[Question.LAW].sentence


def test_repeats_alone_allow_no_law():
    """On a machine of two GPUs both counts have run: more runs of them narrow their times, and no more."""
    series = series_from({1: (10.0,), 2: (5.5,)}, most_gpus=2)
    made = {answer.question: answer for answer in answers(series, fit(series))}[Question.NEXT]
    assert made.words.startswith("repeats=")
    assert made.sentence.endswith(f"none, as no law is fitted; {made.words} gives times an interval")


def test_the_next_cell_is_a_word_to_type_and_narrows_what_is_unknown():
    made = ask(repeated(amdahl(0.02)))[Question.NEXT]
    assert (made.gpus, made.words, made.predicted) == (16, "gpus=16", True)
    assert "narrow the intervals of Amdahl over 1 to 32 GPUs by" in made.sentence


def test_a_law_that_fails_hold_out_gets_its_worst_count_again():
    times = {1: (100.0,), 2: (50.0,), 4: (60.0,), 8: (20.0,), 16: (30.0,)}
    series = series_from(times)
    law = best(fit(series))
    worst = max(law.held_out, key=lambda held_out: held_out[1])[0]
    made = {answer.question: answer for answer in answers(series, [law])}[Question.NEXT]
    assert made.words == f"gpus={worst} repeats=2"
    assert "predicts worst when it is held out" in made.sentence


def test_the_gain_of_a_run_is_what_fitting_it_would_take_away():
    """Sherman and Morrison's update against a fit that really has the run: variances of ln T over 1 to 32 GPUs."""
    few = repeated(amdahl(0.05))
    law = fit_law(series_from(few), Law.AMDAHL)
    exact = amdahl(0.05, (16,))[16]
    more = fit_law(series_from(few | {16: (exact,)}), Law.AMDAHL)

    def spread(alone, residual):
        region = [law.gradient(gpus) for gpus in (1, 2, 4, 8, 16, 32)]
        total = sum(a * alone.covariance[i][j] * b for g in region for i, a in enumerate(g) for j, b in enumerate(g))
        return total / residual**2

    taken = 1 - spread(more, more.residual) / spread(law, law.residual)
    assert gain(law, 16) == pytest.approx(taken, rel=0.02)


@settings(max_examples=20)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16]), min_size=3, max_size=6, unique=True))
def test_gains_are_parts_and_candidates_can_run(counts):
    law = fit_law(series_from(repeated(amdahl(0.05, counts))), Law.AMDAHL)
    proposed = candidates(law)
    assert set(law.counts) < set(proposed)
    assert all(16 * gpus <= 6400 for gpus in proposed)
    assert all(0 <= gain(law, gpus) <= 1 for gpus in proposed)
    assert next_cell(law).gpus in proposed


def test_a_global_batch_is_only_proposed_where_it_divides():
    """96 images over 1, 2, 4 GPUs: 3 between 2 and 4 divides them and so does 8, but 5 or 7 would not."""
    series = series_from(repeated(amdahl(0.05, (1, 2, 4))))
    key = replace(series.key, batch_per="global", batch=96, work=9600)
    law = fit_law(replace(series, key=key), Law.AMDAHL)
    assert candidates(law) == [1, 2, 3, 4, 8]
    assert candidates(replace(law, load=replace(law.load, batch=100))) == [1, 2, 4]


def test_exact_data_have_nothing_to_narrow_and_the_untested_end_is_proposed():
    law = fit_law(series_from({g: [(t,), (t,)] for g, t in amdahl(0.05).items()}), Law.AMDAHL)
    assert next_cell(law).gpus == 16
    assert "no spread" in next_cell(law).why


def test_the_best_law_comes_with_its_numbers_and_the_others_errors():
    made = ask(repeated(amdahl(0.05)))[Question.LAW]
    assert "best law: Amdahl, leave-one-out error 0.0% against USL" in made.sentence
    assert "serial fraction 0.05 (" in made.sentence
    assert "not fitted: the latency-bandwidth model: needs 5 GPU counts" in made.sentence


@pytest.mark.parametrize("words", [{"threshold": 0}, {"threshold": 1.2}, {"gpu_price": -1}])
def test_a_threshold_or_price_that_means_nothing_is_refused(words):
    with pytest.raises(ValueError, match=next(iter(words))):
        ask({1: (10.0,)}, **words)
