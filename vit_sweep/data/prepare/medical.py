"""MedMNIST before it is packed: the .npz files that its authors publish (Yang et al. 2023, arXiv:2110.14795).

`{train,val,test}_images`, uint8 [n, rows, columns] or [n, rows, columns, 3], of volumes [n, planes, rows, columns];
`{train,val,test}_labels`, whole numbers [n, 1], or 0 and 1 [n, labels]. The package medmnist fetches them, and names
the classes; a file that is there is read without it.
"""

import os
import re
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from launchers.atomic import NO_ROOM, private_folder, put, remove
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.prepare.download import exclusively, impatient, make_root
from vit_sweep.data.prepare.labels import Labelled, WrongFile, looked_at, require_labels, sources_of
from vit_sweep.data.prepare.source import Picture, Sample, Sources, Tell, planes_of
from vit_sweep.data.request import NAMED, Request

_USUAL_SIDE = 28
"""Its files are called without it: pathmnist.npz; larger ones pathmnist_64.npz."""
_LARGER_SIDES = (64, 128, 224)


def requested(request: Request, tell: Tell) -> Sources:
    """The images of a file, which is fetched where it is not there; raises `UserError`."""
    path = _file(request, tell)
    setting = f"data={request.name}: {path}"
    names = _names(path)
    try:
        arrays = {split: _array(path, f"{split}_images") for split in ("train", "test")}
        files = {
            split: looked_at(request, [path], partial(_labelled, split=split, arrays=arrays, names=names), tell)
            for split in arrays
        }
    except (WrongFile, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        why = " ".join(str(error.args[0] if error.args else error).split())
        raise UserError(f"{setting} is not one of MedMNIST's files, or cut short ({why}); fetch it anew") from None
    if "val_images" in _members(path):
        tell(f"{path}: its validation images are left aside; the tests are its own")
    return sources_of(request, files, _Reading(arrays), tell, group=None)


def _file(request: Request, tell: Tell) -> Path:
    """The .npz, fetched by medmnist where there is none."""
    path = Path(request.path)
    if path.is_file() or path.suffix == ".npz":
        if not path.is_file():
            raise UserError(f"data={request.name}: {path} is not there; name one of MedMNIST's .npz files")
        return path
    if request.subset is None:
        raise UserError(f"data={request.name}: which of MedMNIST's sets is not said; add data.subset=pathmnist")
    suffix = f"_{request.side}" if request.side in _LARGER_SIDES else ""
    file = path / f"{request.subset}{suffix}.npz"
    if not file.is_file():
        _fetch(request, file, tell)
    return file


def _fetch(request: Request, file: Path, tell: Tell) -> None:
    """Download aside by the package, which compares the md5; then move into place. Raises `UserError`."""
    try:
        medmnist = _package()
    except ImportError:
        raise UserError(
            f"data={request.name}: {file} is not there, and medmnist, which fetches it, is not installed here: pip "
            f"install 'vit_sweep[medmnist]', or copy {file.name} into {file.parent}"
        ) from None
    info = medmnist.INFO.get(request.subset)
    if info is None:
        raise UserError(f"data.subset={request.subset}: MedMNIST has {some(medmnist.INFO, len(medmnist.INFO))}")
    side = request.side if request.side in _LARGER_SIDES else _USUAL_SIDE
    if side != _USUAL_SIDE and f"MD5_{side}" not in info:
        sizes = [str(_USUAL_SIDE), *(str(each) for each in _LARGER_SIDES if f"MD5_{each}" in info)]
        raise UserError(f"data.side={side}: {request.subset} is published with {', '.join(sizes)} pixels")
    make_root(file.parent)
    partial = file.parent / f".{file.name}.partial"
    with exclusively(
        file.parent / f".{file.name}.lock", lambda: tell(f"another process is fetching {file.name}; waiting")
    ):
        if file.is_file():
            return
        tell(f"fetching {file.name} to {file.parent}")
        remove(partial, pattern=re.escape(partial.name))
        try:
            with private_folder(partial) as aside, impatient():
                getattr(medmnist, info["python_class"])(split="test", root=str(aside), size=side, download=True)
                put(aside / file.name, file)
        except RuntimeError as error:  # whatever it was, the package says this
            reason = error.__context__
            if isinstance(reason, OSError) and reason.errno in NO_ROOM:
                raise reason from None
            raise UserError(
                f"data={request.name}: the download of {file.name} failed ({reason or error}); without internet here, "
                f"give this command on a machine that has it, and copy {file.name} into {file.parent.absolute()}"
            ) from None
        finally:
            remove(partial, pattern=re.escape(partial.name))


def _names(path: Path) -> tuple[str, ...]:
    """Of the classes, where the package is installed and knows the file."""
    try:
        known = _package().INFO
    except ImportError:
        return ()
    labels = known.get(path.stem.rpartition("_")[0] or path.stem, known.get(path.stem, {})).get("label", {})
    return tuple(str(labels[number]) for number in sorted(labels, key=int))


def _package() -> Any:
    """The package, without the empty folder that it makes in one's home at its import. Raises `ImportError`."""
    its_folder = Path("~/.medmnist").expanduser()
    was_there = its_folder.exists()
    import medmnist

    if not was_there:
        with suppress(OSError):
            its_folder.rmdir()
    return medmnist


# --- a file ----------------------------------------------------------------------------------------------------


class _Array(NamedTuple):
    """An array in a file, before it is read."""

    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begin: int
    """Its first number's byte."""


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        return [name.removesuffix(".npy") for name in file.namelist()]


def _array(path: Path, name: str) -> _Array:
    """Shape and type by the head alone; raises `WrongFile`."""
    members = _members(path)
    if name not in members:
        raise WrongFile(f"it has no {name}; it has {some(members, NAMED)}")
    with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = head(member)
        if by_columns or len(shape) not in (3, 4) or dtype != np.uint8:
            raise WrongFile(
                f"{name} is {dtype} {list(shape)}; images are uint8 [n, rows, columns] with or without colours"
            )
        return _Array(name, shape, dtype, member.tell())


def _labelled(path: Path, *, split: str, arrays: dict[str, _Array], names: tuple[str, ...]) -> Labelled:
    images = arrays[split].shape[0]
    with np.load(path, allow_pickle=False) as file:
        labels: NDArray[Any] = file[f"{split}_labels"]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    require_labels(labels, images, f"{split}_labels", f"{split}_images")
    if not images:
        raise WrongFile(f"{split}_images has {plural(0, 'image')}")
    label_names = names if labels.ndim == 1 or labels.shape[1] == len(names) else ()
    first = 0 if split == "train" else arrays["train"].shape[0]
    return Labelled(path=path, images=images, labels=labels.astype(np.int64), names=label_names, first=first)


class _Reading:
    """Reads an image: those of the training come first, then those of the tests."""

    def __init__(self, arrays: dict[str, _Array]) -> None:
        self._train, self._test = arrays["train"], arrays["test"]
        self._key: tuple[str, str, int] | None = None
        self._file: Any = None

    def __call__(self, sample: Sample) -> Picture:
        index, array = sample.place or 0, self._train
        if index >= array.shape[0]:
            index, array = index - array.shape[0], self._test
        member = self._member(sample.path, array.member)
        size = int(np.prod(array.shape[1:]))
        member.seek(array.begin + index * size)
        content = member.read(size)
        if len(content) < size:
            raise ValueError("the file ends before it")
        return planes_of(np.frombuffer(bytearray(content), dtype=np.uint8).reshape(array.shape[1:]))

    def _member(self, path: str, name: str) -> Any:
        """An array as a stream: what is compressed is read from front to back, by each process for itself."""
        key = (path, name, os.getpid())
        if key != self._key:
            if self._file is not None:
                self._file.close()
            with zipfile.ZipFile(path) as file:
                # It lives as long as its members do.
                self._key, self._file = key, file.open(f"{name}.npy")
        return self._file
