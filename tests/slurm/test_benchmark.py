"""The benchmark of handing over runs, at its smallest size and without the peer, which the tests do not install."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.warm import clean_environment

pytestmark = pytest.mark.slurm


def test_cells_are_submitted_once_by_one_sbatch_a_shape_and_run_to_their_end(tmp_path):
    file = tmp_path / "found.json"
    words = ["--without-peer", "--cells=4", "--grow=4", "--json", file]
    completed = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "orchestrator" / "slurm.py", *words],
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    parsed = json.loads(file.read_text())
    assert [row["ours_sbatch"] for row in parsed["submit"]] == [4]
    assert parsed["repeat"] == {"cells": 4, "ours": 4}
    (ended,) = parsed["end_to_end"]
    assert 0 < ended["ours"]["last_cell_s"] < ended["ours_s"]
    assert 0 < ended["packed"]["last_cell_s"] < ended["packed_s"]
    assert ended["floor_s"] > 0
