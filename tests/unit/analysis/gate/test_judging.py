"""A study against its baseline: what is worse, what is not, and what nobody can tell."""

import math
from dataclasses import replace

import pytest

from launchers.errors import UserError
from tests.unit.analysis.gate.builders import COUNTS, HERE, side
from vit_sweep.analysis.gate.checks import Kind, Rules, Standing
from vit_sweep.analysis.gate.judging import judge
from vit_sweep.outcome.result import Status
from vit_sweep.record.flags import CONTENDED_HOST
from vit_sweep.record.machine import Fingerprint

QUIET = {2: (10.0, 10.02, 9.98, 10.01, 9.99), 4: (5.0, 5.01, 4.99, 5.005, 4.995)}


def slower(times, factor):
    return {gpus: tuple(factor * s for s in repeats) for gpus, repeats in times.items()}


def said(gate, standing, kind=None):
    return {(check.cell, check.name, check.sentence) for check in gate.of(standing) if kind in (None, check.kind)}


def test_a_study_that_is_its_baseline_is_fine_in_every_count_and_every_time():
    gate = judge(side(QUIET), side(slower(QUIET, 1.001)))
    assert gate.verdict is Standing.FINE
    assert {check.standing for check in gate.checks} == {Standing.FINE}
    assert len(gate.of(Standing.FINE, Kind.COUNT)) == 2 * len(COUNTS)
    assert [check.cell for check in gate.of(Standing.FINE, Kind.TIME)] == ["gpus=2", "gpus=4", "all 2 cells"]


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("collectives.all_reduce.calls", 1.0, "5 instead of 4 (+1, +25.00%)"),
        ("host_reads", 1.0, "3 instead of 2 (+1, +50.00%)"),
        ("host_reads", 0.25, "2.25 instead of 2 (+0.25, +12.50%)"),
        ("flop", 1.0, "1,000,000,001 instead of 1,000,000,000 (+1)"),
    ],
)
def test_one_more_of_what_is_counted_is_worse_and_named(name, more, says):
    gate = judge(side(QUIET), side(QUIET, counts=COUNTS | {name: COUNTS[name] + more}))
    assert gate.verdict is Standing.WORSE
    assert said(gate, Standing.WORSE) == {("gpus=2", name, says), ("gpus=4", name, says)}


def test_a_kind_of_collective_that_the_baseline_did_not_have_is_worse_and_one_that_is_gone_better():
    other = {name: value for name, value in COUNTS.items() if "all_reduce" not in name}
    other |= {"collectives.all_gather.bytes": 8.0, "collectives.all_gather.calls": 1.0}
    gate = judge(side(QUIET), side(QUIET, counts=other))
    assert ("gpus=2", "collectives.all_gather.calls", "1 instead of 0 (+1)") in said(gate, Standing.WORSE)
    assert ("gpus=2", "collectives.all_reduce.calls", "0 instead of 4 (-4, -100.00%)") in said(gate, Standing.BETTER)


def test_fewer_is_better_and_passes():
    gate = judge(side(QUIET), side(QUIET, counts=COUNTS | {"host_reads": 1.0}))
    assert gate.verdict is Standing.FINE
    assert {text for _, _, text in said(gate, Standing.BETTER)} == {"1 instead of 2 (-1, -50.00%)"}


def test_memory_may_grow_by_a_hundredth_and_anything_by_what_is_told():
    grown = {"peak_memory_bytes": 5.04e7, "operations": 905.0}
    gate = judge(side(QUIET), side(QUIET, counts=COUNTS | grown))
    assert {check.name for check in gate.of(Standing.WORSE)} == {"operations"}
    told = Rules(tolerance={"operations": 0.01, "peak_memory_bytes": 0.0})
    assert {c.name for c in judge(side(QUIET), side(QUIET, counts=COUNTS | grown), told).of(Standing.WORSE)} == {
        "peak_memory_bytes"
    }


def test_counts_that_differ_between_repeats_are_worse_only_where_every_run_has_more_than_every_run_had():
    def uneven(*reads):
        return [
            replace(run, counts=tuple(sorted((COUNTS | {"host_reads": count}).items())))
            for run, count in zip(side({2: QUIET[2][:2]}), reads, strict=True)
        ]

    assert judge(uneven(2.0, 4.0), uneven(3.0, 5.0)).of(Standing.WORSE) == ()
    (check,) = judge(uneven(2.0, 4.0), uneven(5.0, 6.0)).of(Standing.WORSE)
    assert check.sentence == "5 to 6 instead of 2 to 4 (+1, +25.00%)"


def test_a_slow_down_beyond_what_matters_is_worse_and_one_below_is_fine():
    assert {c.standing for c in judge(side(QUIET), side(slower(QUIET, 1.03))).of(Standing.FINE, Kind.TIME)}
    gate = judge(side(QUIET), side(slower(QUIET, 1.08)))
    assert {check.cell for check in gate.of(Standing.WORSE)} == {"gpus=2", "gpus=4", "all 2 cells"}
    check = gate.of(Standing.WORSE)[0]
    assert check.low > 1.05 and check.ratio == pytest.approx(1.08)
    assert check.sentence.endswith(", 10.8 s instead of 10 s an epoch")
    assert judge(side(QUIET), side(slower(QUIET, 1.08)), Rules(slower=0.1)).verdict is Standing.FINE
    assert judge(side(QUIET), side(slower(QUIET, 0.9))).of(Standing.BETTER)


