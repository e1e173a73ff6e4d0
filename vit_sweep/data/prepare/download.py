"""Fetching a data set by torchvision's own download: aside, verified, then moved into place file by file."""

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torchvision
from filelock import FileLock, Timeout

from launchers.atomic import guard, opened, private_folder, put, remove
from launchers.errors import UserError
from vit_sweep.data.datasets import problem_of
from vit_sweep.plan.choices import DataSource
from vit_sweep.plan.specs import DataSpec

_KINDS = {
    DataSource.CIFAR10: torchvision.datasets.CIFAR10,
    DataSource.CIFAR100: torchvision.datasets.CIFAR100,
    DataSource.FASHION_MNIST: torchvision.datasets.FashionMNIST,
    DataSource.STL10: torchvision.datasets.STL10,
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SILENCE_S = 30.0
"""How long a server may say nothing: a node without internet often drops packets instead of refusing them."""


def download(data: DataSpec, root: Path, tell: Callable[[str], None] = lambda _: None) -> None:
    """Put the files of `data` below `root`; `tell` gets a line for whoever waits.

    Of several at once one downloads, and the others find its files. Raises `UserError`, with nothing left behind,
    when it cannot, or where what it would write through is a link; what a killed download left behind is removed by
    the next one.
    """
    try:
        make_root(root)
        with exclusively(
            root / f".{data.name}.lock", lambda: tell(f"another process is fetching {data.name}; waiting")
        ):
            if problem_of(data, root) is not None:
                tell(f"fetching {data.name} to {root}")
                _fetch(data, root)
    except OSError as error:
        raise UserError(
            f"data={data.name}: cannot write to {root} ({error.strerror}); name a folder that you may write with --root"
        ) from None


def make_root(root: Path) -> None:
    """Make the folder of all data, in which nothing is written through a link: others may be able to put one there."""
    root.mkdir(parents=True, exist_ok=True)
    guard(root)


@contextmanager
def exclusively(lock: Path, when_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold `lock`; of several that prepare a data set at once the others wait, and say so."""
    os.close(opened(lock, os.O_RDWR | os.O_CREAT))  # no link and no pipe
    file_lock = FileLock(lock)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        when_waiting()
        file_lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        file_lock.release()


def _fetch(data: DataSpec, root: Path) -> None:
    """Download, verify, move. The caller holds the lock, so what lies aside is nobody's."""
    folder = root / f".{data.name}.partial"
    remove(folder, pattern=re.escape(folder.name))
    try:
        with private_folder(folder) as aside:
            _fetch_aside(data, root, aside)
    finally:
        remove(folder, pattern=re.escape(folder.name))


def _fetch_aside(data: DataSpec, root: Path, aside: Path) -> None:
    try:
        with impatient():
            _KINDS[data.source](aside, download=True)
    except Exception as error:  # torchvision raises whatever its transport raised
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise UserError(_no_download(data, root, error)) from None
    problem = problem_of(data, aside)
    if problem is not None:
        sentence = problem.replace(f"{aside}/", "")
        raise UserError(f"{sentence}; the download was discarded, try again")
    for file in data.files:
        put(aside / file.path, root / file.path)


@contextmanager
def impatient() -> Iterator[None]:
    """Give up on a silent connection: torchvision sets no time-out of its own."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


def _no_download(data: DataSpec, root: Path, error: Exception) -> str:
    folders = " and ".join(sorted({file.path.split("/", 1)[0] for file in data.files}))
    return (
        f"data={data.name}: the download failed ({error}); without internet here, give this command on a machine "
        f"that has it, copy its folder {folders} ({len(data.files)} files) into {root.absolute()}, "
        "and give this command again to verify the copy"
    )
