"""Tables that fit their terminal: no number, no word and no row is broken over lines. An edge; rich draws.

What has no room leaves in this order, and only as much as must: headings in one line; columns that are not what the
table is about; intervals; long remarks, which become notes below; conditions, which become headings above their rows;
then the columns that say least. Whatever is gone is named below.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launchers.text import joined, some
from vit_sweep.report.tables.form.rounding import EMPTY

_REMARK = 24
"""Characters that a column of remarks needs, or its longest one if that is shorter."""
_WORD = len("note 9")
"""Characters of a remark that a number would not make shorter."""
_NAMED = 12
"""Columns without room that are named; of more, the first."""
MINOR = 100
"""From this rank on a column leaves before anything else is given up for it: where a file is."""
_UNLIMITED = 10_000


class Role(Enum):
    """What a column is for, and so how it makes room."""

    KEY = "key"
    """Names the row: it always stays."""
    CONDITION = "condition"
    """Equal along some rows: it may become a heading above them."""
    MEASURE = "measure"
    """It may be left out."""
    REMARK = "remark"
    """Sentences, which may be broken between words, or become notes below."""


@dataclass(frozen=True)
class Column:
    """One column as text."""

    heading: str
    values: tuple[str, ...] = ()
    role: Role = Role.MEASURE
    is_text: bool = False
    """Whether it is set to the left."""
    short: tuple[str, ...] = ()
    """The values without what may be left out first."""
    rank: int = 0
    """Of those that may be left out, the highest go first."""
    short_rank: int = MINOR
    """With which of these `short` comes; from `MINOR` on before any column that the table is about."""


def columns_of(named: Sequence[Column], rows: Sequence[Sequence[object]]) -> tuple[Column, ...]:
    """The same columns with the values of `rows`."""
    return tuple(replace(column, values=tuple(str(row[place]) for row in rows)) for place, column in enumerate(named))


@dataclass(frozen=True)
class Fitted:
    """A table that looks at the width that it gets."""

    columns: tuple[Column, ...]
    title: Text | str = ""
    notes: tuple[str, ...] = ()
    """Sentences below."""
    styles: tuple[str, ...] = ()
    """Of each row."""
    frame: box.Box | None = None
    stacks: bool = False
    """Whether a row without room becomes a block of lines: of tables of sentences."""
    left_out: str = "a wider terminal shows {}"
    """What is said of columns without room."""
    heading_of: Callable[[Sequence[tuple[str, str]]], str] = field(
        default=lambda pairs: ", ".join(f"{name} {value}" for name, value in pairs)
    )
    """The heading above rows that agree in these conditions: pairs of column and value."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the first form that fits; the last one where none does."""
        forms = [form for form in _forms(self.columns) if form.whole or not self.stacks]
        fitting = (form for form in forms if _width(self._table(form), console) <= options.max_width)
        drawn = next(fitting, forms[-1])
        if self.title:
            yield self.title if isinstance(self.title, Text) else Text(self.title)
        if self.stacks and _width(self._table(drawn), console) > options.max_width:
            yield from self._stacked()
            yield from map(Text, self.notes)
            return
        headings = self._headings(drawn)
        widths = _remark_widths(drawn, options.max_width - _width(self._table(drawn), console))
        for table, heading in zip(self._tables(drawn, widths), headings, strict=True):
            if heading:
                yield Text(heading, "italic")
            yield table
        for number, text in enumerate(drawn.remarks, start=1):
            yield Text(f"{number}) {text}")
        if drawn.gone:
            yield Text(self.left_out.format(_listed(drawn.gone)), "dim")
        yield from map(Text, self.notes)

    def _stacked(self) -> Iterator[RenderableType]:
        """A block for each row: what names it, and below that the rest, each behind its heading."""
        for row in range(len(self.columns[0].values)):
            style = self.styles[row] if self.styles else ""
            keys = [_named(column, row) for column in self.columns if column.role is Role.KEY]
            yield Text("  ".join(filter(None, keys)), style)
            for column in self.columns:
                if column.role is not Role.KEY and column.values[row] not in ("", "–"):
                    heading = f"{column.heading}: " if column.heading else ""
                    yield Padding(Text(f"{heading}{column.values[row]}", style), (0, 0, 0, 4))

    def _blocks(self, form: "_Form") -> list[list[int]]:
        """Rows that stand under one heading."""
        rows = range(len(self.columns[0].values) if self.columns else 0)
        if not form.headings:
            return [list(rows)]
        return [list(block) for _, block in groupby(rows, lambda row: [column.values[row] for column in form.headings])]

    def _headings(self, form: "_Form") -> list[str]:
        if not form.headings:
            return [""]
        return [
            self.heading_of([(column.heading, column.values[rows[0]]) for column in form.headings])
            for rows in self._blocks(form)
        ]

    def _tables(self, form: "_Form", widths: Mapping[int, int]) -> list[Table]:
        """A table for each block of rows; their columns stand below each other."""
        tables = []
        for place, rows in enumerate(self._blocks(form)):
            table = self._table(form, widths, show_header=place == 0)
            for row in rows:
                style = self.styles[row] if self.styles else ""
                table.add_row(*(column.values[row] for column in form.columns), style=style)
            tables.append(table)
        return tables

    def _table(self, form: "_Form", widths: Mapping[int, int] | None = None, *, show_header: bool = True) -> Table:
        """A table without rows, as wide as with all of them; `widths` of remarks, by place, else their least ones."""
        table = Table(box=self.frame, pad_edge=False, show_edge=False, show_header=show_header)
        table.collapse_padding = True
        for place, column in enumerate(form.columns):
            heading = _broken(column.heading) if form.broken else column.heading
            width = (widths or {}).get(place, _widths(column, heading)[0])
            remark = column.role is Role.REMARK
            justify: Literal["left", "right"] = "left" if column.is_text or remark else "right"
            table.add_column(
                heading,
                justify=justify,
                no_wrap=not remark,
                min_width=width,
                max_width=width,
            )
        return table


