"""Every scheduler has a backend, and only the one that is asked for is imported."""

import subprocess
import sys

import pytest

from launchers.choose import launcher_of
from launchers.profile import Scheduler
from tests.conftest import ROOT

VERBS = ("render", "submit", "find", "states", "cancel")


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_scheduler_has_a_backend_with_the_five_verbs(scheduler):
    assert all(callable(getattr(launcher_of(scheduler), verb)) for verb in VERBS)


def test_a_study_on_this_machine_does_not_import_what_slurm_needs():
    ask = "import sys; from launchers.choose import launcher_of, Scheduler; launcher_of(Scheduler.LOCAL)"
    code = f"{ask}; sys.exit('submitit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
