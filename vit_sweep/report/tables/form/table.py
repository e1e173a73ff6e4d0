"""Tables: rows, and what each of their columns means. The types; pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launchers.checked import checked

if TYPE_CHECKING:
    from vit_sweep.runs.run import Run

Cells = dict[str, Any]
"""One row: value by column name; None is an empty field."""
BEHIND = "runs behind"
"""No column: the runs whose times a row pools or is compared with, for `contended`."""
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
    rows: tuple[Any, ...]
    """`Cells`, each with every column's name, in the order of `columns`; not checked, which would copy them."""
    notes: tuple[str, ...] = ()
    """What must be read with it: series without a baseline, totals, what was left out."""
    empty: str = ""
    """What is said instead of a table without rows."""

    def column(self, name: str) -> Column:
        """A column by its name; raises `KeyError`."""
        return {column.name: column for column in self.columns}[name]

    @property
    def filled(self) -> tuple[Column, ...]:
        """The columns with something in some row."""
        return tuple(c for c in self.columns if any(row[c.name] not in (None, "") for row in self.rows))


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
    blank: Cells = dict.fromkeys(columns)
    made: list[Cells] = []
    behind: list[Run] = []
    for row in rows:
        behind += row.get(BEHIND, ())
        filled = blank.copy()
        for column, value in row.items():
            if column in blank and (type(value) is not float or -math.inf < value < math.inf):
                filled[column] = value
        made.append(filled)
    if not made:
        return None
    return Table(
        name=name, title=title, columns=tuple(known[column] for column in columns), rows=tuple(made),
        notes=(*dict.fromkeys(note for note in notes if note), *_contention(behind)),
    )  # fmt: skip


def contended(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Notes of any table: which runs of contended hosts its rows pool or compare with quiet ones."""
    return _contention([run for row in rows for run in row.get(BEHIND, ())])


def _contention(behind: Sequence["Run"]) -> tuple[str, ...]:
    """The notes on these runs; without one, all that a run is made of is not imported."""
    if not behind:
        return ()
    from vit_sweep.analysis.series.contention import contention

    return contention(behind)
