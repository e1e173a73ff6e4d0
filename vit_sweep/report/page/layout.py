"""How the page lays out a table: which columns in which order, what is said once above it, how long it gets. Pure.

A study's own table has many columns: what is empty in all rows is left out, what is equal in all rows is said once.
Tables that are made for the page show all that they have.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vit_sweep.analysis.series.contention import is_contention
from vit_sweep.report.tables.form.columns import CONFIGURATION
from vit_sweep.report.tables.form.rounding import is_number, plain, with_interval
from vit_sweep.report.tables.form.table import HIGH, LOW, Cells, Column, Table, by_column, contended

MOST_ROWS = 1000
"""Rows that the page shows of one table; its CSV file has all."""
_FOLDED_FROM = 24
"""Rows beyond which a table is closed until its reader opens it."""
_PAGE = 880
"""Pixels beside the contents on a desk of 1280."""
_CHARACTER, _PADDING = 8.6, 25
"""Of a table's text, pixels."""
_MOST_TEXT, _FIRST_TEXT = 24, 34
"""Characters of a line of text in a field, and in the first one of a row."""
_FIRST = (
    *CONFIGURATION,
    "batch",
    "accum",
    "placement",
    "gpus",
    "nodes",
    "epoch_s",
    "n",
    "time_ratio",
    "memory_saved",
    "certificate",
    "verdict",
    "speedup",
    "efficiency",
    "images_per_s",
    "serial_fraction",
    "throughput_ratio",
    "target_efficiency",
    "batch_needed",
    "time_to_accuracy_s",
    "reached",
)
"""Columns that a reader looks for first: what tells rows apart, then their numbers."""


class Layout(NamedTuple):
    """A table as the page shows it."""

    columns: list[Column]
    rows: Sequence[Cells]
    said_once: list[Column]
    """Columns that are equal in all rows."""
    notes: tuple[str, ...]
    folded: bool = False
    more: frozenset[str] = frozenset()
    """Names of the columns that do not fit a desk's page beside the others; shown when asked for."""


class Field(NamedTuple):
    """One field: as people read it, and in full for sorting and for the CSV file."""

    number: str
    interval: str
    value: str
    low: str
    high: str

    @property
    def text(self) -> str:
        """All that people read."""
        return f"{self.number} {self.interval}".rstrip()


def whole(table: Table, *, fold: bool = False) -> Layout:
    """All of a table that was made for the page."""
    columns = [column for column in table.columns if not column.bound_of]
    rows = table.rows
    folded = fold and len(rows) > _FOLDED_FROM
    return Layout(columns, rows, [], _notes(table), folded=folded, more=_beyond(columns, rows))


def compact(table: Table) -> Layout:
    """One of the study's own tables, without what says nothing."""
    runs = table.name == "runs"
    first = ("cell_id",) if table.name in ("runs", "failures") else _FIRST
    # Of the tidy table even measurements leave where they are equal: it has a hundred columns.
    keep = {"gpus", "cell_id"} | (set() if runs else _measured(table))
    columns = [column for column in table.filled if not column.bound_of]
    columns.sort(key=lambda column: first.index(column.name) if column.name in first else len(first))
    once = [column for column in columns if _equal(table, column) and column.name not in keep]
    left = [column for column in columns if column not in once] or columns[:1]
    rows = table.part(slice(MOST_ROWS)).rows
    return Layout(
        columns=left,
        rows=rows,
        more=_beyond(left, rows),
        said_once=once,
        notes=(*cut(table.height, f"tables/{table.name}.csv"), *_notes(table)),
        folded=runs or table.height > _FOLDED_FROM,
    )


def table_of(
    name: str,
    title: str,
    columns: Iterable[Column | tuple[Column, ...]],
    rows: Iterable[Mapping[str, Any]],
    *,
    notes: tuple[str, ...] = (),
    empty: str = "",
) -> Table:
    """A table for the page: fields that a row lacks are empty. `columns`: those with bounds come as a group."""
    rows = list(rows)
    flat = [column for group in columns for column in (group if isinstance(group, tuple) else (group,))]
    values = by_column((column.name for column in flat), rows)
    notes = (*notes, *contended(rows))
    return Table(name=name, title=title, columns=tuple(flat), values=values, notes=notes, empty=empty)


def heading(table: Table) -> tuple[str, str]:
    """Title and lead: what stands behind the colon of a title is a sentence of its own."""
    title, _, lead = table.title.partition(": ")
    return title, f"{lead[:1].upper()}{lead[1:].removesuffix('.')}." if lead else ""


def head(column: Column) -> tuple[str, str]:
    """What stands above a column, and its unit; in percent, parts are shown times 100."""
    unit = "%" if column.percent else column.unit
    title = (column.title or column.name).removesuffix(f" {unit}") if unit else column.title or column.name
    return title, "" if unit == title else unit


def shown(column: Column, row: Cells) -> Field:
    """One field of a table."""
    value: Any = row[column.name]
    low, high = row.get(column.name + LOW), row.get(column.name + HIGH)
    if not is_number(value) or low is None or high is None:
        percent = column.percent and is_number(value)
        return Field(plain(value, percent=percent), "", exact(value), "", "")
    return Field(*with_interval(value, low, high, percent=column.percent), *map(exact, (value, low, high)))


def exact(value: object) -> str:
    """The whole number, for machines; what has none is empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def numeric(rows: Iterable[Cells], column: Column) -> bool:
    """Whether a column holds numbers only (and has one): it is then set on the right and sorted by size."""
    known = [value for row in rows if (value := row[column.name]) is not None]
    return bool(known) and all(map(is_number, known))


def cut(rows: int, file: str) -> tuple[str, ...]:
    """What is said of a table that is longer than the page shows; nothing of a shorter one."""
    return (f"The first {MOST_ROWS:,} of {rows:,} rows; {file} has all.",) if rows > MOST_ROWS else ()


def width_of(column: Column, rows: Iterable[Cells], *, first: bool) -> int:
    """Pixels that a column takes, about: its longest word that does not break, or as much as a text is given."""
    longest = max(map(len, (word for part in head(column) for word in part.split())), default=0)
    numeric_width = text_width = 0
    for row in rows:
        field = shown(column, row)
        if is_number(row[column.name]) or not field.number.strip():
            # An interval stands below its number.
            numeric_width = max(numeric_width, len(field.number), len(field.interval))
        else:
            text_width = max(text_width, len(field.number))
    text = min(text_width, _FIRST_TEXT if first else _MOST_TEXT)
    return _PADDING + round(_CHARACTER * max(longest + 2, numeric_width, text))


def _beyond(columns: Sequence[Column], rows: Sequence[Cells]) -> frozenset[str]:
    """The columns that do not fit, the last first; long names and remarks give way to numbers, a short one fills up."""
    used_px, more = 0, set()
    for index, column in enumerate(columns):
        width = width_of(column, rows, first=index == 0)
        if index and used_px + width > _PAGE:
            more.add(column.name)
        else:
            used_px += width
    return frozenset(more)


def _notes(table: Table) -> tuple[str, ...]:
    """Without contended hosts, which the page names once in each section."""
    return tuple(note for note in table.notes if not is_contention(note))


def _measured(table: Table) -> set[str]:
    """The columns that hold measurements: fractions, not counts or names."""
    return {c.name for c in table.columns if any(isinstance(value, float) for value in table.values[c.name])}


def _equal(table: Table, column: Column) -> bool:
    values = table.values[column.name]
    return all(value == values[0] and type(value) is type(values[0]) for value in values)
