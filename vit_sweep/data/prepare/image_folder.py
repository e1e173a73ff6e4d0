"""An image folder before it is packed: its list, what must be right with it, and how a file is read."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torchvision.datasets.folder import DatasetFolder

from launchers.atomic import reading
from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.data.class_folders import ARRAY, SUFFIXES, classes_of, same_classes, splits_of
from vit_sweep.data.packed import SPLITS, expected_images
from vit_sweep.data.prepare.decode import TIFF, deep, reader_of_files
from vit_sweep.data.prepare.source import Picture, Sample, Source, Sources, Tell, divided
from vit_sweep.data.request import Pixels, Request
from vit_sweep.plan.specs import DataSpec


def described(data: DataSpec, root: Path, tell: Tell) -> Sources:
    """The folder that a YAML describes, ROOT/NAME; raises `UserError` where it is another one."""
    splits = {split: source_of(data, root / data.name / folder, tell) for split, folder in SPLITS.items()}
    check(data, splits)
    return Sources(splits=splits, read=_reader(data.channels, splits))


def requested(request: Request, tell: Tell) -> Sources:
    """The folder that `data.path` names, split where nobody has put test images apart; raises `UserError`."""
    train, test = splits_of(request)
    source = source_of(request, train, tell)
    if request.pixels is Pixels.U8:
        _tell_of_depth(source, tell)
    if test is None:
        splits = divided(source, request.split, request.split_seed)
        tell(
            f"{train}: {plural(len(splits['test'].samples), 'image')} of {len(source.samples)} are put apart for tests"
        )
    else:
        splits = {"train": source, "test": source_of(request, test, tell)}
    return Sources(splits=splits, read=_reader(request.channels, splits, request.pixels), pixels=request.pixels)


def source_of(data: DataSpec | Request, folder: Path, tell: Tell) -> Source:
    """List a split; every class folder must hold an image."""
    classes = classes_of(data.name, folder)
    files = _files_in(folder)
    listing = DatasetFolder(folder, lambda path: path, SUFFIXES)
    skipped = files - len(listing.samples)
    if skipped:
        tell(f"{folder}: {plural(skipped, 'file')} left out, not named like an image")
    return Source(
        folder=folder,
        classes=classes,
        samples=tuple(Sample(path, label) for path, label in listing.samples),
    )


def _files_in(folder: Path) -> int:
    """How many files lie in a folder and behind its links, which `DatasetFolder` follows; none may lead round."""
    count = 0
    for at, folders, names in os.walk(folder, followlinks=True):
        count += len(names)
        for name in folders:
            path = Path(at, name)
            if path.is_symlink() and Path(at).resolve().is_relative_to(path.resolve()):
                raise UserError(f"{path} is a link to a folder in which it lies itself; remove it")
    return count


def check(data: DataSpec, sources: dict[str, Source]) -> None:
    """Before hours of work: the same classes in both splits, and the numbers of the YAML."""
    train, problems = sources["train"], []
    same_classes(data.name, (train.folder, sources["test"].folder))
    if len(train.classes) != data.classes:
        problems.append(f"{len(train.classes)} class folders, the YAML says classes: {data.classes}")
    for split, source in sources.items():
        actual, expected = len(source.samples), expected_images(data, split)
        if actual != expected:
            problems.append(f"{actual} images in {source.folder}, the YAML says {split}_images: {expected}")
    if problems:
        raise UserError(
            f"data={data.name}: {'; '.join(problems)}; correct the folder, or the YAML if this is what you mean"
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
