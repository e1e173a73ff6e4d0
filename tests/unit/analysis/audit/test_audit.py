"""Every rule of the audit finds what it is named after, with the numbers, and is silent about sound runs."""

import inspect
import random
import re
from dataclasses import replace
from math import exp, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.conftest import ROOT
from tests.unit.analysis.builders import IMAGES, run, without_time
from vit_sweep.analysis.audit import baseline, executions, labels, learning, machines, network, speedups
from vit_sweep.analysis.audit.finding import Claim, Finding, Severity, Standing, by_rule, evidence_of
from vit_sweep.analysis.audit.judge import RULES, audit
from vit_sweep.analysis.audit.network import link_of
from vit_sweep.analysis.audit.reaching import Curve, reached
from vit_sweep.analysis.audit.speedups import times, times_to_accuracy
from vit_sweep.analysis.audit.spread import chi_squared, spread_of
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.record.machine import Fingerprint, Gpu
from vit_sweep.record.stats import StepParts
from vit_sweep.runs.run import Origin

GLOBAL = (Membership(scaling=Scaling.STRONG, batch_per=BatchPer.GLOBAL, placement="packed"),)
HALVES = {1: 10.0, 2: 5.2, 4: 2.8}


def sound(gpus, seed, seconds):
    """One of three repeats of a cell whose global batch is fixed and whose test accuracy is known."""
    return run(
        gpus,
        (seconds, seconds * 1.001),
        seed=seed,
        run_id=f"g{gpus}-s{seed}",
        curves=GLOBAL,
        micro_batch=64 // gpus,
        images=IMAGES,
        hosts=(f"node{seed}",),
        epoch_all_s=(2 * seconds, seconds, seconds),
        test_accuracy=(0.1, 0.2, 0.3),
        train_accuracy=(0.1, 0.2, 0.3),
        parts=StepParts(communication=gpus - 1.0, straggler_wait=0.0),
    )


def sound_study():
    return [sound(gpus, seed, seconds * (1 + 0.001 * seed)) for gpus, seconds in HALVES.items() for seed in range(3)]


def found(runs, rule):
    return [finding for finding in audit(runs).findings if finding.rule == rule]


def only(runs, rule):
    (finding,) = found(runs, rule)
    return finding


def standing(runs, claim):
    return next(judgement.standing for judgement in audit(runs).claims if judgement.claim is claim)


def test_a_sound_study_carries_every_claim():
    verdict = audit(sound_study())
    assert verdict.findings == ()
    assert {judgement.standing for judgement in verdict.claims} == {Standing.HOLDS}
    assert verdict.falls == ()


def test_without_data_a_claim_is_open_and_says_what_is_missing():
    verdict = audit([run(1, seed=0), run(1, seed=1)])
    stands = {judgement.claim: judgement.standing for judgement in verdict.claims}
    assert stands[Claim.THROUGHPUT] is stands[Claim.ACCURACY] is stands[Claim.COMMUNICATION] is Standing.OPEN
    assert all(judgement.reasons for judgement in verdict.claims if judgement.standing is Standing.OPEN)


def test_nothing_at_all_is_audited_without_a_word():
    assert audit([without_time(1), without_time(2)]).findings == ()


# -- what is learnt -----------------------------------------------------------------------------------


def test_strong_scaling_with_a_fixed_micro_batch_is_another_problem_at_every_count():
    finding = only([run(1, (10.0,)), run(4, (2.6,))], "global batch grew")
    assert "grows by a factor of 4, from 16 to 64 images" in finding.sentence
    assert "25.0% of the steps" in finding.sentence
    assert finding.severity is Severity.FALLS
    assert standing([run(1), run(4)], Claim.FIXED_PROBLEM) is Standing.FALLS


@pytest.mark.parametrize(
    ("conditions", "severity", "reason"),
    [
        ({"lr_scaling": "none", "optimizer.learning_rate": "0.001"}, Severity.FALLS, "the learning rate stays 0.001"),
        ({"lr_scaling": "linear"}, Severity.WEAKENS, "the learning rate follows it (linear)"),
        ({}, Severity.FALLS, "nothing says that the learning rate followed it"),
    ],
)
def test_a_rate_that_follows_the_batch_weakens_instead(conditions, severity, reason):
    finding = only([run(gpus, conditions=conditions) for gpus in (1, 4)], "global batch grew")
    assert finding.severity is severity
    assert reason in finding.sentence


def test_weak_scaling_may_grow_its_batch():
    assert not found([run(gpus, scaling=Scaling.WEAK) for gpus in (1, 4)], "global batch grew")


def test_training_accuracy_is_no_accuracy():
    finding = only([run(1, train_accuracy=(0.1, 0.3)), run(2, test_accuracy=(0.2,))], "training accuracy")
    assert "1 of 2 runs" in finding.sentence
    assert "30.0% to 30.0%" in finding.sentence


def test_repeated_images_above_a_tenth_are_told():
    assert "28% at 8 GPUs" in only([run(1), run(8, images=8192)], "padded images").sentence
    assert not found([run(1), run(8, images=7000)], "padded images")


# -- the baseline -------------------------------------------------------------------------------------


def test_among_repeats_that_differ_by_far_more_than_usual_no_rule_of_the_baseline_speaks_by_chance():
    """Ideal curves, two runs a count that differ by 10 %: beside the usual 2 %, one study in ten was accused."""
    draw, studies, accused = random.Random(5), 150, 0
    rules = {"efficiency above 1", "negative Karp-Flatt", "speedup below 1"}
    for _ in range(studies):
        runs = [run(p, (100 / p * exp(draw.gauss(0, 0.1)),), seed=seed) for p in (1, 2, 4, 8) for seed in (0, 1)]
        evidence = evidence_of(runs)
        findings = [f for rule in (baseline.superlinear, baseline.slower_with_more) for f in rule(evidence)]
        accused += any(finding.rule in rules for finding in findings)
    assert accused <= 0.05 * studies + 2 * sqrt(0.05 * 0.95 * studies)


