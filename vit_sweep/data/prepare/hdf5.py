"""HDF5 before it is packed: which images and labels its files hold, and how one of them is read.

A dataset of images [n, rows, columns], [n, channels, rows, columns] or [n, rows, columns, channels of 4 at most], or of
n encoded ones (JPEG, PNG); beside it, or as an attribute of the file, their labels: one for each, or one for all of a
file. Complex numbers are k-space, [n, ky, kx] or [n, coils, ky, kx]: an image is the root of the sum of squares of the
coils' inverse transforms, as fastMRI's own reconstructions are (Zbontar et al. 2018, arXiv:1811.08839).
"""

import io
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from launchers.text import some
from vit_sweep.data.prepare.decode import colours_of
from vit_sweep.data.prepare.labels import Labelled, WrongFile, WrongLabels, looked_at, require_labels, sources_of
from vit_sweep.data.prepare.places import places
from vit_sweep.data.prepare.source import Picture, Sample, Sources, Tell, planes_of
from vit_sweep.data.request import HDF5_SUFFIXES as SUFFIXES
from vit_sweep.data.request import NAMED, Pixels, Request

_OPEN_FILES = 32


def requested(request: Request, tell: Tell) -> Sources:
    """The images that `data.path` names, split where nobody has put some apart; raises `UserError`."""
    read_labels = partial(_looked_at, request)
    files = {
        split: looked_at(request, paths, read_labels, tell)
        for split, paths in zip(("train", "test"), places(request, SUFFIXES, "an HDF5 file"), strict=True)
    }
    # Of several files whole ones are put apart: slices of one volume, frames of one film are alike.
    return sources_of(request, files, _Reading(request.images), tell, group=lambda sample: sample.path)


def _looked_at(request: Request, path: Path) -> Labelled:
    """Sizes, types and labels, without any pixel."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise WrongFile(_cannot_be_opened(error)) from None
    with file:
        images = _dataset(file, request.images, "images")
        count, pixels = images.shape[0] if images.ndim else 0, _pixels_of(images)
        if not count:
            raise WrongFile(f"dataset {request.images} is empty")
        labels = _labels(file, images, request.labels)
        names = _words(_dataset(file, request.names, "names")[()]) if request.names else np.array([])
    kind = "" if labels.ndim == 0 else "dataset "
    require_labels(labels, count, f"{kind}{request.labels}", f"dataset {request.images}")
    return Labelled(path=path, images=count, pixels=pixels, labels=labels, names=tuple(map(str, names.ravel())))


def _cannot_be_opened(error: OSError) -> str:
    """HDF5's words, behind what they mean."""
    words = " ".join(str(error).split())
    meant = {"truncated file": "it is cut short", "file signature not found": "it is no HDF5 file"}
    return next((f"{plain}: {words}" for said, plain in meant.items() if said in words), words)


def _dataset(file: Any, name: str, key: str) -> Any:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise WrongFile(f"it has no dataset {name}; {_contents(file)}: name one with data.{key}")
    return dataset


def _contents(file: Any) -> str:
    """What a file of another layout has."""
    sets: list[str] = []
    file.visititems(
        lambda name, item: (
            sets.append(f"{name} {item.dtype} {list(item.shape)}") if isinstance(item, h5py.Dataset) else None
        )
    )
    words = [f"datasets {some(sets, NAMED)}" if sets else "no dataset at all"]
    if file.attrs:
        words.append(f"attributes {some(sorted(file.attrs), NAMED)}")
    return "it has " + " and ".join(words)


def _pixels_of(images: Any) -> Pixels:
    description = f"dataset {images.name.lstrip('/')} is {images.dtype} {list(images.shape)}"
    if _is_encoded(images):
        return Pixels.U8
    if images.dtype.kind not in "uifc" or images.ndim not in (3, 4):
        raise WrongFile(
            f"{description}; images are numbers [n, rows, columns] or [n, channels, rows, columns], k-space complex "
            "[n, ky, kx] or [n, coils, ky, kx]"
        )
    return Pixels.U8 if images.dtype == np.uint8 else Pixels.F32


def _is_encoded(images: Any) -> bool:
    """Whether each is a JPEG or PNG file of its own."""
    stored = images.dtype
    return bool(images.ndim == 1 and (stored.kind in "SV" or h5py.check_string_dtype(stored) or _is_bytes(stored)))


def _is_bytes(stored: Any) -> bool:
    return bool(h5py.check_vlen_dtype(stored) == np.uint8)


def _labels(file: Any, images: Any, name: str) -> NDArray[Any]:
    """A dataset, else an attribute of the file or of the images."""
    dataset = file.get(name)
    if isinstance(dataset, h5py.Dataset):
        return _words(dataset[()])
    holder = next((holder for holder in (file, images) if name in holder.attrs), None)
    if holder is None:
        raise WrongLabels(f"its labels are no dataset or attribute {name}; {_contents(file)}")
    return _words(holder.attrs[name])


def _words(values: Any) -> NDArray[Any]:
    """Numbers as they are; bytes and objects as text."""
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "SO":
        return array
    text = np.vectorize(lambda word: word.decode() if isinstance(word, bytes) else str(word), otypes=[str])
    return np.asarray(text(array))


# --- images --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads an image of a dataset; a worker opens each file once."""

    dataset: str

    def __call__(self, sample: Sample) -> Picture:
        if get_worker_info() is not None:
            return self._of(_opened(sample.path), sample)
        # Not kept open here: HDF5 would share it with the workers that are forked.
        with h5py.File(sample.path, "r") as file:
            return self._of(file, sample)

    def _of(self, file: Any, sample: Sample) -> Picture:
        images = file[self.dataset]
        if _is_encoded(images):
            value = images[sample.place]
            return colours_of(io.BytesIO(value if isinstance(value, bytes) else value.tobytes()))
        values = images[sample.place]
        if values.dtype.kind == "c":
            values = _from_k_space(values)
        return planes_of(values)


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: str) -> Any:
    return h5py.File(path, "r")


def _from_k_space(values: NDArray[Any]) -> NDArray[Any]:
    """Root of the sum of squares over coils: (rows, columns) of ([coils,] ky, kx)."""
    shifted = np.fft.ifftshift(values, axes=(-2, -1))
    coils = np.abs(np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1)))
    return np.sqrt((coils**2).sum(axis=0)) if coils.ndim == 3 else coils
