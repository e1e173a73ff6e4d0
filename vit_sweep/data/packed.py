"""The packed form of images: raw pixels that a job maps into memory, and a manifest. Pure.

ROOT/NAME/train/CLASS/*.jpg, ROOT/NAME/val/CLASS/*.jpg      what a person puts there, or anything that `data.path` names
ROOT/NAME-packed-SIDE/manifest.json                         what `data prepare NAME` makes of it
                      train.images.u8  train.labels.i64     images x channels x rows x columns bytes; 8 bytes a label
                      test.images.u8   test.labels.i64
Images of more than 8 bits: *.images.f32. Labels that are no classes: *.labels.f64, images x outputs; captions:
*.labels.txt, a line each.
"""

import hashlib
from typing import Annotated

from launchers.checked import Ge, Quantity, Signed, Whole, checked
from launchers.profile import Count
from vit_sweep.data.request import Pixels, Request
from vit_sweep.plan.choices import DataSource, Task
from vit_sweep.plan.specs import DataSpec

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
    columns: Count | None = None
    """Pixels of a row, where images that were packed as they are, `side` pixels high, are no squares."""
    channels: Count = 3
    train_images: Count
    test_images: Count
    classes: tuple[str, ...]
    """Names of the class folders; a label is a place in this list."""
    class_order: str = "sorted folder names"
    files: tuple[PackedFile, ...]
    request: Request | None = None
    """What was asked for by `data.path`; None where a YAML says what there is."""
    listed: str | None = None
    """Digest of the list of the sources (names, sizes, times): whether they have changed since."""
    left_out: Whole = 0
    """Images that cannot be read."""
    pixels: Pixels = Pixels.U8
    mean: tuple[Signed, ...] = ()
    """Of f32: of each channel over the training images."""
    deviation: tuple[Quantity, ...] = ()
    """Standard deviation, likewise; 1 where all are alike."""
    targets: Task = Task.CLASSIFICATION

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, rows, columns."""
        return self.channels, self.side, self.columns or self.side

    @property
    def image_bytes(self) -> int:
        """Of an image."""
        channels, rows, columns = self.shape
        return channels * rows * columns * self.pixels.bytes

    @property
    def content(self) -> str:
        """Digest of what a job reads."""
        lines = (f"{file.name} {file.sha256}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:8]


def is_packed(data: DataSpec) -> bool:
    """Whether jobs read this data set from its packed form."""
    return data.source in (DataSource.IMAGEFOLDER, DataSource.PACKED)


def spec_of(manifest: Manifest, request: Request) -> DataSpec:
    """What the plan is told of data that `request` has packed."""
    return DataSpec(
        name=request.name,
        source=DataSource.PACKED,
        train_images=manifest.train_images,
        test_images=manifest.test_images,
        classes=len(manifest.classes),
        side=request.side,
        channels=manifest.channels,
        image_bytes=manifest.image_bytes,
        content=manifest.content,
        targets=manifest.targets,
    )


def folder_of(data: DataSpec | Request) -> str:
    """Folder of the packed form below the data root. Another side is another folder."""
    return f"{data.name}-packed-{data.side or 'as_is'}"


def images_file(split: str, pixels: Pixels = Pixels.U8) -> str:
    """Name of a split's pixels: (images, channels, rows, columns)."""
    return f"{split}.images.{pixels.value}"


def labels_file(split: str, targets: Task = Task.CLASSIFICATION) -> str:
    """Name of a split's labels: little-endian int64 (images,), or float64 (images, outputs) for other tasks; of
    captions UTF-8, a line each."""
    suffix = {Task.CLASSIFICATION: "i64", Task.CONTRASTIVE: "txt"}.get(targets, "f64")
    return f"{split}.labels.{suffix}"


def expected_images(data: DataSpec, split: str) -> int:
    """What the data set's YAML says of a split."""
    return data.train_images if split == "train" else data.test_images


def disagreement(data: DataSpec, manifest: Manifest) -> str | None:
    """Say in which numbers a manifest is not what the data set's YAML, or the plan, says, or None."""
    pairs = {
        "train_images": (manifest.train_images, data.train_images),
        "test_images": (manifest.test_images, data.test_images),
        "classes": (len(manifest.classes), data.classes),
        "channels": (manifest.channels, data.channels),
        "side": (manifest.side, data.side or manifest.side),
        "content": (manifest.content, data.content or manifest.content),
    }
    authority = "the YAML" if data.content is None else "the plan"
    differences = [f"{key} {a}, {authority} says {expected}" for key, (a, expected) in pairs.items() if a != expected]
    return f"the packed images are not those of data={data.name}: {'; '.join(differences)}" if differences else None
