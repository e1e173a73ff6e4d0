"""Golden: the audit of the published CIFAR-100 figures says what is known to be wrong with them."""

import pytest

from vit_sweep.analysis.audit.finding import Claim, Severity
from vit_sweep.analysis.audit.judge import audit
from vit_sweep.runs.imported import load_reference


@pytest.fixture(scope="module")
def verdict():
    return audit(load_reference("paper_cifar100").imported.runs)


def sentence(verdict, rule, where="", severity=None):
    matching = [f for f in verdict.findings if f.rule == rule and f.where == where and severity in (None, f.severity)]
    assert matching, f"no finding {rule} of {where}"
    return " | ".join(finding.sentence for finding in matching)


def test_the_global_batch_grew_from_64_to_2048_at_a_constant_rate(verdict):
    text = sentence(verdict, "global batch grew", "spread", Severity.FALLS)
    assert "from 64 to 2048 images" in text
    assert "the learning rate stays 0.0001" in text


def test_all_accuracies_are_of_the_training_images(verdict):
    assert "17 of 17 runs" in sentence(verdict, "training accuracy", severity=Severity.FALLS)


def test_two_gpus_at_101_9_and_104_3_percent_are_within_what_repeats_differ_by(verdict):
    """No cell was repeated, and published repeats differ by up to 5 %: nobody can tell these from 100 %."""
    assert not [f for f in verdict.findings if f.rule in ("efficiency above 1", "negative Karp-Flatt")]
    single = next(f for f in verdict.findings if f.rule == "single runs")
    assert Claim.THROUGHPUT in single.weakens


def test_the_runs_with_one_gpu_a_machine_have_no_baseline_of_their_own(verdict):
    assert "placement=spread has no 1 GPU run of its own" in sentence(
        verdict, "borrowed baseline", "spread", Severity.FALLS
    )
    assert not [f for f in verdict.findings if f.rule == "borrowed baseline" and f.where == "packed"]


def test_no_cell_was_repeated(verdict):
    assert "8 of 8 points rest on one run" in sentence(verdict, "single runs", "packed", Severity.FALLS)
    assert "10 of 10 points rest on one run" in sentence(verdict, "single runs", "spread", Severity.FALLS)


def test_the_run_that_its_time_limit_cut_is_partial(verdict):
    assert "2 GPUs: 4 of 5 epochs" in sentence(verdict, "partial runs")


def test_the_published_means_contain_the_first_epoch(verdict):
    assert "32 GPUs 61.6 s against 60.7 s without it (+1.5%)" in sentence(verdict, "warm-up included")


def test_communication_was_timed_on_one_rank_and_contains_waiting(verdict):
    text = sentence(verdict, "straggler wait", "packed", Severity.FALLS)
    assert "is not known for every rank" in text
    assert "283 ms a step over 3 GPUs" in text


def test_thirty_times_the_throughput_is_six_times_in_accuracy(verdict):
    speedups = next(s for s in verdict.speedups if s.gpus == 32)
    assert speedups.throughput == pytest.approx(1814.4 / 60.7)
    assert (speedups.fixed_batch, speedups.fixed_batch_why) == (None, "no run on 32 GPUs with a global batch of 64")
    assert speedups.to_accuracy == pytest.approx(5.9, abs=0.05)
    assert (speedups.target, speedups.of_training, speedups.at_least) == (0.065, True, True)
    text = sentence(verdict, "throughput is not learning", "spread")
    assert (
        "29.9 times the throughput, but are only known to reach 6.5% training accuracy at least 5.9 times as fast"
        in text
    )


def test_what_the_figures_can_carry(verdict):
    assert verdict.falls == (
        Claim.THROUGHPUT,
        Claim.FIXED_PROBLEM,
        Claim.ACCURACY,
        Claim.COMMUNICATION,
        Claim.SMALL_DIFFERENCES,
    )
