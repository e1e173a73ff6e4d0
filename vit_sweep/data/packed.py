"""The packed form of an image folder: raw uint8 pixels that a job maps into memory, and a manifest. Pure.

ROOT/NAME/train/CLASS/*.jpg, ROOT/NAME/val/CLASS/*.jpg      what a person puts there
ROOT/NAME-packed-SIDE/manifest.json                         what `data prepare NAME` makes of it
                      train.images.u8  train.labels.i64     images x 3 x side x side bytes; 8 bytes a label
                      test.images.u8   test.labels.i64
"""

from typing import Annotated

from annotated_types import Ge

from launchers.checked import checked
from launchers.profile import Count
from vit_sweep.plan.point import DataSource, DataSpec

SCHEMA_VERSION = 1
SPLITS = {"train": "train", "test": "val"}
"""The name of each split, and of its folder in the source."""


@checked
class PackedFile:
    """A file of the packed form."""

    name: str
    bytes: Annotated[int, Ge(1)]
    sha256: str


@checked
class Manifest:
    """`manifest.json`: what the files beside it hold. It is written last, so where it is, they are whole."""

    schema_version: int = SCHEMA_VERSION
    data: str
    side: Count
    """Pixels of a side: the shorter side was resized to it, then the centre was cut out."""
    train_images: Count
    test_images: Count
    classes: tuple[str, ...]
    """Names of the class folders; a label is a place in this list."""
    class_order: str = "sorted folder names"
    files: tuple[PackedFile, ...]


def is_packed(data: DataSpec) -> bool:
    """Whether jobs read this data set from its packed form."""
    return data.source is DataSource.IMAGEFOLDER


def folder_of(data: DataSpec) -> str:
    """Folder of the packed form below the data root. Another side is another folder."""
    return f"{data.name}-packed-{data.side or 'as_is'}"


def images_file(split: str) -> str:
    """Name of a split's pixels: uint8, (images, 3, side, side)."""
    return f"{split}.images.u8"


def labels_file(split: str) -> str:
    """Name of a split's labels: little-endian int64, (images,)."""
    return f"{split}.labels.i64"


def expected_images(data: DataSpec, split: str) -> int:
    """What the data set's YAML says of a split."""
    return data.train_images if split == "train" else data.test_images


def disagreement(data: DataSpec, manifest: Manifest) -> str | None:
    """Say in which numbers a manifest is not what the data set's YAML says, or None."""
    pairs = {
        "train_images": (manifest.train_images, data.train_images),
        "test_images": (manifest.test_images, data.test_images),
        "classes": (len(manifest.classes), data.classes),
        "side": (manifest.side, data.side or manifest.side),
    }
    wrong = [f"{key} {a}, the YAML says {expected}" for key, (a, expected) in pairs.items() if a != expected]
    return f"the packed images are not those of data={data.name}: {'; '.join(wrong)}" if wrong else None