def test_how_far_repeats_differ_is_said_as_they_differ():
    """Logs differ by 0.2 in both cells: a standard deviation of 0.2 / sqrt 2 with 2 degrees of freedom, beyond 2 %."""
    wild, tame = (
        spread_of(evidence_of([run(p, (10.0 * exp(x),), seed=n) for p in (1, 2) for n, x in enumerate((0, apart))]))
        for apart in (0.2, 0.03)
    )
    assert (wild.deviation, wild.freedom) == (pytest.approx(0.2 / sqrt(2)), 2)
    assert wild.words == "repeats differ by 14.1%, 2 degrees of freedom"
    assert tame.words == "repeats differ by 2.1%, 2 degrees of freedom, taken as 2.0% beside the usual 2%"


@pytest.mark.parametrize("freedom", [1, 2, 5, 20])
def test_chi_squared_needs_no_scipy(freedom):
    assert chi_squared(freedom) == pytest.approx(stats.chi2.ppf(0.95, freedom), rel=0.03)


def test_efficiency_above_1_and_a_negative_serial_fraction_accuse_the_baseline():
    """S = 10 / 4.4 = 2.273, E = 113.6 %, e = (1/2.273 - 1/2) / (1 - 1/2) = -0.12."""
    runs = [run(1, (10.0,)), run(2, (4.4,))]
    finding = only(runs, "efficiency above 1")
    assert "113.6% at 2 GPUs (10 s -> 4.4 s)" in finding.sentence
    assert "no cell was repeated, so repeats are taken to differ by 2%" in finding.sentence
    assert "-0.1200 at 2 GPUs" in only(runs, "negative Karp-Flatt").sentence


def test_single_runs_just_above_1_are_not_accused():
    """A single run of each lies 2.8 % from the truth by chance alone."""
    assert not found([run(1, (10.0,)), run(2, (4.85,))], "efficiency above 1")
    # One in 33 ideal studies is accused, whatever their counts: 6 % above is enough for one, not for one of three.
    assert found([run(1, (10.0,)), run(2, (5 / 1.06,))], "efficiency above 1")
    assert not found([run(1, (10.0,)), run(2, (5 / 1.06,)), run(4, (2.5,)), run(8, (1.25,))], "efficiency above 1")


def test_an_interval_that_contains_1_is_not_superlinear():
    base = [run(1, (seconds,), seed=seed) for seed, seconds in enumerate((9.0, 10.0, 11.0))]
    twice = [run(2, (seconds,), seed=seed) for seed, seconds in enumerate((4.4, 4.9, 5.4))]
    assert not found([*base, *twice], "efficiency above 1")
    close = [run(1, (10.0 + 0.01 * seed,), seed=seed) for seed in range(3)]
    fast = [run(2, (4.8 + 0.01 * seed,), seed=seed) for seed in range(3)]
    assert found([*close, *fast], "efficiency above 1")


def test_more_gpus_that_do_less_work_are_a_finding_and_a_little_less_speedup_is_none():
    finding = only([run(1, (10.0,)), run(2, (16.0,))], "speedup below 1")
    assert "0.62 on 2 GPUs" in finding.sentence
    assert not found([run(1, (10.0,)), run(2, (10.1,))], "speedup below 1"), "within what repeats differ"
    assert not found([run(1, (10.0,)), run(2, (9.0,))], "speedup below 1")


def test_a_baseline_whose_clock_lies_below_all_others_falls_and_one_at_its_power_limit_does_not():
    def clocks(first, *others):
        return [run(1, sm_clock_mhz=first), *(run(2**n, (5.0,), sm_clock_mhz=mhz) for n, mhz in enumerate(others, 1))]

    finding = only(clocks(1150.0, 1200.0, 1210.0), "slow baseline clock")
    assert "1150 MHz" in finding.sentence and "1200 MHz or more" in finding.sentence
    assert not found(clocks(1180.0, 1200.0, 1210.0), "slow baseline clock"), "GPUs at their limit vary by as much"
    assert not found(clocks(1150.0, 1200.0, 1140.0), "slow baseline clock"), "others ran as slowly"
    assert not found(clocks(None, 1200.0), "slow baseline clock")


def test_a_throttled_baseline_brings_the_throughput_down():
    flag = "throttled: rank 0 on node0 (20% of the time: power)"
    finding = only([run(1, flags=(flag,)), run(2, (5.0,))], "throttled baseline")
    assert flag in finding.sentence
    assert not found([run(1), run(2, (5.0,), flags=(flag,))], "throttled baseline")


def imported(gpus, seconds, placement, **changes):
    return run(
        gpus,
        (seconds,),
        placement=placement,
        origin=Origin.IMPORTED,
        hosts=changes.pop("hosts", ()),
        nodes=None,
        run_id=f"{placement}{gpus}",
        **changes,
    )


def test_a_baseline_of_another_placement_is_borrowed():
    runs = [imported(1, 10.0, "packed"), imported(2, 5.1, "packed"), imported(2, 5.5, "spread")]
    runs.append(imported(4, 2.9, "spread"))
    finding = only(runs, "borrowed baseline")
    assert (finding.where, finding.severity) == ("spread", Severity.FALLS)
    assert "placement=spread has no 1 GPU run of its own; its baseline is that of placement=packed" in finding.sentence


