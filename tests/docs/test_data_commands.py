"""Commands of the pages on images that a reader has: each packs them, and each sweep of them is planned."""

import csv
import json
import struct
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.data_layouts import CLASSES, costar, encoded, gtdb, medmnist, picture, shards, tables
from tests.docs.commands import OWN_DATA, PAGES, filled, shown
from tests.hdf5_files import fastmri, write
from vit_sweep.cli.app import app_with

pytestmark = pytest.mark.train
ELSEWHERE = {"cifar100": "without internet here", "imagenet100": "put the images at"}
"""Data sets that are not on the desk, with what is said of each; with files: tests/unit/data."""
HAVE_DATA = [page for page in PAGES if any(map(OWN_DATA.search, shown(page)))]
FORMATS = {
    "fastmri": partial(fastmri, train=24),
    "costar": partial(costar, films=30),
    "gtdb": partial(gtdb, articles=14),
}
"""By the word of their commands, what `DIR` holds: enough images for a step of the grids."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the images that the pages speak of."""
    load_from_disk = pytest.importorskip("datasets").load_from_disk
    folder = tmp_path_factory.mktemp("desk")
    for number in range(80):
        file = folder / "photos" / "leaves" / CLASSES[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(number % 2, number=number)))
    with (folder / "photos" / "captions.csv").open("w", newline="") as table:
        names = [path.relative_to(folder / "photos") for path in sorted((folder / "photos").rglob("*.jpg"))]
        pairs = [(name, f"{article} {name.parent.name}") for name in names for article in ("a", "one", "some", "this")]
        csv.writer(table).writerows([("image", "caption"), *pairs])
    pictures = np.array([picture(number % 2, number=number) for number in range(80)])
    write(folder / "scans.h5", images=pictures, diagnosis=np.arange(80) % 2)
    shards(folder / "shards", train=72, per_shard=40)
    load_from_disk(tables(folder / "saved", train=72)).rename_column("caption", "species").save_to_disk(
        folder / "leaves"
    )
    medmnist(folder / "medical" / "pathmnist_64.npz", side=64, colours=3, train=72)
    for name, made in FORMATS.items():
        made(folder / f"files_of_{name}")
    weights(folder / "vit_b_16.safetensors")
    return folder


def weights(path):
    """A file with the names and shapes of torchvision's ViT-B/16, all of its numbers 0: the disk keeps none of them."""
    import torch
    from torchvision.models import vit_b_16

    with torch.device("meta"):
        state = vit_b_16().state_dict()
    head, end = {}, 0
    for name, weight in state.items():
        head[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [end, end + 4 * weight.numel()]}
        end += 4 * weight.numel()
    text = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def words_of(command, desk):
    """The command's words, with the folder that DIR is in them."""
    name = next((name for name in FORMATS if name in command), "DIR")
    return [word.replace("=DIR", f"=files_of_{name}") for word in filled(command, desk)]


@pytest.mark.parametrize("page", HAVE_DATA, ids=lambda page: page.stem)
def test_data_are_packed_and_planned_by_the_shown_commands(page, desk, sweep, monkeypatch):
    monkeypatch.chdir(desk)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no internet: nobody listens there
    for command in filter(OWN_DATA.search, shown(page)):
        words = words_of(command, desk)
        if words[0] != "data":
            planned = sweep(*words, cwd=desk)
            assert planned.returncode == 0, (command, planned.stdout + planned.stderr)
            assert "nothing submitted" in planned.stdout
            continue
        answer = CliRunner().invoke(app_with(), words)  # here, where torchvision has been imported
        sentence = ELSEWHERE.get(words[2])
        assert sentence in str(answer.exception) if sentence else answer.exit_code == 0, (command, answer.exception)
