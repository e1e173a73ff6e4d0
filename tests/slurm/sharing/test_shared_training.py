"""A real training of a curve in one allocation: one job, nested nodes, and a table without a remark."""

import csv

import pytest

from tests.conftest import TEST_CONF
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

CURVE = [
    "-m",
    f"--config-dir={TEST_CONF}",
    "partition=lab_vector",
    "model=vit_test",
    "data=quick",
    "batch=8",
    "epochs=2",
    "gpus=1,2",
    "placement=spread",
    "allocation=shared",
    "minutes=5",
    "preflight=off",
    "exposed=off",
    "profile_steps=0",
    "study=s",
]


def test_a_curve_trains_in_one_job_and_its_speedup_is_that_of_the_same_nodes(sweep, shared_cluster, tmp_path):
    lab = Lab(sweep, shared_cluster, tmp_path / "outputs" / "s")
    completed = sweep(*CURVE, env=shared_cluster.environment)
    assert completed.returncode == 0, completed.stdout + completed.stderr + lab.logs()
    assert len([entry for entry in lab.journal() if entry["event"] == "submitted"]) == 1
    runs = {int(row["gpus"]): row for row in _rows(lab, "runs")}
    assert runs[2]["hosts"].split()[0] == runs[1]["hosts"]
    assert len(runs[2]["hosts"].split()) == 2
    assert {(row["allocation"], row["allocated_gpus"], row["job_id"].split("_")[0]) for row in runs.values()} == {
        ("shared", "2", lab.journal()[-1]["handle"])
    }
    strong = {int(row["gpus"]): row for row in _rows(lab, "strong")}
    assert "not in the allocation" not in strong[2]["note"]
    assert {row["status"] for row in strong.values()} == {"done"}


def _rows(lab, name):
    with (lab.folder / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))