def test_where_an_interval_reaches_over_the_bound_nobody_can_tell_and_the_runs_that_would_are_named():
    """By hand: runs differ by 3 %; one cell, so the interval is the 95 % one, with 4 degrees of freedom."""
    noisy = {2: tuple(10 * math.exp(0.03 * z) for z in (-1.0, 0.0, 1.0))}
    gate = judge(side(noisy, counts={}), side(noisy, counts={}))
    (check,) = gate.of(Standing.OPEN)
    assert gate.verdict is Standing.OPEN
    width = 2.7764 * math.sqrt(2 * 0.03**2 / 3)
    assert math.log(check.high) == pytest.approx(width, rel=1e-4)
    enough = judge(*(side({2: noisy[2] * 30}, counts={}) for _ in "ab"))
    assert check.more and f"run {check.more} more of both sides (repeats={3 + check.more})" in check.sentence
    assert enough.verdict is Standing.FINE


def test_a_single_run_tells_nothing_of_times_and_how_many_would_is_said():
    gate = judge(side({2: (10.0,)}), side({2: (15.0,)}))
    (check,) = gate.of(Standing.OPEN)
    assert "a single run says nothing of its spread; repeats=" in check.sentence
    assert check.more and check.runs_after == 1


def test_two_days_differ_by_more_than_a_small_slow_down():
    """By 6 %, far beyond what the runs of a day differ by: times of unlike days are not told apart from the days."""
    later = side(slower(QUIET, 1.06), started_at="2026-03-09T12:00:00+00:00")
    gate = judge(side(QUIET), later)
    assert gate.of(Standing.WORSE) == ()
    cells = [check.sentence for check in gate.of(Standing.OPEN) if check.cell in ("gpus=2", "gpus=4")]
    assert len(cells) == 2
    assert all("; two days differ by as much: run both in one session" in sentence for sentence in cells)


def test_times_of_another_machine_are_not_compared_and_counts_are_unless_they_are_the_machines():
    there = (Fingerprint(rank=0, host="node1", cpu="Intel Xeon"),)
    gate = judge(side(QUIET), side(slower(QUIET, 2.0), machine=there))
    assert gate.verdict is Standing.FINE
    apart = said(gate, Standing.APART)
    assert ("gpus=2", "epoch_s", "another machine: CPU: AMD EPYC 7B13 against Intel Xeon") in apart
    assert {name for _, name, _ in apart} == {"epoch_s", "peak_memory_bytes"}
    told = judge(side(QUIET), side(slower(QUIET, 2.0), machine=there), Rules(across=("machine",)))
    assert told.verdict is Standing.WORSE


def test_counts_of_other_software_are_judged_only_when_told_and_times_always():
    newer = side(slower(QUIET, 1.2), counts=COUNTS | {"operations": 950.0}, software=(("torch", "2.12.0"),))
    gate = judge(side(QUIET), newer)
    assert said(gate, Standing.OPEN) == {
        (cell, "", "counts are those of other software: torch 2.11.0 in the baseline, 2.12.0 here; renew the baseline")
        for cell in ("gpus=2", "gpus=4")
    }
    assert gate.of(Standing.WORSE, Kind.TIME)
    assert "software differs: torch 2.11.0 in the baseline, 2.12.0 here" in gate.notes
    told = judge(side(QUIET), newer, Rules(across=("software",)))
    assert {check.name for check in told.of(Standing.WORSE, Kind.COUNT)} == {"operations"}


def test_the_code_and_the_own_version_are_what_is_judged_so_they_hide_no_count():
    other = (("code", "abc"), ("torch", "2.11.0"), ("vit_sweep", "9"))
    gate = judge(side(QUIET, software=(("code", "def"), ("torch", "2.11.0"))), side(QUIET, software=other))
    assert gate.verdict is Standing.FINE


def test_a_cell_that_fails_now_is_worse_and_one_that_is_missing_is_open():
    failed = [
        replace(run, status=Status.FAILED, cause="out_of_memory", epoch_s=(), counts=()) if run.gpus == 4 else run
        for run in side(QUIET)
    ]
    gate = judge(side(QUIET), failed)
    assert said(gate, Standing.WORSE) == {("gpus=4", "", "did not finish: out_of_memory")}
    assert said(judge(failed, side(QUIET)), Standing.BETTER) == {
        ("gpus=4", "", "finishes; in the baseline it did not: out_of_memory")
    }
    less = judge(side(QUIET), side({2: QUIET[2]}))
    (missing,) = less.of(Standing.OPEN, Kind.CELL)
    assert less.verdict is Standing.OPEN and missing.sentence.startswith("in the baseline only: ")
    more = judge(side({2: QUIET[2]}), side(QUIET))
    assert more.verdict is Standing.FINE
    assert [check.sentence for check in more.of(Standing.APART)] == ["new, the baseline does not have it"]


