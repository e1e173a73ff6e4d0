"""WebDataset before it is packed: which samples its shards hold, and how an image of one is read.

A shard is a tar file; files in it of one name up to the first dot are a sample, and what follows the dot is a field:
`dog/0017.jpg`, `dog/0017.cls`. Samples are grouped and fields decoded by webdataset itself. Of the tar only the heads
are read before, so that an image is then read where it lies, by any process, in any order.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from braceexpand import braceexpand
from numpy.typing import NDArray
from webdataset.autodecode import basichandlers
from webdataset.tariterators import group_by_keys

from launchers.atomic import reading
from launchers.text import plural, some
from vit_sweep.data.prepare.decode import picture_of
from vit_sweep.data.prepare.labels import (
    Labelled,
    WrongFile,
    WrongLabels,
    array_of,
    by_reason,
    looked_at,
    require_labels,
    sources_of,
)
from vit_sweep.data.prepare.places import places
from vit_sweep.data.prepare.source import Picture, Sample, Sources, Tell
from vit_sweep.data.request import NAMED, SHARD_SUFFIXES, Corrupt, Pixels, Request
from vit_sweep.plan.choices import Task

_WORDS = ("txt", "text", "transcript")
_OBJECTS = ("json", "jsn")
_FIELDS = ("cls", "cls2", "index", "inx", "id", *_WORDS, *_OBJECTS, "npy")
"""What labels are read from. Not from a pickle: it runs what whoever wrote it likes."""
_END = bytes(512)

Extent = tuple[int, int]
"""Where a field's bytes begin in its shard, and how many there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSample:
    """A sample: its name, and where its fields lie."""

    key: str
    fields: dict[str, Extent]


def requested(request: Request, tell: Tell) -> Sources:
    """The images that `data.path` names, split where nobody has put some apart; raises `UserError`."""
    images: dict[str, list[tuple[str, Extent]]] = {}

    def inspect(path: Path) -> Labelled:
        samples, labels = labelled(request, path, tell)
        images[str(path)] = [image_of(request, sample) for sample in samples]
        return Labelled(path=path, images=len(samples), labels=labels, pixels=request.pixels)

    files = {
        split: looked_at(request, paths, inspect, tell)
        for split, paths in zip(("train", "test"), shard_paths(request), strict=True)
    }
    if request.labels in _WORDS and request.targets is not Task.CONTRASTIVE:
        files = _numbers_of_words(files)
    return sources_of(request, files, _Reading(images, request.channels, request.pixels), tell, group=None)


def shard_paths(request: Request) -> tuple[list[Path], list[Path]]:
    """Shards to train with, and to test with: of a file, a folder, or a name with braces; raises `UserError`."""
    if "{" not in request.path:
        return places(request, SHARD_SUFFIXES, "a tar file")
    by_path = [places(replace(request, path=path), SHARD_SUFFIXES, "a tar file") for path in braceexpand(request.path)]
    return [path for train, _ in by_path for path in train], [path for _, test in by_path for path in test]


def labelled(request: Request, path: Path, tell: Tell) -> tuple[list[ShardSample], NDArray[Any]]:
    """Samples of a shard that have an image, and their labels (`request.labels`: classes, numbers, or captions).

    Those that lack one are refused by name, or left out and told. Raises `WrongFile`.
    """
    usable, values, reasons, kinds = [], [], dict[str, list[str]](), set[type[WrongFile]]()
    samples = samples_of(path)
    with reading(path) as file:
        for sample in samples:
            try:
                image_of(request, sample)
                values.append(value_of(sample, request.labels, file))
                usable.append(sample)
            except WrongFile as error:
                reasons.setdefault(str(error), []).append(sample.key)
                kinds.add(type(error))
    if reasons:
        problem = (
            f"{len(samples) - len(usable)} of {plural(len(samples), 'sample')} cannot be used: {by_reason(reasons)}"
        )
        if request.corrupt is Corrupt.REFUSE or not usable:
            # What is wrong with all of them is wrong with the shard.
            kind = kinds.pop() if len(kinds) == 1 else WrongFile
            raise kind(next(iter(reasons)) if not usable and len(reasons) == 1 else problem)
        tell(f"left out: {path}: {problem}")
    labels = array_of(values, request.labels)
    require_labels(labels, len(usable), request.labels, str(path))
    return usable, labels


