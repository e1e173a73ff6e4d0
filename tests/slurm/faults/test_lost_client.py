"""A client may be killed at any step: the same command again loses no cell and runs none twice."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import LONG, ROOT
from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import LAB, program
from tests.warm import clean_environment

pytestmark = pytest.mark.slurm


def test_a_client_killed_at_any_step_of_submission_loses_nothing_and_submits_nothing_twice(shared_cluster, tmp_path):
    """Two arrays; killed before and after every third file and program, and while sbatch runs.

    With VIT_SWEEP_LONG_TESTS=1 at every step.
    """
    stride = 1 if LONG else 3
    acts = trivial()
    slow = program(tmp_path / "bin", "sbatch", before=f"[ ! -e {tmp_path}/slow ] || sleep 0.5")
    environment = clean_environment() | shared_cluster.environment | acts
    environment |= {"PATH": f"{slow}:{acts['PATH']}", "PYTHONPATH": str(ROOT)}
    words = ["-m", *LAB, "seed=1,2", "++partition.max_array_size=1", "wait=false"]
    driver = Path(__file__).with_name("killed_client.py")
    command = [sys.executable, driver, tmp_path, str(stride), *words]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    log = (tmp_path / "clients.log").read_text()
    assert answer.returncode == 0, answer.stderr + log
    steps = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [step["first"] for step in steps] == [-9] * (len(steps) - 1) + [0]
    assert len(steps) > 30 / stride, "the hook sees no steps"
    assert {step["second"] for step in steps} == {0}, log
    wait_for(lambda: shared_cluster.ask("squeue", "--noheader", "--name=" + names(steps)) == "")
    jobs = Counter(
        line.split("/")[0]
        for line in shared_cluster.ask("squeue", "--noheader", "--array", "--states=all", "--format=%k").split()
    )
    for step in steps:
        study = tmp_path / "outputs" / step["study"]
        assert len(list(study.glob("cells/*/record.json"))) == 2, step
        assert len(list(study.glob("cells/*/attempts/*"))) == 2, step
        assert jobs[step["study"]] == 2, step


def names(steps):
    """Job names of all studies."""
    return ",".join(f"vit_sweep-{step['study']}" for step in steps)
