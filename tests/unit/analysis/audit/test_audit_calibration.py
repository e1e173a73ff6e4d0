"""The audit neither cries wolf nor sleeps: how often each rule speaks of sound studies and finds its planted flaw."""

import pytest
from scipy.stats import binom

from benchmarks.judging.audit_calibration import EXPECTED_OF_SINGLE_RUNS, calibrate
from benchmarks.judging.planted_studies import FLAWS
from tests.conftest import LONG
from tests.unit.analysis.audit.test_audit import rules_of_the_page

FALSE_ALARMS, FOUND = 0.05, 0.9
STUDIES = 200 if LONG else 6
UNLUCKY = 0.001
"""How seldom a rule that keeps its promise may miss the bounds of so few studies."""


@pytest.fixture(scope="module")
def result():
    return calibrate(STUDIES)


def test_no_rule_speaks_of_a_sound_study_more_often_than_one_in_twenty(result):
    most = binom.ppf(1 - UNLUCKY, STUDIES, FALSE_ALARMS) / STUDIES
    for rule, alarms in result["false_alarms"].items():
        if rule in EXPECTED_OF_SINGLE_RUNS:
            assert alarms.pop("single_runs") == 1.0, rule
        assert max(alarms.values()) <= most, (rule, alarms)
    assert not result["unplanted"]


def test_each_flaw_is_found_nine_times_in_ten(result):
    least = binom.ppf(UNLUCKY, STUDIES, FOUND) / STUDIES
    missed = [row for row in result["found"] if row["share"] < least]
    assert not missed


def test_every_rule_of_the_page_has_a_planted_flaw():
    assert {planted.rule for planted in FLAWS} == rules_of_the_page()