@dataclass(frozen=True)
class _Form:
    """One way to draw a table."""

    columns: tuple[Column, ...]
    broken: bool = True
    """Whether the headings of columns are broken between their words."""
    headings: tuple[Column, ...] = ()
    """Conditions that stand above their rows."""
    remarks: tuple[str, ...] = ()
    """What the numbers in the table say below it."""
    gone: tuple[str, ...] = ()
    """Headings of columns that are left out."""

    @property
    def whole(self) -> bool:
        """Whether each row still says all of it."""
        return not (self.headings or self.remarks or self.gone)


def _named(column: Column, row: int) -> str:
    """What names a row where no heading stands above it: a number says of what."""
    return column.values[row] if column.is_text else f"{column.heading} {column.values[row]}"


def _widths(column: Column, heading: str) -> tuple[int, int]:
    """The least width of a column, and that in which nothing of it is broken."""
    full = max(_longest(heading.split("\n")), _longest(column.values))
    word = max((_longest(text.split()) for text in column.values), default=0)
    return (max(min(full, _REMARK), word) if column.role is Role.REMARK else full), full


def _remark_widths(form: _Form, spare: int) -> dict[int, int]:
    """Widths of the columns of remarks, by place, if all of them share what is left of a line evenly.

    rich gives remarks of unlike lengths more than a line has, and cuts the last.
    """
    remarks = {
        place: _widths(column, column.heading)
        for place, column in enumerate(form.columns)
        if column.role is Role.REMARK
    }
    widths, left = dict[int, int](), max(0, spare)
    for done, place in enumerate(sorted(remarks, key=lambda place: remarks[place][1] - remarks[place][0])):
        least, full = remarks[place]
        widths[place] = min(full, least + left // (len(remarks) - done))
        left -= widths[place] - least
    return widths


def _forms(columns: Sequence[Column]) -> Iterator[_Form]:
    """All forms, the fullest first."""
    form = _Form(tuple(columns))
    yield replace(form, broken=False)
    yield form
    for column in _least_first(column for column in form.columns if column.rank >= MINOR):
        form = _without(form, column)
        yield form
    form = _shortened(form, MINOR)
    yield form
    form = _noted(form)
    yield form
    conditions = tuple(column for column in form.columns if column.role is Role.CONDITION)
    if conditions:
        form = replace(form, columns=tuple(c for c in form.columns if c not in conditions), headings=conditions)
        yield form
    for column in _least_first(column for column in form.columns if column.role is Role.MEASURE):
        form = _shortened(form, column.rank + 1)
        yield form
        form = _without(form, next(c for c in form.columns if c.heading == column.heading))
        yield form


def _shortened(form: _Form, rank: int) -> _Form:
    """Without what may be left out first in columns of this `short_rank` or a higher one."""
    columns = (replace(c, values=c.short, short=()) if c.short and c.short_rank >= rank else c for c in form.columns)
    return replace(form, columns=tuple(columns))


def _least_first(columns: Iterable[Column]) -> list[Column]:
    return sorted(columns, key=lambda column: -column.rank)


def _without(form: _Form, column: Column) -> _Form:
    columns = tuple(other for other in form.columns if other is not column)
    return replace(form, columns=columns, gone=(*form.gone, column.heading))


def _noted(form: _Form) -> _Form:
    """With numbers in place of remarks, which stand below, each once; a word stays where it is."""
    texts: dict[str, int] = {}
    columns = []
    for column in form.columns:
        if column.role is Role.REMARK and _longest(column.values) > _WORD:
            numbers = tuple(
                f"{texts.setdefault(text, len(texts) + 1)})" if cell_len(text) > _WORD else text
                for text in column.values
            )
            words = {text for text in column.values if cell_len(text) <= _WORD} - {"", EMPTY}
            heading = column.heading if words else column.heading and "note"
            columns.append(replace(column, heading=heading, values=numbers, role=Role.KEY))
        else:
            columns.append(column)
    return replace(form, columns=tuple(columns), remarks=tuple(texts))


def _broken(heading: str) -> str:
    """A heading in lines, none of them with a part of a word.

    >>> _broken("steps/epoch"), _broken("nodes x GPUs"), _broken("img/s")
    ('steps\\n/epoch', 'nodes\\nx GPUs', 'img/s')
    """
    return re.sub(r"(?<!x) |(?<=\w)(?=/\w{3})|(?<=_)", "\n", heading)


def _longest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update_width(_UNLIMITED), table).minimum


def _listed(names: Sequence[str]) -> str:
    """The names, the first ones of many."""
    return some(names, _NAMED - 1) if len(names) > _NAMED else joined(names)
