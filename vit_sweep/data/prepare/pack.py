"""Making the packed form of an image folder: decode, resize and cut every image once, instead of in every epoch.

It lies aside until it is whole. Broken off or killed it goes on where it was: what is on disk is noted after each
block, with a digest of the list of images it was made from.
"""

import hashlib
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from launchers.atomic import NO_ROOM, private_folder, read, remove, rename, write
from launchers.checked import checked, parse_json, to_json
from launchers.errors import UserError
from launchers.text import some
from vit_sweep.data import datasets
from vit_sweep.data.packed import Manifest, PackedFile, folder_of, images_file, labels_file
from vit_sweep.data.prepare import image_folder
from vit_sweep.data.prepare.download import exclusively, make_root
from vit_sweep.data.prepare.source import Reader, Source, Sources, Target, Tell, requested, shape_of
from vit_sweep.data.request import NAMED, Corrupt, Fit, Pixels, Request
from vit_sweep.plan.choices import Task
from vit_sweep.plan.specs import DataSpec

BLOCK_IMAGES = 256
"""Images between two notes of how far it is."""
_TOLD_EVERY_S = 10.0
_MOST_WORKERS = 8


@checked
class _Progress:
    """How many images of a split are on disk, and of which list."""

    done: int
    listed: str
    left_out: tuple[tuple[int, str], ...] = ()
    """Numbers of images that could not be read, and why."""


def pack(data: DataSpec | Request, root: Path, tell: Tell = lambda _: None, *, workers: int | None = None) -> None:
    """Make the packed form of ROOT/NAME, or of what a request names, below `root`; `tell` gets lines for whoever waits.

    Of several at once one packs. Raises `UserError`, with nothing put in place, for what a person has to mend: folders
    that are not there, numbers that are not the YAML's, files that are no images, a full disk. `workers`: None: the
    cores, 8 at most.
    """
    try:
        make_root(root)
        with exclusively(root / f".{data.name}.lock", lambda: tell(f"another process is packing {data.name}; waiting")):
            sources = _to_pack(data, root, tell)
            if sources is not None:
                cores = len(os.sched_getaffinity(0))
                _pack(data, sources, root, tell, min(cores, _MOST_WORKERS) if workers is None else workers)
    except OSError as error:
        path = f" ({error.filename})" if error.filename else ""
        advice = (
            "; free some room and give the command again, it goes on where it was" if error.errno in NO_ROOM else ""
        )
        raise UserError(
            f"data={data.name}: packing in {root} failed: {error.strerror or error}{path}{advice}"
        ) from None


def _to_pack(data: DataSpec | Request, root: Path, tell: Tell) -> Sources | None:
    """What is to be packed; None where it is packed already, and whole."""
    if isinstance(data, DataSpec):
        return None if datasets.problem_of(data, root) is None else image_folder.described(data, root, tell)
    sources = requested(data, tell)
    try:
        spec = datasets.packed_spec(data, root)
    except UserError:  # not packed, or otherwise
        return sources
    is_packed = datasets.problem_of(spec, root) is None
    return None if is_packed and datasets.manifest_of(spec, root).listed == sources.listed() else sources


def _pack(data: DataSpec | Request, sources: Sources, root: Path, tell: Tell, workers: int) -> None:
    partial, target = root / f".{folder_of(data)}.partial", root / folder_of(data)
    with private_folder(partial) as aside:
        shape = shape_of(data, sources)
        _check_room(data, sources, shape, aside, root)
        _write_all(data, sources, shape, aside, tell=tell, workers=workers)
        # Until now it was this user's alone; who may read the data root may read what is in it.
        aside.chmod(stat.S_IMODE(root.stat().st_mode))
    remove(target, pattern=re.escape(target.name))  # what is there is not whole, or is of other images
    rename(partial, target.name)
    spec = data if isinstance(data, DataSpec) else datasets.packed_spec(data, root)
    for file in datasets.files_of(spec, root):
        datasets.remember(root / file.path, file)


