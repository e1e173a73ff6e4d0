"""A sequence group over two nodes of a real Slurm trains, and the plan says where it lies."""

import csv
import json

import pytest

from tests import warm
from tests.conftest import LONG
from tests.e2e.conftest import records
from tests.slurm.test_cluster import QUICK

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not LONG, reason="long")]


def test_tokens_lie_on_two_nodes_and_learn_what_one_rank_does(cluster, tmp_path):
    shared = warm.run(
        *("-m", *QUICK, "batch=8", "gpus=2", "nodes=2", "sequence=1,2"),
        cwd=tmp_path,
        env=cluster,
    )
    alone = warm.run("-m", *QUICK, "batch=8", "gpus=1", cwd=tmp_path, env=cluster)
    assert (shared.returncode, alone.returncode) == (0, 0), shared.stdout + shared.stderr + alone.stdout + alone.stderr
    study = tmp_path / "outputs" / "s"
    ran = {(r["resolved"]["gpus"], r["resolved"]["sequence"]): r for r in records(study).values()}
    assert set(ran) == {(1, 1), (2, 1), (2, 2)}
    assert ran[2, 2]["resolved"]["nodes"] == 2
    losses = [[epoch["train_loss"] for epoch in ran[key]["epochs"]] for key in ((2, 2), (1, 1))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    points = json.loads((study / "plan.json").read_text())["points"]
    remarks = [remark for point in points for remark in point["remarks"]]
    assert any("a sequence group of 2 ranks lies on 2 nodes" in remark for remark in remarks)


def test_the_grid_in_small_says_how_large_an_image_fits_on_two_nodes(cluster, tmp_path):
    ran = warm.run(
        *(
            "-m",
            *QUICK,
            "grid=long_sequence",
            "model.image_size=8,16,32",
            "gpus=1,2",
            "placement=spread",
            "sequence=1,2",
        ),
        *("precision=fp32", "fraction=1.0", "batch=8"),
        cwd=tmp_path,
        env=cluster | {"VIT_SWEEP_FIGURES": "on", "COLUMNS": "80"},
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    study = tmp_path / "outputs" / "s"
    shapes = [tuple(r["resolved"][key] for key in ("gpus", "nodes", "sequence")) for r in records(study).values()]
    assert sorted(shapes) == [*[(1, 1, 1)] * 3, *[(2, 2, 1)] * 3, *[(2, 2, 2)] * 3]
    with (study / "tables" / "resolutions.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = ("gpus", "nodes", "sequence", "smallest_px", "largest_px", "too_large_px")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("1", "1", "1", "8", "32", ""),
        ("2", "2", "1", "8", "32", ""),
        ("2", "2", "2", "8", "32", ""),
    ]
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    assert "The largest image that fits, by GPUs" in ran.stdout
    assert (study / "figures" / "resolutions.png").stat().st_size > 5000
