"""Published data sets, in files made in their authors' layouts: read as they are meant, refused in words of theirs."""

import errno
import hashlib
import http.server
import os
import shutil
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.data_layouts import ACTIONS, costar, costar_film, gtdb, idx, medmnist, picture
from tests.unit.data.packing import loaded, pack, refusal
from vit_sweep.config import data_catalog
from vit_sweep.data import datasets
from vit_sweep.data.request import kind_of
from vit_sweep.plan.choices import Task
from vit_sweep.plan.specs import DataFile

pytestmark = pytest.mark.train


def preset(name, *words):
    """What a preset and the words after it ask for."""
    return data_catalog.load(name, data_catalog.catalog(None), words)


def numbers_of(split):
    """The data's own numbers, (images, numbers)."""
    return (split.labels.double() * split.units.scale + split.units.offset).numpy()


# --- torchvision's -----------------------------------------------------------------------------------------------


def published(name, contents, root, **changes):
    """The preset with files of the same names and other content, and the files below `root`."""
    spec = preset(name)
    assert {file.path for file in spec.files} == set(contents)
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    files = tuple(DataFile(path=path, md5=hashlib.md5(content).hexdigest()) for path, content in contents.items())
    return replace(spec, files=files, **changes)


@pytest.mark.parametrize("channels", [1, 3])
def test_fashion_mnist_is_grey_and_the_same_in_every_channel(root, channels):
    from vit_sweep.job.train.images.data import load

    pixels = np.random.default_rng(0).integers(0, 256, (10, 28, 28))
    labels = np.arange(10)
    parts = {"train": slice(0, 6), "t10k": slice(6, 10)}
    contents = {}
    for name, part in parts.items():
        contents[f"FashionMNIST/raw/{name}-images-idx3-ubyte.gz"] = idx(pixels[part])
        contents[f"FashionMNIST/raw/{name}-labels-idx1-ubyte.gz"] = idx(labels[part])
    spec = published("fashion_mnist", contents, root, train_images=6, test_images=4, channels=channels)
    train, test = load(spec, root)
    for split, part in ((train, parts["train"]), (test, parts["t10k"])):
        assert split.images.shape[1:] == (channels, 28, 28)
        assert all(np.array_equal(split.images[:, channel], pixels[part]) for channel in range(channels))
        assert split.labels.tolist() == labels[part].tolist()


def test_stl10_lies_in_columns_and_counts_from_one(root):
    from vit_sweep.job.train.images.data import load

    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 96, 96), dtype=np.uint8)
    labels = np.array([1, 10, 5, 2, 9], dtype=np.uint8)
    contents = {}
    for name, part in (("train", slice(0, 3)), ("test", slice(3, 5))):
        contents[f"stl10_binary/{name}_X.bin"] = pixels[part].transpose(0, 1, 3, 2).tobytes()
        contents[f"stl10_binary/{name}_y.bin"] = labels[part].tobytes()
    train, test = load(published("stl10", contents, root, train_images=3, test_images=2), root)
    assert np.array_equal(np.concatenate([train.images, test.images]), pixels)
    assert train.labels.tolist() + test.labels.tolist() == [0, 9, 4, 1, 8]


def test_the_md5s_of_the_presets_are_those_that_torchvision_knows():
    import torchvision

    known = dict(torchvision.datasets.FashionMNIST.resources)
    known |= dict((*torchvision.datasets.STL10.train_list, *torchvision.datasets.STL10.test_list))
    for name in ("fashion_mnist", "stl10"):
        for file in preset(name).files:
            assert known[file.path.rsplit("/", 1)[1]] == file.md5, file.path


# --- MedMNIST ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_medmnist_is_read_from_its_file_with_its_own_tests(tmp_path, root, workers):
    path = medmnist(tmp_path / "breastmnist.npz")
    request = preset("medmnist", f"data.path={path}")
    lines = pack(request, root, workers)
    assert any("validation images are left aside" in line for line in lines)
    train, test = loaded(request, root)
    assert train.labels.tolist() == [0, 1] * 12
    for split, first in ((train, 0), (test, 24)):
        wanted = [picture((first + n) % 2, number=first + n, side=28)[..., 0] for n in range(len(split.labels))]
        assert np.array_equal(split.images[:, 0], np.array(wanted))
    spec = datasets.packed_spec(request, root)
    assert (spec.name, spec.channels, spec.image_bytes) == ("breastmnist", 1, 28 * 28)
    assert datasets.manifest_of(spec, root).classes == ("malignant", "normal, benign")