def _write_all(
    data: DataSpec | Request, sources: Sources, shape: tuple[int, int, int], aside: Path, *, tell: Tell, workers: int
) -> None:
    refuse = isinstance(data, DataSpec) or data.corrupt is Corrupt.REFUSE
    parts = {}
    for split, source in sources.splits.items():
        reader = Reader(
            read=sources.read,
            pixels=sources.pixels,
            shape=shape,
            as_is=data.side is None,
            workers=workers,
            fit=Fit.CROP if isinstance(data, DataSpec) else data.fit,
        )
        parts[split] = _write_split(source, split, reader, aside, targets=sources.targets, tell=tell, refuse=refuse)
    _judge(data, sources, parts, tell, refuse=refuse)
    channels, rows, columns = shape
    levels = _levels(aside / images_file("train", sources.pixels), shape) if sources.pixels is Pixels.F32 else ((), ())
    manifest = Manifest(
        data=data.name,
        side=rows,
        columns=None if columns == rows else columns,
        channels=channels,
        train_images=parts["train"].images,
        test_images=parts["test"].images,
        classes=sources.splits["train"].classes,
        files=(*parts["train"].files, *parts["test"].files),
        request=None if isinstance(data, DataSpec) else data,
        listed=None if isinstance(data, DataSpec) else sources.listed(),
        left_out=sum(len(part.unreadable) for part in parts.values()),
        pixels=sources.pixels,
        mean=levels[0],
        deviation=levels[1],
        targets=sources.targets,
    )
    write(aside / "manifest.json", to_json(manifest))
    for split in sources.splits:
        _note(aside, split).unlink()


def _judge(data: DataSpec | Request, sources: Sources, parts: "dict[str, _Part]", tell: Tell, *, refuse: bool) -> None:
    """Say what could not be read; raises `UserError` where nothing may be left out, or not so much."""
    unreadable = [sentence for part in parts.values() for sentence in part.unreadable]
    if not unreadable:
        return
    total = sum(len(source.samples) for source in sources.splits.values())
    problem = f"{len(unreadable)} of {total} files cannot be packed: {some(unreadable, NAMED, separator='; ')}"
    if refuse:
        skip = "" if isinstance(data, DataSpec) else ", or leave them out with data.corrupt=skip"
        raise UserError(f"data={data.name}: {problem}; replace them and give the command again{skip}")
    classes = sources.splits["train"].classes if sources.targets is Task.CLASSIFICATION else ()
    empty = [name for label, name in enumerate(classes) if label not in parts["train"].labels]
    if empty or not parts["test"].images:
        emptied = f"of {some(empty, NAMED)} none is left" if empty else "no test image is left"
        raise UserError(f"data={data.name}: {problem}; {emptied}, so replace them and give the command again")
    tell(f"left out: {problem}")