def test_a_repeat_that_failed_is_not_hidden_by_those_that_did_not():
    one = side(QUIET)
    lost = [replace(one[0], status=Status.FAILED, cause="node_failure", epoch_s=(), counts=()), *one[1:]]
    assert said(judge(one, lost), Standing.OPEN) == {("gpus=2", "", "1 of 5 runs did not finish: node_failure")}


def test_counts_that_one_side_lacks_are_said_and_hide_nothing():
    gate = judge(side(QUIET), side(QUIET, counts={}))
    assert gate.verdict is Standing.OPEN
    assert {sentence for _, _, sentence in said(gate, Standing.OPEN)} == {
        "counts of the study: its runs were not counted: they are of an older vit_sweep; run it again"
    }
    old = judge(side(QUIET, counts={}), side(QUIET))
    assert old.verdict is Standing.FINE
    assert len(old.of(Standing.APART)) == 2


def test_ranks_without_cores_have_counts_and_no_time():
    crowded = [replace(run, oversubscribed=True) for run in side(QUIET)]
    gate = judge(side(QUIET), crowded)
    assert len(gate.of(Standing.FINE, Kind.COUNT)) == 2 * len(COUNTS)
    assert {c.sentence for c in gate.of(Standing.APART)} == {"no time that counts in the study: more ranks than cores"}


def test_nothing_in_common_is_a_mistake_and_nothing_judged_is_not_fine():
    with pytest.raises(UserError, match="is in the baseline: the other study has no run on 2 GPUs"):
        judge(side({2: QUIET[2]}), side({8: QUIET[2]}))
    other = side({2: (10.0,)}, counts={}, machine=(replace(HERE[0], cpu="other"),))
    assert judge(side({2: (10.0,)}, counts={}), other).verdict is Standing.OPEN


# --- hosts whose cores others had -----------------------------------------------------------------------------------

WAITED = (f"{CONTENDED_HOST}: rank 0 on node0 (no core for 21% of the time, load 9.0 on 4 cores)",)


def of_times(gate):
    return {(check.cell, check.standing) for check in gate.checks if check.kind is Kind.TIME}


def test_a_study_that_waited_for_cores_is_not_called_worse_for_it_but_its_counts_are_judged():
    waited = side(slower(QUIET, 1.3), counts=COUNTS | {"host_reads": 3.0}, flags=WAITED)
    gate = judge(side(QUIET), waited)
    assert of_times(gate) == {("gpus=2", Standing.OPEN), ("gpus=4", Standing.OPEN)}
    assert all("only the runs of the study waited for cores" in text for _, _, text in said(gate, Standing.OPEN))
    assert {name for _, name, _ in said(gate, Standing.WORSE)} == {"host_reads"}
    # As fast as before in spite of that is fast enough.
    assert of_times(judge(side(QUIET), side(QUIET, flags=WAITED))) == {
        ("gpus=2", Standing.FINE),
        ("gpus=4", Standing.FINE),
    }


def test_a_baseline_that_waited_for_cores_shows_nobody_fine_and_a_study_that_is_slower_yet_is_worse():
    slow = side(slower(QUIET, 1.3), flags=WAITED)
    assert of_times(judge(slow, side(slower(QUIET, 1.3)))) == {("gpus=2", Standing.OPEN), ("gpus=4", Standing.OPEN)}
    assert judge(slow, side(QUIET)).verdict is Standing.OPEN
    assert judge(slow, side(slower(QUIET, 1.6))).verdict is Standing.WORSE


def test_where_both_sides_waited_they_are_alike_and_are_compared():
    gate = judge(side(QUIET, flags=WAITED), side(slower(QUIET, 1.3), flags=WAITED))
    assert gate.verdict is Standing.WORSE and any(CONTENDED_HOST in note for note in gate.notes)


def test_where_some_runs_were_quiet_those_that_waited_are_left_out_and_that_is_said():
    waited = side({gpus: (s[0] * 1.4,) for gpus, s in QUIET.items()}, flags=WAITED)
    mixed = [*side(QUIET), *(replace(run, run_id=f"{run.run_id}-w", seed=9) for run in waited)]
    gate = judge(side(QUIET), mixed)
    assert gate.verdict is Standing.FINE
    assert {check.runs_after for check in gate.of(Standing.FINE, Kind.TIME) if check.cell != "all 2 cells"} == {5}
    assert [note for note in gate.notes if note.startswith("left out: 2 runs that waited")]


def test_a_mean_holds_the_cells_in_which_neither_side_alone_waited():
    three = QUIET | {8: (2.5, 2.505, 2.495, 2.51, 2.49)}
    after = [replace(run, flags=WAITED) if run.gpus == 2 else run for run in side(three)]
    assert ("2 of 3 cells", Standing.FINE) in of_times(judge(side(three), after))
