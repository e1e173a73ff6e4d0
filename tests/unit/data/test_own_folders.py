"""Folders of somebody's own, named by a path: counted, split, packed, and known to the plan without any YAML."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.errors import UserError
from tests.e2e.train.images.image_folders import CLASSES, make
from tests.unit.data.packing import loaded, pack
from vit_sweep.data import datasets
from vit_sweep.data.request import Corrupt, Kind, Pixels, command_of, kind_of, request_of

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Class folders without a split: 12 images in each."""
    return make(tmp_path_factory.mktemp("own"), train_images=24, test_images=0) / "train"


@pytest.fixture
def folder(pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "my leaves")
    return tmp_path / "my leaves"


def request(folder, **changes):
    return replace(request_of({"source": "imagefolder", "path": str(folder), "side": 16}), **changes)


def labels(root, split):
    import numpy as np

    place = next(root.glob("[!.]*-packed-*"))
    return np.fromfile(place / f"{split}.labels.i64", dtype="<i8").tolist()


def test_a_folder_is_counted_split_and_packed_and_the_plan_knows_it(folder, root):
    images_request = request(folder, split=0.25)
    assert any("6 images of 24 are put apart for tests" in line for line in pack(images_request, root))
    known = datasets.packed_spec(images_request, root)
    assert (known.name, known.train_images, known.test_images, known.classes) == ("my_leaves", 18, 6, 2)
    assert (known.channels, known.image_bytes) == (3, 3 * 16 * 16)
    assert sorted(labels(root, "test")) == [0, 0, 0, 1, 1, 1]
    assert datasets.problem_of(known, root) is None


@pytest.mark.parametrize("name", ["val", "test"])
def test_images_that_were_put_apart_are_not_split_again(folder, root, tmp_path, name):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole / "train")
    shutil.copytree(folder / CLASSES[0], whole / name / CLASSES[0])
    shutil.copytree(folder / CLASSES[1], whole / name / CLASSES[1])
    pack(request(whole, channels=1), root)
    known = datasets.packed_spec(request(whole, channels=1), root)
    assert (known.train_images, known.test_images, known.channels, known.image_bytes) == (24, 24, 1, 16 * 16)


def test_the_split_is_of_each_image_alone(folder):
    """More images change nothing of those that were there; another seed draws others."""
    from vit_sweep.data.prepare.image_folder import source_of
    from vit_sweep.data.prepare.source import divided

    def apart(seed):
        source = source_of(request(folder), folder, lambda _: None)
        return {sample.path for sample in divided(source, 0.5, seed)["test"].samples}

    before = apart(0)
    assert len(before) == 12
    assert apart(1) != before
    for number in range(6):
        shutil.copy(next((folder / CLASSES[0]).iterdir()), folder / CLASSES[0] / f"new_{number}.png")
    assert len({Path(path).name for path in apart(0) ^ before} - {f"new_{n}.png" for n in range(6)}) <= 6
    lonely = folder / "goat" / "only.png"
    lonely.parent.mkdir()
    shutil.copy(next((folder / CLASSES[0]).iterdir()), lonely)
    assert str(lonely) not in apart(0)


def test_images_that_cannot_be_read_are_left_out_by_name_with_their_labels(folder, root):
    bad = sorted((folder / CLASSES[0]).iterdir())[::4]
    for path in bad:
        path.write_bytes(b"a page that says: please log in")
    with pytest.raises(UserError, match=r"3 of 24 files cannot be packed: .*leave them out with data.corrupt=skip"):
        pack(request(folder), root)
    assert not list(root.glob("[!.]*-packed-*"))
    images_request = request(folder, corrupt=Corrupt.SKIP)
    lines = pack(images_request, root)
    assert all(str(path) in lines[-1] for path in bad)
    known = datasets.packed_spec(images_request, root)
    assert known.train_images + known.test_images == 21
    assert sorted(labels(root, "train") + labels(root, "test")) == [0] * 9 + [1] * 12
    assert datasets.manifest_of(known, root).left_out == 3
    for path in (folder / CLASSES[0]).iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=f"of {CLASSES[0]} none is left"):
        pack(images_request, root)


