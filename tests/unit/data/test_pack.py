"""Packing image folders: the pixels, going on after a break, and a sentence for everything that can be wrong."""

import contextlib
import json
import os
import shutil
import struct
import zlib
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.errors import UserError
from tests.data_layouts import png_of_16_bits
from tests.e2e.train.images.image_folders import CLASSES, make, spec
from vit_sweep.data import datasets

pytestmark = pytest.mark.train

PLACE = "photos-packed-16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def root(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "root" / "photos")
    return tmp_path / "root"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded, in order."""
    from vit_sweep.data.prepare.source import Reader

    decoded_files, real = [], Reader.image

    def image(self, sample):
        decoded_files.append(sample.path.rsplit("/", 1)[1])
        return real(self, sample)

    monkeypatch.setattr(Reader, "image", image)
    return decoded_files


def pack(root, data=None, workers=0):
    """Pack here and now; returns the lines that were told."""
    from vit_sweep.data.prepare.pack import pack

    lines = []
    pack(data or spec(), root, lines.append, workers=workers)
    return lines


def refusal(root, data=None):
    """The sentence that packing ends with; nothing may be in place then."""
    with pytest.raises(UserError) as raised:
        pack(root, data)
    assert not (root / PLACE).exists()
    return str(raised.value)


def packed_bytes(root, place=PLACE):
    return {path.name: path.read_bytes() for path in (root / place).iterdir() if path.suffix in {".u8", ".i64"}}


# -- what is written -----------------------------------------------------------------------------------


def test_the_packed_pixels_are_those_of_resize_and_centre_crop(root):
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    from vit_sweep.job.train.images.data import load

    pack(root)
    classic = v2.Compose([v2.Resize(16), v2.CenterCrop(16), v2.PILToTensor()])
    for split, name in zip(load(spec(), root), ("train", "val"), strict=True):
        paths = [path for c in CLASSES for path in sorted((root / "photos" / name / c).iterdir())]
        wanted = torch.stack([classic(Image.open(path).convert("RGB")) for path in paths])
        assert torch.equal(split.images, wanted)
        assert split.labels.tolist() == [CLASSES.index(path.parent.name) for path in paths]


def test_the_manifest_says_counts_classes_their_order_and_checksums(root):
    import hashlib

    pack(root)
    manifest = json.loads((root / PLACE / "manifest.json").read_text())
    assert (manifest["train_images"], manifest["test_images"], manifest["side"]) == (24, 8, 16)
    assert manifest["classes"] == list(CLASSES)
    assert manifest["class_order"] == "sorted folder names"
    for name, content in packed_bytes(root).items():
        listed = next(file for file in manifest["files"] if file["name"] == name)
        assert (listed["bytes"], listed["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_workers_change_nothing(root, tmp_path):
    pack(root)
    shutil.copytree(root / "photos", tmp_path / "other" / "photos")
    pack(tmp_path / "other", workers=2)
    assert packed_bytes(root) == packed_bytes(tmp_path / "other")


def test_what_was_packed_is_not_read_again(root, decoded, monkeypatch):
    import hashlib

    pack(root)
    datasets._read_digest.cache_clear()
    monkeypatch.setattr(hashlib, "file_digest", None)  # whoever computes a checksum now fails
    assert datasets.problem_of(spec(), root) is None
    assert len(decoded) == 32
    pack(root)
    assert len(decoded) == 32


def test_a_damaged_packed_form_is_made_again(root):
    pack(root)
    whole = packed_bytes(root)
    (root / PLACE / "train.images.u8").write_bytes(b"cut off")
    assert "train.images.u8 is damaged (sha256 " in datasets.problem_of(spec(), root)
    pack(root)
    assert packed_bytes(root) == whole


def test_who_waits_is_told_how_far_it_is(root):
    lines = pack(root)
    assert any(line.startswith("train: 24 of 24 images, ") for line in lines)
    assert any(line.startswith("test: 8 of 8 images, ") for line in lines)


def test_images_of_one_size_are_packed_as_they_are(root):
    from PIL import Image

    from vit_sweep.job.train.images.data import load

    for path in root.rglob("*_*.*"):
        Image.open(path).crop((0, 0, 40, 32)).save(path.with_suffix(".png"))
        if path.suffix != ".png":
            path.unlink()
    pack(root, spec(side=None))
    train, _ = load(spec(side=None), root)
    assert train.images.shape == (24, 3, 32, 40)


# -- broken off ----------------------------------------------------------------------------------------


@pytest.fixture
def broken_off(root, monkeypatch):
    """A packing that was killed at its 11th image, with a note after every fourth."""
    from vit_sweep.data.prepare import pack as module
    from vit_sweep.data.prepare.source import Reader

    monkeypatch.setattr(module, "BLOCK_IMAGES", 4)
    real = Reader.image
    with monkeypatch.context() as patched:
        count = iter(range(1, 100))

        def image(self, path):
            if next(count) == 11:
                raise KeyboardInterrupt
            return real(self, path)

        patched.setattr(Reader, "image", image)
        with pytest.raises(KeyboardInterrupt):
            pack(root)
    assert not (root / PLACE).exists()
    return root


def test_after_a_break_packing_goes_on_where_it_was(broken_off, decoded, folder, tmp_path):
    lines = pack(broken_off)
    assert "train: 8 of 24 images are there from an earlier start" in lines
    assert len(decoded) == 32 - 8
    shutil.copytree(folder, tmp_path / "unbroken" / "photos")
    pack(tmp_path / "unbroken")
    assert packed_bytes(broken_off) == packed_bytes(tmp_path / "unbroken")
    assert not list(broken_off.glob(".*.partial"))
    assert not list((broken_off / PLACE).glob("*.progress.json"))


def test_after_a_break_a_changed_list_is_packed_from_its_start(broken_off, decoded):
    first = sorted((broken_off / "photos/train/china").iterdir())[0]
    first.rename(first.with_name(f"a_{first.name}"))
    first = sorted((broken_off / "photos/train/china").iterdir())[0]
    first.write_bytes(first.read_bytes() + b"\0")
    pack(broken_off)
    assert len(decoded) == 32


@pytest.mark.parametrize("note", ["", "{", '{"done": 10000, "listed": "x"}'])
def test_a_damaged_note_is_no_note(broken_off, decoded, note):
    (broken_off / f".{PLACE}.partial" / "train.progress.json").write_text(note)
    pack(broken_off)
    assert len(decoded) == 32


def test_a_shortened_file_is_not_trusted(broken_off, decoded):
    (broken_off / f".{PLACE}.partial" / "train.images.u8").write_bytes(b"short")
    pack(broken_off)
    assert len(decoded) == 32


# -- bad input -----------------------------------------------------------------------------------------


def damage(root, count):
    """Cut files of the training split off in the middle; returns their names."""
    paths = sorted((root / "photos/train/flower").iterdir())[:count]
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return [path.name for path in paths]


def test_files_that_are_no_images_are_named_and_counted(root, folder):
    names = damage(root, 6)
    (root / "photos/val/china/val_000.png").write_text("a page that says: please log in")
    message = refusal(root)
    assert "7 of 32 files cannot be packed" in message
    assert all(name in message for name in names[:5])
    assert "and 2 more" in message
    shutil.rmtree(root / "photos/train/flower")
    shutil.copytree(folder / "train/flower", root / "photos/train/flower")
    assert "1 of 32 files cannot be packed: " in (message := refusal(root))
    assert "val/china/val_000.png (it is " in message
    shutil.rmtree(root / "photos")
    shutil.copytree(folder, root / "photos")
    pack(root)
    assert datasets.problem_of(spec(), root) is None


@pytest.mark.usefixtures("bounded")
def test_a_pipe_and_a_few_bytes_that_unpack_to_gigabytes_are_named_like_them(root, folder):
    """Of a PNG its head is enough: 50,000 x 50,000 pixels."""
    pipe, bomb = sorted((root / "photos/train").rglob("*.*"))[:2]
    pipe.unlink()
    os.mkfifo(pipe)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0), b"IDAT"]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    message = refusal(root)
    assert f"{pipe} (not a regular file" in message
    assert f"{bomb} (Image size (2500000000 pixels) exceeds limit" in message


def test_a_class_folder_without_images_is_named(root):
    for split in ("train", "val"):
        (root / "photos" / split / "goat").mkdir()
    assert "no images in 1 class folder (goat); fill them or remove them" in refusal(root)


def test_a_shard_without_images_is_named(root):
    shutil.rmtree(root / "photos/val")
    assert "photos/val is missing; put the images at" in refusal(root)
    (root / "photos/val").mkdir()
    assert "photos/val is empty; images lie at" in refusal(root)
    shutil.rmtree(root / "photos")
    assert "photos/train is missing; put the images at" in refusal(root)


def test_classes_of_one_split_only_are_named(root):
    (root / "photos/val/china").rename(root / "photos/val/goat")
    assert "only one of them has china, goat" in refusal(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": 25}, "24 images in ROOT/photos/train, the YAML says train_images: 25"),
        ({"test_images": 5}, "8 images in ROOT/photos/val, the YAML says test_images: 5"),
        ({"classes": 3}, "2 class folders, the YAML says classes: 3"),
    ],
)
def test_other_numbers_than_the_yamls_are_said_before_any_work(root, decoded, changes, message):
    assert message.replace("ROOT", str(root)) in refusal(root, spec(**changes))
    assert decoded == []


def test_files_that_are_not_named_like_images_are_told(root):
    (root / "photos/train/china/README.txt").write_text("hello")
    assert any("train: 1 file left out, not named like an image" in line for line in pack(root))


def test_a_class_folder_may_be_a_link(root, tmp_path):
    there = root / "photos/train/china"
    there.rename(tmp_path / "elsewhere")
    there.symlink_to(tmp_path / "elsewhere")
    assert not any("left out" in line for line in pack(root))


def test_a_link_that_leads_round_is_named(root):
    (root / "photos/train/china/round").symlink_to(".")
    assert "round is a link to a folder in which it lies itself; remove it" in refusal(root)


def test_a_link_to_nothing_is_said_without_an_errors_number(root):
    (root / "photos/train/china/gone.png").symlink_to("nowhere")
    assert "gone.png (No such file or directory)" in refusal(root, spec(train_images=25))


def test_pictures_of_many_sizes_want_a_side(root):
    from PIL import Image

    first = sorted((root / "photos/train/china").iterdir())[0]
    Image.open(first).crop((0, 0, 30, 25)).save(first)
    message = refusal(root, spec(side=None))
    assert "31 of 32 files cannot be packed" in message
    assert "not 30 x 25 pixels as the first one; give the data set a side" in message


def test_a_full_disk_is_foreseen(root, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100, 90, 10))
    assert "32 images of 16 x 16 pixels take 0.0 GB" in refusal(root)


def test_a_root_that_cannot_be_written_is_a_sentence(root, monkeypatch):
    (root / f".{PLACE}.partial").write_text("in the way")
    assert "packing in" in refusal(root)


def test_a_job_on_images_that_are_not_packed_says_which_command_to_run(root):
    from vit_sweep.job.train.images.data import load
    from vit_sweep.outcome.ending import Cause
    from vit_sweep.outcome.failure import JobError

    with pytest.raises(JobError, match="the images are not packed; run: vit_sweep data prepare") as raised:
        load(replace(spec()), root)
    assert raised.value.cause is Cause.DATA


def loaded_image(path):
    """The file's colours of 8 bits."""
    from vit_sweep.data.prepare.decode import colours_of

    with Path(path).open("rb") as file:
        return colours_of(file)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_16_bits_keeps_its_shades(tmp_path, suffix):
    import numpy as np
    from PIL import Image

    path = tmp_path / f"scan.{suffix}"
    shades = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(shades * 257).save(path)
    assert np.array_equal(np.asarray(loaded_image(path))[..., 0], shades)


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("deep.png", "RGB of 16 bits"),
        ("palette.png", "P"),
        ("see_through_palette.png", "P, one colour transparent"),
        ("alpha.png", "RGBA"),
        ("grey_alpha.png", "LA"),
        ("print.jpg", "CMYK"),
        ("ink.png", "1"),
        ("photo.jpg", "lies on its side, EXIF says so"),
    ],
)
def test_every_kind_of_image_shows_what_it_shows(tmp_path, name, about):
    """Red above black, or white above black where there are no colours; the file is of the kind that `about` says."""
    import numpy as np
    from PIL import Image

    grey = name in ("grey_alpha.png", "ink.png")
    rgb_pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    rgb_pixels[:8] = (255, 255, 255) if grey else (255, 0, 0)
    image, options, path = Image.fromarray(rgb_pixels), {}, tmp_path / name
    match name:
        case "deep.png":
            path.write_bytes(png_of_16_bits(rgb_pixels.astype(np.uint16) * 257))
        case "palette.png":
            image = image.quantize(4)
        case "see_through_palette.png":
            image, options = image.quantize(4), {"transparency": 0}
        case "alpha.png":
            image = image.convert("RGBA")
        case "grey_alpha.png":
            image = image.convert("LA")
        case "print.jpg":
            image, options = image.convert("CMYK"), {"quality": 100, "subsampling": 0}
        case "ink.png":
            image = image.convert("1")
        case "photo.jpg":
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned by a quarter clockwise
            image, options = image.rotate(90), {"exif": exif, "quality": 100, "subsampling": 0}
    if name != "deep.png":
        image.save(path, **options)
    pixels = np.asarray(loaded_image(path)).astype(int)
    assert pixels.shape == (16, 16, 3), about
    assert np.abs(pixels - rgb_pixels).max() <= 8, about


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_several_pictures_in_a_file_are_refused_by_name(tmp_path, suffix):
    from PIL import Image

    from vit_sweep.data.packed import Pixels
    from vit_sweep.data.prepare.source import Reader, Sample

    path = tmp_path / f"moves.{suffix}"
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "black")]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    read = lambda sample: loaded_image(sample.path)  # noqa: E731
    reader = Reader(read=read, pixels=Pixels.U8, shape=(3, 16, 16), as_is=True, workers=1)
    pixels = reader.image(Sample(str(path), 0))
    assert pixels == f"{path} (it holds 2 pictures; keep the one that you mean)"


