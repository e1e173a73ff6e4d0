"""Data in a published layout trains from the words of the docs, on two ranks, as classes and as numbers."""

import json
import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.hdf5_files import fastmri

pytestmark = pytest.mark.train

SMALLER = {
    "data.path=DIR": "data.path=knees",
    "gpus=1,2,4": "gpus=2",
    "model=vit_b_16": "model=vit_tiny_32",
    "model.image_size=320": "model.image_size=32",
    "batch=32": "batch=8",
}
QUICK = ["preflight=off", "exposed=off", "profile_steps=0", "partition=local", "epochs=4", "model.patch_size=8"]


def commands():
    """Those of the docs, as lists of words, at a size that a processor trains in seconds."""
    page = (ROOT / "docs" / "study" / "formats.md").read_text()
    lines = re.findall(r"^    vit_sweep (.*fastmri.*)$", page, re.M)
    words = [[SMALLER.get(word, word) for word in shlex.split(line)] for line in lines]
    return [[*some, *(QUICK if "-m" in some else []), "data.side=32"] for some in words]


def test_the_readme_has_the_words_of_the_docs():
    shown = re.findall(r"`vit_sweep ([^`]*fastmri[^`]*)`", (ROOT / "README.md").read_text())
    assert [[SMALLER.get(word, word) for word in shlex.split(line)] for line in shown] == [
        [word for word in words if word not in QUICK and word != "data.side=32"] for words in commands()[:2]
    ]


def test_fastmri_trains_from_the_words_of_the_docs(sweep, tmp_path):
    fastmri(tmp_path / "knees", train=16, val=8)
    by_class, by_number = commands()[:2], commands()[2:]
    for prepare, train, study in ((*by_class, "classes"), (*by_number, "numbers")):
        prepared = sweep(*prepare)
        assert prepared.returncode == 0, prepared.stderr
        assert "96 training images, 48 to test with" in prepared.stdout
        trained = sweep(*train, f"study={study}")
        assert trained.returncode == 0, trained.stdout + trained.stderr
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("outputs/*/cells/*/record.json"))]
    assert sorted((record["resolved"]["gpus"], record["requested"]["task"]) for record in records) == [
        (2, "classification"),
        (2, "regression"),
    ]
    for record in records:
        last = record["epochs"][-1]
        if record["requested"]["task"] == "classification":
            # A disc or a ring: chance is a half.
            assert last["test_accuracy"] > 0.9
        else:
            # Volumes of 1.2e-5 at most: an error in the data's own units, which 8 bits would have lost.
            assert 0 < last["test_metrics"]["mae"] < 1e-6
    for study, metric in (("classes", "test_accuracy"), ("numbers", "test_mae")):
        header = (tmp_path / "outputs" / study / "tables" / "runs.csv").read_text().splitlines()[0]
        assert metric in header
