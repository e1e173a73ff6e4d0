"""The real Slurm of the tests: started once, stopped whatever happens. Skipped only where it cannot be had."""

import os
import subprocess

import pytest

from tests.conftest import ROOT, why_no_real_hosts

SCRIPT = ROOT / "tests" / "slurm" / "cluster.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "squeue", "scontrol")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Environment of a running cluster; every sinfo state was idle when the tests began."""
    reason = why_no_real_hosts(PROGRAMS, "Slurm")
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    # Daemons of another user of this machine may hold the default ports.
    environment = os.environ | {"R": str(folder), "BASE": str(16800 + os.getpid() % 100 * 50)}
    try:
        subprocess.run([SCRIPT, "start"], env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)
        yield {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}
    finally:
        subprocess.run([SCRIPT, "stop"], env=environment, timeout=120)


@pytest.fixture
def ask(cluster):
    """Run one of Slurm's own programs against the cluster."""

    def run(*words):
        answer = subprocess.run(words, env=os.environ | cluster, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return run
