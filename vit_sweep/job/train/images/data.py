"""Data sets as uint8 tensors, cut into equal batches by a seeded order.

The order depends on seed and epoch only, never on the number of ranks: runs of equal global batch see
the same images in the same steps, however they are laid out.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from vit_sweep.data.datasets import manifest_of, prepare_command, problem_of
from vit_sweep.data.packed import Manifest, folder_of, images_file, labels_file
from vit_sweep.data.request import Pixels
from vit_sweep.data.staging import staged
from vit_sweep.job.train.images import published
from vit_sweep.job.train.images.augment import Size
from vit_sweep.job.train.images.mapped import MappedImages
from vit_sweep.job.train.objective import Units, standardised, units_of
from vit_sweep.job.train.pairs.captions import of_digits, of_pictures, tokens_of
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import DataSource, Task
from vit_sweep.plan.specs import DataSpec, TextSpec

_SPLIT_SEED = 0
_SYNTHETIC_SIDE = 32


class Levels(NamedTuple):
    """What of an image's numbers is 0 for a model, and what 1 away from it."""

    mean: tuple[float, ...]
    """Of each channel."""
    deviation: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Images and labels of one split."""

    images: Tensor
    """uint8 or float32, (images, channels, height, width). Never written to: a packed set is a read-only map."""
    labels: Tensor
    """(images, ...): targets of the task, see `objective`."""
    units: Units | None = None
    """Of regression."""
    levels: Levels | None = None
    """Of float32 images; None: uint8, 0 to 255."""
    ahead: Callable[[Iterable[int]], None] | None = None
    """Asks for images of a file before they are touched; None where they are in memory."""

    def to(self, device: torch.device) -> "Split":
        """The same split in device memory."""
        images = self.images.to(device)
        return replace(
            self,
            images=images,
            labels=self.labels.to(device),
            ahead=self.ahead if images is self.images else None,
        )


def load(
    spec: DataSpec,
    root: Path,
    scratch: str | None = None,
    *,
    task: Task = Task.CLASSIFICATION,
    text: TextSpec | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Split, Split]:
    """Return the training and the test split, labelled for `task`; raises `JobError` for files missing or damaged.

    `text`: what reads its captions.

    With `scratch` (a folder of the node, which may name variables) the files are read from a copy there, one per node;
    `tell` gets what is waited for meanwhile.
    """
    folder = staged(spec, root, scratch, tell)
    problem = problem_of(spec, folder)
    if problem is not None:
        raise JobError(Cause.DATA, f"{problem}; run: {prepare_command(spec, root)}")
    match spec.source:
        case DataSource.DIGITS:
            train, test = _digits(spec)
        case DataSource.SYNTHETIC:
            train, test = _synthetic(spec, task)
        case DataSource.CIFAR10 | DataSource.CIFAR100 | DataSource.FASHION_MNIST | DataSource.STL10:
            train, test = (
                Split(images=images, labels=labels) for images, labels in published.READERS[spec.source](spec, folder)
            )
        case DataSource.IMAGEFOLDER | DataSource.PACKED:
            train, test = _packed(spec, folder, text)
    for name, split, expected in (("train", train, spec.train_images), ("test", test, spec.test_images)):
        if len(split.labels) != expected:
            raise JobError(Cause.DATA, f"data={spec.name}: {len(split.labels)} {name} images, expected {expected}")
    if task is Task.REGRESSION:
        train, test = _standardised(train, test)
    if text is not None and spec.source in (DataSource.DIGITS, DataSource.SYNTHETIC):
        train, test = _captioned(spec, train, test, text.length)
    return train, test


def _standardised(train: Split, test: Split) -> tuple[Split, Split]:
    """Numbers of any size as ones that a model learns, by those of the training images alone."""
    numbers = [split.labels.reshape(len(split.labels), -1) for split in (train, test)]  # (images, numbers)
    units = units_of(numbers[0])
    standardized_splits = (
        replace(s, labels=standardised(n, units), units=units) for s, n in zip((train, test), numbers, strict=True)
    )
    return next(standardized_splits), next(standardized_splits)


def _captioned(spec: DataSpec, train: Split, test: Split, length: int) -> tuple[Split, Split]:
    """Captions as tokens (images, length); of sets that have none, made from what is known of the images."""
    images, labels = (torch.cat([getattr(s, name) for s in (train, test)]) for name in ("images", "labels"))
    captions = of_digits(images, labels) if spec.source is DataSource.DIGITS else of_pictures(labels)
    train_tokens, test_tokens = torch.split(tokens_of(captions, length), [len(train.labels), len(test.labels)])
    return replace(train, labels=train_tokens), replace(test, labels=test_tokens)


def selected(cell: Cell) -> Tensor:
    """Indices of the training images that this cell may see: a seeded choice, the same for every run."""
    order = torch.randperm(cell.data.train_images, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return order[: cell.train_images]


def epoch_order(cell: Cell, indices: Tensor, epoch: int) -> Tensor:
    """Image indices of one epoch, (steps, accum, data-parallel ranks, micro batch); repeats fill up the last step."""
    generator = torch.Generator().manual_seed(cell.seed * 1_000_003 + epoch)
    order = indices[torch.randperm(len(indices), generator=generator)]  # (images,)
    repeats = -(-cell.images_per_epoch // len(order))
    filled = order.repeat(repeats)[: cell.images_per_epoch]  # (steps x accum x ranks x micro batch,)
    return filled.view(cell.steps_per_epoch, cell.accum, cell.data_ranks, cell.micro_batch)


def prepare(images: Tensor, size: Size, dtype: torch.dtype, levels: Levels | None = None) -> Tensor:
    """Turn (n, channels, h, w) into normalised `dtype` (n, channels, *size), in one batch on its device."""
    return normalised(resized(images, size), dtype, levels)


def resized(images: Tensor, size: Size) -> Tensor:
    """The whole of each image at `size` (rows, columns); a number type stays what it was."""
    if tuple(images.shape[-2:]) == size:
        return images
    images_resized: Tensor = transforms.resize(
        images, [*size], interpolation=InterpolationMode.BILINEAR, antialias=True
    )
    return images_resized


def normalised(images: Tensor, dtype: torch.dtype, levels: Levels | None = None) -> Tensor:
    """0 to 255 as -1 to 1: ToTensor and Normalize((0.5,), (0.5,)) of the paper; numbers of other `levels` by these."""
    if levels is None:
        return images.to(dtype).div_(127.5).sub_(1.0)
    # In fp32 before they are cast: small numbers are nothing in 16 bits.
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in levels)  # (channels, 1, 1)
    return ((images - mean) / deviation).to(dtype)


def test_batches(
    split: Split, cell: Cell, rank: int, device: torch.device | None = None
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield this rank's share as (images, labels, how many of them count), on `device` (None: where the split is).

    Ranks of one sequence group get the same one.
    Every rank gets equally many batches, since with ZeRO-3 a forward is a collective; what fills up the
    last ones does not count.
    """
    total, ranks, size = len(split.labels), cell.data_ranks, cell.micro_batch
    rank //= cell.sequence
    rounds = -(-total // (ranks * size))
    for i in range(rounds):
        start = (i * ranks + rank) * size
        index = torch.arange(start, start + size, device=split.labels.device)
        counts = max(0, min(size, total - start))
        index = index.clamp(max=total - 1)
        yield split.images[index].to(device), split.labels[index].to(device), counts  # (size, channels, h, w), (size,)


def _digits(spec: DataSpec) -> tuple[Split, Split]:
    """Handwritten digits, 8 x 8 pixels of 17 grey levels (UCI; bundled with scikit-learn)."""
    # Its file alone: `sklearn.datasets.load_digits` returns the same and imports scipy and pandas, two seconds a rank.
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise JobError(Cause.DATA, "the digits are bundled with scikit-learn, which is not installed here")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.int64)  # (images, 65): the pixels row by row, then the label
    grey = torch.from_numpy(table[:, :64]).reshape(-1, 8, 8).mul(255 / 16).round().to(torch.uint8)  # (images, 8, 8)
    images = grey.unsqueeze(1).expand(-1, spec.channels, -1, -1).contiguous()  # (images, channels, 8, 8)
    labels = torch.from_numpy(table[:, 64])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    train, test = order[: spec.train_images], order[spec.train_images :]
    return Split(images=images[train], labels=labels[train]), Split(images=images[test], labels=labels[test])


