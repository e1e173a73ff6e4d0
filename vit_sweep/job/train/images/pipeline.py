"""How images reach the model: from device memory, or through torch's DataLoader. Same samples, same order, same pixels.

batches = pipeline.epoch(number)      # before the clock starts: draws, and a loader's workers begin
for raw in batches:                   # the next() is the wait for data
    images, labels = pipeline.ready(raw)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vit_sweep.data.prepare.worker import begin_worker
from vit_sweep.job.train.images.augment import Size, augmented_on_host, boxes_of, cropped, is_small, resized_crops
from vit_sweep.job.train.images.data import Split, epoch_order, normalised, prepare, resized, selected
from vit_sweep.plan import choices
from vit_sweep.plan.cell import Cell

Raw = tuple[Tensor, ...]
"""A micro batch as the pipeline hands it over; only its own `ready` knows what is in it."""

_BLOCK = 1024
"""Images that are copied to the device at once."""


class Pipeline(Protocol):
    """Hands over the micro batches of one rank."""

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Raw]:
        """Begin an epoch at its optimizer step `start`; the iterator gives this rank's micro batches in order.

        The epoch before is over then, whether or not its iterator was used up.
        """

    def ready(self, raw: Raw) -> tuple[Tensor, Tensor]:
        """Turn one into normalised images (n, channels, rows, columns) of the model's dtype and targets (n, ...)."""


def pipeline_of(
    cell: Cell, *, train: Split, device: torch.device, dtype: torch.dtype, rank: int, workers: int = 0
) -> Pipeline:
    """The pipeline that the cell asks for; `train` is the split in host memory, `workers` are for the loader."""
    plan = _Plan(
        cell=cell,
        chosen=selected(cell),
        rank=rank // cell.sequence,
        source_size=(train.images.shape[-2], train.images.shape[-1]),
    )
    if cell.pipeline is choices.Pipeline.LOADER:
        return LoaderPipeline(plan, train=train, device=device, dtype=dtype, workers=workers)
    return DevicePipeline(plan, train=train, device=device, dtype=dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Which images one rank sees when, and how each is cropped."""

    cell: Cell
    chosen: Tensor
    rank: int
    """Among the data-parallel ones: those of a sequence group see the same images."""
    source_size: Size

    @property
    def size(self) -> Size:
        """What the model wants."""
        return self.cell.model.image_shape

    def order(self, number: int, start: int) -> Tensor:
        """Image indices from step `start` on: (micro batches, micro batch)."""
        return epoch_order(self.cell, self.chosen, number)[start:, :, self.rank].flatten(0, 1)

    def boxes(self, index: Tensor, number: int) -> Tensor | None:
        """Crops of these images (*index.shape, 5), None without augmentation."""
        if not self.cell.data.augment:
            return None
        return boxes_of(index, seed=self.cell.seed, epoch=number, size=self.source_size)


class DevicePipeline:
    """The whole split in device memory, as it is packed; gathered, augmented, resized, normalised there, in batches."""

    def __init__(self, plan: _Plan, *, train: Split, device: torch.device, dtype: torch.dtype) -> None:
        """Of `train` what the cell may see is copied to `device`; on the host a whole split stays where it is."""
        self._plan, self._device, self._dtype = plan, device, dtype
        self._place: Tensor | None = None
        """Where an image of the whole split lies in this one, if that has only a part."""
        indices = plan.chosen.sort().values  # so that a file is read from front to back
        if len(indices) == len(train.labels):
            self._train = train.to(device)
        else:
            self._place = torch.zeros(len(train.labels), dtype=torch.int64)
            self._place[indices] = torch.arange(len(indices))
            self._train = _part(train, indices, device)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Raw]:
        """See `Pipeline`. The epoch's indices and crops are on the device before the first batch."""
        order = self._plan.order(number, start)
        boxes = self._plan.boxes(order, number)
        if self._place is not None:
            order = self._place[order]
        if boxes is None:
            return iter([(index,) for index in order.to(self._device)])
        return iter(list(zip(order.to(self._device), boxes.to(self._device), strict=True)))

    def ready(self, raw: Raw) -> tuple[Tensor, Tensor]:
        index, *boxes = raw  # (n,), (n, 5)
        images = self._images(index, boxes[0]) if boxes else self._train.images[index]  # (n, 3, height, width)
        return prepare(images, self._plan.size, self._dtype, self._train.levels), self._train.labels[index]

    def _images(self, index: Tensor, boxes: Tensor) -> Tensor:
        """Augmented images (n, channels, height, width) of `index` (n,) by their `boxes` (n, 5)."""
        if is_small(self._plan.source_size):
            return cropped(self._train.images, index, boxes)
        return resized_crops(self._train.images[index], boxes, self._plan.size)


def _part(split: Split, indices: Tensor, device: torch.device) -> Split:
    """The images `indices` (n,) of a split on `device`, without a second copy of them on the host."""
    images = torch.empty((len(indices), *split.images.shape[1:]), dtype=split.images.dtype, device=device)
    for first in range(0, len(indices), _BLOCK):
        if split.ahead is not None:
            split.ahead(indices[first : first + _BLOCK].tolist())
        images[first : first + _BLOCK] = split.images[indices[first : first + _BLOCK]]
    return replace(split, images=images, labels=split.labels[indices].to(device), ahead=None)


class LoaderPipeline:
    """torch's DataLoader: workers crop and resize image by image, the device only normalises.

    What crosses to the device is uint8: a quarter of the bytes of the classic float images, and the same pixels.
    """

    def __init__(self, plan: _Plan, *, train: Split, device: torch.device, dtype: torch.dtype, workers: int) -> None:
        """`train` lies in host memory; 0 workers: images are prepared in this process."""
        self._plan, self._device, self._dtype = plan, device, dtype
        self._batches, self._levels = _Batches(), train.levels
        options: dict[str, Any] = {}
        if workers:
            # Forked: no second import of torch, and the images are shared. A worker never touches CUDA.
            options = {"multiprocessing_context": "fork", "persistent_workers": True, "worker_init_fn": begin_worker}
        self._loader: DataLoader[Raw] = DataLoader(
            _Images(plan, train),
            sampler=self._batches,
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            # Its own, so that the run's random numbers do not depend on the pipeline.
            generator=torch.Generator().manual_seed(plan.cell.seed),
            **options,
        )

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Raw]:
        """See `Pipeline`. The workers begin to prepare the first batches at once."""
        # Plain numbers: every tensor that goes to a worker would take a file descriptor and a handshake.
        self._batches.items = [(number, index) for index in self._plan.order(number, start).tolist()]
        with _naming_workers():
            return _from_workers(iter(self._loader))

    def ready(self, raw: Raw) -> tuple[Tensor, Tensor]:
        images, labels = (
            part.to(self._device, non_blocking=True) for part in raw
        )  # (n, channels, rows, columns) uint8, (n, ...)
        return normalised(images, self._dtype, self._levels), labels