def test_the_same_node_makes_a_borrowed_baseline_less_bad():
    hosts = {"hosts": ("n1",)}
    runs = [
        imported(1, 10.0, "packed", **hosts),
        imported(2, 5.5, "spread", **hosts),
        imported(4, 2.9, "spread", **hosts),
    ]
    assert only(runs, "borrowed baseline").severity is Severity.WEAKENS


def test_a_study_shares_its_single_gpu_cell_between_placements():
    assert not found([run(1), run(2, placement="spread", nodes=2)], "borrowed baseline")


def test_a_baseline_of_another_data_set_is_not_used_and_told():
    other = {"data": "cifar10"}
    runs = [run(1, conditions=other, run_id="a"), run(2, (5.0,)), run(4, (2.6,))]
    finding = only(runs, "baseline of something else")
    assert "only data=cifar10 has 1 GPU, this is data=cifar100: speedups count from 2 GPUs" in finding.sentence


def test_the_same_step_timed_twice_must_agree():
    """The published T4 step of 64 images: 2.33 s strong, 2.14 s weak. 6,400 images in steps of 16 are 400 steps."""
    strong, weak = run(1, (932.0,)), run(1, (856.0,), scaling=Scaling.WEAK, run_id="weak", seed=5)
    finding = only([strong, weak], "unequal baselines")
    assert "2.33 s" in finding.sentence
    assert "2.14 s" in finding.sentence
    assert "9% apart" in finding.sentence
    assert finding.where == "strong, batch 16"


# -- machines -----------------------------------------------------------------------------------------


def test_a_baseline_on_a_node_of_its_own_cannot_be_told_from_its_count():
    runs = [run(1, hosts=("slow",)), run(2, (5.0,), hosts=("a",)), run(4, (2.5,), hosts=("b",))]
    finding = only(runs, "baseline on another node")
    assert "used slow, the others a, b" in finding.sentence
    assert not found([run(1, hosts=("a",)), run(2, hosts=("a", "b"))], "baseline on another node")


def test_unlike_gpus_in_a_run_and_between_runs_are_told():
    mixed = run(2, (5.0,), devices=("Tesla T4", "Tesla P4"), run_id="mixed")
    assert "GPU model: Tesla P4 + Tesla T4" in found([mixed, run(1)], "unlike GPUs")[0].sentence
    machine = tuple(Fingerprint(rank=r, host="n", gpu=Gpu(power_limit_w=w)) for r, w in enumerate((70.0, 60.0)))
    assert "power limit" in only([run(2, machine=machine)], "unlike GPUs").sentence
    apart = [run(1), run(2, (4.0,), devices=("NVIDIA A40",) * 2, run_id="a40")]
    assert "a40: unlike GPUs" in only(apart, "unlike GPUs").sentence


def test_a_condition_that_only_some_runs_say_is_told():
    silent = run(2)
    silent = replace(silent, conditions=tuple(pair for pair in silent.conditions if pair[0] != "data"))
    assert "data of 1 of 2 runs" in only([run(1), silent], "conditions not stated").sentence


def test_flags_of_a_record_weaken():
    finding = only([run(1), run(2, flags=("slow: rank 1 on b (1.4 x)",))], "disturbed runs")
    assert "g2-s0: slow: rank 1 on b (1.4 x)" in finding.sentence
    assert found([run(1), run(2, oversubscribed=True)], "more ranks than cores")


# -- executions ---------------------------------------------------------------------------------------


def test_single_runs_cannot_carry_small_differences():
    assert only([run(1), run(2)], "single runs").severity is Severity.FALLS
    some = [run(1, seed=0), run(1, seed=1), run(2)]
    finding = only(some, "single runs")
    assert finding.severity is Severity.WEAKENS
    assert "1 of 2 points rests on one run (2 GPUs)" in finding.sentence


def test_a_repeat_that_stands_apart_is_no_point_that_rests_on_one_run_or_seed():
    """Three repeats of each count are pooled; a fourth of 4 GPUs on other GPUs is in no mean."""
    odd = replace(sound(4, 7, 2.0), devices=("NVIDIA A40",) * 4)
    assert only([*sound_study(), odd], "unlike GPUs")
    assert not found([*sound_study(), odd], "single runs") and not found([*sound_study(), odd], "one seed")
    alone = [*(a_run for a_run in sound_study() if a_run.gpus < 4), odd]
    assert "1 of 3 points rests on one run (4 GPUs)" in only(alone, "single runs").sentence
    assert "of 1 of 3 points rests on one seed (4 GPUs)" in only(alone, "one seed").sentence


def test_single_runs_leave_no_claim_that_holds():
    runs = [a_run for a_run in sound_study() if a_run.seed == 0]
    stands = {judgement.claim: judgement.standing for judgement in audit(runs).claims}
    assert Standing.HOLDS not in stands.values()
    assert stands[Claim.SMALL_DIFFERENCES] is Standing.FALLS


def test_two_repeats_are_no_knowledge_of_spread():
    """Two runs that differ by 19 %, as published weak ones did."""
    runs = [run(1, (10.0,), seed=0), run(1, (11.9,), seed=1)]
    assert "1 degree of freedom: 19.0% at 1 GPU (2 runs)" in only(runs, "few repeats").sentence
    assert "19% at 1 GPU (10 s, 11.9 s): something that is not stated differed" in only(runs, "repeats differ").sentence
    busy = [replace(runs[0], flags=("host contended: rank 0",)), *runs[1:]]
    assert "others used the hosts of 1 of these 2 runs" in only(busy, "repeats differ").sentence