def _synthetic(spec: DataSpec, task: Task) -> tuple[Split, Split]:
    """Seeded and learnable: a random picture per class under heavy noise.

    Multilabel: the mean of the pictures of all labels. Regression: how much of the first picture is in its mixture
    with the last.
    """
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    shape = (spec.classes, spec.channels, _SYNTHETIC_SIDE, _SYNTHETIC_SIDE)
    pictures = torch.rand(shape, generator=generator)  # (classes, channels, side, side)

    def random_part(count: int) -> tuple[Tensor, Tensor]:
        """Labels (count,) or (count, classes), and the pictures that show them (count, channels, side, side)."""
        if task in (Task.CLASSIFICATION, Task.CONTRASTIVE):
            labels = torch.arange(count) % spec.classes
            return labels, pictures[labels]
        if task is Task.MULTILABEL:
            labels = torch.randint(2, (count, spec.classes), generator=generator).float()
            parts = labels / labels.sum(dim=1, keepdim=True).clamp(min=1)
            return labels, torch.einsum("nk,kchw->nchw", parts, pictures)
        labels = torch.rand(count, generator=generator)
        return labels, torch.lerp(pictures[-1], pictures[0], labels[:, None, None, None])

    def split(count: int) -> Split:
        labels, patterns = random_part(count)
        noise = torch.rand((count, *shape[1:]), generator=generator)
        images = (patterns * 0.4 + noise * 0.6).mul(255).to(torch.uint8)
        return Split(images=images, labels=labels)

    return split(spec.train_images), split(spec.test_images)


