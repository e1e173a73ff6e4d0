"""The first screen: which GPU count, how sure, what it costs, what is wrong, each in a line."""

from dataclasses import replace

from tests.unit.analysis.builders import series_from
from vit_sweep.analysis.audit import judge
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.series.intervals import with_all_intervals
from vit_sweep.report.page.laws import answers_by_series
from vit_sweep.report.page.verdict import cards_of


def cards(*times, untimed=0, labels=(), **changes):
    """The four cards of some series."""
    made = [series_from(one, **changes) for one in times]
    made = with_all_intervals([replace(one, label=label) for one, label in zip(made, labels or [""], strict=False)])
    runs = [run for one in made for run in one.timed_runs]
    asked = answers_by_series([(one, tuple(fit(one))) for one in made], threshold=0.8)
    return cards_of(asked, runs, judge.audit(runs), threshold=0.8, untimed=untimed)


def amdahl(serial, counts=(1, 2, 4, 8)):
    return {n: [(w * 100 * (serial + (1 - serial) / n),) for w in (0.99, 1.0, 1.01)] for n in counts}


def test_one_series_is_answered_with_its_count_interval_cost_and_faults():
    """5 % serial work: 87 % on 4 GPUs, 74 % on 8; 4 GPUs take 28.75 s, so 115 GPU-s."""
    which, sure, cost, wrong = cards(amdahl(0.05))
    assert which.lead == "4 GPUs" and "Fastest: 8 GPUs." in which.lines
    assert sure.lead.startswith("±1.") and not sure.bad and "3 runs a point" in sure.lines[0]
    assert "held-out GPU counts are predicted within" in sure.lines[-1]
    assert cost.lead == "0.0319 GPU-hours" and cost.lines[0].startswith("An epoch on 4 GPUs, which takes 28.")
    assert wrong.lead == "1 claim falls" and wrong.bad and wrong.link == "audit"
    assert wrong.lines[0] == "Not to be claimed: fixed problem (global batch grew)."


def test_single_runs_are_not_sure_and_say_what_to_repeat():
    _, sure, _, wrong = cards({1: (100.0,), 2: (60.0,)}, untimed=1)
    assert sure.lead == "Not known: single runs" and sure.bad
    assert "taken to differ by 2%, an assumption" in sure.lines[0]
    assert any(line.startswith("To run next: ") and "repeats=" in line for line in sure.lines)
    assert "1 cell or combination has no time." in wrong.lines


def test_several_series_are_answered_together_where_they_agree_and_one_by_one_where_not():
    which, *_ = cards(amdahl(0.05), amdahl(0.06), labels=("batch 16", "batch 32"))
    assert which.lead == "4 GPUs" and which.lines[0].endswith(", in all 2 series.")
    which, _, cost, _ = cards(amdahl(0.05), amdahl(0.03, (1, 2, 4, 8, 16)), labels=("batch 16", "batch 32"))
    assert which.lead == "4 to 8 GPUs, by series"
    assert not any(line.startswith("Predicted") for line in which.lines)
    assert "4 GPUs: strong scaling, batch 16." in which.lines and "8 GPUs: strong scaling, batch 32." in which.lines
    assert cost.lead == "0.0319 to 0.0336 GPU-hours"


def test_what_is_predicted_is_said_apart_from_what_was_measured():
    which, _, cost, _ = cards(amdahl(0.01))
    assert which.lead == "8 GPUs" and which.lines[1].startswith("Predicted to stay so up to 2")
    assert cost.lines[0].startswith("An epoch on 8 GPUs")


def test_without_any_time_there_is_no_card():
    assert cards_of((), [], judge.audit([]), threshold=0.8, untimed=0) == ()


def test_amounts_are_in_a_unit_that_needs_no_power_of_ten():
    quick = {gpus: [(time / 1000,) for (time,) in times] for gpus, times in amdahl(0.05).items()}
    cost = cards(quick)[2]
    assert cost.lead == "0.115 GPU-seconds"
    _, _, both, _ = cards(quick, amdahl(0.05), labels=("small", "large"))
    assert both.lead == "0.115 to 115 GPU-seconds"
