"""Tables as files: CSV, Markdown, LaTeX and Parquet in one folder. An edge; pyarrow lives here."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from launchers.atomic import make_folder, remove, write, write_bytes
from vit_sweep.report.tables.all_tables import NAMES
from vit_sweep.report.tables.form.table import Column, Table
from vit_sweep.report.tables.form.text import laid_out, to_csv, to_latex, to_markdown

_FOR_PRINT = {".md": to_markdown, ".tex": to_latex}
SUFFIXES = (".csv", ".parquet", *_FOR_PRINT)
_NOT_PRINTED = ("runs",)
"""Tables too wide for paper."""
_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write every table in every format that fits it; files of tables that are no more are removed."""
    make_folder(folder)
    written: list[Path] = []
    for table in tables:
        stem = folder / table.name
        write(stem.with_suffix(".csv"), to_csv(table))
        write_bytes(stem.with_suffix(".parquet"), to_parquet(table))
        written += [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]
        if table.name not in _NOT_PRINTED:
            made = laid_out(table)
            for suffix, text in _FOR_PRINT.items():
                write(stem.with_suffix(suffix), text(table, made))
                written.append(stem.with_suffix(suffix))
    for old in {folder / f"{name}{suffix}" for name in NAMES for suffix in SUFFIXES} - set(written):
        remove(old, made=re.escape(old.name))
    return written


def to_parquet(table: Table) -> bytes:
    """The table as a Parquet file: each field's metadata has `unit` and `meaning`, the file's `title` and `notes`."""
    fields, arrays = [], []
    for column in table.columns:
        values = [row[column.name] for row in table.rows]
        kind = _TYPES[kind_of(values)]
        plain = [None if value is None else str(value) for value in values] if kind == pa.string() else values
        arrays.append(pa.array(plain, type=kind))
        fields.append(pa.field(column.name, kind, metadata=_about(column)))
    about = {"title": table.title, "notes": json.dumps(table.notes, ensure_ascii=False)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=about)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _about(column: Column) -> dict[str, str]:
    return {"unit": column.unit, "meaning": column.meaning, "title": column.title}


def kind_of(values: Sequence[Any]) -> type:
    """The narrowest of bool, int, float and str that holds all values of a column; text where they are of several
    kinds, or none is known."""
    kinds = {type(value) for value in values if value is not None}
    if kinds in ({bool}, {int}):
        return kinds.pop()
    return float if kinds and kinds <= {int, float} else str
