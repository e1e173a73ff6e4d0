"""Images with captions: a CSV beside them, or text in shards; packed as they are, refused in words, and trained on."""

import csv

import numpy as np
import pytest

from tests.data_layouts import encoded, picture, shards, tables
from tests.unit.data.packing import pack, refusal
from vit_sweep.data import datasets
from vit_sweep.data.request import Kind, kind_of, request_of
from vit_sweep.plan.choices import Task
from vit_sweep.plan.specs import BEGIN, END, TextSpec

pytestmark = pytest.mark.train

TEXT = TextSpec(length=24)
WORDS = ("a disc", "a ring – « thick »")


@pytest.fixture
def folder(tmp_path):
    """Ten images below photos/, in a file whose captions have commas, quotes and a line of their own."""
    (tmp_path / "set" / "photos").mkdir(parents=True)
    rows = []
    for number in range(10):
        name = f"photos/{number}.jpg"
        (tmp_path / "set" / name).write_bytes(encoded(picture(number % 2, number=number)))
        rows.append({"image": name, "caption": f'{WORDS[number % 2]},\n "{number}"'})
    return written(tmp_path / "set", rows)


def written(folder, rows, name="captions.csv"):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def rows_of(folder):
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def request(path, **changes):
    defaults = {"source": "captions", "path": str(path), "images": "image", "labels": "caption", "side": 16}
    return request_of(defaults | changes)


def captions(images_request, root):
    """What a job reads of both splits."""
    from vit_sweep.job.train.images.data import load

    spec = datasets.packed_spec(images_request, root)
    assert (spec.targets, spec.tasks) == (Task.CONTRASTIVE, (Task.CONTRASTIVE,))
    splits = load(spec, root, task=Task.CONTRASTIVE, text=TEXT)
    return [[text_of(row) for row in split.labels.tolist()] for split in splits]


def text_of(tokens):
    assert tokens[0] == BEGIN and END in tokens
    return bytes(tokens[1 : tokens.index(END)]).decode(errors="replace")


def test_pairs_of_a_csv_are_packed_and_read_as_tokens(folder, tmp_path):
    root, images_request = tmp_path / "root", request(folder)
    (line_of_split,) = [line for line in pack(images_request, root) if "apart" in line]
    assert "1 pair of 10 are put apart" in line_of_split
    train, test = captions(images_request, root)
    whole = [f'{WORDS[n % 2]}, "{n}"'.encode()[: TEXT.length - 2].decode(errors="replace") for n in range(10)]
    assert sorted(train + test) == sorted(whole)
    assert kind_of(str(folder)) == kind_of(str(folder / "captions.csv")) == Kind.CAPTIONS
    assert not [line for line in pack(images_request, root) if "apart" not in line], "packed already"
    assert images_request.name == "set", "a file of the usual name is called as its folder"


def test_a_column_says_which_pairs_are_for_tests(folder, tmp_path):
    rows = [row | {"split": "val" if n < 3 else "train"} for n, row in enumerate(rows_of(folder))]
    images_request = request(written(folder, rows))
    pack(images_request, tmp_path / "root")
    assert list(map(len, captions(images_request, tmp_path / "root"))) == [7, 3]


def test_several_captions_of_an_image_stay_in_one_split(folder, tmp_path):
    rows = [row | {"caption": f"{row['image']} {k}"} for row in rows_of(folder) for k in range(3)]
    images_request = request(written(folder, rows), split=0.3)
    pack(images_request, tmp_path / "root")
    train, test = ({text.split()[0] for text in split} for split in captions(images_request, tmp_path / "root"))
    assert (len(train), len(test), train & test) == (7, 3, set())


WRONG = {
    "no column": ({"labels": "text"}, lambda rows: rows, "has no column text; it has image, caption"),
    "no caption": ({}, lambda rows: [*rows, {"image": "x.jpg", "caption": " "}], "has no caption; every row"),
    "outside": ({}, lambda rows: [*rows, {"image": "../x.jpg", "caption": "x"}], "names ../x.jpg; images lie below"),
    "absolute": ({}, lambda rows: [*rows, {"image": "/x.jpg", "caption": "x"}], "names /x.jpg; images lie below"),
    "missing": ({}, lambda rows: [*rows, {"image": "x.jpg", "caption": "x"}], "1 of 11 images are not there: x.jpg"),
    "split": ({}, lambda rows: [row | {"split": "dev"} for row in rows], "says split=dev; say train, or val"),
    "all tests": ({}, lambda rows: [row | {"split": "val"} for row in rows], "no pair is left for the train split"),
    "one": ({}, lambda rows: rows[:1], "has 1 pair; give it more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_one_sentence(name, folder, tmp_path):
    changes, spoil, sentence = WRONG[name]
    images_request = request(written(folder, spoil(rows_of(folder))), **changes)
    assert sentence in refusal(images_request, tmp_path / "root")


def test_a_file_that_is_none_or_not_in_utf_8_and_a_broken_image_are_named(folder, tmp_path):
    root = tmp_path / "root"
    assert "other.csv is not there; data.path names a CSV" in refusal(request(folder / "other.csv"), root)
    (folder / "latin.csv").write_bytes("image,caption\nx.jpg,naïve\n".encode("latin-1"))
    assert "it is no CSV file in UTF-8" in refusal(request(folder / "latin.csv"), root)
    (folder / "photos" / "3.jpg").write_bytes(b"no image")
    (folder / "photos" / "4.jpg").unlink()
    assert "photos/4.jpg" in refusal(request(folder), root)
    skipping = request(folder, corrupt="skip", split=0.3)
    lines = pack(skipping, root)
    assert any("photos/4.jpg" in line for line in lines) and any("3.jpg" in line for line in lines)
    assert sum(map(len, captions(skipping, root))) == 8


def test_texts_of_shards_are_captions_where_the_command_says_so(tmp_path):
    def caption_of(number, kind):
        return f"{WORDS[kind]} {number}"

    path, root = shards(tmp_path / "shapes", txt=caption_of), tmp_path / "root"
    defaults = {"source": "webdataset", "path": str(path), "images": "jpg", "targets": "contrastive", "side": 16}
    images_request = request_of(defaults | {"labels": "txt"})
    pack(images_request, root)
    train, test = captions(images_request, root)
    assert (len(train), len(test)) == (24, 8)
    assert all(text.startswith(("a disc ", "a ring ")) for text in train + test)
    numbers = request_of(defaults | {"labels": "cls"})
    assert "captions are text (data.targets=contrastive)" in refusal(numbers, tmp_path / "other")


def test_text_of_tables_and_of_hdf5_is_captions_likewise(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "made.h5", "w") as file:
        file["images"] = np.stack([picture(number % 2, number=number) for number in range(12)])
        file["words"] = [f"  {WORDS[number % 2]} " for number in range(12)]
    path, root = tables(tmp_path / "table"), tmp_path / "root"
    for source, place, column, counts in (
        ("huggingface", path, "caption", (24, 8)),
        ("hdf5", tmp_path / "made.h5", "words", (11, 1)),
    ):
        images = "image" if source == "huggingface" else "images"
        defaults = {"source": source, "path": str(place), "images": images, "targets": "contrastive", "side": 16}
        images_request = request_of(defaults | {"labels": column})
        pack(images_request, root)
        train, test = captions(images_request, root)
        assert (len(train), len(test)) == counts
        assert {*train, *test} <= {"a disc", "a ring", WORDS[1].encode()[: TEXT.length - 2].decode(errors="replace")}