def _packed(spec: DataSpec, root: Path, text: TextSpec | None) -> tuple[Split, Split]:
    """An image folder in its packed form; `load` has verified the files. Pixels are read when they are asked for."""
    manifest, folder = manifest_of(spec, root), root / folder_of(spec)
    levels = Levels(manifest.mean, manifest.deviation) if manifest.pixels is Pixels.F32 else None

    def split(name: str, count: int) -> Split:
        shape = (count, *manifest.shape)
        dtype = np.uint8 if levels is None else np.dtype("<f4")
        mapped = MappedImages(folder / images_file(name, manifest.pixels), shape, np.dtype(dtype))
        labels = _labels(folder / labels_file(name, manifest.targets), manifest, text)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            images = torch.from_numpy(mapped.array)
            return Split(images=images, labels=labels, levels=levels, ahead=mapped.ahead)

    return split("train", manifest.train_images), split("test", manifest.test_images)


def _labels(path: Path, manifest: Manifest, text: TextSpec | None) -> Tensor:
    """int64 (images,) of classes, float32 (images, labels) of labels, float64 (images, numbers) of numbers, int64
    (images, length) of captions."""
    if text is not None and manifest.targets is Task.CONTRASTIVE:
        return tokens_of(path.read_text(encoding="utf-8").split("\n")[:-1], text.length)
    if manifest.targets is Task.CLASSIFICATION:
        return torch.from_numpy(np.fromfile(path, dtype="<i8").astype(np.int64))
    labels = torch.from_numpy(np.fromfile(path, dtype="<f8").astype(np.float64)).view(-1, len(manifest.classes))
    return labels.float() if manifest.targets is Task.MULTILABEL else labels