def test_accuracy_does_not_hold_with_one_seed():
    runs = [replace(a_run, seed=0) for a_run in sound_study()]
    assert "3 of 3 points rests on one seed" in only(runs, "one seed").sentence
    assert standing(runs, Claim.ACCURACY) is Standing.WEAKENED


def ends_at(*accuracies, gpus=1):
    """Runs of one count, a seed each, that end at these accuracies."""
    return [
        replace(sound(gpus, seed, 10.0 / gpus), test_accuracy=(0.1, 0.2, accuracy))
        for seed, accuracy in enumerate(accuracies)
    ]


def test_accuracy_does_not_hold_where_seeds_end_far_apart():
    """By hand: variance 0.14^2 / 2 with 1 degree of freedom, so the mean is known to 12.706 x 0.07."""
    (finding,) = learning.seeds_differ(evidence_of(ends_at(0.51, 0.65)))
    assert finding.sentence == (
        "the mean test accuracy over seeds is known to ±89 percentage points (95%, 1 degree of freedom), not to 2: "
        "seeds end at 51.0% to 65.0% at 1 GPU (2 seeds)"
    )
    assert standing(ends_at(0.51, 0.65), Claim.ACCURACY) is Standing.WEAKENED
    # Six seeds that differ by 1 point, and a count whose two seeds agree and are judged by them too.
    known = [*ends_at(0.61, 0.6, 0.62, 0.6, 0.61, 0.62), *ends_at(0.6, 0.601, gpus=2)]
    assert standing(known, Claim.ACCURACY) is Standing.HOLDS
    # Five seeds: 2.776 sqrt(0.0003625 / 5) is 2.4 points, and with four fifths of these distances 1.9.
    assert only(ends_at(0.575, 0.59, 0.6, 0.61, 0.625), "seeds differ")
    assert not found(ends_at(0.58, 0.592, 0.6, 0.608, 0.62), "seeds differ")
    again = [replace(a_run, seed=0, run_id=f"again {a_run.run_id}") for a_run in ends_at(0.6, 0.6, 0.6)]
    repeated = only([*again, *ends_at(0.6, 0.65)[1:]], "seeds differ").sentence
    assert "1 degree of freedom" in repeated, "repeats of one seed are no further seeds"
    # Pooled with the six (variance 0.00008), two of variance 0.0002 are known to 2.447 sqrt(0.0001 / 2): 1.7 points.
    assert not found([*known[:6], *ends_at(0.595, 0.615, gpus=2)], "seeds differ")


@pytest.mark.parametrize(("seeds", "deviation"), [(2, 0.002), (2, 0.02), (3, 0.02), (5, 0.02)])
def test_an_accuracy_that_holds_lies_within_two_points_of_the_truth(seeds, deviation):
    """Planted: 60 %, seeds differ by so much. Held wrongly in at most 5 % of studies, of which 300 may show 9 %."""
    draw = random.Random(seeds)
    wrong = 0
    for _ in range(300):
        accuracies = [draw.gauss(0.6, deviation) for _ in range(seeds)]
        holds = not list(learning.seeds_differ(evidence_of(ends_at(*accuracies))))
        wrong += holds and abs(sum(accuracies) / seeds - 0.6) > learning.KNOWN
    assert wrong <= stats.binom.ppf(0.999, 300, 0.05)


def test_a_baseline_that_drifts_within_its_run_is_found():
    runs = [run(1, (10.0, 10.5, 10.9, 11.4)), run(2, (5.0, 5.02, 4.99, 5.01))]
    finding = only(runs, "drift within a run")
    assert "g1-s0 +14%; the baseline is among them" in finding.sentence
    scattered = [run(1, (10.0, 11.0, 10.1, 10.9)), run(2)]
    assert not found(scattered, "drift within a run")


def test_partial_runs_are_told_with_their_epochs():
    cut = [run(1), run(2, epochs_requested=5, epochs_done=4)]
    assert "2 GPUs (g2-s0): 4 of 5 epochs" in only(cut, "partial runs").sentence


def test_means_with_the_first_epoch_in_them_are_told():
    """61.6 s against 60.7 s: 1.5 %."""
    finding = only([run(1), run(32, (60.7,), published_s=61.6)], "warm-up included")
    assert "32 GPUs 61.6 s against 60.7 s without it (+1.5%)" in finding.sentence
    stuck = run(2, (12.0,), published_s=12.0, first_epoch_s=None, run_id="mean of theirs")
    assert "cannot be taken out: mean of theirs" in only([run(1), stuck], "warm-up included").sentence
    assert "one epoch only" in only([run(1, (9.0,), epochs_done=1, epochs_requested=1)], "warm-up included").sentence


def test_missing_ranks_are_told():
    assert found([run(2, flags=("rows missing: 1 of 2 ranks in epoch 2",))], "missing ranks")
    assert not found([run(2, flags=("rows missing: 1 of 2 ranks in epoch 2",))], "disturbed runs")


# -- communication ------------------------------------------------------------------------------------


def talking(gpus, communication, *, wait=None, nodes=None, compute=None, origin=Origin.IMPORTED, **changes):
    return run(
        gpus,
        (10.0 / gpus,),
        nodes=nodes or gpus,
        origin=origin,
        run_id=f"t{gpus}",
        hosts=(),
        parts=StepParts(communication=communication, straggler_wait=wait),
        compute_ms_by_rank=() if compute is None else (compute,) * gpus,
        parameters=86_567_656,
        **changes,
    )


