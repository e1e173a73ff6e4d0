"""HDF5 before it is packed: which images and labels its files hold, and how one of them is read.

A dataset of images [n, rows, columns], [n, channels, rows, columns] or [n, rows, columns, channels of 4 at most], or of
n encoded ones (JPEG, PNG); beside it, or as an attribute of the file, their labels: one for each, or one for all of a
file. Complex numbers are k-space, [n, ky, kx] or [n, coils, ky, kx]: an image is the root of the sum of squares of the
coils' inverse transforms, as fastMRI's own reconstructions are (Zbontar et al. 2018, arXiv:1811.08839).
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import get_worker_info

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.prepare.source import NAMED, Picture, Sample, Source, Sources, Target, Tell, divided, planes_of
from vit_sweep.data.request import HDF5_SUFFIXES as SUFFIXES
from vit_sweep.data.request import Corrupt, Pixels, Request
from vit_sweep.plan.point import Task

_SPLITS = {"train": ("train",), "test": ("val", "test")}
_OPEN_FILES = 32
_MOST_CLASSES = 100_000


class _Wrong(Exception):  # noqa: N818 - a sentence for people
    """Why a file cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """What a file holds."""

    path: Path
    images: int
    pixels: Pixels
    labels: NDArray[Any]
    """One for each image, or one for all."""
    of_all: bool


def requested(request: Request, tell: Tell) -> Sources:
    """The images that `data.path` names, split where nobody has put some apart; raises `UserError`."""
    path = Path(request.path)
    train, test = _places(request, path)
    files = {"train": _files(request, train, tell), "test": _files(request, test, tell) if test else []}
    every = [file for some_files in files.values() for file in some_files]
    task = request.targets or _task_of(every)
    classes = _classes_of(request, task, every)
    made = {
        split: Source(
            folder=path if path.is_dir() else path.parent,
            classes=classes,
            samples=tuple(_samples(task, classes, files[split])),
        )
        for split in files
    }
    if not test:
        together = len(files["train"]) > 1
        made = divided(made["train"], request.split, request.split_seed, by_file=together)
        what = "images of whole files" if together else "images"
        tell(f"{path}: {len(made['test'].samples):,} of {sum(file.images for file in every):,} {what} are put apart")
    _check_splits(request, task, made)
    return Sources(
        splits=made,
        read=_Reading(request.images),
        pixels=Pixels.U8 if all(file.pixels is Pixels.U8 for file in every) else Pixels.F32,
        targets=task,
    )


# --- files ---------------------------------------------------------------------------------------------------


def _places(request: Request, path: Path) -> tuple[list[Path], list[Path]]:
    """Files to train with, and to test with; none of these where nobody has put some apart."""
    where = f"data={request.name}: {path}"
    if path.is_file():
        return [path], []
    if not path.is_dir():
        raise UserError(f"{where} is not there; data.path names an HDF5 file or a folder of them")
    parts = {}
    for split, words in _SPLITS.items():
        for word in words:
            found = [entry for entry in sorted(path.iterdir()) if _says(entry, word)]
            if len(found) > 1:
                raise UserError(
                    f"{where} has {some([entry.name for entry in found], NAMED)}: which of them is the {split} split "
                    "is not known; name a folder that has one of them"
                )
            if found:
                parts[split] = _in(found[0])
                break
    listed = (parts["train"], parts.get("test", [])) if "train" in parts else (_in(path), [])
    if not listed[0]:
        raise UserError(f"{where} holds no HDF5 file ({', '.join(SUFFIXES)})")
    return listed


def _says(entry: Path, word: str) -> bool:
    """Whether a folder or a file is a split: train, multicoil_train, train.h5."""
    name = entry.stem if entry.suffix in SUFFIXES else entry.name
    return (name == word or name.endswith(f"_{word}")) and (entry.is_dir() or entry.suffix in SUFFIXES)


