"""`grid=long_sequence` in small, on this machine: shared and whole tokens, two image sizes, table and figure."""

import csv
import subprocess
import sys

import pytest

from tests.conftest import LONG
from tests.e2e.conftest import records
from tests.warm import clean_environment

pytestmark = [pytest.mark.train, pytest.mark.skipif(not LONG, reason="long")]

SMALL = [
    *("grid=long_sequence", "study=s", "partition=local", "model=vit_tiny_32", "model.heads=4", "model.layers=2"),
    *("data=digits", "precision=fp32", "fraction=0.1", "batch=8", "gpus=1,2", "sequence=1,2", "model.image_size=16,32"),
    *("preflight=off", "exposed=off", "profile_steps=0"),
]


def test_the_grid_in_small_says_how_large_an_image_was_trained_by_gpus_and_degree(tmp_path):
    completed = subprocess.run(
        [sys.executable, "-m", "vit_sweep", "-m", *SMALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        env=clean_environment() | {"VIT_SWEEP_FIGURES": "on"},
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    study = tmp_path / "outputs" / "s"
    ran = {(r["resolved"]["gpus"], r["resolved"]["sequence"]) for r in records(study).values()}
    assert ran == {(1, 1), (2, 1), (2, 2)}
    with (study / "tables" / "resolutions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["gpus"], row["sequence"], row["largest_px"]) for row in rows] == [
        ("1", "1", "32"),
        ("2", "1", "32"),
        ("2", "2", "32"),
    ]
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    assert (study / "figures" / "resolutions.png").stat().st_size > 5000