def test_communication_of_one_rank_contains_waiting():
    finding = only([talking(1, 6.5), talking(2, 100.0), talking(3, 110.0)], "straggler wait")
    assert finding.severity is Severity.FALLS
    assert "2 points (2 GPUs, 3 GPUs) is not known for every rank" in finding.sentence
    of_rank_0 = {"rank_0_only": ("communication_ms",)}
    runs = [talking(1, 6.5), talking(2, 100.0, **of_rank_0), talking(3, 110.0, **of_rank_0)]
    assert "(2 GPUs, 3 GPUs) is known of rank 0 alone:" in only(runs, "straggler wait").sentence


def test_a_studys_own_communication_is_the_least_over_ranks():
    assert not found([talking(1, 6.5, origin=Origin.STUDY), talking(2, 100.0, origin=Origin.STUDY)], "straggler wait")


def test_waiting_that_is_much_of_the_time_is_split_off():
    finding = only([talking(1, 6.5), talking(2, 60.0, wait=40.0)], "straggler wait")
    assert "40% at 2 GPUs" in finding.sentence
    assert not found([talking(2, 90.0, wait=10.0)], "straggler wait")


def test_transfer_cannot_shrink_with_more_ranks():
    """T4 b64: 283 ms over 3 GPUs and 123 ms over 6 for the same 346 MB."""
    finding = only([talking(3, 283.0, wait=0.0), talking(6, 123.0, wait=0.0)], "straggler wait")
    assert "283 ms a step over 3 GPUs and 123 ms over 6 GPUs" in finding.sentence


def test_a_gigabit_link_explains_the_collapse_of_the_fifth_node():
    """The paper's Tesla hosts: 554 MB in 4.71 s are 0.118 GB/s, with computing unchanged (434 against 438 ms)."""
    runs = [talking(4, 519.0, wait=0.0, compute=438.0), talking(5, 4700.0, wait=0.0, compute=434.0)]
    finding = only(runs, "slow link")
    assert "at 5 GPUs 554 MB in 4700 ms are 0.118 GB/s, against 1 GB/s at 4 GPUs" in finding.sentence
    assert "one 1 GbE link (0.118 GB/s)" in finding.sentence
    assert "Computing stays at 434 ms a step (438 elsewhere): a link, not slow GPUs" in finding.sentence


def test_slow_gpus_are_not_excused_by_a_slow_link():
    runs = [talking(4, 519.0, wait=0.0, compute=438.0), talking(5, 4700.0, wait=0.0, compute=600.0)]
    assert "so slow GPUs have their part" in only(runs, "slow link").sentence


def test_inside_one_machine_no_ethernet_is_suspected():
    assert not found([talking(4, 519.0, wait=0.0, nodes=1), talking(5, 4700.0, wait=0.0, nodes=1)], "slow link")


@pytest.mark.parametrize(
    ("speed", "name"), [(0.118, "1 GbE"), (1.0, "10 GbE"), (2.9, "25 GbE"), (0.5, ""), (4.7, "40 GbE"), (0.05, "")]
)
def test_a_link_is_known_by_its_goodput(speed, name):
    assert (name in link_of(speed)) if name else link_of(speed) == ""


def test_what_stands_apart_for_its_gpus_still_has_its_slow_link_named():
    """With the GPUs stated, runs on unlike hosts are in no speedup; the fifth node's link is found all the same."""
    four = talking(4, 519.0, wait=0.0, devices=("Tesla T4",) * 4)
    five = talking(5, 4700.0, wait=0.0, devices=("Tesla T4",) * 4 + ("Tesla P4",))
    runs = [run(1, (10.0,), origin=Origin.IMPORTED, run_id="t1", devices=("Tesla T4",)), four, five]
    assert "one 1 GbE link" in only(runs, "slow link").sentence
    assert "strong, 5 GPUs: unlike GPUs" in found(runs, "unlike GPUs")[-1].sentence


def test_what_only_rank_0_reports_is_compared_with_rank_0():
    runs = [talking(4, 519.0, rank_0_compute_ms=438.0), talking(5, 4700.0, rank_0_compute_ms=434.0)]
    finding = only(runs, "slow link")
    assert "Computing of rank 0, the only one known, stays at 434 ms a step (438 elsewhere)" in finding.sentence


def full(gpus, gb_per_s):
    """Steps of a second's computing, and a ring of one GPU a machine through such a link."""
    time = 2 * (gpus - 1) / gpus * 346_270_624 / gb_per_s / 1e6
    return talking(gpus, time, wait=0.0) if gpus > 1 else talking(1, 0.0)


@pytest.mark.parametrize(
    ("rates", "reason"),
    [
        (
            {2: 0.115, 4: 0.115, 8: 0.115},
            "each rank sees 0.115 to 0.115 GB/s, what one 1 GbE link (0.118 GB/s) carries",
        ),
        ({2: 0.55, 4: 0.275, 8: 0.1375}, "all ranks together see 1.1 to 1.1 GB/s, however many they are"),
    ],
)
def test_a_link_that_every_count_fills_is_found_without_a_collapse(rates, reason):
    runs = [
        replace(full(gpus, rates.get(gpus, 1)), step_ms=1000 / gpus + 2 * (gpus - 1) / gpus * 346 / rates.get(gpus, 1))
        for gpus in (1, 2, 4, 8)
    ]
    assert reason in only(runs, "saturated link").sentence
    little = [replace(a_run, step_ms=1e5) for a_run in runs]
    assert not found(little, "saturated link")


# -- labels -------------------------------------------------------------------------------------------


