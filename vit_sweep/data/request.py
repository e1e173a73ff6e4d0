"""Data of somebody's own: the words of a command or of a preset that name it, before `data prepare` packs it."""

import re
import shlex
from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from launchers.checked import Gt, Line, Lt, Name, checked, parse, to_plain
from launchers.errors import UserError
from launchers.invocation import called
from launchers.profile import Count
from vit_sweep.plan.choices import NotNegativeInt, Task

HDF5_SUFFIXES = (".h5", ".hdf5", ".h5f", ".he5")
SHARD_SUFFIXES = (".tar",)
MEDMNIST_SUFFIXES = (".npz",)
TABLE_SUFFIXES = (".parquet", ".arrow")
_LOOKED_AT = 32
"""Entries of each folder by which a path's kind is known: a class folder may have a million."""
NAMED = 5
"""How many of many are named in a sentence."""
CAPTIONS_FILE = "captions.csv"


class Kind(StrEnum):
    """What lies at the path."""

    IMAGEFOLDER = "imagefolder"
    HDF5 = "hdf5"
    WEBDATASET = "webdataset"
    """Shards: tar files of samples, each some files of one name."""
    MEDMNIST = "medmnist"
    """One of its .npz files."""
    GTDB = "gtdb"
    """Pages of articles, with a CSV of what is printed on them."""
    HUGGINGFACE = "huggingface"
    """Tables: what datasets' `save_to_disk` wrote, or Parquet files."""
    CAPTIONS = "captions"
    """A CSV file that names images and says the caption of each."""


class Pixels(StrEnum):
    """Numbers of a packed image; little-endian."""

    U8 = "u8"
    """0 to 255, which a model sees as -1 to 1."""
    F32 = "f32"
    """As they were, which a model sees by mean and deviation of the training images."""

    @property
    def bytes(self) -> int:
        """Of a number."""
        return 1 if self is Pixels.U8 else 4


class Fit(StrEnum):
    """How an image becomes a square of `side` pixels."""

    CROP = "crop"
    """The shorter side is resized to it, the centre cut out."""
    WHOLE = "whole"
    """All of it is resized to it, whatever its shape: nothing is cut off."""


class Corrupt(StrEnum):
    """What is done about images that cannot be read."""

    REFUSE = "refuse"
    """They are named and counted, and nothing is packed."""
    SKIP = "skip"
    """They are named and counted, and left out."""


@checked
class Request:
    """What is to be packed, and how."""

    source: Kind
    path: Line
    """A folder of images, a file or a folder of shards of one's own; kept as an absolute path."""
    name: Name
    """What tables call the data set."""
    side: Count | None = None
    """Pixels of a side of the packed images; None: they are packed as they are, all of one size."""
    channels: Count | None = 3
    """Of files of images 3: colours, 1: grey. None: as many as the first image has."""
    split: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Part of each class that becomes the test images, where nobody has put them apart."""
    split_seed: NotNegativeInt = 0
    """Of that split."""
    corrupt: Corrupt = Corrupt.REFUSE
    pixels: Pixels = Pixels.U8
    """Of files of images: f32 keeps what 8 bits would not. HDF5: numbers of more than 8 bits are always kept."""
    images: Line = "images"
    """Of several images a file, where they are: HDF5's dataset, a shard's suffixes, a column of a table or of a CSV."""
    labels: Line = "labels"
    """Likewise where their labels are: a dataset or an attribute, a suffix, a column."""
    targets: Task | None = None
    """What the labels are for; None: by their type."""
    classes: Count | None = None
    """How many classes the labels number; None: as many as there are."""
    names: Line | None = None
    """HDF5: the dataset of the classes' names, in the order of their numbers."""
    subset: Name | None = None
    """MedMNIST: which of its sets, where the path is a folder."""
    fit: Fit = Fit.CROP


_SUFFIXES = {
    Kind.HDF5: HDF5_SUFFIXES,
    Kind.WEBDATASET: SHARD_SUFFIXES,
    Kind.HUGGINGFACE: TABLE_SUFFIXES,
    Kind.MEDMNIST: MEDMNIST_SUFFIXES,
}


class PathMissingError(UserError):
    """A preset that reads what a command names was given no path."""


MISSING = "???"
"""A value that a preset leaves to the command."""


def kind_of(path: str) -> Kind:
    """What lies at a path, where only the path is given.

    An archive or a table beside folders of something else is not what is meant: people keep the archive that they have
    unpacked.
    """
    source = Path(path).expanduser()
    if source.suffix == Path(CAPTIONS_FILE).suffix or (source / CAPTIONS_FILE).is_file():
        return Kind.CAPTIONS
    entries = [entry for entry in source.iterdir() if not entry.name.startswith(".")] if source.is_dir() else []
    within = [file for folder in entries if folder.is_dir() for file in islice(folder.iterdir(), _LOOKED_AT)]
    for kind, suffixes in _SUFFIXES.items():
        meant = [source, *within, *(entries if kind is Kind.HDF5 or not within else [])]
        if any(file.suffix in suffixes for file in meant):
            return kind
    return Kind.IMAGEFOLDER


def is_request(settings: Mapping[str, Any]) -> bool:
    """Whether a data set's keys name data of somebody's own."""
    return "path" in settings


def request_of(settings: Mapping[str, Any]) -> Request:
    """Check the keys of a data set that has a `path`; raises `UserError`. Its name is the folder's, unless given."""
    if settings["path"] == MISSING:
        raise PathMissingError(
            f"data={settings['name'] or settings['source']}: where the images lie is not said; add data.path=DIR"
        )
    path = Path(str(settings["path"])).expanduser().absolute()
    called = path.parent.name if path.name == CAPTIONS_FILE else path.stem
    called = re.sub(r"[^A-Za-z0-9._+-]", "_", called).lstrip("._+-")
    name = settings.get("name") or settings.get("subset") or called or "data"
    return parse(Request, {**settings, "path": str(path), "name": name}, source="data")


def command_of(request: Request, root: Path) -> str:
    """The command that packs it."""
    settings = to_plain(request, defaults=False)
    words = [
        f"data.{key}={'null' if value is None else value}"
        for key, value in settings.items()
        if key not in ("source", "path", "name")
    ]
    if request.name != request_of({"source": request.source, "path": request.path}).name:
        words.insert(0, f"data.name={request.name}")
    words.insert(0, f"data.path={request.path}")
    return f"{called()} data prepare {shlex.join([request.source, *words])} --root {shlex.quote(str(root))}"


def changed_words(packed: Request, requested: Request) -> list[str]:
    """In which words two requests of one packed form differ: `data.split=0.1, not 0.2`."""
    old, new = to_plain(packed), to_plain(requested)
    return [f"data.{key}={old[key]}, not {new[key]}" for key in new if old[key] != new[key]]
