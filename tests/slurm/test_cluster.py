"""The main job on a real slurmctld: every cell gets its own nodes, tasks and GPUs, trains, and is collected."""

import csv
import json
import os
import re

import pytest

from tests import warm
from tests.conftest import TEST_CONF
from tests.e2e.conftest import records
from tests.slurm.conftest import wait_for

pytestmark = pytest.mark.slurm

QUICK = [
    f"--config-dir={TEST_CONF}",
    "partition=lab_vector",
    "model=vit_test",
    "data=quick",
    "epochs=2",
    "preflight=off",
    "profile_steps=1",
    "study=s",
]


def journal(study):
    lines = [json.loads(line) for line in (study / "jobs.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "submitted"]


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    """Four cells: one node x 1 GPU with two batch sizes, one node x 2 GPUs, and two nodes x 1 GPU."""
    folder = tmp_path_factory.mktemp("sweep")
    # An outer job's variables must not bend the submission: these would ask for 7 nodes.
    environment = cluster | {"SBATCH_NODES": "7", "SLURM_NNODES": "7", "SBATCH_PARTITION": "x"}
    grid = ["batch=8,16", "gpus=1,2", 'exclude=["gpus==2 and batch==16"]']
    first, second = (
        warm.run("-m", *QUICK, *more, cwd=folder, env=environment) for more in (grid, ["batch=8", "gpus=2", "nodes=2"])
    )
    return first, second, folder / "outputs" / "s"


def test_both_sweeps_end_well(finished):
    first, second, study = finished
    assert first.returncode == 0, first.stdout + first.stderr
    assert second.returncode == 0, second.stdout + second.stderr
    assert len(records(study)) == 4


def test_every_job_saw_the_nodes_tasks_and_gpus_of_its_cell(finished):
    """Read inside the jobs: node names, world size, and the GPUs that Slurm counted out."""
    _, _, study = finished
    shapes = set()
    for record in records(study).values():
        cell, ran = record["requested"], record["resolved"]
        per_node = cell["gpus"] // cell["nodes"]
        assert ran["gpus"] == len(record["ranks"]) == cell["gpus"]
        assert ran["nodes"] == len(ran["hosts"]) == cell["nodes"]
        assert all(re.fullmatch(r"vector0[1-4]", host) for host in ran["hosts"])
        assert {rank["visible_gpus"] for rank in record["ranks"]} == {per_node}
        shapes.add((cell["nodes"], per_node))
    assert shapes == {(1, 1), (1, 2), (2, 1)}


def told_of_an_ended(job, ask):
    """What Slurm says of an array, None before all of it has ended."""
    job_text = ask("scontrol", "show", "job", job)
    return None if re.search(r"JobState=(PENDING|RUNNING|COMPLETING)", job_text) else job_text


def test_slurm_itself_gave_each_array_its_shape(finished, ask):
    _, _, study = finished
    assert len(journal(study)) == 3
    for entry in journal(study):
        nodes, gpus = (int(n) for n in re.match(r"n(\d+)-g(\d+)-", entry["batch"]).groups())
        # A record is there a moment before its job has ended.
        job_text = wait_for(lambda job=entry["handle"]: told_of_an_ended(job, ask))
        assert (
            len(re.findall(r"ArrayTaskId=\d+ ", job_text))
            == len(entry["tasks"])
            == (2 if (nodes, gpus) == (1, 1) else 1)
        )
        assert set(re.findall(r"NumNodes=(\d+)", job_text)) == {str(nodes)}
        assert set(re.findall(r"NumTasks=(\d+)", job_text)) == {str(gpus)}
        assert set(re.findall(r"TresPerNode=(\S+)", job_text)) == {f"gres:gpu:t4:{gpus // nodes}"}
        assert set(re.findall(r"JobState=(\w+)", job_text)) == {"COMPLETED"}


def test_what_was_rendered_is_what_was_submitted(finished, ask):
    _, _, study = finished
    for entry in journal(study):
        script = (study / "jobs" / entry["batch"] / "job.sbatch").read_text()
        assert ask("scontrol", "write", "batch_script", entry["handle"], "-").rstrip() == script.rstrip()


def test_two_nodes_are_measured_like_one(finished):
    """Where a step goes, what communication costs and which machine it was: the same columns, whatever the layout."""
    _, _, study = finished
    with (study / "tables" / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["gpus"] == "2"]
    assert {row["nodes"] for row in rows} == {"1", "2"}
    for row in rows:
        for name in (
            "forward_ms",
            "backward_ms",
            "communication_ms",
            "optimizer_ms",
            "exposed_low_ms",
            "collective_ms",
        ):
            assert float(row[name]) == float(row[name]), (name, row["nodes"])
        assert float(row["communicated_mb"]) > 0
    for record in records(study).values():
        assert {machine["host"] for machine in record["machine"]} == set(record["resolved"]["hosts"])


def test_the_two_node_curve_starts_with_the_single_gpu_run(finished):
    _, _, study = finished
    with (study / "tables" / "strong.csv").open() as file:
        rows = list(csv.DictReader(file))
    two = [row for row in rows if row["placement"] == "nodes=2" and row["batch"] == "8"]
    assert [(row["gpus"], row["nodes"], row["status"]) for row in two] == [
        ("1", "1", "done"),
        ("2", "2", "done"),
    ]
    packed = [row["gpus"] for row in rows if row["placement"] == "packed" and row["batch"] == "8"]
    assert packed == ["1", "2"]


def test_sbatchs_own_words_reach_the_user_with_the_scripts_path(sweep, cluster, tmp_path):
    completed = sweep(*QUICK, "partition.partition=nowhere", env=cluster)
    assert completed.returncode == 2
    assert "invalid partition specified: nowhere" in completed.stderr
    assert "job.sbatch" in completed.stderr
    assert "Traceback" not in completed.stderr
    mended = sweep(*QUICK, "dry_run=true", env=cluster)
    assert "1 cell, 1 to run" in mended.stdout


def test_a_study_is_collected_where_no_slurm_can_be_asked(finished, sweep):
    _, _, study = finished
    environment = os.environ | {"PATH": "/usr/nonexistent"}
    completed = sweep("collect", str(study), env={"PATH": environment["PATH"]})
    assert completed.returncode == 0, completed.stderr
    assert "vector" in (study / "tables" / "runs.csv").read_text()
