"""Hugging Face datasets on disk: packed row by row, refused or left out in words that name file, column and row."""

import json

import numpy as np
import pytest

from tests.data_layouts import CLASSES, encoded, picture, tables
from tests.unit.data.packing import loaded, pack, refusal
from vit_sweep.data import datasets
from vit_sweep.data.request import kind_of, request_of
from vit_sweep.plan.choices import Task

pytestmark = pytest.mark.train


def request(path, **changes):
    return request_of({"source": "huggingface", "path": str(path), "images": "image", "labels": "label"} | changes)


@pytest.mark.parametrize(("saved", "workers"), [(True, 0), (True, 2), (False, 0), (False, 2)])
def test_rows_are_packed_in_their_order_with_their_labels(tmp_path, root, saved, workers):
    images_request = request(tables(tmp_path / "shapes", saved=saved))
    pack(images_request, root, workers)
    train, test = loaded(images_request, root)
    assert train.labels.tolist() == [0, 1] * 12
    assert test.labels.tolist() == [0, 1] * 4
    for number, image in enumerate(train.images):
        pixels = image.permute(1, 2, 0).numpy().astype(int)
        assert np.abs(pixels - picture(number % 2, number=number)).mean() < 12, "the JPEG of this very row"
    assert datasets.manifest_of(datasets.packed_spec(images_request, root), root).classes == CLASSES


def test_labels_are_labels_words_or_numbers_and_arrays_keep_theirs(tmp_path, root):
    folder = tables(tmp_path / "shapes")
    for labels, task, second in [("tags", Task.MULTILABEL, [1, 1]), ("caption", Task.CLASSIFICATION, 1)]:
        images_request = request(folder, name=labels, labels=labels)
        pack(images_request, root)
        assert loaded(images_request, root, task)[0].labels[1].tolist() == second
    images_request = request(folder, name="size", labels="size", images="plane", channels=None)
    pack(images_request, root)
    train, _ = loaded(images_request, root, Task.REGRESSION)
    numbers = train.labels.double() * train.units.scale + train.units.offset
    assert numbers.flatten().tolist() == pytest.approx([n / 4 for n in range(24)], abs=1e-6)
    assert train.images[:, 0, 0, 0].tolist() == pytest.approx([1e-3 * n for n in range(24)])


def test_one_saved_set_and_one_file_are_split(tmp_path, root):
    folder = tables(tmp_path / "shapes", test=0) / "train"
    for name, path, images in (("set", folder, 24), ("file", folder / "data-00000-of-00002.arrow", 12)):
        images_request = request(path, name=name, split=0.25)
        assert (
            any(f"{images // 4} of {images} images are put apart" in line for line in pack(images_request, root))
            or images == 12
        )
        train, test = loaded(images_request, root)
        assert len(train.labels) + len(test.labels) == images


# --- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [True, False])
def test_a_file_that_is_cut_short_is_named_or_left_out(tmp_path, root, saved):
    folder = tables(tmp_path / "shapes", saved=saved)
    lost = sorted(folder.rglob("*train*/data-00001*") if saved else folder.rglob("train-00001*"))[0]
    whole = lost.read_bytes()
    for size in (len(whole) // 2, len(whole) - 8, 3, 0):
        lost.write_bytes(whole[:size])
        message = refusal(request(folder), root)
        assert f"1 of 2 files cannot be used: {lost} (" in message, size
    lines = pack(request(folder, corrupt="skip"), root)
    assert any("left out" in line and str(lost) in line for line in lines)
    assert datasets.packed_spec(request(folder, corrupt="skip"), root).train_images == 12


def test_rows_without_a_picture_are_named_and_counted(tmp_path, root):
    bad = {3: b"please log in", 5: None}

    def image(number, kind):
        content = bad.get(number, encoded(picture(kind, number=number)))
        return content and {"bytes": content, "path": None}

    folder = tables(tmp_path / "shapes", image=image)
    message = refusal(request(folder), root)
    assert "2 of 32 files cannot be packed" in message
    assert "data-00000-of-00002.arrow[3] (it is " in message
    assert "data-00000-of-00002.arrow[5] (the row has no image)" in message
    images_request = request(folder, corrupt="skip")
    pack(images_request, root)
    assert loaded(images_request, root)[0].labels.tolist() == [n % 2 for n in range(24) if n not in bad]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": "kind"}, ["no column kind; it has image, label, tags, size, caption and 1 more", "data.labels"]),
        ({"images": "img"}, ["no column img; it has", "name one with data.images"]),
        ({"labels": "image"}, ["column image", "labels are words or numbers"]),
        ({"targets": "multilabel", "labels": "size"}, ["size[1] is 0.25, and labels are 0 or 1"]),
        ({"channels": 1, "pixels": "f32"}, ["RGB is no grey"]),
    ],
)
def test_words_that_do_not_fit_the_table_are_answered_with_what_there_is(tmp_path, root, changes, words):
    message = refusal(request(tables(tmp_path / "shapes"), **changes), root)
    for word in words:
        assert word in message, message


def test_labels_that_are_missing_are_counted(tmp_path, root):
    folder = tables(tmp_path / "shapes", size=lambda n, _: None if n == 2 else 1.0)
    message = refusal(request(folder, labels="size"), root)
    assert "column size: 1 row has no value" in message
    assert "give every image one that fits in size, or name other labels with data.labels" in message
    assert "repair" not in message
    folder = tables(tmp_path / "hidden", label=lambda *_: -1)
    assert "label[0] is -1, and classes are whole numbers from 0 to 1" in refusal(request(folder), root)


def test_what_is_no_saved_set_is_said(tmp_path, root):
    (tmp_path / "empty").mkdir()
    assert "holds no Parquet or Arrow file" in refusal(request(tmp_path / "empty"), root)
    folder = tables(tmp_path / "shapes")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    assert "has the splits test, and none is called train" in refusal(request(folder), root)
    for content in ("{", "[]"):
        (folder / "dataset_dict.json").write_text(content)
        assert "save" in refusal(request(folder), root)


def test_a_path_to_tables_is_known_by_its_suffix(tmp_path):
    saved, hub = tables(tmp_path / "saved"), tables(tmp_path / "hub", saved=False)
    assert [kind_of(str(place)).value for place in (saved, saved / "train", hub)] == ["huggingface"] * 3
