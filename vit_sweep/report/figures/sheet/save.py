"""The files of a figure. An edge."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
from fontTools import subset
from matplotlib.backends.backend_svg import FigureCanvasSVG

from launchers.atomic import make_folder, replacing
from vit_sweep.analysis.series.contention import contention
from vit_sweep.report.figure import FORMATS, Figure, formats
from vit_sweep.report.figures.sheet.axes import Sheet
from vit_sweep.report.figures.sheet.style import PNG_DPI
from vit_sweep.report.figures.sheet.vector import print_both
from vit_sweep.runs.run import Run

_TYPESETTING = {"GDEF", "GPOS", "GSUB", "MATH", "kern"}
"""Tables of OpenType for who turns text into glyphs."""
_PACKED = {"compress_level": 3}
"""A tenth larger than the usual 6, in two thirds of the time."""


def save(
    sheet: Sheet, folder: Path | None, name: str, *, title: str, caption: str, alt: str, pooled: Iterable[Run]
) -> Figure:
    """Write `sheet` in the formats that are wanted, all of them where none is; to be called inside `style.theme`.

    `folder`: None: nothing is written, the figure has matplotlib's own sheet.

    `pooled`: the runs whose times it pools or compares; the notes name those of contended hosts among quiet ones.

    The same data give the same bytes: no dates, fixed names inside the SVG. Every file is written aside and renamed,
    since several clients may draw the same study at once.
    """
    notes = tuple(f"{note[:1].upper()}{note[1:]}." for note in contention(pooled))
    figure = Figure(name=name, title=title, caption=caption, alt=alt, paths={}, notes=notes, sheet=sheet)
    if folder is None:
        return figure  # with its layout to be found at whatever size it is drawn: letters are wider in fewer pixels
    settle(sheet)
    make_folder(folder)
    paths = {suffix: folder / f"{name}{suffix}" for suffix in formats(os.environ) or FORMATS}
    with ExitStack() as opened:
        files = {suffix: opened.enter_context(replacing(path, durable=False)) for suffix, path in paths.items()}
        _print(sheet, files, {suffix: _metadata(suffix, title, alt) for suffix in files})
    return replace(figure, paths=paths, sheet=None)


def settle(sheet: Sheet) -> None:
    """Find the layout, once for all formats; what is drawn afterwards takes part in it no more."""
    if (engine := sheet.get_layout_engine()) is not None:
        engine.execute(sheet)
    sheet.set_layout_engine("none")


def _print(sheet: Sheet, files: Mapping[str, BinaryIO], metadata: Mapping[str, dict[str, Any]]) -> None:
    """Draw into each format, SVG among them; `Figure.savefig` draws twice, the first time for nothing."""
    sheet.set_dpi(PNG_DPI)
    if png := files.get(".png"):
        sheet.pixels.print_png(png, metadata=metadata[".png"], pil_kwargs=_PACKED)  # type: ignore[no-untyped-call]
    if pdf := files.get(".pdf"):
        with _glyphs_alone():
            print_both(sheet, files[".svg"], pdf, of_svg=metadata[".svg"], of_pdf=metadata[".pdf"])
    else:
        FigureCanvasSVG(sheet).print_svg(files[".svg"], metadata=metadata[".svg"])  # type: ignore[no-untyped-call]


@contextmanager
def _glyphs_alone() -> Iterator[None]:
    """Leave rules of typesetting out of the fonts that matplotlib subsets meanwhile.

    A PDF places each glyph and never reads them; to subset them takes three quarters of a font's time, and to read
    them, as for tables that are to be dropped, a third of what is left.
    """
    real = subset.load_font

    def without_rules(path: Any, *args: Any, **kwargs: Any) -> Any:
        font = real(path, *args, **kwargs)
        for table in _TYPESETTING.intersection(font.keys()):
            del font[table]
        return font

    subset.load_font = without_rules
    try:
        yield
    finally:
        subset.load_font = real


def _metadata(suffix: str, title: str, alt: str) -> dict[str, Any]:
    """Title and text of a figure in the words of its format; never a date."""
    match suffix:
        case ".png":
            return {"Title": title, "Description": alt, "Software": f"matplotlib {mpl.__version__}"}
        case ".svg":
            return {"Title": title, "Description": alt, "Date": None}
        case _:
            return {"Title": title, "Subject": alt, "CreationDate": None}
