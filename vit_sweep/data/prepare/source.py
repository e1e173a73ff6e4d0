"""What is to be packed, whatever it comes from: lists of images with labels, and a reader that workers share."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms

from launchers.errors import UserError
from vit_sweep.data.prepare.worker import begin_worker
from vit_sweep.data.request import Request
from vit_sweep.plan.point import DataSpec

Tell = Callable[[str], None]
Picture = Image.Image | Tensor
"""As it was read: one of Pillow, or numbers (channels, rows, columns)."""
Read = Callable[[Path, str], Picture]
"""Reads the image of a name in a folder; raises what decoders raise."""

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

    def listed(self, count: int | None = None) -> "hashlib._Hash":
        """A digest of the first `count` images of the list; None: of all."""
        digest = hashlib.sha256()
        for number in range(len(self.samples) if count is None else count):
            digest.update(self.line(number))
        return digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Both splits, and how one of their images is read."""

    splits: dict[str, Source]
    read: Read

    def listed(self) -> str:
        """A digest of both lists."""
        return hashlib.sha256("".join(s.listed().hexdigest() for s in self.splits.values()).encode()).hexdigest()


def divided(source: Source, part: float, seed: int) -> dict[str, Source]:
    """Put `part` of each class apart as test images, at least one of two.

    Which ones depends on the seed and on each image's name alone, neither on the machine nor on other images' sizes.
    """
    by_label: dict[int, list[tuple[str, int]]] = {}
    for sample in source.samples:
        by_label.setdefault(sample[1], []).append(sample)
    test: set[tuple[str, int]] = set()
    for samples in by_label.values():
        drawn = sorted(samples, key=lambda s: _draw(str(Path(s[0]).relative_to(source.folder)), seed))
        test.update(drawn[: min(len(samples) - 1, max(1, round(part * len(samples))))])
    kept = tuple(sample for sample in source.samples if sample not in test)
    apart = tuple(sample for sample in source.samples if sample in test)
    return {"train": replace(source, samples=kept), "test": replace(source, samples=apart)}


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def shape_of(data: DataSpec | Request, sources: Sources) -> tuple[int, int, int]:
    """Channels, rows and columns of the packed images. Without a `side` they are the first image's, any rectangle."""
    if data.side is not None:
        return data.channels, data.side, data.side
    source = sources.splits["train"]
    path, _ = source.samples[0]
    try:
        rows, columns = transforms.get_size(sources.read(source.folder, path))
    except Exception as error:
        raise UserError(f"data={data.name}: {path} cannot be read as an image ({error}); replace it") from None
    return data.channels, rows, columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads images as they are packed."""

    folder: Path
    read: Read
    shape: tuple[int, int, int]
    as_is: bool
    """Refuse what has another size, instead of resizing it."""
    workers: int

    def images(self, samples: tuple[tuple[str, int], ...]) -> Iterator[Tensor | str]:
        """Every image as uint8 of `shape`, in order, or a sentence that names the file and says why not."""
        options: dict[str, Any] = {}
        if self.workers > 1 and len(samples) > 1:
            options = {"num_workers": self.workers, "multiprocessing_context": "fork", "worker_init_fn": begin_worker}
        yield from DataLoader(_Files([path for path, _ in samples], self), batch_size=None, **options)

    def image(self, path: str) -> Tensor | str:
        """The shorter side resized, the centre cut out."""
        try:
            image = self.read(self.folder, path)
            size = list(self.shape[1:])
            if transforms.get_size(image) != size:
                if self.as_is:
                    rows, columns = size
                    return (
                        f"{path} (not {columns} x {rows} pixels as the first one; give the data set a side: data.side)"
                    )
                image = transforms.center_crop(transforms.resize(image, [min(size)], antialias=True), size)
            pixels: Tensor = transforms.pil_to_tensor(image) if isinstance(image, Image.Image) else image
            return pixels
        except Exception as error:  # what decoders raise is listed nowhere
            return f"{path} ({' '.join(str(error).replace(path, 'it').split())})"


class _Files(Dataset[Tensor | str]):
    """Images by number."""

    def __init__(self, paths: list[str], reader: Reader) -> None:
        self._paths, self._reader = paths, reader

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Tensor | str:
        return self._reader.image(self._paths[number])
