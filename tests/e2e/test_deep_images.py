"""Images of 16 bits, PNG, TIFF and arrays in one set of shards, train by what only their lower bits show."""

import json

import pytest

from tests.data_layouts import deep_files, shards

pytestmark = pytest.mark.train

DATA = ["data.images=png/tif/npy", "data.pixels=f32", "data.side=null"]
QUICK = [
    "preflight=off",
    "exposed=off",
    "profile_steps=0",
    "partition=local",
    "model=vit_tiny_32",
    "model.patch_size=8",
]


def test_what_lies_below_8_bits_is_learnt_from_each_kind_of_file(sweep, tmp_path):
    """A third of the images is of each kind, so with one of them lost five sixths at most would be right."""

    def field(suffix):
        return lambda number, kind: deep_files(number, kind).get(suffix)

    fields = {suffix: field(suffix) for suffix in ("png", "tif", "npy")}
    shards(tmp_path / "deep", train=96, val=48, per_shard=24, jpg=lambda *_: None, **fields)
    prepared = sweep("data", "prepare", "./deep", *DATA)
    assert prepared.returncode == 0, prepared.stderr
    assert "96 training images, 48 to test with, 2 classes, 3 channels" in prepared.stdout
    trained = sweep("-m", "data=./deep", *DATA, "gpus=1", "batch=8", "epochs=4", "study=deep", *QUICK)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    record = json.loads(next(tmp_path.glob("outputs/deep/cells/*/record.json")).read_text())
    assert record["epochs"][-1]["test_accuracy"] > 0.9
