"""Making the packed form of an image folder: decode, resize and cut every image once, instead of in every epoch.

It lies aside until it is whole. Broken off or killed it goes on where it was: what is on disk is noted after each
block, with a digest of the list of images it was made from.
"""

import hashlib
import os
import re
import shutil
import stat
import time
from pathlib import Path

import numpy as np

from launchers.atomic import private_folder, read, remove, rename, write
from launchers.checked import checked, parse_json, to_json
from launchers.errors import UserError
from launchers.text import some
from vit_sweep.data import datasets
from vit_sweep.data.packed import SPLITS, Manifest, PackedFile, folder_of, images_file, labels_file
from vit_sweep.data.prepare.download import alone, make_root
from vit_sweep.data.prepare.image_folder import NAMED, Reader, Source, Tell, check, common_side, source_of
from vit_sweep.plan.point import DataSpec

BLOCK_IMAGES = 256
"""Images between two notes of how far it is."""
_TOLD_EVERY_S = 10.0
_MOST_WORKERS = 8


@checked
class _Progress:
    """How many images of a split are on disk, and of which list."""

    done: int
    listed: str


def pack(data: DataSpec, root: Path, tell: Tell = lambda _: None, *, workers: int | None = None) -> None:
    """Make the packed form of ROOT/NAME below `root`; `tell` gets lines for whoever waits.

    Of several at once one packs. Raises `UserError`, with nothing put in place, for what a person has to mend: folders
    that are not there, numbers that are not the YAML's, files that are no images. `workers`: None: the
    cores, 8 at most.
    """
    try:
        make_root(root)
        with alone(root / f".{data.name}.lock", lambda: tell(f"another process is packing {data.name}; waiting")):
            if datasets.problem_of(data, root) is not None:
                cores = len(os.sched_getaffinity(0))
                _pack(data, root, tell, min(cores, _MOST_WORKERS) if workers is None else workers)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise UserError(f"data={data.name}: packing in {root} failed: {error.strerror or error}{where}") from None


def _pack(data: DataSpec, root: Path, tell: Tell, workers: int) -> None:
    sources = {split: source_of(data, root / data.name / folder, tell) for split, folder in SPLITS.items()}
    check(data, sources)
    partial, place = root / f".{folder_of(data)}.partial", root / folder_of(data)
    with private_folder(partial) as aside:
        side = data.side or common_side(data, sources)
        _check_room(data, sources, side, aside, root)
        reader = Reader(side=side, as_is=data.side is None, workers=workers)
        _write_all(data, sources, reader, aside, tell)
        # Until now it was this user's alone; who may read the data root may read what is in it.
        aside.chmod(stat.S_IMODE(root.stat().st_mode))
    remove(place, made=re.escape(place.name))  # what is there is not whole, or is of other images
    rename(partial, place.name)
    for file in datasets.files_of(data, root):
        datasets.remember(root / file.path, file)


def _write_all(data: DataSpec, sources: dict[str, Source], reader: Reader, aside: Path, tell: Tell) -> None:
    unreadable: list[str] = []
    files: list[PackedFile] = []
    for split, source in sources.items():
        files += _write_split(source, split, reader, aside, tell=tell, unreadable=unreadable)
    if unreadable:
        total = sum(len(source.samples) for source in sources.values())
        raise UserError(
            f"data={data.name}: {len(unreadable)} of {total} files cannot be packed: "
            f"{some(unreadable, NAMED, separator='; ')}; replace them and give the command again"
        )
    manifest = Manifest(
        data=data.name,
        side=reader.side,
        train_images=len(sources["train"].samples),
        test_images=len(sources["test"].samples),
        classes=sources["train"].classes,
        files=tuple(files),
    )
    write(aside / "manifest.json", to_json(manifest))
    for split in sources:
        _note(aside, split).unlink()


def _check_room(data: DataSpec, sources: dict[str, Source], side: int, aside: Path, root: Path) -> None:
    images = sum(len(source.samples) for source in sources.values())
    wanted = images * (3 * side * side + 8)
    there = sum(path.stat().st_size for path in aside.iterdir())
    free = shutil.disk_usage(aside).free
    if wanted - there > free:
        raise UserError(
            f"data={data.name}: {images} images of {side} x {side} pixels take {wanted / 1e9:.1f} GB, {root} "
            f"has {free / 1e9:.1f} GB free; use another --root or a smaller side"
        )


def _write_split(
    source: Source, split: str, reader: Reader, aside: Path, *, tell: Tell, unreadable: list[str]
) -> list[PackedFile]:
    """Write pixels and labels of a split; what cannot be read goes to `unreadable`, and from then on nothing counts."""
    labels = np.array([label for _, label in source.samples], dtype="<i8").tobytes()
    (aside / labels_file(split)).write_bytes(labels)
    path, image_bytes, total = aside / images_file(split), 3 * reader.side**2, len(source.samples)
    done = _done_before(source, split, aside, image_bytes)
    digest, listed, progress = hashlib.sha256(), _listed(source, done), _Told(tell, split, total, done)
    with path.open("r+b" if path.exists() else "x+b") as out:
        out.truncate(done * image_bytes)
        while chunk := out.read(1 << 20):
            digest.update(chunk)
        failed = False
        for number, image in enumerate(reader.images(source.samples[done:]), start=done + 1):
            if isinstance(image, str):
                unreadable.append(image)
                failed = True
            elif not failed:
                pixels = image.numpy().tobytes()
                digest.update(pixels)
                out.write(pixels)
                listed.update(source.line(number - 1))
                if number % BLOCK_IMAGES == 0 or number == total:
                    out.flush()
                    os.fsync(out.fileno())
                    write(_note(aside, split), to_json(_Progress(done=number, listed=listed.hexdigest())))
            progress.at(number)
    return [
        PackedFile(name=path.name, bytes=max(1, path.stat().st_size), sha256=digest.hexdigest()),
        PackedFile(name=labels_file(split), bytes=len(labels), sha256=hashlib.sha256(labels).hexdigest()),
    ]


def _done_before(source: Source, split: str, aside: Path, image_bytes: int) -> int:
    """Images of this very list that an earlier, broken off packing has left on disk."""
    try:
        noted = parse_json(_Progress, read(_note(aside, split)), what="progress")
        size = (aside / images_file(split)).stat().st_size
    except (OSError, UserError):
        return 0
    fits = noted.done <= len(source.samples) and size >= noted.done * image_bytes
    return noted.done if fits and _listed(source, noted.done).hexdigest() == noted.listed else 0


def _listed(source: Source, count: int) -> "hashlib._Hash":
    """A digest of the first `count` images of the list."""
    digest = hashlib.sha256()
    for number in range(count):
        digest.update(source.line(number))
    return digest


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
        left = (self._total - number) / max(rate, 1e-9)
        self._tell(
            f"{self._split}: {number:,} of {self._total:,} images, {rate:,.0f} images/s"
            + (f", about {left / 60:.0f} min left" if left else "")
        )
