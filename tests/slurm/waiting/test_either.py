"""A cell that two partitions may run goes where there is room, once, and its record says where."""

import csv

import pytest

from tests.conftest import TEST_CONF
from tests.slurm.conftest import wait_for
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

WORDS = ["model=vit_test", "data=quick", "batch=8", "epochs=2", "minutes=5", "study=s"]
BRIEF = ["preflight=off", "exposed=off", "profile_steps=0"]
BLOCK = ["--partition=nebula", "--exclusive", "--output=/dev/null", "--wrap=sleep 3600"]


def test_a_cell_of_two_partitions_starts_in_the_one_with_room(sweep, shared_cluster, tmp_path):
    folder = tmp_path / "site" / "partition"
    folder.mkdir(parents=True)
    text = (TEST_CONF / "partition" / "lab_vector.yaml").read_text().replace("gpu_dialect: gres_typed", "")
    for name in ("nebula", "vector"):
        renamed = text.replace("partition: vector", f"partition: {name}").replace("lab_vector", f"lab_{name}")
        (folder / f"lab_{name}.yaml").write_text(renamed.replace("gpus_per_node: 8", "gpus_per_node: 2"))
    for group in ("model", "data"):
        (tmp_path / "site" / group).symlink_to(TEST_CONF / group)
    full = shared_cluster.ask("sbatch", "--parsable", *BLOCK).strip()
    lab = Lab(sweep, shared_cluster, tmp_path / "outputs" / "s")
    try:
        wait_for(lambda: shared_cluster.ask("squeue", "-h", "-o%T", f"-j{full}").strip() == "RUNNING", what=str)
        words = [f"--config-dir={tmp_path / 'site'}", "partition=lab_nebula+lab_vector", *WORDS, *BRIEF]
        completed = sweep(*words, env=shared_cluster.environment)
    finally:
        shared_cluster.ask("scancel", full)
    assert completed.returncode == 0, completed.stdout + completed.stderr + lab.logs()
    assert [("--partition=nebula,vector" in script) for script in lab.scripts()] == [True]
    with (lab.folder / "tables" / "runs.csv").open() as file:
        (run,) = csv.DictReader(file)
    assert (run["slurm_partition"], run["attempts"]) == ("vector", "1")
    assert run["hosts"].startswith("vector")
