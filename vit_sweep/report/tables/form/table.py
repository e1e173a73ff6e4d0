"""Tables: values by column, and what each column means. The types; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from launchers.checked import checked

if TYPE_CHECKING:
    from vit_sweep.runs.run import Run

Cells = dict[str, Any]
"""One row: value by column name; None is an empty field."""
SOURCE_RUNS = "runs behind"
"""No column: the runs whose times a row pools or is compared with, for `contended`."""
_NUMBERS = {float, int, bool, type(None)}
LOW, HIGH = "_low", "_high"
"""What the names of an interval's bounds end with."""


@checked
class Column:
    """One column of a table, as a person needs it explained."""

    name: str
    title: str = ""
    """Short, for print and screen; empty: the name."""
    meaning: str = ""
    """One sentence: a definition or a formula."""
    unit: str = ""
    percent: bool = False
    """The value is a part of 1 that print shows in percent."""
    bound_of: str = ""
    """The column whose 95 % interval this is a bound of; print puts both behind the value."""


@checked
class Table:
    """One table, complete: nothing else is needed to write it in any format."""

    name: str
    """Of its files, and of the label in LaTeX."""
    title: str
    """A sentence without its full stop; the caption."""
    columns: tuple[Column, ...]
    values: dict[str, Any]
    """By the name of a column, one of each row: of thousands of rows, a dict each would take most of the memory. Not
    checked, which would copy them."""
    notes: tuple[str, ...] = ()
    """What must be read with it: series without a baseline, totals, what was left out."""
    empty: str = ""
    """What is said instead of a table without rows."""

    @property
    def rows(self) -> tuple[Cells, ...]:
        """Row by row, made when asked for."""
        return tuple(dict(zip(self.values, row, strict=True)) for row in zip(*self.values.values(), strict=True))

    @property
    def height(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.values.values()), ()))

    def part(self, rows: slice) -> "Table":
        """Some of its rows."""
        return replace(self, values={name: column[rows] for name, column in self.values.items()})

    def column(self, name: str) -> Column:
        """A column by its name; raises `KeyError`."""
        return {column.name: column for column in self.columns}[name]

    @property
    def filled(self) -> tuple[Column, ...]:
        """The columns with something in some row."""
        return tuple(c for c in self.columns if any(value not in (None, "") for value in self.values[c.name]))


def by_column(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of rows, those of further columns left out; None where a row has none."""
    all_rows = list(rows)
    return {name: [row.get(name) for row in all_rows] for name in columns}


def table(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    known: Mapping[str, Column],
    notes: Iterable[str] = (),
) -> Table | None:
    """Make a table of `columns` (names in `known`); None without a row. Numbers that are none become empty fields."""
    row_list = list(rows)
    if not row_list:
        return None
    return Table(
        name=name,
        title=title,
        columns=tuple(known[column] for column in columns),
        values={column: finite(values) for column, values in by_column(columns, row_list).items()},
        notes=(*dict.fromkeys(note for note in notes if note), *contended(row_list)),
    )


def finite(values: Sequence[Any]) -> list[Any]:
    """The values of a column, without numbers that are none."""
    kinds = set(map(type, values))
    # Whether a sum is a number tells it of all, in a tenth of the time.
    if float not in kinds or (kinds <= _NUMBERS and isfinite(sum(filter(None, values)))):
        return list(values)
    return [None if type(value) is float and not -inf < value < inf else value for value in values]


def contended(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Notes of any table: which runs of contended hosts its rows pool or compare with quiet ones."""
    return _contention([run for row in rows for run in row.get(SOURCE_RUNS, ())])


def _contention(runs: Sequence["Run"]) -> tuple[str, ...]:
    """The notes on these runs; without one, all that a run is made of is not imported."""
    if not runs:
        return ()
    from vit_sweep.analysis.series.contention import contention

    return contention(runs)
