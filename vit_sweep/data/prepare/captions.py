"""Images with captions before they are packed: a CSV file that names both, and what must be right with it."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.prepare.decode import reader_of_files
from vit_sweep.data.prepare.places import TEST_WORDS
from vit_sweep.data.prepare.source import Sample, Source, Sources, Tell, divided
from vit_sweep.data.request import CAPTIONS_FILE, NAMED, Corrupt, Request
from vit_sweep.plan.choices import Task

CLASSES = ("caption",)
"""What an image is labelled with: one caption."""
_SPLIT = "split"
"""A column that says which images are for tests, where somebody has put some apart."""
_TRAIN = "train"


class _Row(NamedTuple):
    line: int
    image: str
    caption: str
    split: str
    """Empty: not said."""


def requested(request: Request, tell: Tell) -> Sources:
    """The pairs that `data.path` names, split where nobody has put some apart; raises `UserError`."""
    path = _file_of(request)
    rows = _there(request, path, list(_rows(request, path)), tell)
    samples = {row: Sample(str(path.parent / row.image), caption_of(row.caption)) for row in rows}
    if len(samples) < 2:
        raise UserError(f"data={request.name}: {path} has {plural(len(samples), 'pair')}; give it more")
    undivided = Source(folder=path.parent, classes=CLASSES, samples=tuple(samples.values()))
    if any(row.split for row in rows):
        tests = tuple(sample for row, sample in samples.items() if row.split in TEST_WORDS)
        trains = tuple(sample for row, sample in samples.items() if row.split not in TEST_WORDS)
        splits = {
            name: Source(folder=path.parent, classes=CLASSES, samples=some_of)
            for name, some_of in (("train", trains), ("test", tests))
        }
    else:
        splits = divided(undivided, request.split, request.split_seed)
        tell(
            f"{path}: {plural(len(splits['test'].samples), 'pair')} of {len(undivided.samples)} are put apart for tests"
        )
    for name, source in splits.items():
        if not source.samples:
            raise UserError(f"data={request.name}: {path}: no pair is left for the {name} split; say some in its rows")

    read = reader_of_files(channels=request.channels, pixels=request.pixels)
    return Sources(splits=splits, read=read, pixels=request.pixels, targets=Task.CONTRASTIVE)


def caption_of(text: str) -> str:
    """On one line, each space single."""
    return " ".join(text.split())


def _file_of(request: Request) -> Path:
    path = Path(request.path)
    file = path / CAPTIONS_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"data={request.name}: {file} is not there; data.path names a CSV file with columns {request.images} and "
            f"{request.labels}, or a folder with such a {CAPTIONS_FILE}"
        )
    return file


def _rows(request: Request, path: Path) -> Iterator[_Row]:
    """Rows of the file; raises `UserError` for one that names no image, has no caption or an unknown split."""
    setting = f"data={request.name}: {path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or ()
            lacking = [name for name in (request.images, request.labels) if name not in columns]
            if lacking:
                raise UserError(
                    f"{setting} has no column {lacking[0]}; it has {some(columns, NAMED) or 'none'}: say which of them "
                    "with data.images and data.labels"
                )
            for values in reader:
                yield _row(request, values, reader.line_num, setting)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{setting}: it is no CSV file in UTF-8 ({error}); convert it") from None


def _row(request: Request, values: dict[str, str | None], line: int, setting: str) -> _Row:
    image, caption = (str(values[name] or "").strip() for name in (request.images, request.labels))
    split = str(values.get(_SPLIT) or "").strip().lower()
    if not image or not caption:
        lacks = request.images if not image else request.labels
        raise UserError(f"{setting}: line {line} has no {lacks}; every row names an image and says its caption")
    if Path(image).is_absolute() or ".." in Path(image).parts:
        raise UserError(f"{setting}: line {line} names {image}; images lie below the folder of the file")
    if split not in ("", _TRAIN, *TEST_WORDS):
        raise UserError(f"{setting}: line {line} says {_SPLIT}={split}; say train, or {', '.join(TEST_WORDS)}")
    return _Row(line, image, caption, split)


def _there(request: Request, path: Path, rows: list[_Row], tell: Tell) -> list[_Row]:
    """The rows whose image is a file; the others are refused, or left out and told."""
    missing = [row for row in rows if not (path.parent / row.image).is_file()]
    if not missing:
        return rows
    problem = f"{len(missing)} of {plural(len(rows), 'image')} are not there: {some([r.image for r in missing], NAMED)}"
    if request.corrupt is Corrupt.REFUSE:
        raise UserError(
            f"data={request.name}: {path}: {problem}; put them there and give the command again, or leave them out "
            "with data.corrupt=skip"
        )
    tell(f"left out: {problem}")
    missing_lines = {row.line for row in missing}
    return [row for row in rows if row.line not in missing_lines]