def test_a_changed_folder_is_packed_anew_and_an_unchanged_one_is_not(folder, root):
    pack(request(folder), root)
    first = datasets.packed_spec(request(folder), root)
    assert not any("images/s" in line for line in pack(request(folder), root))
    shutil.copy(next((folder / CLASSES[1]).iterdir()), folder / CLASSES[1] / "one_more.png")
    assert any("images/s" in line for line in pack(request(folder), root))
    second = datasets.packed_spec(request(folder), root)
    assert second.content != first.content
    assert "content" in datasets.problem_of(first, root)  # a cell that was planned with other images


def test_an_archive_beside_its_folders_is_not_what_is_meant(folder, tmp_path):
    for name in ("leaves.tar", "metadata.parquet", "features.npz"):
        (folder / name).write_bytes(b"")
        assert kind_of(str(folder)) is Kind.IMAGEFOLDER
    split = tmp_path / "split"
    shutil.copytree(folder, split / "train")
    (split / "leaves.tar").write_bytes(b"")
    for entry in split.glob("train/*.*"):
        entry.unlink()
    assert kind_of(str(split)) is Kind.IMAGEFOLDER


def test_a_plan_says_of_a_folder_what_packing_would_say(folder, root, tmp_path):
    images_request, other = request(folder), tmp_path / "other"

    def refused():
        with pytest.raises(UserError) as packing:
            pack(images_request, root)
        with pytest.raises(UserError) as planning:
            datasets.packed_spec(images_request, root)
        assert str(planning.value) == str(packing.value)
        return str(planning.value)

    (folder / CLASSES[1]).rename(other)
    assert "has one class folder only" in refused()
    (folder / CLASSES[1]).mkdir()
    (folder / CLASSES[1] / "notes.txt").write_text("to do: find images")
    assert f"no images in 1 class folder ({CLASSES[1]}); fill them or remove them" in refused()
    shutil.rmtree(folder / CLASSES[1])
    shutil.rmtree(folder / CLASSES[0])
    assert f"{folder} is empty; images lie at {folder}/CLASS/*.jpg" in refused()
    shutil.copytree(other, folder / "deeper" / CLASSES[1])
    shutil.copytree(other, folder / "another" / CLASSES[1])
    with pytest.raises(UserError, match="not packed; pack them"):
        datasets.packed_spec(images_request, root)


def test_the_names_of_image_files_are_those_that_torchvision_reads():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    from vit_sweep.data.class_folders import ARRAY, SUFFIXES

    assert (*IMG_EXTENSIONS, ARRAY) == SUFFIXES


