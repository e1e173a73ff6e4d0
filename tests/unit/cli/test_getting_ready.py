"""What draws is imported while something is waited for: at once for this machine, and on Slurm near the end."""

import sys
from types import SimpleNamespace

import pytest

from launchers.profile import Scheduler
from vit_sweep.cli.sweep import _got_ready
from vit_sweep.cli.terminal.progress import _then
from vit_sweep.outcome.result import Status

DONE, RUNNING, QUEUED = Status.DONE, Status.RUNNING, Status.QUEUED


def looks(scheduler, *statuses):
    """Of each look, whether what draws was there after it."""
    study = SimpleNamespace(jobs=lambda: [SimpleNamespace(scheduler=scheduler)])
    seen = []

    def meanwhile(results):
        ready = _got_ready(study, results)
        seen.append(ready)
        return ready

    list(_then([[SimpleNamespace(status=one) for one in look] for look in statuses], meanwhile))
    return seen


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    for name in ("vit_sweep.report.figures", "vit_sweep.report.gather"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())


def test_on_this_machine_it_is_imported_at_the_first_look_and_no_more():
    assert looks(Scheduler.LOCAL, [RUNNING, QUEUED], [DONE, RUNNING]) == [True]


def test_on_slurm_it_is_imported_once_a_quarter_is_left_and_runs():
    four = [DONE, DONE, DONE]
    assert looks(Scheduler.SLURM, [RUNNING] * 4, [*four, QUEUED], [*four, RUNNING], [*four, DONE]) == [
        False,
        False,
        True,
    ]


def test_where_nothing_is_waited_for_it_is_not_imported_here():
    assert looks(Scheduler.LOCAL, [DONE, DONE]) == []
