"""What is to be packed, whatever it comes from: lists of images with labels, and a reader that workers share."""

import hashlib
import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms

from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.data.prepare.worker import begin_worker
from vit_sweep.data.request import Fit, Kind, Pixels, Request
from vit_sweep.plan.choices import Task
from vit_sweep.plan.specs import DataSpec

Tell = Callable[[str], None]
Picture = Image.Image | Tensor
"""As it was read: one of Pillow, or numbers (channels, rows, columns)."""
Target = int | tuple[float, ...] | str
"""A class by its place in the list of names, or labels, or numbers, or a caption on one line."""


class Sample(NamedTuple):
    """An image before it is read."""

    path: str
    target: Target
    place: int | None = None
    """In a file of many images."""

    @property
    def name(self) -> str:
        """For people: the file, and which of its images."""
        return self.path if self.place is None else f"{self.path}[{self.place}]"


Read = Callable[[Sample], Picture]
"""Raises what decoders raise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The images of one split in a fixed order: of folders sorted class folders, sorted paths in each."""

    folder: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    def line(self, number: int) -> bytes:
        """What an image is known by, without reading it: its place, size, time and label."""
        sample = self.samples[number]
        info = Path(sample.path).stat()
        return f"{self.short(sample)} {info.st_size} {info.st_mtime_ns} {sample.target}\n".encode()

    def short(self, sample: Sample) -> str:
        """What an image is called within the folder."""
        return str(Path(sample.path).relative_to(self.folder)) + ("" if sample.place is None else f"[{sample.place}]")

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
    pixels: Pixels = Pixels.U8
    targets: Task = Task.CLASSIFICATION

    def listed(self) -> str:
        """A digest of both lists."""
        return hashlib.sha256("".join(s.listed().hexdigest() for s in self.splits.values()).encode()).hexdigest()