def samples_of(path: Path) -> list[ShardSample]:
    """A shard by the heads of its tar alone; raises `WrongFile` where it is cut short or none."""
    try:
        grouped = list(group_by_keys(_members(path)))
    except (tarfile.TarError, OSError, ValueError) as error:
        why = str(error.args[0] if error.args else error)
        raise WrongFile(" ".join(why.split())) from None
    if not grouped:
        raise WrongFile("it holds no sample: no file with a dot in its name")
    return [
        ShardSample(key=sample["__key__"], fields={k: v for k, v in sample.items() if not k.startswith("__")})
        for sample in grouped
    ]


def _members(path: Path) -> Iterator[dict[str, Any]]:
    """Files of a tar as webdataset groups them, with extents instead of bytes."""
    with reading(path) as file:
        try:
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - what follows closes it
        except tarfile.ReadError:
            raise WrongFile("it is no tar file, or a compressed one; unpack it to a plain .tar") from None
        with tar:
            for member in tar:
                # As webdataset does: a name in underscores is of the shard, not of a sample.
                if member.isreg() and not member.name.startswith("__"):
                    yield {"fname": member.name, "data": (member.offset_data, member.size), "__url__": str(path)}
            file.seek(tar.offset)
            if file.read(len(_END)) != _END:
                raise WrongFile("it is cut short or damaged: the archive has no end")


def image_of(request: Request, sample: ShardSample) -> tuple[str, Extent]:
    """The name and the place of a sample's image: the first of `data.images` that it has; raises `WrongFile`."""
    for field in request.images.split("/"):
        if field in sample.fields:
            return f"{sample.key}.{field}", sample.fields[field]
    raise WrongFile(f"no image; it has {some(sample.fields, NAMED)}: name one with data.images")


def value_of(sample: ShardSample, name: str, file: BinaryIO) -> Any:
    """A sample's field, decoded: a number, text, or a key of an object (`json.caption`); raises `WrongFile`."""
    field, keys = name, list[str]()
    if name not in sample.fields:
        field, *keys = name.split(".")
    if field not in sample.fields:
        raise WrongLabels(f"no {name}; it has {some(sample.fields, NAMED)}")
    if field not in _FIELDS:
        raise WrongLabels(f"{field} holds no label that is read here; {', '.join(_FIELDS)} do")
    offset, size = sample.fields[field]
    file.seek(offset)
    content = file.read(size)
    try:
        value = json.loads(content) if field in _OBJECTS else basichandlers(field, content)
    except ValueError as error:
        raise WrongLabels(f"{field}: {error}") from None
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            has = f"it has {some(value, NAMED)}" if isinstance(value, dict) else f"it is {type(value).__name__}"
            raise WrongLabels(f"{field} has no {key}; {has}")
        value = value[key]
    if value is None or isinstance(value, dict):
        keyed = f"; name one of its keys, data.labels={name}.KEY: {some(value, NAMED)}" if value else ""
        raise WrongLabels(f"{name} is {'an object' if keyed else 'empty'}{keyed}")
    return value.strip() if isinstance(value, str) else value


def _numbers_of_words(files: dict[str, list[Labelled]]) -> dict[str, list[Labelled]]:
    """Text that is numbers throughout as numbers: whole ones if all are."""
    for kind in (np.int64, np.float64):
        try:
            return {
                s: [replace(file, labels=file.labels.astype(kind)) for file in some_files]
                for s, some_files in files.items()
            }
        except ValueError:
            continue
    return files


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads an image where it lies in its shard."""

    images: dict[str, list[tuple[str, Extent]]]
    """Name and extent of each, by shard."""
    channels: int | None
    pixels: Pixels

    def __call__(self, sample: Sample) -> Picture:
        name, (offset, size) = self.images[sample.path][sample.place or 0]
        with reading(Path(sample.path)) as file:
            file.seek(offset)
            content = io.BytesIO(file.read(size))
        try:
            return picture_of(content, name, channels=self.channels, pixels=self.pixels)
        except Exception as error:  # what decoders raise is listed nowhere
            raise ValueError(f"{name}: {error}") from None