def test_values_without_a_range_are_refused(tmp_path):
    import numpy as np
    from PIL import Image

    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="no known range; convert it to 8 bits"):
        loaded_image(tmp_path / "f.tif")


# -- where others may write into the data root ----------------------------------------------------------


@pytest.fixture
def diary(tmp_path):
    """A folder of the user's own, with a file in it that has a name of packing's, and what was in it."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("diary", "train.images.u8"):
        (folder / name).write_text("not for packing")
    return folder


def require_untouched(folder):
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(
        ("diary", "train.images.u8"), "not for packing"
    )


@pytest.mark.parametrize(("name", "target"), [(".photos.lock", "diary"), (f".{PLACE}.partial", "."), (PLACE, ".")])
def test_a_link_that_somebody_has_put_there_is_not_followed(root, diary, name, target):
    (root / name).symlink_to(diary / target)
    if name == PLACE:
        pack(root)  # the link goes
        assert (root / PLACE / "manifest.json").is_file()
    else:
        assert "is a symbolic link" in refusal(root)
    require_untouched(diary)


def test_nor_is_one_that_is_put_there_meanwhile(root, diary, monkeypatch):
    from vit_sweep.data.prepare.source import Reader

    partial, real = root / f".{PLACE}.partial", Reader.image

    def image(self, path):
        if not partial.is_symlink():
            partial.rename(root / "aside")
            partial.symlink_to(diary)
        return real(self, path)

    monkeypatch.setattr(Reader, "image", image)
    with contextlib.suppress(UserError):
        pack(root)
    require_untouched(diary)


def test_a_download_writes_into_the_folder_that_it_made_whatever_has_its_name(tmp_path, diary, monkeypatch):
    """torchvision is told a path, and asks no questions about it."""
    from tests.unit.data.test_datasets import spec_of
    from vit_sweep.data.prepare import download

    data = spec_of({"train": b"pixels"})
    partial = tmp_path / "root" / f".{data.name}.partial"

    def fetch(aside, download):
        partial.rename(tmp_path / "root" / "aside")
        partial.symlink_to(diary)
        (aside / "train.images.u8").write_text("pixels")

    monkeypatch.setitem(download._KINDS, data.source, fetch)
    with pytest.raises(UserError):
        download.download(data, tmp_path / "root")
    require_untouched(diary)
    assert (tmp_path / "root" / "aside" / "train.images.u8").read_text() == "pixels"


def test_what_was_packed_may_be_read_by_whoever_may_read_the_data_root(root):
    root.chmod(0o2775)
    pack(root)
    assert (root / PLACE).stat().st_mode & 0o7777 == 0o2775
