"""An image folder before it is packed: its list, what must be right with it, and its images one by one."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import folder as torchvision_folder
from torchvision.transforms.v2 import functional as transforms

from launchers.atomic import reading
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.packed import expected_images
from vit_sweep.data.prepare.worker import begin_worker
from vit_sweep.plan.point import DataSpec

Tell = Callable[[str], None]

NAMED = 5
"""How many of many are named in a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The images of one split in the order of their labels: sorted class folders, sorted paths in each."""

    folder: Path
    classes: tuple[str, ...]
    samples: tuple[tuple[str, int], ...]

    def line(self, number: int) -> bytes:
        """What an image is known by, without reading it: its place, size, time and label."""
        path, label = self.samples[number]
        about = Path(path).stat()
        return f"{Path(path).relative_to(self.folder)} {about.st_size} {about.st_mtime_ns} {label}\n".encode()


def source_of(data: DataSpec, folder: Path, tell: Tell) -> Source:
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
    listing = torchvision_folder.ImageFolder(folder, allow_empty=True)
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
    return Source(folder=folder, classes=tuple(listing.classes), samples=tuple(listing.samples))


def check(data: DataSpec, sources: dict[str, Source]) -> None:
    """Before hours of work: the same classes in both splits, and the numbers of the YAML."""
    train, test = sources["train"], sources["test"]
    if train.classes != test.classes:
        apart = sorted(set(train.classes) ^ set(test.classes))
        raise UserError(
            f"data={data.name}: {len(train.classes)} class folders in {train.folder} and {len(test.classes)} in "
            f"{test.folder}; only one of them has {some(apart, NAMED)}"
        )
    wrong = []
    if len(train.classes) != data.classes:
        wrong.append(f"{len(train.classes)} class folders, the YAML says classes: {data.classes}")
    for split, source in sources.items():
        actual, expected = len(source.samples), expected_images(data, split)
        if actual != expected:
            wrong.append(f"{actual} images in {source.folder}, the YAML says {split}_images: {expected}")
    if wrong:
        raise UserError(f"data={data.name}: {'; '.join(wrong)}; mend the folder, or the YAML if this is what you mean")


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB of 8 bits, upright; raises what decoders raise.

    Raises `ValueError` for values without a scale and for several pictures in a file. Pillow would cut grey values of
    16 bits off at 255, which turns nearly all of them white.
    """
    with reading(Path(path)) as file, Image.open(file) as image:
        pictures = getattr(image, "n_frames", 1)
        if pictures > 1 and image.format != "MPO":  # a camera's: its first picture is the photo
            raise ValueError(f"it holds {pictures} pictures; keep the one that you mean")
        # As Pillow's releases call the grey of such a PNG.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            grey = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
            return grey.convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError("its values have no known range; convert it to 8 bits")
        return ImageOps.exif_transpose(image).convert("RGB")


def common_side(data: DataSpec, sources: dict[str, Source]) -> int:
    """Without `side` the images are packed as they are, so they must be squares of one size."""
    path, _ = sources["train"].samples[0]
    try:
        width, height = read_image(path).size
    except Exception as error:
        raise UserError(f"data={data.name}: {path} cannot be read as an image ({error}); replace it") from None
    if height != width:
        raise UserError(
            f"data={data.name}: {path} is {width} x {height} pixels, no square; give the data set a `side:`"
        )
    return int(height)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads image files as they are packed."""

    side: int
    as_is: bool
    """Refuse what has another size, instead of resizing it."""
    workers: int

    def images(self, samples: tuple[tuple[str, int], ...]) -> Iterator[Tensor | str]:
        """Every image as uint8 (3, side, side), in order, or a sentence that names the file and says why not."""
        options: dict[str, Any] = {}
        if self.workers > 1 and len(samples) > 1:
            options = {"num_workers": self.workers, "multiprocessing_context": "fork", "worker_init_fn": begin_worker}
        yield from DataLoader(_Files([path for path, _ in samples], self), batch_size=None, **options)

    def image(self, path: str) -> Tensor | str:
        """RGB, the shorter side resized, the centre cut out."""
        try:
            image = read_image(path)
            if image.size != (self.side, self.side):
                if self.as_is:
                    return (
                        f"{path} (not {self.side} x {self.side} pixels as the first one; give the data set a `side:`)"
                    )
                image = transforms.center_crop(transforms.resize(image, [self.side], antialias=True), [self.side])
            pixels: Tensor = transforms.pil_to_tensor(image)
            return pixels
        except Exception as error:  # what decoders raise is listed nowhere
            return f"{path} ({' '.join(str(error).replace(path, 'it').split())})"


class _Files(Dataset[Tensor | str]):
    """Image files by number."""

    def __init__(self, paths: list[str], reader: Reader) -> None:
        self._paths, self._reader = paths, reader

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Tensor | str:
        return self._reader.image(self._paths[number])
