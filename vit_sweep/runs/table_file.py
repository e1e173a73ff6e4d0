"""A file with somebody's table as its cells: CSV however it is separated, or a sheet of a workbook. An edge.

pandas reads; here is decided what it is to read: the separator, the comment lines, the sheet.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.errors import UserError, closest
from launchers.text import plural
from vit_sweep.runs import deepspeed_log, mlperf_log
from vit_sweep.runs.decoding import content_of
from vit_sweep.runs.reshaping import Reading, recognised
from vit_sweep.runs.tidy.columns import REQUIRED, LogError

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SPACES = r"\s+"
_MOST_CELLS, _LONGEST_HEADER = 50_000_000, 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """The cells of a table, as text."""

    names: list[str]
    """Of its columns, small letters."""
    cells: "pd.DataFrame"
    """By place of the column; the index is the number of the line, from 1."""
    notes: tuple[str, ...] = ()


def read_table(path: Path, reading: Reading) -> TableFile:
    """Read a file: a table by the names of columns that `reading` knows, or a log of a program that is known.

    Raises `UserError` where it is neither, is empty, or has several sheets of which none is named.
    """
    content = content_of(path)
    for is_log, rows_of, note in _LOGS:
        if is_log(content.text):
            return _of_log(path, content.text, rows_of, (*content.notes, note), dict(reading.constants))
    frame, notes = (
        _of_workbook(path, content.workbook, reading.known, reading.sheet)
        if content.workbook
        else _of_text(path, content.text, reading.known)
    )
    frame = frame.fillna("")
    if not frame.empty:
        frame = frame[frame.apply(lambda row: any(str(cell).strip() for cell in row), axis=1)]
    if content.workbook and not frame.empty:
        rows = [[str(cell).strip().lower() for cell in row] for row in frame.head(_FAR_DOWN).to_numpy().tolist()]
        counts = [sum(name in reading.known for name in recognised(names)[0]) for names in rows]
        if not counts[0] and max(counts) > 1:
            first = next(place for place, count in enumerate(counts) if count > 1)
            frame = frame.iloc[first:]
            notes = [*notes, f"{plural(first, 'line')} above the names of the columns left out"]
    if frame.empty:
        raise UserError(f"{path} is empty; its first line names the columns: {', '.join(REQUIRED)}, ...")
    names = [str(name).strip().lower() for name in frame.iloc[0]]
    return TableFile(names=names, cells=frame.iloc[1:], notes=(*content.notes, *notes))


RowsOfLog = Callable[[str, Mapping[str, str]], list[dict[str, str]]]
_LOGS: tuple[tuple[Callable[[str], bool], RowsOfLog, str], ...] = (
    (mlperf_log.is_mlperf_log, mlperf_log.rows_of_mlperf, mlperf_log.NOTE),
    (deepspeed_log.is_deepspeed_log, deepspeed_log.rows_of_deepspeed, deepspeed_log.NOTE),
)


def _of_log(
    path: Path, text: str, rows_of: RowsOfLog, notes: tuple[str, ...], constants: Mapping[str, str]
) -> TableFile:
    import pandas as pd

    try:
        rows = rows_of(text, constants)
    except LogError as error:
        raise UserError(f"{path}: {error}") from None
    frame = _by_line(pd.DataFrame(rows).fillna(""))
    return TableFile(names=[str(name) for name in frame.columns], cells=frame, notes=notes)


def _of_text(path: Path, text: str, known: Sequence[str]) -> tuple["pd.DataFrame", list[str]]:
    import pandas as pd

    notes: list[str] = []
    lines, separator = text.splitlines(), ""
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) > 4:
        separator, lines[0] = lines[0][4], ""
    comments = [place for place, line in enumerate(lines) if line.lstrip().startswith("#")]
    for place in comments:
        # Blank, not gone: the others keep their numbers.
        lines[place] = ""
    first = _header_place(lines, known)
    above = [place for place in range(first) if lines[place].strip()]
    for place in above:
        lines[place] = ""
    if above:
        notes.append(f"{plural(len(above), 'line')} above the names of the columns left out")
    header = lines[first] if lines else ""
    if not header.strip():
        return pd.DataFrame(), notes
    if header.lstrip().startswith(("{", "[")):
        raise UserError(f"{path}: JSON, not a table; write it as CSV, with pandas for example: read_json, to_csv")
    if len(header) > _LONGEST_HEADER:
        raise UserError(f"{path}: its first line has {len(header):,} characters, which no names of columns have")
    separator = separator or _separator(header, known)
    # A short row lacks its last fields; what is beyond the header belongs to no column.
    width = len(_fields(header, separator))
    widest = max((len(line.split(None if separator == _SPACES else separator)) for line in lines), default=width)
    _refuse_too_large(path, len(lines), max(width, widest))
    if comments:
        notes.append(f"{plural(len(comments), 'comment line')} left out")
    if separator != ",":
        notes.append(f"columns are separated by {_SEPARATORS.get(separator, 'spaces')}")
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(lines) + "\n"),
            sep=separator,
            header=None,
            names=list(range(max(width, widest))),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UserError(f"{path}: not CSV – {error}") from None
    return _by_line(frame.iloc[:, :width]), notes


_FAR_DOWN = 20
"""Lines among which the names of the columns are looked for."""


def _header_place(lines: Sequence[str], known: Sequence[str]) -> int:
    """Which line names the columns: the first one, unless it names none that is known and another names several."""
    filled = [place for place, line in enumerate(lines) if line.strip()][:_FAR_DOWN]
    if any(len(lines[place]) > _LONGEST_HEADER for place in filled):
        return filled[0]
    counts = {place: _known_names(lines[place], known) for place in filled}
    if filled and not counts[filled[0]]:
        return next((place for place, count in counts.items() if count > 1), filled[0])
    return filled[0] if filled else 0


def _known_names(line: str, known: Sequence[str]) -> int:
    """How many names of columns a line has, by the separator that finds most."""
    split = ([name.strip().lower() for name in _fields(line, separator)] for separator in (*_SEPARATORS, _SPACES))
    return max(sum(name in known for name in recognised(names)[0]) for names in split)


def _separator(header: str, known: Sequence[str]) -> str:
    """The one by which the header falls into most known names, else into most names."""

    def score(separator: str) -> tuple[int, int]:
        names = [name.strip().lower() for name in _fields(header, separator)]
        return sum(name in known for name in names), len(names)

    best = max(_SEPARATORS, key=score)
    spaced = score(_SPACES)
    return _SPACES if score(best)[1] == 1 and spaced[0] >= len(REQUIRED) else best


def _fields(header: str, separator: str) -> list[str]:
    import csv

    return header.split() if separator == _SPACES else next(csv.reader([header], delimiter=separator), [])


def _of_workbook(path: Path, data: bytes, known: Sequence[str], sheet: str | None) -> tuple["pd.DataFrame", list[str]]:
    import pandas as pd

    _check_sheets(path, data)
    try:
        sheets = pd.read_excel(io.BytesIO(data), sheet_name=None, header=None, dtype=str, keep_default_na=False)
    except Exception as error:  # openpyxl names no error of its own for a file that is none
        raise UserError(f"{path}: not an .xlsx workbook – {error}") from None
    if sheet is None:
        tables = [name for name, frame in sheets.items() if _looks_like_a_table(frame, known)] or list(sheets)
        if len(tables) != 1:
            raise UserError(f"{path}: {len(tables)} sheets may be meant ({', '.join(tables)}); name one with --sheet")
        sheet = tables[0]
    if sheet not in sheets:
        raise UserError(f"{path}: sheet={sheet}: there is none – {closest(sheet, list(sheets))}")
    frame = sheets[sheet]
    return _by_line(frame), [f"sheet {sheet} of a workbook"] if len(sheets) > 1 else []


def _check_sheets(path: Path, data: bytes) -> None:
    """Raise `UserError` for a sheet of a few cells that lie far apart: between them pandas would make the others."""
    from openpyxl import load_workbook

    sizes: list[tuple[int, int]] = []
    with suppress(Exception):  # openpyxl names no error of its own; whoever reads it next says what is wrong
        for sheet in load_workbook(io.BytesIO(data), read_only=True).worksheets:
            sheet.reset_dimensions()
            widths = [len(row) for row in sheet.iter_rows(values_only=True)]
            sizes.append((len(widths), max(widths, default=0)))
    for size in sizes:
        _refuse_too_large(path, *size)


def _refuse_too_large(path: Path, rows: int, columns: int) -> None:
    if rows * columns > _MOST_CELLS:
        raise UserError(f"{path}: {rows:,} rows of up to {columns:,} columns; cut out what is a table of runs")


def _by_line(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.set_axis(list(range(1, len(frame) + 1)), axis=0)


def _looks_like_a_table(frame: "pd.DataFrame", known: Sequence[str]) -> bool:
    rows = frame.head(20).to_numpy().tolist()
    return any(sum(str(cell).strip().lower() in known for cell in row) >= 2 for row in rows)