def test_one_class_an_empty_folder_and_a_file_are_sentences(folder, root, tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        pack(request(next((folder / CLASSES[0]).iterdir())), root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is empty; images lie at"):
        pack(request(tmp_path / "empty"), root)
    shutil.rmtree(folder / CLASSES[1])
    with pytest.raises(UserError, match=f"one class folder only .{CLASSES[0]}., and one class is nothing to learn"):
        pack(request(folder), root)


@pytest.mark.usefixtures("bounded")
def test_a_subset_made_of_links_is_packed_and_a_link_to_a_pipe_is_refused(folder, root, tmp_path):
    """Subsets of large sets are mostly made so. Links are read through, never written through."""
    path = next((folder / CLASSES[0]).iterdir())
    shutil.move(path, tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    pack(request(folder), root)
    path.unlink()
    os.mkfifo(tmp_path / "pipe")
    path.symlink_to(tmp_path / "pipe")
    with pytest.raises(UserError, match=path.name):
        pack(request(folder), root)


def test_a_disk_that_fills_while_packing_leaves_nothing_in_place(folder, root, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"No space left on device.*it goes on where it was"):
            pack(request(folder), root)
    assert not list(root.glob("[!.]*-packed-*"))
    pack(request(folder), root)
    assert datasets.packed_spec(request(folder), root).train_images == 22


def test_what_is_not_packed_or_otherwise_comes_with_the_command_that_helps(folder, root):
    command = command_of(request(folder, split=0.25), root)
    assert command.startswith(f"vit_sweep data prepare imagefolder 'data.path={folder}' data.side=16")
    with pytest.raises(UserError, match="the images are not packed; pack them: vit_sweep data prepare"):
        datasets.packed_spec(request(folder), root)
    pack(request(folder), root)
    with pytest.raises(UserError, match=r"the images are not packed \(with data.side=16 they are\); pack them"):
        datasets.packed_spec(request(folder, side=32), root)
    with pytest.raises(UserError, match=r"packed with data.split=0.1, not 0.25; pack it anew"):
        datasets.packed_spec(request(folder, split=0.25), root)


# --- numbers of more than 8 bits ------------------------------------------------------------------------------


def of_arrays(folder, arrays, write):
    """Class folders of these arrays by class."""
    for name, values in arrays.items():
        (folder / name).mkdir(parents=True)
        for number, value in enumerate(values):
            write(folder / name / f"{number}", value)
    return folder


def as_npy(path, value):
    import numpy as np

    np.save(path.with_suffix(".npy"), value)


def as_tiff(path, value):
    from PIL import Image

    Image.fromarray(value).save(path.with_suffix(".tif"))


def as_png(path, value):
    from PIL import Image

    Image.fromarray(value).save(path.with_suffix(".png"))


@pytest.mark.parametrize(
    ("write", "dtype", "shape"),
    [
        (as_npy, "float64", (5, 8, 8)),
        (as_npy, "int16", (8, 8)),
        (as_tiff, "uint16", (8, 8)),
        (as_tiff, "float32", (8, 8)),
        (as_png, "uint16", (8, 8)),
    ],
)
def test_numbers_beyond_8_bits_reach_the_packed_form_as_they_are(tmp_path, root, write, dtype, shape):
    import numpy as np

    channels = 1 if len(shape) == 2 else shape[0]

    noise = np.random.default_rng(0)
    arrays = {
        name: [noise.integers(0, 30_000, shape).astype(dtype) * (1 if dtype != "float64" else 1e-7) for _ in range(4)]
        for name in CLASSES
    }
    folder = of_arrays(tmp_path / "fields", arrays, write)
    images_request = request(folder, side=None, channels=channels, pixels=Pixels.F32, split=0.25)
    pack(images_request, root)
    train, test = loaded(images_request, root)
    planes = [np.concatenate([split.images.numpy() for split in (train, test)])]
    packed = sorted(image.tobytes() for image in planes[0])
    wanted = [np.asarray(value, dtype=np.float32).reshape(channels, 8, 8) for some in arrays.values() for value in some]
    assert packed == sorted(image.tobytes() for image in wanted)
    assert datasets.packed_spec(images_request, root).image_bytes == 4 * channels * 8 * 8


def test_an_array_that_8_bits_cannot_hold_or_that_is_none_is_named(tmp_path, root):
    import numpy as np

    good = np.zeros((3, 8, 8), dtype=np.uint8)
    bad = {
        "wide": np.zeros((3, 8, 8)),
        "lost": np.full((3, 8, 8), np.nan),
        "flat": np.zeros(8),
        "object": np.array([{"a": 1}]),
    }
    words = {
        "wide": "data.pixels=f32",
        "lost": "not finite: 192 values",
        "flat": "[8], not numbers [rows, columns]",
        "object": "allow_pickle",
    }
    for name, array in bad.items():
        folder = of_arrays(tmp_path / name, {CLASSES[0]: [good, good, array], CLASSES[1]: [good, good]}, as_npy)
        with pytest.raises(UserError) as raised:
            pack(request(folder, side=None), root)
        assert f"1 of 5 files cannot be packed: {folder / CLASSES[0] / '2.npy'} (" in str(raised.value)
        assert words[name] in str(raised.value)
    pack(request(of_arrays(tmp_path / "good", {name: [good, good] for name in CLASSES}, as_npy), side=None), root)


def test_colours_are_no_grey_values(folder, root, tmp_path):
    import numpy as np
    from PIL import Image

    def as_palette(path, value):
        Image.fromarray(value).convert("P").save(path.with_suffix(".png"))

    palettes = {name: [np.full((8, 8, 3), shade, dtype=np.uint8) for shade in (9, 200)] for name in CLASSES}
    painted = of_arrays(tmp_path / "painted", palettes, as_palette)
    with pytest.raises(UserError, match=r"P is no grey"):
        pack(request(painted, channels=1, pixels=Pixels.F32), root)
    with pytest.raises(UserError, match=r"RGB is no grey; convert it, or leave data.pixels=f32 out"):
        pack(request(folder, channels=1, pixels=Pixels.F32), root)
    with pytest.raises(UserError, match=r"data.channels=2: an image file has colours"):
        pack(request(folder, channels=2), root)
