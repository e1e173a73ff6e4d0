"""Data sets as their authors publish them, verified before by their checksums; read by torchvision where it can."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from torch import Tensor

from vit_sweep.plan.choices import DataSource
from vit_sweep.plan.specs import DataSpec

_IDX_HEAD = 4


class Images(NamedTuple):
    """Of a split: uint8 (images, channels, rows, columns), and int64 (images,)."""

    images: Tensor
    labels: Tensor


def cifar(spec: DataSpec, root: Path, name: str) -> tuple[Images, Images]:
    """CIFAR by torchvision's own reader, with the file list of the data's YAML; `load` has verified the files."""
    kind: Any = getattr(torchvision.datasets, name)
    names = [file.path.split("/", 1)[1] for file in spec.files]
    meta = kind.meta["filename"]

    class Files(kind):  # type: ignore[misc]  # torchvision ships no types
        base_folder = spec.files[0].path.split("/", 1)[0]
        # Without an md5 torchvision asks only whether a file is there, and does not read everything twice more.
        train_list = [[n, None] for n in names if not n.startswith("test") and n != meta]  # noqa: RUF012
        test_list = [[n, None] for n in names if n.startswith("test")]  # noqa: RUF012
        meta = kind.meta | {"md5": None}

    def split(train: bool) -> Images:
        files = Files(str(root), train=train, download=False)
        images = torch.from_numpy(files.data).permute(0, 3, 1, 2).contiguous()  # (images, 32, 32, 3) to 3 in front
        return Images(images=images, labels=torch.tensor(files.targets))

    return split(True), split(False)


def stl10(spec: DataSpec, root: Path) -> tuple[Images, Images]:
    """STL-10, 96 x 96 pixels (Coates et al. 2011), by torchvision's own reader; without its unlabelled images."""
    folder, names = spec.files[0].path.split("/", 1)[0], [file.path.split("/", 1)[1] for file in spec.files]

    class Files(torchvision.datasets.STL10):  # type: ignore[misc]  # torchvision ships no types
        base_folder = folder
        train_list = [[n, None] for n in sorted(names) if n.startswith("train")]  # noqa: RUF012
        test_list = [[n, None] for n in sorted(names) if n.startswith("test")]  # noqa: RUF012

    def split(name: str) -> Images:
        files = Files(str(root), split=name)
        # Its planes are written column by column; torchvision has turned them.
        return Images(
            images=torch.from_numpy(np.ascontiguousarray(files.data)),  # (images, 3, 96, 96)
            labels=torch.from_numpy(files.labels.astype(np.int64)),
        )

    return split("train"), split("test")


def fashion_mnist(spec: DataSpec, root: Path) -> tuple[Images, Images]:
    """Fashion-MNIST, grey, 28 x 28 pixels (Xiao et al. 2017, arXiv:1708.07747); the same in every channel."""
    folder = root / Path(spec.files[0].path).parent

    def split(name: str) -> Images:
        grey = _idx(folder / f"{name}-images-idx3-ubyte.gz")  # (images, 28, 28)
        images = grey.unsqueeze(1).expand(-1, spec.channels, -1, -1).contiguous()  # (images, channels, 28, 28)
        return Images(images=images, labels=_idx(folder / f"{name}-labels-idx1-ubyte.gz").long())

    return split("train"), split("t10k")


def _idx(path: Path) -> Tensor:
    """Bytes in MNIST's own format: two zeros, the type (8: uint8), how many lengths; these as big-endian int32."""
    with gzip.open(path) as file:
        content = file.read()
    lengths = np.frombuffer(content, dtype=">i4", count=content[_IDX_HEAD - 1], offset=_IDX_HEAD)
    pixels = np.frombuffer(content, dtype=np.uint8, offset=_IDX_HEAD + lengths.nbytes)
    return torch.from_numpy(pixels.reshape(lengths).copy())


READERS: dict[DataSource, Callable[[DataSpec, Path], tuple[Images, Images]]] = {
    DataSource.CIFAR10: partial(cifar, name="CIFAR10"),
    DataSource.CIFAR100: partial(cifar, name="CIFAR100"),
    DataSource.FASHION_MNIST: fashion_mnist,
    DataSource.STL10: stl10,
}
