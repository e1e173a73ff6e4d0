"""Pages of articles with what is printed on them, as GTDB publishes it: one CSV an article, the scanned pages beside.

    Infty GT-Data Format Ver.1.1
    Sheet,1,AIF_1970_20_493.png,-1                          a page: number, file of its image
    Text,1,116,411,996,559                                  or Image: a part of the layout, its box in pixels
    Line,1,118,411,996,471                                  left, top, right, bottom
    Chardata,1,118,416,159,463,0,-1,-1,0141                 a character: box, 0 text or 1 mathematics, links, code

(github.com/uchidalab/GTDB-Dataset.) The images are not part of it: they are those of the articles' publishers.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from launchers.atomic import reading
from launchers.errors import UserError
from launchers.text import plural, short
from vit_sweep.data.prepare.decode import reader_of_files
from vit_sweep.data.prepare.labels import Labelled, WrongFile, by_reason, looked_at, sources_of
from vit_sweep.data.prepare.places import places
from vit_sweep.data.prepare.source import Sources, Tell
from vit_sweep.data.request import Corrupt, Request

_HEAD = "Infty GT-Data Format"
_SUFFIXES = (".csv",)
_PARTS = ("Text", "Image")
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the page."""


@dataclass(kw_only=True, slots=True)
class Page:
    """A page, as its article's CSV tells of it."""

    image: str
    parts: list[Box] = field(default_factory=list)
    """Of its layout: text and pictures."""
    ordinary: int = 0
    """Characters of text."""
    math: int = 0
    """Symbols of mathematics."""


def _box(page: Page, image: Path) -> tuple[float, ...]:
    """Of all parts together, in parts of the page's width and height."""
    if not page.parts:
        raise WrongFile("the page has no Text and no Image, so there is no box")
    with reading(image) as file, Image.open(file) as opened:
        width, height = opened.size
    left, top, right, bottom = (
        edge(values) for edge, values in zip((min, min, max, max), zip(*page.parts, strict=True), strict=True)
    )
    if right > width or bottom > height:
        raise WrongFile(f"a box reaches to {right}, {bottom}, and the page has {width} x {height} pixels: another scan")
    return left / width, top / height, right / width, bottom / height


LABELS: dict[str, Callable[[Page, Path], tuple[float, ...]]] = {
    "counts": lambda page, _: (page.ordinary, page.math),
    "math": lambda page, _: (page.math,),
    "box": _box,
}
"""What can be learnt of a page, by the word after `data.labels`."""


def requested(request: Request, tell: Tell) -> Sources:
    """The pages that `data.path` names, whole articles put apart where nobody has; raises `UserError`."""
    if request.labels not in LABELS:
        raise UserError(f"data.labels={request.labels}: of a page there are {', '.join(LABELS)}")
    article_of: dict[str, str] = {}
    files = {
        split: [
            page
            for article in looked_at(request, articles, partial(_looked_at, request, tell, article_of), tell)
            for page in article
        ]
        for split, articles in zip(("train", "test"), places(request, _SUFFIXES, "a CSV file"), strict=True)
    }

    read = reader_of_files(channels=request.channels, pixels=request.pixels)
    return sources_of(request, files, read, tell, group=lambda sample: article_of[sample.path])


def _looked_at(request: Request, tell: Tell, article_of: dict[str, str], article: Path) -> list[Labelled]:
    """Every page of an article as a file of one image; those that lack one are refused by name, or told."""
    pages, figures, images_by_reason = list(pages_of(article)), [], dict[str, list[str]]()
    for page in pages:
        try:
            image = _image(article, page)
            values = np.array([LABELS[request.labels](page, image)], dtype=np.float64)
        except (WrongFile, OSError) as error:
            images_by_reason.setdefault(" ".join(str(error).split()), []).append(page.image)
            continue
        article_of[str(image)] = str(article)
        figures.append(Labelled(path=image, images=1, labels=values, pixels=request.pixels, is_image=True))
    if images_by_reason:
        problem = (
            f"{len(pages) - len(figures)} of {plural(len(pages), 'page')} cannot be used: {by_reason(images_by_reason)}"
        )
        if request.corrupt is Corrupt.REFUSE or not figures:
            raise WrongFile(problem)
        tell(f"left out: {article}: {problem}")
    return figures


def _image(article: Path, page: Page) -> Path:
    """Where a page's image lies: beside the CSV, in a folder called as the article or images, or both."""
    folders = [Path(), Path(article.stem), Path("images"), Path("images") / article.stem]
    for folder in folders:
        if (path := article.parent / folder / page.image).is_file():
            return path
    raise WrongFile(f"no such image beside the CSV, nor in {', '.join(f'{folder}/' for folder in folders[1:])}")


def pages_of(article: Path) -> Iterator[Page]:
    """What a CSV says of each page; raises `WrongFile` with the line where it says it otherwise."""
    page: Page | None = None
    try:
        with reading(article) as file:
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise WrongFile(str(error.strerror)) from None
    if not lines or not lines[0].lstrip("\ufeff").startswith(_HEAD):
        begin = f"it begins with {short(lines[0])!r}" if lines else "it is empty"
        raise WrongFile(f"{begin}, and GTDB's files begin with {_HEAD!r}")
    for number, row in enumerate(csv.reader(lines[1:]), start=2):
        match row:
            case ["Sheet", _, image, *_]:
                if page is not None:
                    yield page
                page = Page(image=image.strip())
            case [] | ["Line", *_]:
                continue
            case [kind, *values] if page is not None and kind in (*_PARTS, "Chardata"):
                _add(page, kind, values, f"line {number}: {short(','.join(row))}")
            case _:
                raise WrongFile(
                    f"line {number}: {short(','.join(row))}; records are Sheet first, Text, Image, Line, Chardata"
                )
    if page is None:
        raise WrongFile("it has no Sheet, so no page")
    yield page


def _add(page: Page, kind: str, values: list[str], line: str) -> None:
    """Count a character, or note a part's box."""
    try:
        left, top, right, bottom = (int(value) for value in values[1:5])
        mode = int(values[5]) if kind == "Chardata" else 0
    except (ValueError, IndexError):
        raise WrongFile(f"{line}; it lacks a whole number, or the file is cut short") from None
    if not (0 <= left <= right and 0 <= top <= bottom):
        raise WrongFile(f"{line}; a box is left, top, right, bottom")
    if kind in _PARTS:
        page.parts.append((left, top, right, bottom))
    elif mode in (0, 1):
        page.ordinary, page.math = page.ordinary + (mode == 0), page.math + (mode == 1)
    else:
        raise WrongFile(f"{line}; its mode is {mode}, neither 0 (text) nor 1 (mathematics)")