def theirs(gpus, seconds, **changes):
    """An imported run whose table says neither scaling nor batch_per."""
    known = {"origin": Origin.IMPORTED, "assumed": ("scaling", "batch_per"), "run_id": f"x{gpus}"}
    return run(gpus, (seconds,), **(known | changes))


def test_a_batch_that_grows_with_the_gpus_is_asked_for_what_it_counts():
    runs = [theirs(gpus, 10 / gpus, micro_batch=64 * gpus) for gpus in (1, 2, 4)]
    finding = only(runs, "global batch as batch per GPU")
    assert "64 on 1 GPU, 128 on 2 GPUs, 256 on 4 GPUs" in finding.sentence
    assert "--set batch_per=global" in finding.advice
    stated = [replace(a_run, assumed=()) for a_run in runs]
    assert not found(stated, "global batch as batch per GPU")


def test_a_fixed_global_batch_is_not_accused_of_growing():
    """6,400 images in steps of 64 are 100 steps; on 4 GPUs 100 steps of 25 ms: 64 images a step, not 4 x 64."""
    runs = [theirs(gpus, 10 / gpus, micro_batch=64, step_ms=100 / gpus) for gpus in (1, 2, 4)]
    assert not found(runs, "global batch grew")
    assert "64 images a step on 4 GPUs, where `batch` says 64" in only(runs, "global batch as batch per GPU").sentence


def test_a_batch_of_which_nobody_knows_what_it_counts_falls_for_nothing():
    finding = only([theirs(1, 10.0), theirs(4, 2.6)], "global batch grew")
    assert finding.severity is Severity.WEAKENS
    assert finding.sentence.startswith("if `batch` counts one GPU (no column batch_per says)")
    assert "add a column batch_per" in finding.advice


def test_weak_rows_called_strong_are_known_by_their_images_or_their_flat_times():
    grown = [theirs(gpus, 10.0, work=IMAGES * gpus) for gpus in (1, 2, 4)]
    finding = only(grown, "weak rows called strong")
    assert "6,400 on 1 GPU, 12,800 on 2 GPUs, 25,600 on 4 GPUs" in finding.sentence
    assert "scaling=weak" in finding.advice
    flat = [theirs(gpus, 10.0 + 0.1 * gpus, work=None, images=None) for gpus in (1, 2, 4)]
    assert "takes as long on 4 GPUs as on 1 GPU (1.03 times)" in only(flat, "weak rows called strong").sentence
    assert not found([theirs(gpus, 10.0 / gpus) for gpus in (1, 2, 4)], "weak rows called strong")


def test_strong_rows_called_weak_are_known_by_their_equal_images_or_their_shrinking_times():
    weak = (Membership(scaling=Scaling.WEAK, batch_per=BatchPer.GPU, placement="packed"),)
    equal = [theirs(gpus, 10.0 / gpus, curves=weak) for gpus in (1, 2, 4)]
    assert "0.25 times as long on the last" in only(equal, "strong rows called weak").sentence
    of_one = [theirs(gpus, 10.0, curves=weak) for gpus in (1, 2, 4)]
    assert not found(of_one, "strong rows called weak")
    assert "it is 6,400 on 1, 2, 4 GPUs" in only(of_one, "images of one GPU").sentence
    shrinking = [theirs(gpus, 10.0 / gpus, work=IMAGES // gpus) for gpus in (1, 2, 4)]
    assert "6,400 on 1 GPU, 3,200 on 2 GPUs, 1,600 on 4 GPUs" in only(shrinking, "images of one GPU").sentence
    assert not found(equal, "images of one GPU")
    unsaid = [theirs(gpus, 10.0 / gpus, work=None, images=None, curves=weak) for gpus in (1, 2, 4)]
    assert "0.25 times as long on 4 GPUs as on 1 GPU" in only(unsaid, "strong rows called weak").sentence
    grown = [theirs(gpus, 10.0 + 0.1 * gpus, work=IMAGES * gpus, curves=weak) for gpus in (1, 2, 4)]
    assert not found(grown, "strong rows called weak")


def test_gpus_of_one_node_are_known_by_their_times_and_by_nodes_without_one():
    times = {1: 10.0, 2: 5.1, 4: 2.7}
    runs = [theirs(8, seconds, nodes=nodes, run_id=f"on {nodes}") for nodes, seconds in times.items()]
    assert (
        "`gpus` is 8 on 1, 2, 4 nodes, yet an epoch on 4 is 3.7 times as fast"
        in only(runs, "GPUs of one node").sentence
    )
    assert "4 GPUs on 8 nodes: fewer than one a node" in only([theirs(4, 5.0, nodes=8)], "GPUs of one node").sentence
    # Packed and spread runs of equal GPUs are no such thing, however unlike their times are.
    spread = [theirs(8, 10.0, nodes=1, run_id="a"), theirs(8, 16.0, nodes=8, run_id="b")]
    assert not found(spread, "GPUs of one node") and not found(
        [replace(r, epoch_s=(s,)) for r, s in zip(spread, (16.0, 10.0), strict=True)], "GPUs of one node"
    )


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ("bf16", "bf16-mixed", True),
        ("T4", "Tesla T4", True),
        ("ViT-B/16", "vit_b_16", True),
        ("fp32", "float32", True),
        ("cifar10", "cifar100", False),
        ("vit_b_16", "vit_b_32", False),
        ("A100", "A100 MIG 1g.10gb", False),
        ("zero1", "zero2", False),
    ],
)
def test_one_thing_with_two_names_is_told_from_two_things(a, b, alike):
    runs = [theirs(1, 10.0, conditions={"gpu_model": a}), theirs(2, 5.0, conditions={"gpu_model": b})]
    assert bool(found(runs, "names alike")) is alike


