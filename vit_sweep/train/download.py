"""Fetching a data set by torchvision's own download, aside, and moving it into place when it is whole."""

import shutil
import tempfile
from pathlib import Path

import torchvision
from filelock import FileLock

from launchers.errors import UserError
from vit_sweep.datasets import problem_of
from vit_sweep.point import DataSource, DataSpec

_KINDS = {
    DataSource.CIFAR10: torchvision.datasets.CIFAR10,
    DataSource.CIFAR100: torchvision.datasets.CIFAR100,
}


def download(data: DataSpec, root: Path) -> None:
    """Put the files of `data` below `root`; raises `UserError`, with nothing left behind, when it cannot."""
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{data.name}.lock"):
        if problem_of(data, root) is None:
            return
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{data.name}.") as aside:
            try:
                _KINDS[data.source](aside, download=True)
            except Exception as error:  # torchvision raises whatever its transport raised
                raise UserError(
                    f"data={data.name}: the download failed ({error}); run this on a machine with internet, "
                    f"or copy the files to {root} yourself"
                ) from None
            problem = problem_of(data, Path(aside))
            if problem is not None:
                raise UserError(f"{problem}; the download was discarded, try again")
            for folder in {file.path.split("/", 1)[0] for file in data.files}:
                shutil.rmtree(root / folder, ignore_errors=True)
                (Path(aside) / folder).replace(root / folder)
