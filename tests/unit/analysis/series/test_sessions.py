"""Sessions are told apart by pauses, and what they differ by is named."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.analysis.builders import run
from vit_sweep.analysis.series.sessions import sessions_of
from vit_sweep.analysis.series.spreads import Spreads

MONDAY = datetime(2026, 3, 2, 22, tzinfo=UTC)


def at(hours, gpus=1, seconds=10.0, **changes):
    started_at = (MONDAY + timedelta(hours=hours)).isoformat()
    return run(gpus, (seconds,), started_at=started_at, run_id=f"g{gpus}-{hours}", **changes)


def test_a_night_between_runs_makes_two_sessions_and_midnight_does_not():
    runs = [at(0), at(1.5), at(3), at(15)]
    assert list(sessions_of(runs).values()) == [0, 0, 0, 1]


def test_a_long_job_is_no_pause():
    assert set(sessions_of([at(0, job_s=20 * 3600.0), at(22)]).values()) == {0}
    assert len(set(sessions_of([at(0), at(22)]).values())) == 2


def test_runs_without_a_start_share_a_session():
    assert sessions_of([run(1), run(2)]) == {"g1-s0": 0, "g2-s0": 0}
    assert sessions_of([run(1), run(2)], undated=lambda a_run: a_run.run_id) == {"g1-s0": 0, "g2-s0": 1}


TWO = "2 sessions (2026-03-02 to 2026-03-04)"


@pytest.mark.parametrize(
    ("runs", "note"),
    [
        ([at(0), at(1, seconds=10.1)], "all runs are of one session (2026-03-02), so what differs between days is"),
        ([run(1, seed=0), run(1, (10.1,), seed=1)], "when the runs began is not known"),
        (
            [at(0), at(1, seconds=10.1), at(30, 2), at(31, 2, 10.1)],
            f"{TWO}, and no cell ran in two: ratios of cells of",
        ),
        (
            [at(0), at(1, seconds=10.1), at(30, seconds=11.0), at(31, seconds=11.1)],
            f"{TWO} differ by 6.7% beyond what",
        ),
    ],
)
def test_what_differs_from_day_to_day_is_named(runs, note):
    cells = [[a_run for a_run in runs if a_run.gpus == gpus] for gpus in {a_run.gpus for a_run in runs}]
    (_, day_to_day) = Spreads(cells).notes()
    assert day_to_day.startswith("day to day: " + note)


def test_cells_that_were_not_repeated_have_no_note():
    assert Spreads([[at(0)], [at(1, 2)]]).notes() == ()
