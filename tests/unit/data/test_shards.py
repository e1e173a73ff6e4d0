"""Images in WebDataset's shards: packed with their labels, refused or left out in words that name shard and sample."""

import shutil
import tarfile

import numpy as np
import pytest

from tests.data_layouts import CLASSES, encoded, picture, shards
from tests.unit.data.packing import loaded, pack, refusal
from vit_sweep.data import datasets
from vit_sweep.data.request import kind_of, request_of
from vit_sweep.plan.choices import Task

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def original_shards(tmp_path_factory):
    return shards(tmp_path_factory.mktemp("made") / "shapes")


@pytest.fixture
def folder(original_shards, tmp_path):
    shutil.copytree(original_shards, tmp_path / "shapes")
    return tmp_path / "shapes"


def request(path, **changes):
    return request_of({"source": "webdataset", "path": str(path), "images": "jpg/png", "labels": "cls"} | changes)


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_packed_in_their_order_with_their_labels(folder, root, workers):
    pack(request(folder), root, workers)
    train, test = loaded(request(folder), root)
    assert train.labels.tolist() == [0, 1] * 12
    assert test.labels.tolist() == [0, 1] * 4
    for number, image in enumerate(train.images):
        pixels = image.permute(1, 2, 0).numpy().astype(int)
        assert np.abs(pixels - picture(number % 2, number=number)).mean() < 12, "the JPEG of this very sample"


def test_a_shard_or_a_name_with_braces_is_split_by_class(folder, root):
    images_request = request(f"{folder}/train-{{000000..000001}}.tar", name="two", split=0.25)
    assert any("4 of 16 images are put apart" in line for line in pack(images_request, root))
    assert sorted(loaded(images_request, root)[1].labels.tolist()) == [0, 0, 1, 1]


def test_labels_are_classes_words_labels_or_numbers(folder, root):
    for name, labels, task, first in [
        ("words", "json.label", Task.CLASSIFICATION, 0),
        ("both", "json.both", Task.MULTILABEL, [0, 1]),
        ("text", "txt", Task.CLASSIFICATION, 0),
    ]:
        images_request = request(folder, name=name, labels=labels)
        pack(images_request, root)
        assert loaded(images_request, root, task)[0].labels[0].tolist() == first
    spec = datasets.packed_spec(request(folder, name="words", labels="json.label"), root)
    assert datasets.manifest_of(spec, root).classes == CLASSES


def test_text_that_is_numbers_is_numbers_and_arrays_keep_theirs(tmp_path, root):
    folder = shards(
        tmp_path / "deep",
        txt=lambda n, _: f"{n / 4}\n",
        jpg=lambda *_: None,
        npy=lambda n, _: np.full((2, 8, 8), 1e-3 * n),
    )
    images_request = request(folder, images="npy", labels="txt", channels=None, pixels="f32")
    pack(images_request, root)
    train, _ = loaded(images_request, root, Task.REGRESSION)
    numbers = train.labels.double() * train.units.scale + train.units.offset
    assert numbers.flatten().tolist() == pytest.approx([n / 4 for n in range(24)], abs=1e-6)
    assert train.images[:, 1, 0, 0].tolist() == pytest.approx([1e-3 * n for n in range(24)])


def test_captions_come_with_their_samples(folder):
    from vit_sweep.data.prepare.shards import labelled

    samples, captions = labelled(request(folder, labels="txt"), folder / "train-000000.tar", lambda _: None)
    assert [sample.key for sample in samples] == [f"{n:06}" for n in range(8)]
    assert captions.tolist() == [f"a {CLASSES[n % 2]} among noise" for n in range(8)]


# --- bad input -------------------------------------------------------------------------------------------------


