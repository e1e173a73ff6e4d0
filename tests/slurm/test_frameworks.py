"""`grid=frameworks` on two nodes: every engine that needs no CUDA trains, and one table compares them, certified."""

import csv
import os

import pytest

from tests.conftest import TEST_CONF
from tests.slurm.studies import Lab

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        not os.environ.get("VIT_SWEEP_LONG_TESTS"), reason="it trains with eight engines: VIT_SWEEP_LONG_TESTS=1"
    ),
]
GRID = [
    "-m",
    f"--config-dir={TEST_CONF}",
    "grid=frameworks",
    "partition=lab_vector",
    "model=vit_test",
    "data=quick",
    "batch=8",
    "epochs=2",
    "gpus=2",
    "nodes=2",
    "repeats=1",
    "minutes=5",
    "exposed=false",
    "profile_steps=0",
    "study=s",
]


def test_one_table_compares_the_engines_with_certificates_from_two_nodes(sweep, shared_cluster, tmp_path):
    lab = Lab(sweep, shared_cluster, tmp_path / "outputs" / "s")
    completed = sweep(*GRID, env=shared_cluster.environment)
    assert completed.returncode == 0, completed.stdout + completed.stderr + lab.logs()
    assert "engine=megatron: megatron-core keeps gradients in a buffer on a CUDA device" in " ".join(
        completed.stdout.split()
    )
    with (lab.folder / "tables" / "engines.csv").open() as file:
        rows = {row["engine"]: row for row in csv.DictReader(file)}
    assert set(rows) == {
        "ddp",
        "fsdp2",
        "zero0",
        "zero1",
        "zero2",
        "zero3",
        "accelerate",
        "accelerate_zero2",
    }
    assert {row["nodes"] for row in rows.values()} == {"2"}
    assert {name: row["reference"] for name, row in rows.items() if name != "ddp"} == dict.fromkeys(
        set(rows) - {"ddp"}, "ddp"
    )
    exact = {name for name, row in rows.items() if row["certificate"].startswith("exact")}
    assert exact >= set(rows) - {"zero3"}
    assert rows["zero3"]["certificate"].startswith(("exact", "within ")), "its rounding is its own, if it has any"
