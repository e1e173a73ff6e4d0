"""A capsule's cells train again on a real Slurm, from a folder with a blank in its name, and are judged."""

import json
import shutil

import pytest

from tests.conftest import TEST_CONF
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

HERE = [f"--config-dir={TEST_CONF}", "partition=lab_vector"]
CURVE = [
    *HERE, "model=vit_test", "data=quick", "batch=8", "epochs=2", "gpus=1,2", "minutes=5", "preflight=off",
    "exposed=off", "profile_steps=0", "study=s",
]  # fmt: skip
COUNTS = {"parameters", "all_parameters"}
"""What no machine can make differ."""


def test_a_sample_of_a_moved_capsule_runs_through_slurm_and_is_judged(sweep, shared_cluster, tmp_path):
    pytest.importorskip("rocrate")
    theirs = Lab(sweep, shared_cluster, tmp_path / "outputs" / "s")
    completed = sweep("-m", *CURVE, env=shared_cluster.environment)
    assert completed.returncode == 0, completed.stdout + completed.stderr + theirs.logs()
    packed = sweep("capsule", "s", "--license", "CC0-1.0", "--author", "A. Nobody", "--out", "theirs.zip")
    assert packed.returncode == 0, packed.stderr
    elsewhere = tmp_path / "another desk"
    elsewhere.mkdir()
    shutil.move(tmp_path / "theirs.zip", elsewhere / "their capsule.zip")
    shutil.rmtree(tmp_path / "outputs")

    rerun_lab = Lab(sweep, shared_cluster, elsewhere / "outputs" / "s-again")
    words = ["reproduce", "their capsule.zip", "--run", *HERE, "--cells", "2", "--within", "1", "--json"]
    again = sweep(*words, cwd=elsewhere, env=shared_cluster.environment)
    summary = json.loads(again.stdout or "{}")
    assert summary, again.stderr + rerun_lab.logs()
    assert again.returncode == {"reproduced": 0, "differs": 1, "cannot tell": 4}[summary["outcome"]], again.stderr
    assert (summary["left"], summary["cannot_run"]) == (0, {})
    records = [json.loads(path.read_text()) for path in rerun_lab.folder.glob("cells/*/record.json")]
    assert {record["requested"]["gpus"] for record in records} == {1, 2}
    assert {record["slurm_partition"] for record in records} == {"vector"}
    outcomes = {(figure["name"], figure["outcome"]) for figure in summary["figures"] if figure["name"] in COUNTS}
    assert outcomes == {(name, "reproduced") for name in COUNTS}
