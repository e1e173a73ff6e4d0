"""A local queue that works off batches to their end, and the profile of this machine's cores."""

import os
import subprocess
import sys

from launchers.profile import Device, Scheduler
from tests.conftest import ROOT
from tests.unit.builders import profile


def cores(*, exclusive=False, **environment):
    """This machine, a core for each rank."""
    return profile(
        name="here",
        scheduler=Scheduler.LOCAL,
        device=Device.CPU,
        gpus_per_node=64,
        cpus_per_gpu=1,
        exclusive=exclusive,
        environment=environment,
    )


def work_off(tmp_path, *folders):
    """Run one queue over the batches in `folders`; its locks lie in `tmp_path`."""
    command = [sys.executable, "-m", "launchers.local.queue", *map(str, folders)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    subprocess.run(command, env=environment, check=True, timeout=300)
