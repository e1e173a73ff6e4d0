"""The real Slurm of the tests: one cluster for all that only use it, own ones for those that break it."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from tests import conftest
from tests.conftest import ROOT, why_no_real_hosts

SCRIPT = ROOT / "tests" / "slurm" / "cluster.sh"
RANKS = ROOT / "tests" / "slurm" / "ranks"
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "squeue", "scontrol")
DATABASE = ("slurmdbd", "mariadbd", "mariadb", "mariadb-install-db")
PORTS = (6, 17, 19, 21, 22, 23, 24, 31)
"""Ports of a cluster, counted from its first one."""


class Cluster:
    """A running cluster: its environment, its programs, and the verbs of cluster.sh."""

    def __init__(self, folder, base, options):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}
        self._script = os.environ | {"R": str(folder), "BASE": str(base)} | options

    def call(self, verb, *words):
        """`cluster.sh VERB WORDS`."""
        subprocess.run([SCRIPT, verb, *words], env=self._script, check=True, timeout=900, stdout=subprocess.DEVNULL)

    def ask(self, *words):
        """What one of Slurm's own programs says."""
        completed = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=300
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout


@contextmanager
def running_cluster(folder, **options):
    """Start a cluster in `folder` and stop it whatever happens; `options` are cluster.sh's variables."""
    reason = why_no_real_hosts(PROGRAMS + (DATABASE if options.get("DB") == "1" else ()), "Slurm")
    if reason:
        pytest.skip(reason)
    # slurmstepd's socket lies below it (spool/NODE/NODE_JOB.STEP), and a socket's path has 107 characters at most.
    assert len(str(folder)) < 62, f"{folder} is too long for Slurm's sockets"
    with free_ports() as base:
        cluster = Cluster(folder, base, options)
        try:
            cluster.call("start")
            yield cluster
        finally:
            cluster.call("stop")


@contextmanager
def free_ports():
    """The first of a stretch of ports that no one uses; others see the first one taken for as long as we hold it."""
    for base in range(15000, 20000, 50):
        with suppress(OSError), socket.create_server(("127.0.0.1", base)):
            for port in PORTS:
                socket.create_server(("127.0.0.1", base + port)).close()
            yield base
            return
    pytest.fail("no free ports from 15000 to 20000")


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    """The cluster that tests share: nobody stops its daemons or takes its nodes away."""
    with running_cluster(tmp_path_factory.mktemp("slurm")) as shared:
        yield shared


@pytest.fixture(scope="session")
def cluster(shared_cluster):
    """Environment of the cluster that tests share."""
    return shared_cluster.environment


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory):
    """A cluster with the partitions that can be preempted, which a module's tests may do anything to and mend."""
    with running_cluster(tmp_path_factory.mktemp("own-slurm"), LOW="1") as own:
        yield own


@pytest.fixture(scope="module")
def forgetful_cluster(tmp_path_factory):
    """A cluster whose controller forgets a job 2 s after its end, and where nobody else remembers it."""
    with running_cluster(tmp_path_factory.mktemp("forgetful-slurm"), AGE="2") as own:
        yield own


@pytest.fixture(scope="session")
def cluster_with_database(tmp_path_factory):
    """A cluster with slurmdbd and habits of other sites, whose controller forgets a job 2 s after its end."""
    with running_cluster(tmp_path_factory.mktemp("dbd-slurm"), DB="1", DIALECT="1", AGE="2") as own:
        yield own


@pytest.fixture
def ask(shared_cluster):
    """Run one of Slurm's own programs against the cluster that tests share."""
    return shared_cluster.ask


def trivial(**variables):
    """Environment in which `trivial` is an interpreter, and what its cells do.

    By their seed: `s2="die-once"`; by their GPUs: `g4="hold"`.
    """
    path = f"{RANKS}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # noqa: PTH120
    return {
        "PATH": path,
        "TRIVIAL_ACTS": " ".join(f"{seed.removeprefix('s')}={act}" for seed, act in variables.items()),
    }


wait_for = partial(conftest.wait_for, interval_s=0.2)
