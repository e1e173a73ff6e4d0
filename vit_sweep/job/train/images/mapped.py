"""Images of a packed file, mapped into memory: read when they are touched, or asked for ahead."""

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class MappedImages:
    """Images of equal size in a file without a head, which may be larger than the memory.

    Read-only and shared: the ranks of a node and their workers use the same pages, which the kernel may drop and read
    again.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """`shape`: (images, channels, rows, columns). Raises `OSError`; `ValueError` for a file that is too short."""
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array: NDArray[Any] = np.frombuffer(self._map, dtype=dtype, count=int(np.prod(shape))).reshape(shape)
        """Of `shape`."""
        self._bytes = self.array[0].nbytes

    def ahead(self, images: Iterable[int]) -> None:
        """Let the kernel read these images now, all at once, and go on.

        A touch reads a few pages and waits for them, one image after another; a disk that is asked for a whole micro
        batch answers several requests at once.
        """
        for image in images:
            begin = image * self._bytes
            aligned = begin - begin % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, aligned, begin + self._bytes - aligned)
