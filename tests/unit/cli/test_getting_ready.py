"""What draws is imported while something is waited for: at once for this machine, and on Slurm near the end."""

import sys
from types import SimpleNamespace

import pytest

from launchers.profile import Scheduler
from vit_sweep.cli import sweep
from vit_sweep.cli.sweep import _DrawingImport
from vit_sweep.cli.terminal.progress import _preparing
from vit_sweep.outcome.result import Status

DONE, RUNNING, QUEUED = Status.DONE, Status.RUNNING, Status.QUEUED


@pytest.fixture
def looks(monkeypatch):
    """Of each look, `every_s` after the one before, whether what draws was there after it."""

    def looked(scheduler, *statuses, every_s=1000.0):
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: clock.now))
        ready, seen = _DrawingImport(SimpleNamespace(jobs=lambda: [SimpleNamespace(scheduler=scheduler)])), []

        def meanwhile(results):
            seen.append(ready(results))
            clock.now += every_s
            return seen[-1]

        list(_preparing([[SimpleNamespace(status=one) for one in look] for look in statuses], meanwhile))
        return seen

    return looked


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    for name in ("vit_sweep.report.figures", "vit_sweep.report.gather"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())


def test_on_this_machine_it_is_imported_at_the_first_look_and_no_more(looks):
    assert looks(Scheduler.LOCAL, [RUNNING, QUEUED], [DONE, RUNNING]) == [True]


def test_on_slurm_it_is_imported_once_a_quarter_is_left_and_runs(looks):
    four = [DONE, DONE, DONE]
    assert looks(Scheduler.SLURM, [RUNNING] * 4, [*four, QUEUED], [*four, RUNNING], [*four, DONE]) == [
        False,
        False,
        True,
    ]


def test_on_slurm_it_is_imported_once_the_rest_is_a_matter_of_seconds_at_the_pace_so_far(looks):
    begun, half = [QUEUED] * 8, [DONE] * 4 + [QUEUED] * 4
    assert looks(Scheduler.SLURM, begun, half, every_s=59.0) == [False, True]
    assert looks(Scheduler.SLURM, begun, half, every_s=61.0) == [False, False]


def test_what_had_ended_before_says_nothing_of_the_pace(looks):
    half = [DONE] * 4 + [QUEUED] * 4
    assert looks(Scheduler.SLURM, half, half, every_s=1.0) == [False, False]


def test_where_nothing_is_waited_for_it_is_not_imported_here(looks):
    assert looks(Scheduler.LOCAL, [DONE, DONE]) == []
