"""A baseline's file keeps of each run what a gate judges by."""

import json

import pytest

from launchers.errors import UserError
from tests.unit.analysis.gate.builders import side
from vit_sweep.analysis.gate.checks import Kind, Standing
from vit_sweep.analysis.gate.judging import judge
from vit_sweep.analysis.series.contention import is_contended
from vit_sweep.record.flags import CONTENDED_HOST
from vit_sweep.runs.baseline import baseline_of, parsed_baseline, runs_of_baseline, text_of

TIMES = {2: (10.0, 10.02, 9.98, 10.01, 9.99), 4: (5.0, 5.01, 4.99, 5.005, 4.995)}
WAITED = (f"{CONTENDED_HOST}: rank 0 on node0 (no core for 21% of the time)",)


def through_a_file(runs):
    text = text_of(baseline_of("before", runs, commit=""))
    return text, list(runs_of_baseline(parsed_baseline(text.encode(), "it")))


def test_which_runs_waited_for_cores_lies_in_it_so_that_the_file_says_what_the_study_would():
    slow = {gpus: tuple(1.3 * s for s in times) for gpus, times in TIMES.items()}
    _, before = through_a_file(side(slow, flags=WAITED))
    assert all(map(is_contended, before))
    gates = [judge(known, side(TIMES)) for known in (before, side(slow, flags=WAITED))]
    assert {gate.verdict for gate in gates} == {Standing.OPEN}
    assert {c.contended for gate in gates for c in gate.checks if c.kind is Kind.TIME} == {"baseline"}


def test_a_quiet_one_says_nothing_of_it_and_older_files_are_read_as_before():
    text, before = through_a_file(side(TIMES))
    assert "contended" not in text and not any(map(is_contended, before))


def test_a_count_below_nothing_is_a_sentence_and_no_verdict():
    """As a bug it ended the gate with 1: something got worse."""
    content = json.loads(through_a_file(side(TIMES))[0])
    content["cells"][0]["counts"] = {"flop": -5.0}
    with pytest.raises(UserError, match=r"counts\.flop=-5\.0 – must be at least 0"):
        parsed_baseline(json.dumps(content).encode(), "it")


def test_a_byte_order_mark_changes_nothing_and_another_encoding_is_a_sentence():
    text, before = through_a_file(side(TIMES))
    assert list(runs_of_baseline(parsed_baseline(text.encode("utf-8-sig"), "it"))) == before
    with pytest.raises(UserError, match=r"^it: "):
        parsed_baseline(text.encode("utf-16"), "it")