def test_medmnist_has_colours_volumes_and_several_labels(tmp_path, root):
    coloured = preset("medmnist", f"data.path={medmnist(tmp_path / 'bloodlike.npz', colours=3)}")
    pack(coloured, root)
    assert datasets.packed_spec(coloured, root).channels == 3
    volume = np.zeros((24, 28, 28, 28), dtype=np.uint8)
    path = medmnist(tmp_path / "organlike3d.npz", train_images=volume, test_images=volume[:8])
    pack(preset("medmnist", f"data.path={path}"), root)
    assert datasets.packed_spec(preset("medmnist", f"data.path={path}"), root).channels == 28
    path = medmnist(tmp_path / "chestlike.npz", labels=lambda n: [n % 2, 1, 0])
    chest = preset("medmnist", f"data.path={path}")
    pack(chest, root)
    assert datasets.packed_spec(chest, root).targets is Task.MULTILABEL


def test_a_folder_of_medmnist_has_a_subset_and_a_size(tmp_path, root):
    folder = tmp_path / "files"
    medmnist(folder / "pneumoniamnist.npz")
    medmnist(folder / "pneumoniamnist_64.npz", side=64)
    for words, side in (([], 28), (["data.side=64"], 64), (["data.side=16"], 16)):
        request = preset("medmnist", f"data.path={folder}", "data.subset=pneumoniamnist", *words)
        pack(request, root)
        assert loaded(request, root)[0].images.shape[-1] == side
    assert kind_of(str(folder)).value == "medmnist"


@pytest.fixture
def served(tmp_path):
    """The address of a file of MedMNIST that this machine serves, and the file."""
    file = medmnist(tmp_path / "served" / "served.npz")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{file.name}", file
        server.shutdown()
        thread.join()


def test_medmnist_is_fetched_by_its_package_where_it_is_not_there(tmp_path, root, monkeypatch, served):
    """Its own download: from this machine, with the md5 of what lies there."""
    import medmnist as package

    address, file = served
    about = package.INFO["breastmnist"]
    monkeypatch.setitem(about, "url", address)
    monkeypatch.setitem(about, "MD5", hashlib.md5(file.read_bytes()).hexdigest())
    monkeypatch.setitem(about, "n_samples", {"train": 24, "val": 4, "test": 8})
    request = preset("medmnist", f"data.path={tmp_path / 'files'}", "data.subset=breastmnist")
    assert any("fetching breastmnist.npz" in line for line in pack(request, root))
    assert [path.name for path in (tmp_path / "files").iterdir() if path.suffix == ".npz"] == ["breastmnist.npz"]
    monkeypatch.setitem(about, "MD5", "0" * 32)
    shutil.rmtree(tmp_path / "files")
    shutil.rmtree(root)
    message = refusal(request, root)
    assert (
        "the download of breastmnist.npz failed (File not found or corrupted" in message
        and f"copy breastmnist.npz into {tmp_path / 'files'}" in message
    )
    assert not [path for path in (tmp_path / "files").iterdir() if "partial" in path.name]

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", full)
    assert "No space left on device; free some room and give the command again" in refusal(request, root)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"train_images": None}, "it has no train_images; it has train_labels, val_images"),
        ({"test_labels": np.zeros((3, 1))}, "test_labels has 3 labels for 8 images of test_images"),
        ({"train_images": np.zeros((24, 28, 28))}, "train_images is float64 [24, 28, 28]; images are uint8"),
        ({"train_labels": np.array([["a"]] * 24, dtype=object)}, "pickle"),
        ({"train_labels": np.full((24, 1), 7)}, "train_labels[0] is 7, and classes are whole numbers from 0 to 1"),
    ],
)
def test_another_npz_is_refused(tmp_path, root, changes, word):
    path = medmnist(tmp_path / "breastmnist.npz", **changes)
    assert word.replace("train_labels[0] is 7", "is 7") in refusal(preset("medmnist", f"data.path={path}"), root)


def test_a_cut_npz_an_unknown_subset_and_none_are_sentences(tmp_path, root):
    path = medmnist(tmp_path / "breastmnist.npz")
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:size])
        assert "is not one of MedMNIST's files, or cut short" in refusal(preset("medmnist", f"data.path={path}"), root)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "add data.subset=pathmnist" in refusal(preset("medmnist", f"data.path={empty}"), root)
    assert "MedMNIST has pathmnist, chestmnist" in refusal(
        preset("medmnist", f"data.path={empty}", "data.subset=catmnist"), root
    )
    assert "organmnist3d is published with 28, 64 pixels" in refusal(
        preset("medmnist", f"data.path={empty}", "data.subset=organmnist3d", "data.side=224"), root
    )


# --- CoSTAR ------------------------------------------------------------------------------------------------------


