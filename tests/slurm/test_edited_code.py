"""The code of a study is its own: what is edited while its jobs are queued reaches none of them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, TEST_CONF
from tests.e2e.conftest import records
from tests.slurm.conftest import trivial
from tests.warm import clean_environment

pytestmark = pytest.mark.slurm


def test_a_checkout_that_is_broken_while_a_job_is_held_changes_nothing(cluster, ask, tmp_path):
    checkout = tmp_path / "checkout"
    for package in ("vit_sweep", "launchers", "hydra_plugins", "conf"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = clean_environment() | cluster | trivial() | {"PYTHONPATH": str(checkout)}

    def sweep(*words):
        return subprocess.run(
            [sys.executable, "-m", "vit_sweep", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    words = [
        f"--config-dir={TEST_CONF}",
        "partition=lab_trivial",
        "model=vit_test",
        "data=quick",
        "epochs=1",
        "study=s",
    ]
    result = sweep(*words, "+partition.sbatch.hold=true", "wait=false")
    assert result.returncode == 0, result.stdout + result.stderr
    study = tmp_path / "outputs" / "s"
    (snapshot,) = (study / ".code").iterdir()
    broken = checkout / "vit_sweep" / "job" / "task.py"
    broken.write_text("raise RuntimeError('edited while the job was queued')\n")
    (sent,) = [line for line in map(json.loads, (study / "jobs.jsonl").read_text().splitlines()) if line["handle"]]
    ask("scontrol", "release", sent["handle"])
    watched = subprocess.run(
        [sys.executable, "-m", "vit_sweep", "status", str(study), "--watch"],
        env=clean_environment() | cluster | trivial(),
        cwd=os.fspath(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert watched.returncode == 0, watched.stdout + watched.stderr
    (record,) = records(study).values()
    assert record["code"] == snapshot.name
    # The edited code is another one, and the finished cell is known to have run with the old one.
    again = sweep(*words, "dry_run=true")
    assert "1 finished cell ran with other code" in again.stdout
    assert "1 cell, 0 to run" in again.stdout
    assert "1 cell, 1 to run" in sweep(*words, "dry_run=true", "rerun=stale").stdout
