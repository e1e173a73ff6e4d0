"""A client may be killed at any step: the same command again loses no cell and runs none twice."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import LONG, ROOT
from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import LAB, program
from tests.warm import clean_environment

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (3, ("seed=1,2", "++partition.max_array_size=1")),
        (6, ("seed=1,2,3,4", "accum=1,2,3,4", "zip=[[seed,accum]]", "pack=2")),
    ],
    ids=["arrays", "packed"],
)
def test_a_client_killed_at_any_step_of_submission_loses_nothing_and_submits_nothing_twice(
    shared_cluster, tmp_path, each, words
):
    """Two jobs that Slurm holds; killed before and after so many files and programs, and while sbatch runs.

    Whenever it was, cells and jobs are those of a client that nobody killed; the jobs of every third study run.
    With VIT_SWEEP_LONG_TESTS=1 at every step.
    """
    stride = 1 if LONG else each
    variables = trivial()
    slow = program(tmp_path / "bin", "sbatch", before=f"[ ! -e {tmp_path}/slow ] || sleep 0.5")
    environment = clean_environment() | shared_cluster.environment | variables
    environment |= {"PATH": f"{slow}:{variables['PATH']}", "PYTHONPATH": str(ROOT)}
    words = ["-m", *LAB, *words, "++partition.sbatch.hold=true", "wait=false"]
    driver = Path(__file__).with_name("killed_client.py")
    command = [sys.executable, driver, tmp_path, str(stride), *words]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    log = (tmp_path / "clients.log").read_text()
    assert completed.returncode == 0, completed.stderr + log
    steps = [json.loads(line) for line in completed.stdout.splitlines()]
    assert [step["first"] for step in steps] == [-9] * (len(steps) - 1) + [0]
    assert len(steps) > 30 / stride, "the hook sees no steps"
    assert {step["second"] for step in steps} == {0}, log
    studies = [tmp_path / "outputs" / step["study"] for step in steps]
    jobs = held(shared_cluster, studies)
    unharmed = cells(studies[-1])
    for study in studies:
        assert cells(study) == unharmed, study
        assert sorted(submitted(study)) == sorted(path.name for path in study.glob("cells/*")), study
        assert len(jobs[study.name]) == 2, study
    run, left = studies[::3], [job for study in studies for job in jobs[study.name] if study not in studies[::3]]
    shared_cluster.ask("scancel", *left)
    shared_cluster.ask("scontrol", "release", ",".join(job for study in run for job in jobs[study.name]))
    wait_for(lambda: not held(shared_cluster, studies))
    for study in run:
        count = len(list(study.glob("cells/*")))
        assert len(list(study.glob("cells/*/record.json"))) == count, study
        assert len(list(study.glob("cells/*/attempts/*"))) == count, study


def cells(study):
    """What is written for its cells."""
    return {str(path.relative_to(study)): path.read_text() for path in study.glob("cells/*/*.json")}


def submitted(study):
    """The cells of the batches that its journal says were submitted."""
    journal = [json.loads(line) for line in (study / "jobs.jsonl").read_text().splitlines()]
    return [cell for entry in journal if entry["event"] == "submitted" for cell, _ in entry["tasks"]]


def held(cluster, studies):
    """Jobs of each study that have not ended; their comments begin with its name."""
    names = ",".join(f"vit_sweep-{study.name}" for study in studies)
    jobs = defaultdict(list)
    for line in cluster.ask("squeue", "--noheader", "--array", f"--name={names}", "--format=%A %k").splitlines():
        job, comment = line.split(maxsplit=1)
        jobs[comment.split("/")[0]].append(job)
    return jobs