def divided(
    source: Source, part: float, seed: int, *, group: Callable[[Sample], str] | None = None
) -> dict[str, Source]:
    """Put `part` of each class apart as test images, at least one of two; without classes, of all.

    Which ones depends on the seed and on each image's name alone, neither on the machine nor on other images' sizes.
    `group`: the path of what images belong to that stay together; its class is its first image's.
    """
    name_of = group or source.short
    by_label: dict[int | None, dict[str, None]] = {}
    seen: set[str] = set()
    named_samples = [(sample, name_of(sample)) for sample in source.samples]
    for sample, name in named_samples:
        if name not in seen:
            seen.add(name)
            by_label.setdefault(sample.target if isinstance(sample.target, int) else None, {})[name] = None
    test: set[str] = set()
    for names in by_label.values():
        shuffled = sorted(names, key=lambda name: _draw(Path(name).name if group else name, seed))
        test.update(shuffled[: min(len(names) - 1, max(1, round(part * len(names))))])
    training = tuple(sample for sample, name in named_samples if name not in test)
    held_out = tuple(sample for sample, name in named_samples if name in test)
    return {"train": replace(source, samples=training), "test": replace(source, samples=held_out)}


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def shape_of(data: DataSpec | Request, sources: Sources) -> tuple[int, int, int]:
    """Channels, rows and columns of the packed images. Without a `side` they are the first image's, any rectangle."""
    if data.side is not None and data.channels is not None:
        return data.channels, data.side, data.side
    first_sample = sources.splits["train"].samples[0]
    try:
        picture = sources.read(first_sample)
        rows, columns = transforms.get_size(picture)
        channels = data.channels or transforms.get_dimensions(picture)[0]
    except Exception as error:
        raise UserError(
            f"data={data.name}: {first_sample.name} cannot be read as an image ({error}); replace it"
        ) from None
    return channels, data.side or rows, data.side or columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads images as they are packed."""

    read: Read
    pixels: Pixels
    shape: tuple[int, int, int]
    as_is: bool
    """Refuse what has another size, instead of resizing it."""
    workers: int
    fit: Fit = Fit.CROP

    def images(self, samples: tuple[Sample, ...]) -> Iterator[Tensor | str]:
        """Every image as `pixels` of `shape`, in order, or a sentence that names the file and says why not."""
        options: dict[str, Any] = {}
        if self.workers > 1 and len(samples) > 1:
            options = {"num_workers": self.workers, "multiprocessing_context": "fork", "worker_init_fn": begin_worker}
        yield from DataLoader(_Files(samples, self), batch_size=None, **options)

    def image(self, sample: Sample) -> Tensor | str:
        """The shorter side resized, the centre cut out."""
        try:
            image = self.read(sample)
            if self.pixels is Pixels.F32:
                image = (transforms.pil_to_tensor(image) if isinstance(image, Image.Image) else image).float()
            channels = transforms.get_dimensions(image)[0]
            if channels != self.shape[0]:
                return f"{sample.name} ({plural(channels, 'channel')}, not {self.shape[0]})"
            size = list(self.shape[1:])
            if transforms.get_size(image) != size:
                if self.as_is:
                    rows, columns = size
                    return (
                        f"{sample.name} (not {columns} x {rows} pixels as the first one; give the data set a side: "
                        "data.side)"
                    )
                is_whole = self.fit is Fit.WHOLE
                image = transforms.resize(image, size if is_whole else [min(size)], antialias=True)
                image = transforms.center_crop(image, size)
            pixels: Tensor = transforms.pil_to_tensor(image) if isinstance(image, Image.Image) else image
            return pixels
        except Exception as error:  # what decoders raise is listed nowhere
            # Of a file that cannot be opened, the words without its name and the error's number.
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error).replace(sample.path, "it")
            return f"{sample.name} ({' '.join(reason.split())})"


class _Files(Dataset[Tensor | str]):
    """Images by number."""

    def __init__(self, samples: tuple[Sample, ...], reader: Reader) -> None:
        self._samples, self._reader = samples, reader

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Tensor | str:
        return self._reader.image(self._samples[number])


def planes_of(values: NDArray[Any], *, channels_first: bool = False) -> Tensor:
    """(channels, rows, columns) of an array, uint8 or float32.

    Channels of 4 at most may be its last axis, unless it is known that they are its first.

    Raises `ValueError` for values that are no finite numbers, and for another number of axes.
    """
    if values.ndim not in (2, 3) or values.dtype.kind not in "buif":
        raise ValueError(
            f"{values.dtype} {list(values.shape)}, not numbers [rows, columns] or [channels, rows, columns]"
        )
    if values.ndim == 2:
        values = values[None]
    elif values.shape[-1] <= 4 < values.shape[0] and not channels_first:
        values = values.transpose(2, 0, 1)
    if values.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(values))
    planes = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    if not bool(torch.isfinite(planes).all()):
        lost = math.prod(planes.shape) - int(torch.isfinite(planes).sum())
        raise ValueError(f"not finite: {plural(lost, 'value')}")
    return planes


_MODULES = {
    Kind.IMAGEFOLDER: "image_folder",
    Kind.HDF5: "hdf5",
    Kind.WEBDATASET: "shards",
    Kind.HUGGINGFACE: "arrow",
    Kind.MEDMNIST: "medical",
    Kind.GTDB: "pages",
    Kind.CAPTIONS: "captions",
}
"""Who reads what lies at a path; imported only when it is asked for."""


def requested(request: Request, tell: Tell) -> Sources:
    """What `request` names, listed and checked; raises `UserError`, also where a package is missing that reads it."""
    try:
        module = importlib.import_module(f"vit_sweep.data.prepare.{_MODULES[request.source]}")
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        raise UserError(
            f"data={request.name}: {package}, which reads {request.source.value}, is not installed here: "
            "pip install 'vit_sweep[data]'"
        ) from None
    sources: Sources = module.requested(request, tell)
    return sources