def test_costar_s_frames_have_actions_by_name_and_films_stay_whole(tmp_path, root):
    request = preset("costar", f"data.path={costar(tmp_path / 'films')}", "data.side=32", "data.split=0.4")
    lines = pack(request, root)
    assert any("error.failure.h5f (dataset image is empty)" in line for line in lines)
    train, test = loaded(request, root)
    assert (len(train.labels), len(test.labels)) == (24, 12)
    assert datasets.manifest_of(datasets.packed_spec(request, root), root).classes == ACTIONS
    assert test.labels.tolist() == [0, 1, 2] * 4


def test_costar_s_poses_are_numbers_to_learn(tmp_path, root):
    folder = costar(tmp_path / "films")
    words = ["data.name=poses", "data.labels=pose", "data.names=null", "data.side=32"]
    request = preset("costar", f"data.path={folder}", *words)
    pack(request, root)
    train, _ = loaded(request, root, Task.REGRESSION)
    assert train.labels.shape == (30, 7)


def test_an_action_without_a_name_and_films_that_name_them_otherwise_are_refused(tmp_path, root):
    folder = costar(tmp_path / "films")
    film = costar_film(folder / "a.h5f", label=np.array([0, 1, 2, 3, 0, 1]))
    message = refusal(preset("costar", f"data.path={folder}"), root)
    assert f"{film}: label[3] is 3, and classes are whole numbers from 0 to 2" in message
    costar_film(film, labels_to_name=np.array([b"grab", b"place", b"home"]))
    assert "the files name their classes differently: grab" in refusal(preset("costar", f"data.path={folder}"), root)


# --- GTDB --------------------------------------------------------------------------------------------------------


def test_gtdb_s_pages_are_whole_and_their_counts_are_those_of_the_csv(tmp_path, root):
    request = preset("gtdb", f"data.path={gtdb(tmp_path / 'pages')}", "data.side=32")
    lines = pack(request, root)
    assert any("3 of 12 images of whole files are put apart" in line for line in lines), lines
    train, test = loaded(request, root, Task.REGRESSION)
    assert train.images.shape == (9, 1, 32, 32)
    for split in (train, test):
        counts = numbers_of(split)
        assert counts[:, 0] == pytest.approx([4] * len(counts))
        # What is drawn says how much mathematics there is: this page's counts are with this page.
        assert split.images.float().mean((1, 2, 3)).tolist() == pytest.approx(250 - 20 * counts[:, 1], abs=1)
    assert len(set(numbers_of(test)[:, 1].round())) == 3, "the pages of one article"


def test_gtdb_s_boxes_are_parts_of_the_page(tmp_path, root):
    request = preset("gtdb", f"data.path={gtdb(tmp_path / 'pages')}", "data.labels=box", "data.side=32")
    pack(request, root)
    train, _ = loaded(request, root, Task.REGRESSION)
    assert numbers_of(train)[0] == pytest.approx([6 / 60, 8 / 80, 54 / 60, 72 / 80])


@pytest.mark.parametrize(
    ("original", "put", "words"),
    [
        ("Infty GT-Data", "Another", ["it begins with 'Another Format Ver.1.1'"]),
        (",0,0,0,0141", ",2,0,0,0141", ["line 5: Chardata,1,7", "its mode is 2, neither 0 (text) nor 1 (mathematics)"]),
        ("Chardata,1,7,8,9,12", "Chardata,1,9,8,7,12", ["a box is left, top, right, bottom"]),
        ("Chardata,1,7,8,9,12,0,0,0,0141", "Chardata,1,7,8", ["it lacks a whole number, or the file is cut short"]),
        ("Sheet,1,", "Shee,1,", ["line 2: Shee,1", "records are Sheet first"]),
        (
            "493_1.png",
            "493_9.png",
            ["1 of 3 pages cannot be used: AIF_1970_20_493_9.png (no such image beside the CSV"],
        ),
    ],
)
def test_another_csv_is_refused_with_its_line(tmp_path, root, original, put, words):
    folder = gtdb(tmp_path / "pages")
    path = folder / "AIF_1970_20_493.csv"
    text = path.read_text()
    assert original in text
    path.write_text(text.replace(original, put, 1))
    message = refusal(preset("gtdb", f"data.path={folder}"), root)
    for word in (f"{path} (", *words):
        assert word in message, message
    pack(preset("gtdb", f"data.path={folder}", "data.corrupt=skip"), root)


def test_a_scan_of_another_size_and_unknown_labels_are_refused(tmp_path, root):
    from PIL import Image

    folder = gtdb(tmp_path / "pages")
    assert "data.labels=words: of a page there are counts, math, box" in refusal(
        preset("gtdb", f"data.path={folder}", "data.labels=words"), root
    )
    Image.new("L", (30, 40)).save(next(folder.rglob("*_1.png")))
    message = refusal(preset("gtdb", f"data.path={folder}", "data.labels=box"), root)
    assert "a box reaches to 54, 72, and the page has 30 x 40 pixels: another scan" in message
