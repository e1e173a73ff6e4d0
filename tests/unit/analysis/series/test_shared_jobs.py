"""Runs that shared a job shared its nodes: what differs from job to job is in their intervals, and in no ratio."""

from math import exp

import numpy as np
import pytest

from tests.unit.analysis.builders import run
from vit_sweep.analysis.series.pooling import half_width, layout_of, spread_of
from vit_sweep.analysis.series.sessions import together
from vit_sweep.analysis.series.spreads import Spreads

JOBS = (-0.05, 0.02, 0.04)
"""What the jobs differ by, in logarithms of epoch times."""
CELLS, REPEATS, STUDIES = 4, 3, 2000


def packed(cell, *, shared=True, day=1):
    """The repeats of a cell, one in each job; its own spread is 0.2 %."""
    return [
        run(
            run_id=f"{cell}-{job}",
            seed=job,
            epoch_s=(10 * exp(effect + 0.002 * (-1) ** (cell + job) * (1 + job)),) * 2,
            started_at=f"2026-03-0{day}T10:00:00+00:00",
            shared_job=f"{job} on vector01" if shared else "",
        )
        for job, effect in enumerate(JOBS)
    ]


def test_runs_have_their_job_in_common_else_their_session():
    runs = [run(run_id=str(i), shared_job=job) for i, job in enumerate(("", "1 on a", "", "1 on a", "1 on b", ""))]
    numbers = together(runs, {"0": 0, "1": 0, "2": 0, "3": 0, "4": 0, "5": 1})
    assert numbers == {"0": 0, "1": 1, "2": 0, "3": 1, "4": 2, "5": 3}


def test_a_ratio_of_cells_of_the_same_jobs_is_free_of_what_these_differ_by_and_a_time_is_not():
    def widths(*, shared):
        first, second = packed(0, shared=shared), packed(1, shared=shared)
        spread = Spreads([first, second])
        ratio, time = spread.ratio(first, second).estimate, spread.estimate(first)
        return (ratio.high - ratio.low) / ratio.value, (time.high - time.low) / time.value

    (ratio, time), (alone, _) = widths(shared=True), widths(shared=False)
    assert 3 * ratio < alone
    assert time > 0.1


def test_a_reader_is_told_of_shared_jobs_and_of_days_as_far_as_they_are_known():
    same_day = Spreads([packed(0), packed(1)]).notes()
    assert "job to job: cells shared 3 jobs, and so their nodes, which differ by 4" in same_day[1]
    assert same_day[2].startswith("day to day: all runs are of one session (2026-03-01), so what differs between days")
    days = Spreads([packed(0), packed(1, day=3)]).notes()
    assert days[2] == (
        "day to day: 2 sessions (2026-03-01 to 2026-03-03); what differs between them is in what differs between jobs"
    )
    assert not any("job to job" in note for note in Spreads([packed(0, shared=False)]).notes())


@pytest.mark.parametrize("told", [True, False])
def test_intervals_hold_planted_truths_where_jobs_differ_and_would_not_if_nobody_told_the_analysis(told):
    """Jobs differ by 2 %, runs by 0.5 %; the mean of several cells is what shared nodes move most."""
    random = np.random.default_rng(1)
    jobs = np.tile(np.arange(REPEATS), CELLS)
    logs = 0.02 * random.normal(size=(STUDIES, REPEATS))[:, jobs]
    logs += 0.005 * random.normal(size=(STUDIES, CELLS * REPEATS))
    runs = [run(run_id=f"{i:02}", shared_job=str(job) if told else "") for i, job in enumerate(jobs)]
    common = together(runs, dict.fromkeys((one.run_id for one in runs), 0))
    cells = np.repeat(np.arange(CELLS), REPEATS).tolist()
    spread = spread_of(logs, layout_of(cells, [common[one.run_id] for one in runs]))

    def held(where, weights):
        value, variance, freedom = spread.contrast(where, weights)
        return float((abs(value) <= half_width(variance, freedom)).mean())

    mean, ratio = held(range(CELLS), [1 / CELLS] * CELLS), held([0, 1], [1.0, -1.0])
    if told:
        assert held([0], [1.0]) > 0.92
        assert mean > 0.93
        assert 0.93 < ratio < 0.98
    else:
        assert mean < 0.8
        assert ratio > 0.99, "and ratios are wider than they need be"
