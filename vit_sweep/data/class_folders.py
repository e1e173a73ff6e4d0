"""A folder of class folders of images: what must be right before it is packed, which a plan says too. An edge.

Without torch.
"""

import os
from pathlib import Path

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.request import NAMED, Request

ARRAY = ".npy"
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ARRAY)
"""Of an image, in any case of letters: torchvision's `IMG_EXTENSIONS`, and arrays."""
_TEST_FOLDERS = ("val", "test")
"""Where people put images to test with, the usual one first."""


def splits_of(request: Request) -> tuple[Path, Path | None]:
    """The folders of training and test images, checked; None where nobody has put test images apart.

    Raises `UserError` where no job could learn from them.
    """
    path = Path(request.path)
    if not path.is_dir():
        raise UserError(
            f"data={request.name}: {path} is no folder; data.path names a folder of class folders of images"
        )
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / name for name in _TEST_FOLDERS if train != path and (path / name).is_dir()), None)
    classes = classes_of(request.name, train)
    if len(classes) == 1:
        raise UserError(
            f"data={request.name}: {train} has one class folder only ({classes[0]}), and one class is nothing to "
            "learn; put the images of each class into a folder of its own"
        )
    if test is not None:
        same_classes(request.name, (train, test))
    return train, test


def classes_of(name: str, folder: Path) -> tuple[str, ...]:
    """The class folders in order, each with an image in it; raises `UserError`. `name`: of the data set."""
    setting = f"data={name}: {folder}"
    if not folder.is_dir():
        raise UserError(
            f"{setting} is missing; put the images at {folder}/CLASS/*.jpg (train/ and val/ with the same class "
            "folders) and give the command again"
        )
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if not classes:
        problem = "holds no class folders" if any(folder.iterdir()) else "is empty"
        raise UserError(f"{setting} {problem}; images lie at {folder}/CLASS/*.jpg")
    empty = [label for label in classes if not _holds_image(folder / label)]
    if empty:
        raise UserError(
            f"{setting}: no images in {plural(len(empty), 'class folder')} ({some(empty, NAMED)}); fill them or "
            "remove them"
        )
    return classes


def same_classes(name: str, splits: tuple[Path, Path]) -> None:
    """Raises `UserError` where training and test images are not of the same classes."""
    train, test = (classes_of(name, folder) for folder in splits)
    if train != test:
        raise UserError(
            f"data={name}: {len(train)} class folders in {splits[0]} and {len(test)} in {splits[1]}; only one of them "
            f"has {some(sorted(set(train) ^ set(test)), NAMED)}"
        )


def _holds_image(folder: Path) -> bool:
    """Whether an image lies in it, at any depth: looks no further than the first one, since there may be a million."""
    within = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                within.append(Path(entry.path))
            elif entry.name.lower().endswith(SUFFIXES):
                return True
    return any(map(_holds_image, within))
