"""Other spawners on the real Slurm: mpirun from the batch step, and one torchrun per node."""

import json
import os
import re
import shutil
from functools import partial

import pytest

from tests import conftest
from tests.conftest import TEST_CONF
from tests.e2e.conftest import records

pytestmark = pytest.mark.slurm

QUICK = [
    f"--config-dir={TEST_CONF}",
    "model=vit_test",
    "data=quick",
    "epochs=2",
    "batch=16",
    "study=s",
    "gpus=2",
    "preflight=off",
    "exposed=off",
    "profile_steps=0",
]


def need(spawner):
    """mpirun can be missing only where it cannot be installed; torchrun is part of torch."""
    if spawner == "mpirun" and shutil.which("mpirun") is None:
        may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
        assert not may_install, "mpirun missing: run tests/install.sh (make test does)"
        pytest.skip("mpirun missing, and installing Open MPI takes root on Debian")


@pytest.mark.parametrize(("spawner", "nodes"), [("mpirun", 2), ("torchrun", 1)])
def test_two_ranks_train_and_each_knows_its_place(sweep, cluster, tmp_path, spawner, nodes):
    need(spawner)
    completed = sweep(*QUICK, f"partition=lab_{spawner}", f"nodes={nodes}", env=cluster)
    study = tmp_path / "outputs" / "s"
    logs = "\n".join(p.read_text() for p in study.glob("jobs/*/logs/*"))
    assert completed.returncode == 0, completed.stdout + completed.stderr + logs
    (record,) = records(study).values()
    ranks = record["ranks"]
    assert [rank["rank"] for rank in ranks] == [0, 1]
    assert [rank["local_rank"] for rank in ranks] == ([0, 1] if nodes == 1 else [0, 0])
    assert all(re.fullmatch(r"vector0[1-4]", rank["host"]) for rank in ranks)
    assert len({rank["host"] for rank in ranks}) == record["resolved"]["nodes"] == nodes
    assert {rank["visible_gpus"] for rank in ranks} == {2 // nodes}
    script = next(study.glob("jobs/*/job.sbatch")).read_text()
    assert (f"--ntasks-per-node={1 if spawner == 'torchrun' else 2 // nodes}\n") in script
    handle = json.loads((study / "jobs.jsonl").read_text().splitlines()[-1])["handle"]
    assert record["job_id"] == f"{handle}_0"


@pytest.mark.parametrize("spawner", ["mpirun", "torchrun"])
def test_the_signal_before_the_time_limit_reaches_the_ranks_and_is_named(sweep, cluster, ask, tmp_path, spawner):
    """As --signal does: mpirun's job in its batch shell, torchrun's in its step, where the agents hear it too."""
    need(spawner)
    study = tmp_path / "outputs" / "s"
    started = sweep(*QUICK, f"partition=lab_{spawner}", "nodes=2", "epochs=1000000", "wait=false", env=cluster)
    assert started.returncode == 0, started.stdout + started.stderr
    handle = json.loads((study / "jobs.jsonl").read_text().splitlines()[-1])["handle"]
    wait_for(lambda: any('"training"' in p.read_text() for p in study.glob("cells/*/attempts/1/progress.json")))
    ask("scancel", "--signal=USR2", *(["--batch"] if spawner == "mpirun" else []), f"{handle}_0")
    wait_for(lambda: list(study.glob("cells/*/attempts/1/exit.json")))
    # Warned long before its limit, it takes that for a preemption and is started again, without end.
    ended = sweep("cancel", "outputs/s", env=cluster)
    assert ended.returncode == 0, ended.stderr
    (report,) = (json.loads(p.read_text()) for p in study.glob("cells/*/attempts/1/exit.json"))
    assert (report["cause"], report["signal"]) == ("preempted", "SIGUSR2")


# For as long as imports may take on a busy machine.
wait_for = partial(conftest.wait_for, interval_s=0.5)
