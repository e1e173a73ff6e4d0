"""The tables of a study as the page shows them. Pure.

What is empty in all rows is left out, what is equal in all rows is said once, bounds join their number.
"""

from collections.abc import Collection, Sequence

from vit_sweep.report.page import content
from vit_sweep.report.page.content import Interval, Value
from vit_sweep.report.tables.table import HIGH, LOW, Cells, Column, Table

MOST_ROWS = 1000
"""Rows that the page shows of one table; its CSV file has all."""


def shown(
    table: Table, *, first: Sequence[str] = (), keep: Collection[str] = (), folded: bool = False, title: str = ""
) -> content.Table:
    """One table as the page shows it.

    `first`: columns that come first, in this order. `keep`: columns that stay even if they are equal.
    """
    columns = [column for column in table.filled if not column.bound_of]
    columns.sort(key=lambda column: first.index(column.name) if column.name in first else len(first))
    once = [column for column in columns if _equal(table, column) and column.name not in keep]
    left = [column for column in columns if column not in once] or columns[:1]
    return content.Table(
        name=table.name,
        title=title or table.title,
        columns=tuple(_column(column) for column in left),
        rows=tuple(tuple(_value(column, row) for column in left) for row in table.rows[:MOST_ROWS]),
        said_once=tuple((column.name, _value(column, table.rows[0])) for column in once),
        notes=(*cut(len(table.rows), f"tables/{table.name}.csv"), *table.notes),
        folded=folded,
    )


def cut(rows: int, file: str) -> tuple[str, ...]:
    """What is said of a table that is longer than the page shows; nothing of a shorter one."""
    return (f"The first {MOST_ROWS:,} of {rows:,} rows; {file} has all.",) if rows > MOST_ROWS else ()


def measured(table: Table) -> set[str]:
    """The columns that hold measurements: fractions, not counts or names."""
    return {c.name for c in table.columns if any(isinstance(row[c.name], float) for row in table.rows)}


def _equal(table: Table, column: Column) -> bool:
    values = [row[column.name] for row in table.rows]
    return all(value == values[0] and type(value) is type(values[0]) for value in values)


def _column(column: Column) -> content.Column:
    unit = "%" if column.percent else column.unit
    title = column.title.removesuffix(f" {unit}") if unit else column.title
    return content.Column(name=column.name, title=title, unit="" if unit == title else unit, help=column.meaning)


def _value(column: Column, row: Cells) -> Value:
    value, low, high = row[column.name], row.get(column.name + LOW), row.get(column.name + HIGH)
    if isinstance(value, int | float) and low is not None and high is not None:
        return Interval(value=float(value), low=float(low), high=float(high))
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