# -- three speedups -----------------------------------------------------------------------------------


def test_three_speedups_of_one_series():
    """Fixed global batch: 10 / 4 = 2.5 beside 10 / 2.5 = 4. Accuracy 0.2 after 20 + 10 s, and between 7.5 s (0.15) and
    10 s (0.25), half way on the straight line: 30 / 8.75, between 30 / 10 and 30 / 7.5."""
    base = run(1, (10.0,), epoch_all_s=(20.0, 10.0), test_accuracy=(0.1, 0.2))
    grown = run(4, (2.5,), epoch_all_s=(5.0, 2.5, 2.5), test_accuracy=(0.05, 0.15, 0.25), run_id="grown")
    fixed = run(4, (4.0,), micro_batch=4, run_id="fixed", curves=GLOBAL)
    (speedups,) = [s for s in audit([base, grown, fixed]).speedups if s.baseline_gpus == 1]
    assert speedups.throughput == pytest.approx(4.0)
    assert speedups.fixed_batch == pytest.approx(2.5)
    assert speedups.to_accuracy == pytest.approx(30 / 8.75)
    assert (speedups.to_accuracy_low, speedups.to_accuracy_high) == pytest.approx((3.0, 4.0))
    assert times_to_accuracy(speedups) == "3.4 times as fast (3.0 to 4.0)"
    assert (speedups.target, speedups.of_training, speedups.at_least) == (0.2, False, False)


def test_a_missing_speedup_says_why():
    (speedups,) = audit([run(1), run(4)]).speedups
    assert (speedups.fixed_batch, speedups.to_accuracy) == (None, None)
    assert speedups.fixed_batch_why == "no run on 4 GPUs with a global batch of 16"
    assert speedups.to_accuracy_why == "no accuracy on both sides"


def test_weak_scaling_has_no_fixed_batch():
    (speedups,) = audit([run(1, scaling=Scaling.WEAK), run(4, (10.5,), scaling=Scaling.WEAK)]).speedups
    assert speedups.fixed_batch_why == "weak scaling grows the work"
    assert speedups.throughput == pytest.approx(4 * 10 / 10.5)


def test_an_accuracy_that_is_not_known_of_every_epoch_gives_a_bound():
    assert reached(Curve((10.0, 10.0), (None, 0.3)), 0.2).exact is False
    assert reached(Curve((10.0,) * 3, (0.1, None, 0.3)), 0.2).exact is False
    assert reached(Curve((10.0,), (0.1,)), 0.2) is None


def test_an_accuracy_is_reached_between_two_epochs_and_interpolated():
    """Half way from 0.1 to 0.3 lies 0.2; before the first epoch no accuracy is known to interpolate from."""
    between = reached(Curve((10.0, 10.0), (0.1, 0.3)), 0.2)
    assert (between.after_s, between.by_s, between.likely_s) == (10.0, 20.0, pytest.approx(15.0))
    at_once = reached(Curve((10.0,), (0.1,)), 0.05)
    assert (at_once.after_s, at_once.by_s, at_once.likely_s) == (0.0, 10.0, None)
    assert reached(Curve((10.0, 10.0), (0.1, 0.3)), 0.3).after_s == 20.0


def test_no_time_to_accuracy_leads_over_a_restart_whose_loss_nobody_timed():
    """The grown run ends at 0.2 too, but the 15 s of the baseline's second epoch leave out what a restart took."""
    base = run(1, (10.0,), epoch_all_s=(10.0, 15.0), test_accuracy=(0.1, 0.2))
    grown = run(4, (2.5,), epoch_all_s=(2.5, 2.5, 2.5), test_accuracy=(0.05, 0.15, 0.2), run_id="grown")
    (whole,), (cut,) = (audit([made, grown]).speedups for made in (base, replace(base, interrupted=(2,))))
    assert (whole.target, cut.target) == (0.2, 0.1)
    assert cut.to_accuracy == pytest.approx(10 / 3.75)
    (none,) = audit([replace(base, interrupted=(1,)), grown]).speedups
    assert none.to_accuracy_why == "no accuracy on both sides"


def test_several_seeds_have_a_speedup_each_to_one_common_accuracy():
    """The slowest learner ends at 0.2: seed 0 reaches it after 20 s and 5 s, seed 1 after 15 s and 5 s."""
    runs = [
        run(1, (10.0,), seed=0, epoch_all_s=(10.0, 10.0), test_accuracy=(0.1, 0.2)),
        run(1, (10.0,), seed=1, epoch_all_s=(10.0, 10.0), test_accuracy=(0.1, 0.3)),
        run(4, (2.5,), seed=0, epoch_all_s=(2.5, 2.5), test_accuracy=(0.1, 0.2)),
        run(4, (2.5,), seed=1, epoch_all_s=(2.5, 2.5), test_accuracy=(0.1, 0.2)),
    ]
    (speedups,) = audit(runs).speedups
    assert speedups.target == 0.2
    assert dict(speedups.by_seed) == {0: pytest.approx(4.0), 1: pytest.approx(3.0)}
    assert times_to_accuracy(speedups).endswith("by seed 4.0, 3.0")


def test_training_accuracies_of_different_images_are_not_compared():
    weak = [
        run(gpus, (10.0,), scaling=Scaling.WEAK, epoch_all_s=(10.0, 10.0), train_accuracy=(0.5, 0.9 / gpus))
        for gpus in (1, 4)
    ]
    (speedups,) = audit(weak).speedups
    assert speedups.to_accuracy is None
    assert "different numbers of images" in speedups.to_accuracy_why
    assert not found(weak, "throughput is not learning")