@contextmanager
def _naming_workers() -> Iterator[None]:
    """The end of a worker in the middle of a batch must not look like a failing network."""
    try:
        yield
    except (ConnectionError, EOFError):
        raise RuntimeError("a DataLoader worker has gone in the middle of a batch") from None


def _from_workers(batches: Iterator[Raw]) -> Iterator[Raw]:
    with _naming_workers():
        yield from batches


Item = tuple[int, list[int]]
"""An epoch, and the images of a micro batch."""


class _Batches(Sampler[Item]):
    """The epoch's micro batches; changed between epochs, since the workers and their loader stay."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class _Images(Dataset[Raw]):
    """Whole micro batches, prepared on the host."""

    def __init__(self, plan: _Plan, train: Split) -> None:
        self._plan, self._train = plan, train

    def __getitem__(self, item: Item) -> Raw:
        number, index = item[0], torch.tensor(item[1])
        if self._train.ahead is not None:
            self._train.ahead(item[1])
        boxes = self._plan.boxes(index, number)
        images = [self._image(i, None if boxes is None else boxes[k]) for k, i in enumerate(item[1])]
        return torch.stack(images), self._train.labels[index]  # (n, channels, rows, columns), (n, ...)

    def _image(self, index: int, box: Tensor | None) -> Tensor:
        """One image (channels, height, width) at the model's size; `box` (5,): its crop and flip."""
        image = self._train.images[index]
        if box is not None:
            image = augmented_on_host(image, box, self._plan.size)
        return resized(image, self._plan.size)
