"""An image folder before it is packed: its list, what must be right with it, and how a file is read."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision.datasets import folder as torchvision_folder

from launchers.atomic import reading
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.packed import SPLITS, expected_images
from vit_sweep.data.prepare.source import NAMED, Picture, Sample, Source, Sources, Tell, divided, planes_of
from vit_sweep.data.request import Pixels, Request
from vit_sweep.plan.point import DataSpec

_ARRAY = ".npy"
_EXTENSIONS = (*torchvision_folder.IMG_EXTENSIONS, _ARRAY)
_TEST_FOLDERS = ("val", "test")
"""Where people put images to test with, the usual one first."""


def described(data: DataSpec, root: Path, tell: Tell) -> Sources:
    """The folder that a YAML describes, ROOT/NAME; raises `UserError` where it is another one."""
    splits = {split: source_of(data, root / data.name / folder, tell) for split, folder in SPLITS.items()}
    check(data, splits)
    return Sources(splits=splits, read=_reader(data.channels, splits))


def requested(request: Request, tell: Tell) -> Sources:
    """The folder that `data.path` names, split where nobody has put test images apart; raises `UserError`."""
    path = Path(request.path)
    if not path.is_dir():
        raise UserError(
            f"data={request.name}: {path} is no folder; data.path names a folder of class folders of images"
        )
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / name for name in _TEST_FOLDERS if train != path and (path / name).is_dir()), None)
    whole = source_of(request, train, tell)
    if len(whole.classes) == 1:
        raise UserError(
            f"data={request.name}: {train} has one class folder only ({whole.classes[0]}), and one class is nothing to "
            "learn; put the images of each class into a folder of its own"
        )
    if test is None:
        splits = divided(whole, request.split, request.split_seed)
        tell(f"{train}: {plural(len(splits['test'].samples), 'image')} of {len(whole.samples)} are put apart for tests")
    else:
        splits = {"train": whole, "test": source_of(request, test, tell)}
        _same_classes(request, splits)
    return Sources(splits=splits, read=_reader(request.channels, splits, request.pixels), pixels=request.pixels)


def source_of(data: DataSpec | Request, folder: Path, tell: Tell) -> Source:
    """List a split; every class folder must hold an image."""
    where = f"data={data.name}: {folder}"
    if not folder.is_dir():
        raise UserError(
            f"{where} is missing; put the images at {folder}/CLASS/*.jpg (train/ and val/ with the same class "
            "folders) and give the command again"
        )
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not names:
        raise UserError(f"{where} holds no class folders; images lie at {folder}/CLASS/*.jpg")
    listing = torchvision_folder.DatasetFolder(folder, read_image, _EXTENSIONS, allow_empty=True)
    filled = {label for _, label in listing.samples}
    empty = [name for label, name in enumerate(listing.classes) if label not in filled]
    if empty:
        raise UserError(
            f"{where}: no images in {plural(len(empty), 'class folder')} ({some(empty, NAMED)}); fill them or "
            "remove them"
        )
    others = sum(len(names) for _, _, names in os.walk(folder)) - len(listing.samples)
    if others:
        tell(f"{folder}: {plural(others, 'file')} left out, not named like an image")
    return Source(
        folder=folder,
        classes=tuple(listing.classes),
        samples=tuple(Sample(path, label) for path, label in listing.samples),
    )


def check(data: DataSpec, sources: dict[str, Source]) -> None:
    """Before hours of work: the same classes in both splits, and the numbers of the YAML."""
    _same_classes(data, sources)
    train, wrong = sources["train"], []
    if len(train.classes) != data.classes:
        wrong.append(f"{len(train.classes)} class folders, the YAML says classes: {data.classes}")
    for split, source in sources.items():
        actual, expected = len(source.samples), expected_images(data, split)
        if actual != expected:
            wrong.append(f"{actual} images in {source.folder}, the YAML says {split}_images: {expected}")
    if wrong:
        raise UserError(f"data={data.name}: {'; '.join(wrong)}; mend the folder, or the YAML if this is what you mean")


def _same_classes(data: DataSpec | Request, sources: dict[str, Source]) -> None:
    train, test = sources["train"], sources["test"]
    if train.classes != test.classes:
        apart = sorted(set(train.classes) ^ set(test.classes))
        raise UserError(
            f"data={data.name}: {len(train.classes)} class folders in {train.folder} and {len(test.classes)} in "
            f"{test.folder}; only one of them has {some(apart, NAMED)}"
        )


def _reader(channels: int | None, splits: dict[str, Source], pixels: Pixels = Pixels.U8) -> Callable[[Sample], Picture]:
    arrays = any(sample.path.endswith(_ARRAY) for source in splits.values() for sample in source.samples)
    if channels not in (1, 3, None) and not arrays:
        raise UserError(f"data.channels={channels}: an image file has colours (3) or is grey (1)")

    def read(sample: Sample) -> Picture:
        if sample.path.endswith(_ARRAY):
            with reading(Path(sample.path)) as file:
                planes = planes_of(np.load(file, allow_pickle=False))
            if pixels is Pixels.U8 and planes.is_floating_point():
                raise ValueError("more than 8 bits a number; keep them with data.pixels=f32")
            return planes
        if pixels is Pixels.F32 and channels == 1:
            return _grey(sample.path)
        image = read_image(sample.path)
        return image.convert("L") if channels == 1 else image

    return read


def _grey(path: str) -> Picture:
    """Grey values as they are, (1, rows, columns); a coloured image is no such one."""
    with reading(Path(path)) as file, Image.open(file) as image:
        _require_one(image)
        if image.mode not in ("1", "L", "I", "F") and not image.mode.startswith("I;16"):
            raise ValueError(f"{image.mode} is no grey; convert it, or leave data.pixels=f32 out")
        return planes_of(np.array(ImageOps.exif_transpose(image)))


def _require_one(image: Image.Image) -> None:
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format != "MPO":  # a camera's: its first picture is the photo
        raise ValueError(f"it holds {pictures} pictures; keep the one that you mean")


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB of 8 bits, upright; raises what decoders raise.

    Raises `ValueError` for values without a scale and for several pictures in a file. Pillow would cut grey values of
    16 bits off at 255, which turns nearly all of them white.
    """
    with reading(Path(path)) as file, Image.open(file) as image:
        _require_one(image)
        # As Pillow's releases call the grey of such a PNG.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            grey = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
            return grey.convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError("its values have no known range; convert it to 8 bits")
        return ImageOps.exif_transpose(image).convert("RGB")