def _check_room(
    data: DataSpec | Request, sources: Sources, shape: tuple[int, int, int], aside: Path, root: Path
) -> None:
    images = sum(len(source.samples) for source in sources.splits.values())
    channels, rows, columns = shape
    needed = images * (channels * rows * columns * sources.pixels.bytes + 8)
    written = sum(path.stat().st_size for path in aside.iterdir())
    free = shutil.disk_usage(aside).free
    if needed - written > free:
        raise UserError(
            f"data={data.name}: {images} images of {columns} x {rows} pixels take {needed / 1e9:.1f} GB, "
            f"{root} has {free / 1e9:.1f} GB free; use another --root or a smaller side"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What was written of a split."""

    images: int
    labels: frozenset[Target]
    files: tuple[PackedFile, ...]
    unreadable: tuple[str, ...]
    """Sentences; where nothing may be left out, the files are not whole then."""


def _levels(path: Path, shape: tuple[int, int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of float32 images on disk."""
    images = np.memmap(path, dtype="<f4", mode="r").reshape(-1, *shape)
    blocks = [images[first : first + BLOCK_IMAGES] for first in range(0, len(images), BLOCK_IMAGES)]
    pixels = len(images) * shape[1] * shape[2]
    mean = sum(block.sum(axis=(0, 2, 3), dtype=np.float64) for block in blocks) / pixels  # (channels,)
    around = (((block - mean[:, None, None]) ** 2).sum(axis=(0, 2, 3), dtype=np.float64) for block in blocks)
    deviation = np.sqrt(sum(around) / pixels)
    return tuple(map(float, mean)), tuple(float(value) or 1.0 for value in deviation)


def _write_split(
    source: Source, split: str, reader: Reader, aside: Path, *, targets: Task, tell: Tell, refuse: bool
) -> _Part:
    """Write pixels and labels of a split. With `refuse` nothing is written any more once an image cannot be read."""
    path, total = aside / images_file(split, reader.pixels), len(source.samples)
    image_bytes = math.prod(reader.shape) * reader.pixels.bytes
    earlier = _done_before(source, split, path, image_bytes)
    done, unreadable = earlier.done, dict(earlier.left_out)
    digest, listed, progress = hashlib.sha256(), source.listed(done), _Told(tell, split, total, done)
    with path.open("r+b" if path.exists() else "x+b") as packed_file:
        packed_file.truncate((done - len(unreadable)) * image_bytes)
        while chunk := packed_file.read(1 << 20):
            digest.update(chunk)
        for number, image in enumerate(reader.images(source.samples[done:]), start=done + 1):
            if isinstance(image, str):
                unreadable[number - 1] = image
            elif not (refuse and unreadable):
                pixels = image.numpy().tobytes()
                digest.update(pixels)
                packed_file.write(pixels)
            if not (refuse and unreadable):
                listed.update(source.line(number - 1))
                if number % BLOCK_IMAGES == 0 or number == total:
                    packed_file.flush()
                    os.fsync(packed_file.fileno())
                    note = _Progress(done=number, listed=listed.hexdigest(), left_out=tuple(unreadable.items()))
                    write(_note(aside, split), to_json(note))
            progress.at(number)
    labels = [sample.target for number, sample in enumerate(source.samples) if number not in unreadable]
    label_bytes = _as_bytes(targets, labels)
    label_file = labels_file(split, targets)
    (aside / label_file).write_bytes(label_bytes)
    return _Part(
        images=len(labels),
        labels=frozenset(labels),
        files=(
            PackedFile(name=path.name, bytes=max(1, path.stat().st_size), sha256=digest.hexdigest()),
            PackedFile(name=label_file, bytes=max(1, len(label_bytes)), sha256=hashlib.sha256(label_bytes).hexdigest()),
        ),
        unreadable=tuple(unreadable.values()),
    )


def _as_bytes(targets: Task, labels: Sequence[Target]) -> bytes:
    if targets is Task.CONTRASTIVE:
        return "".join(f"{caption}\n" for caption in labels).encode()
    return np.array(labels, dtype="<i8" if targets is Task.CLASSIFICATION else "<f8").tobytes()


def _done_before(source: Source, split: str, images: Path, image_bytes: int) -> "_Progress":
    """Images of this very list that an earlier, broken off packing has left on disk."""
    nothing = _Progress(done=0, listed="")
    try:
        progress = parse_json(_Progress, read(_note(images.parent, split)), source="progress")
        size = images.stat().st_size
    except (OSError, UserError):
        return nothing
    written = progress.done - len(progress.left_out)
    fits = progress.done <= len(source.samples) and size >= written * image_bytes >= 0
    return progress if fits and source.listed(progress.done).hexdigest() == progress.listed else nothing


def _note(aside: Path, split: str) -> Path:
    return aside / f"{split}.progress.json"


class _Told:
    """Says now and then how far a split is."""

    def __init__(self, tell: Tell, split: str, total: int, done: int) -> None:
        self._tell, self._split, self._total, self._first = tell, split, total, done
        self._begun = self._last = time.monotonic()
        if done:
            tell(f"{split}: {done:,} of {total:,} images are there from an earlier start")

    def at(self, number: int) -> None:
        now = time.monotonic()
        if number < self._total and now - self._last < _TOLD_EVERY_S:
            return
        self._last = now
        rate = (number - self._first) / max(now - self._begun, 1e-9)
        left_s = (self._total - number) / max(rate, 1e-9)
        self._tell(
            f"{self._split}: {number:,} of {self._total:,} images, {rate:,.0f} images/s"
            + (f", about {left_s / 60:.0f} min left" if left_s else "")
        )