def test_a_shard_that_is_cut_short_is_named_or_left_out(folder, root):
    whole = (folder / "train-000001.tar").read_bytes()
    with tarfile.open(folder / "train-000001.tar") as tar:
        boundary = tar.getmembers()[8].offset
    for size in (len(whole) // 2 + 100, boundary, boundary + 100, 100):
        (folder / "train-000001.tar").write_bytes(whole[:size])
        message = refusal(request(folder), root)
        assert f"1 of 3 files cannot be used: {folder}/train-000001.tar (" in message, size
        assert "data.corrupt=skip" in message
    lines = pack(request(folder, corrupt="skip"), root)
    assert any("left out" in line and "train-000001.tar" in line for line in lines)
    assert datasets.packed_spec(request(folder, corrupt="skip"), root).train_images == 16


def test_samples_that_cannot_be_used_are_named_and_counted(tmp_path, root):
    folder = shards(
        tmp_path / "bad",
        jpg=lambda n, kind: None if n == 3 else b"please log in" if n == 5 else encoded(picture(kind, number=n)),
        cls=lambda n, kind: b"cat" if n == 9 else kind,
    )
    message = refusal(request(folder), root)
    assert "000003 (no image; it has cls, json, txt: name one with data.images)" in message
    assert "000009 (cls: invalid literal" in message
    images_request = request(folder, corrupt="skip")
    lines = pack(images_request, root)
    assert any("000005.jpg: it is " in line for line in lines)
    assert loaded(images_request, root)[0].labels.tolist() == [n % 2 for n in range(24) if n not in (3, 5, 9)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": "json"}, ["json is an object; name one of its keys, data.labels=json.KEY: label, both"]),
        ({"labels": "json.kind"}, ["json has no kind; it has label, both"]),
        ({"labels": "jpg"}, ["jpg holds no label that is read here; cls,"]),
        ({"labels": "lab"}, ["no lab; it has cls, jpg, json, txt", "name other labels with data.labels"]),
        ({"images": "tif"}, ["no image; it has cls, jpg, json, txt: name one with data.images"]),
        ({"classes": 1}, ["train-000000.tar: cls[1] is 1, and classes are whole numbers from 0 to 0"]),
        ({"channels": 4}, ["channels"]),
    ],
)
def test_words_that_do_not_fit_the_shards_are_answered_with_what_there_is(folder, root, changes, words):
    message = refusal(request(folder, **changes), root)
    for word in words:
        assert word in message, message


def test_what_is_no_shard_is_said(tmp_path, folder, root):
    (tmp_path / "empty").mkdir()
    assert "holds no tar file (.tar)" in refusal(request(tmp_path / "empty"), root)
    assert "is not there; data.path names a tar file" in refusal(request(f"{tmp_path}/no-{{0..3}}.tar"), root)
    for name, content in (("page.tar", b"please log in"), ("zipped.tar", b"\x1f\x8b" + bytes(600)), ("void.tar", b"")):
        (tmp_path / name).write_bytes(content)
        assert "it is no tar file, or a compressed one" in refusal(request(tmp_path / name), root)
    with tarfile.open(tmp_path / "none.tar", "w") as tar:
        tar.add(tmp_path / "empty", arcname="empty")
    assert "it holds no sample" in refusal(request(tmp_path / "none.tar"), root)
    one = shards(tmp_path / "one", cls=lambda *_: 0)
    assert "cls is 0 for all images, and one class is nothing to learn" in refusal(request(one), root)


def test_a_pickle_is_not_opened(tmp_path, root):
    folder = shards(tmp_path / "pickled", pyd=lambda n, _: b"cos\nsystem\n(S'touch hacked'\ntR.")
    assert "pyd holds no label that is read here" in refusal(request(folder, labels="pyd"), root)


PACKAGES = {"webdataset": ("shards", "webdataset"), "huggingface": ("arrow", "datasets"), "hdf5": ("hdf5", "h5py")}


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_package_that_is_not_installed_is_named_with_its_extra(folder, root, monkeypatch, kind):
    import sys

    module, package = PACKAGES[kind]
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"vit_sweep.data.prepare.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    message = refusal(request(folder, source=kind), root)
    assert f"{package}, which reads {kind}, is not installed here: pip install 'vit_sweep[data]'" in message


def test_a_path_to_shards_is_known_by_its_suffix(folder):
    assert [kind_of(str(place)).value for place in (folder, folder / "val-000000.tar", folder.parent)] == [
        "webdataset"
    ] * 3