def _in(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(entry for entry in place.iterdir() if entry.suffix in SUFFIXES and entry.is_file())


def _files(request: Request, paths: Sequence[Path], tell: Tell) -> list[_File]:
    """What each file holds; those that cannot be read are refused, or left out and told."""
    found, wrong = [], dict[str, list[str]]()
    for path in paths:
        try:
            found.append(_looked_at(request, path))
        except _Wrong as error:
            wrong.setdefault(str(error), []).append(str(path))
    if wrong:
        count = len(paths) - len(found)
        reasons = [f"{some(files, NAMED)} ({why})" for why, files in wrong.items()]
        named = f"{count} of {plural(len(paths), 'file')} cannot be used: {some(reasons, NAMED, separator='; ')}"
        if request.corrupt is Corrupt.REFUSE or not found:
            skip = ", or leave them out with data.corrupt=skip" if found else ""
            raise UserError(f"data={request.name}: {named}; mend or replace them and give the command again{skip}")
        tell(f"left out: {named}")
    return found


def _looked_at(request: Request, path: Path) -> _File:
    """Sizes, types and labels, without any pixel."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _Wrong(" ".join(str(error).split())) from None
    with file:
        images = _dataset(file, request.images)
        count, pixels = images.shape[0] if images.ndim else 0, _pixels_of(images)
        if not count:
            raise _Wrong(f"dataset {request.images} is empty")
        labels = _labels(file, images, request.labels)
    of_all = labels.ndim == 0
    if not of_all and len(labels) != count:
        raise _Wrong(
            f"dataset {request.labels} has {plural(len(labels), 'label')} for {plural(count, 'image')} of "
            f"dataset {request.images}"
        )
    return _File(path=path, images=count, pixels=pixels, labels=labels, of_all=of_all)


def _dataset(file: Any, name: str) -> Any:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise _Wrong(f"it has no dataset {name}; {_contents(file)}")
    return found


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
    named = f"dataset {images.name.lstrip('/')} is {images.dtype} {list(images.shape)}"
    if _is_encoded(images):
        return Pixels.U8
    if images.dtype.kind not in "uifc" or images.ndim not in (3, 4):
        raise _Wrong(
            f"{named}; images are numbers [n, rows, columns] or [n, channels, rows, columns], k-space complex "
            "[n, ky, kx] or [n, coils, ky, kx]"
        )
    return Pixels.U8 if images.dtype == np.uint8 else Pixels.F32


def _is_encoded(images: Any) -> bool:
    """Whether each is a JPEG or PNG file of its own."""
    return bool(images.ndim == 1 and h5py.check_vlen_dtype(images.dtype) == np.uint8)


# --- labels --------------------------------------------------------------------------------------------------


def _labels(file: Any, images: Any, name: str) -> NDArray[Any]:
    """A dataset, else an attribute of the file or of the images."""
    found = file.get(name)
    if isinstance(found, h5py.Dataset):
        found_labels = found.asstr()[()] if h5py.check_string_dtype(found.dtype) else found[()]
    else:
        holder = next((holder for holder in (file, images) if name in holder.attrs), None)
        if holder is None:
            raise _Wrong(f"neither a dataset nor an attribute {name} for labels; {_contents(file)}")
        found_labels = holder.attrs[name]
    labels: NDArray[Any] = np.asarray(found_labels)
    if labels.dtype.kind in "SO":
        labels = np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else str(text), otypes=[str])(
            labels
        )
    if labels.dtype.kind not in "biufU" or labels.ndim > 2 or (labels.ndim == 2 and labels.dtype.kind == "U"):
        raise _Wrong(f"{name} is {labels.dtype} {list(labels.shape)}; labels are words or numbers, [n] or [n, k]")
    return labels


def _task_of(files: Iterable[_File]) -> Task:
    """By the type of the labels: words and whole numbers are classes, several whole ones labels, others numbers."""
    first = next(iter(files)).labels
    if first.dtype.kind == "f":
        return Task.REGRESSION
    return Task.MULTILABEL if first.ndim == 2 else Task.CLASSIFICATION


def _classes_of(request: Request, task: Task, files: Sequence[_File]) -> tuple[str, ...]:
    """Names of classes, labels or numbers; raises `UserError` where files disagree, or a value is none of these."""
    widths = {file.labels.shape[1] if file.labels.ndim == 2 else 1 for file in files}
    kinds = {file.labels.dtype.kind == "U" for file in files}
    if len(widths) > 1 or len(kinds) > 1:
        raise UserError(
            f"data={request.name}: {request.labels} is unlike between files: "
            f"{some(sorted({f'{f.labels.dtype} {list(f.labels.shape[1:])}' for f in files}), NAMED)}; use one kind"
        )
    for file in files:
        _check_labels(request, task, file)
    if task is not Task.CLASSIFICATION:
        return tuple(f"{request.labels}[{k}]" for k in range(widths.pop()))
    values = sorted({value for file in files for value in np.unique(file.labels).tolist()})
    if kinds.pop():
        return tuple(values)
    count = request.classes or int(values[-1]) + 1
    if request.classes is None and count > len(values):
        raise UserError(
            f"data={request.name}: {request.labels} goes from {values[0]:g} to {values[-1]:g}, but has {len(values)} "
            f"values only; number classes from 0 without gaps, or give data.classes={count} if some have no image here"
        )
    return tuple(map(str, range(count)))


def _check_labels(request: Request, task: Task, file: _File) -> None:
    """Every label within what its task allows."""
    labels, rule = file.labels, ""
    if labels.dtype.kind == "U":
        bad = np.zeros(labels.shape, dtype=bool)
        rule = "" if task is Task.CLASSIFICATION else "words are classes"
        bad[...] = bool(rule)
    elif task is Task.CLASSIFICATION:
        most = (request.classes or _MOST_CLASSES) - 1
        bad = ~((labels >= 0) & (labels <= most) & (labels == np.floor(labels)))
        rule = f"classes are whole numbers from 0 to {most}"
        if labels.ndim == 2:
            bad, rule = np.ones(labels.shape, dtype=bool), "an image has one class"
    elif task is Task.MULTILABEL:
        bad, rule = ~((labels == 0) | (labels == 1)), "labels are 0 or 1"
    else:
        bad, rule = ~np.isfinite(labels.astype(float)), "numbers are finite"
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        at = f"{request.labels}{list(where) if where else ''}"
        raise UserError(
            f"data={request.name}: {file.path}: {at} is {labels[where]}, and {rule} (data.targets="
            f"{task.value}); {plural(int(bad.sum()), 'label')} of {labels.size:,} so: mend the file, or give another "
            "data.labels, data.targets or data.classes"
        )


def _samples(task: Task, classes: tuple[str, ...], files: Iterable[_File]) -> Iterable[Sample]:
    places = {name: place for place, name in enumerate(classes)}
    for file in files:
        each = np.broadcast_to(file.labels, (file.images,)) if file.of_all else file.labels
        for index in range(file.images):
            yield Sample(str(file.path), _target(task, each[index], places), index)


def _target(task: Task, label: Any, places: dict[str, int]) -> Target:
    if task is Task.CLASSIFICATION:
        return places[str(label)] if isinstance(label, str) else int(label)
    return tuple(float(value) for value in np.atleast_1d(label))


def _check_splits(request: Request, task: Task, splits: dict[str, Source]) -> None:
    where = f"data={request.name}: {request.path}"
    if not splits["test"].samples:
        raise UserError(
            f"{where}: too few to put some apart for tests; put files into train/ and val/, or add more of each class"
        )
    if task is not Task.CLASSIFICATION:
        return
    if len(splits["train"].classes) == 1:
        raise UserError(
            f"{where}: {request.labels} is {splits['train'].classes[0]} for all images, and one class is nothing "
            "to learn"
        )
    names = splits["train"].classes
    trained, tested = ({sample.target for sample in splits[split].samples} for split in ("train", "test"))
    unknown = [names[int(label)] for label in sorted(tested - trained) if isinstance(label, int)]
    if unknown:
        raise UserError(
            f"{where}: {some(unknown, NAMED)} of {request.labels} only among the test images; train on them"
        )


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
            with Image.open(io.BytesIO(images[sample.place].tobytes())) as image:
                return image.convert("RGB")
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
