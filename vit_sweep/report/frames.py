"""Tables as pandas frames. An edge of the report's room: pandas lives here and in what reads tables."""

from pandas import DataFrame, Series

from vit_sweep.report.table_files import kind_of
from vit_sweep.report.tables.form.table import Table

_KINDS = {bool: "boolean", int: "Int64", float: "float64", str: "object"}
"""What is not known is `<NA>` or NaN, and does not make 2 GPUs 2.0."""


def frame(table: Table) -> DataFrame:
    """The table in full precision; `attrs` has its `title`, its `notes`, and by column `units` and `meanings`."""
    columns = {}
    for column in table.columns:
        values = table.values[column.name]
        kind = kind_of(values)
        plain = [None if value is None else str(value) for value in values] if kind is str else values
        columns[column.name] = Series(plain, dtype=_KINDS[kind])
    frame = DataFrame(columns)
    frame.attrs = {
        "title": table.title,
        "notes": list(table.notes),
        "units": {column.name: column.unit for column in table.columns},
        "meanings": {column.name: column.meaning for column in table.columns},
    }
    return frame