def test_throughput_that_does_not_learn_is_told():
    base = run(1, (10.0,), epoch_all_s=(10.0, 10.0), test_accuracy=(0.1, 0.2))
    grown = run(8, (1.25,), epoch_all_s=(1.25,) * 8, test_accuracy=(0.01,) * 7 + (0.1,), run_id="grown")
    finding = only([base, grown], "throughput is not learning")
    assert (
        "8 GPUs have 8.0 times the throughput, but reach 10.0% test accuracy 1.0 times as fast (10 s -> 10 s)"
        in finding.sentence
    )


def test_the_end_of_a_bracket_is_no_speedup_of_a_run_nor_of_a_seed():
    """Seed 1 of the baseline has 0.35 somewhere in its first 10 s: between 0 and 2 times sooner, not 0.0 times."""
    base = [
        run(1, (10.0,), seed=seed, epoch_all_s=(10.0, 10.0), test_accuracy=(accuracy, 0.4))
        for seed, accuracy in enumerate((0.2, 0.36))
    ]
    grown = [run(4, (2.5,), seed=seed, epoch_all_s=(2.5, 2.5), test_accuracy=(0.2, 0.35)) for seed in (0, 1)]
    (speedups,) = audit([*base, *grown]).speedups
    assert (speedups.target, speedups.interpolated, speedups.by_seed) == (0.35, False, ())
    assert times_to_accuracy(speedups) == "1.0 to 3.0 times as fast"
    assert (speedups.baseline_s, speedups.seconds) == (15.0, 5.0)


def test_an_accuracy_within_the_first_epoch_is_reached_nobody_knows_how_fast():
    """0.2 after 20 s, and within the first 2.5 s: at least 8 times as fast, where the throughput is 16 times."""
    base = run(1, (10.0,), epoch_all_s=(10.0, 10.0), test_accuracy=(0.1, 0.2))
    grown = run(16, (0.625,), epoch_all_s=(2.5, 0.625), test_accuracy=(0.3, 0.4), run_id="grown")
    (speedups,) = audit([base, grown]).speedups
    assert times_to_accuracy(speedups) == "at least 8.0 times as fast"
    assert not found([base, grown], "throughput is not learning")


def test_a_bracket_that_reaches_the_throughput_accuses_nobody():
    """0.1 is reached between 1.25 and 2.5 s: 4 to 8 times sooner, and 8 times is the throughput."""
    base = run(1, (10.0,), epoch_all_s=(10.0, 10.0), test_accuracy=(0.1, 0.2))
    grown = run(8, (1.25,), epoch_all_s=(1.25, 1.25), test_accuracy=(0.05, 0.15), run_id="grown")
    assert not found([base, grown], "throughput is not learning")


# -- all rules ----------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.permutations([*sound_study(), run(2, flags=("throttled: x",)), run(4, (2.0,)), run(8, epochs_requested=9)]))
def test_the_order_of_runs_changes_nothing(runs):
    assert audit(runs) == audit(sorted(runs, key=lambda a_run: a_run.run_id))


def test_runs_given_twice_change_nothing():
    runs = [run(1), run(2, (4.5,)), run(4, (2.4,))]
    assert audit([*runs, *runs]) == audit(runs)


@pytest.mark.parametrize("efficiency", [0.5, 0.9, 1.0])
def test_ideal_and_worse_efficiency_is_never_accused(efficiency):
    runs = [run(gpus, (10.0 / gpus / efficiency if gpus > 1 else 10.0,)) for gpus in (1, 2, 4, 8)]
    assert not found(runs, "efficiency above 1")
    assert not found(runs, "negative Karp-Flatt")


def rules_of_the_page():
    """The first column of the table of rules in docs/results/audit.md."""
    page = (ROOT / "docs" / "results" / "audit.md").read_text().partition("## Rules")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    return {name for name in rows if name != "rule"}


def test_the_page_names_every_rule():
    """The names that rules give to their findings are in their own source and on the page."""
    named = {
        name
        for module in (baseline, executions, labels, learning, machines, network, speedups)
        for name in re.findall(r'rule="([^"]+)"', inspect.getsource(module))
    }
    assert len(named) >= len(RULES)
    assert named == rules_of_the_page()


def test_findings_are_grouped_by_rule_what_makes_a_claim_fall_first_then_what_speaks_of_most_series():
    def of(rule, where, severity=Severity.WEAKENS):
        return Finding(
            rule=rule, severity=severity, claims=(Claim.THROUGHPUT,), where=where, sentence=f"{rule} {where}", advice=""
        )

    groups = by_rule([of("few", "a"), of("often", "a"), of("often", "b"), of("fatal", "b", Severity.FALLS)])
    assert [(group.rule, group.places) for group in groups] == [
        ("fatal", ("b",)),
        ("often", ("a", "b")),
        ("few", ("a",)),
    ]


def test_a_speedup_below_1_has_two_digits():
    assert [times(value) for value in (11.76, 1.0, 0.5431, None)] == ["11.8", "1.0", "0.54", ""]


@pytest.mark.parametrize("claim", [claim for claim in Claim if claim is not Claim.ACCURACY])
def test_whatever_is_of_times_is_weakened_where_a_run_distrusts_its_own(claim):
    busy = [replace(a_run, flags=("host contended: rank 0",)) if a_run.gpus == 4 else a_run for a_run in sound_study()]
    assert standing(busy, claim) is Standing.WEAKENED
    assert standing(sound_study(), claim) is Standing.HOLDS
