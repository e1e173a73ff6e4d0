"""An image folder before it is packed: its list, what must be right with it, and how a file is read."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torchvision.datasets import folder as torchvision_folder

from launchers.atomic import reading
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.packed import SPLITS, expected_images
from vit_sweep.data.prepare.decode import ARRAY, TIFF, deep, reader_of_files
from vit_sweep.data.prepare.source import NAMED, Picture, Sample, Source, Sources, Tell, divided
from vit_sweep.data.request import Pixels, Request
from vit_sweep.plan.specs import DataSpec

_EXTENSIONS = (*torchvision_folder.IMG_EXTENSIONS, ARRAY)
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
    if request.pixels is Pixels.U8:
        _tell_of_depth(whole, tell)
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
    listing = torchvision_folder.DatasetFolder(folder, lambda path: path, _EXTENSIONS, allow_empty=True)
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
        raise UserError(
            f"data={data.name}: {'; '.join(wrong)}; correct the folder, or the YAML if this is what you mean"
        )


def _same_classes(data: DataSpec | Request, sources: dict[str, Source]) -> None:
    train, test = sources["train"], sources["test"]
    if train.classes != test.classes:
        apart = sorted(set(train.classes) ^ set(test.classes))
        raise UserError(
            f"data={data.name}: {len(train.classes)} class folders in {train.folder} and {len(test.classes)} in "
            f"{test.folder}; only one of them has {some(apart, NAMED)}"
        )


def _reader(channels: int | None, splits: dict[str, Source], pixels: Pixels = Pixels.U8) -> Callable[[Sample], Picture]:
    arrays = any(sample.path.endswith(ARRAY) for source in splits.values() for sample in source.samples)
    if channels not in (1, 3, None) and not arrays and pixels is Pixels.U8:
        raise UserError(f"data.channels={channels}: an image file has colours (3) or is grey (1)")

    return reader_of_files(channels=channels, pixels=pixels)


def _tell_of_depth(source: Source, tell: Tell) -> None:
    """Say, by the first image of each class, that numbers of more than 8 bits are brought to 8."""
    firsts = {sample.target: sample.path for sample in reversed(source.samples)}
    for path in filter(lambda path: path.lower().endswith((".png", *TIFF)), firsts.values()):
        with suppress(OSError), reading(Path(path)) as file:
            if deep(file):
                tell(f"{path} has more than 8 bits a number, which are brought to 8; data.pixels=f32 keeps them")
                return
