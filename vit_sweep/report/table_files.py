"""Tables as files: CSV, Markdown, LaTeX and Parquet in one folder. An edge; pyarrow lives here."""

import json
import re
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from launchers.atomic import make_folder, remove, replacing, write, write_bytes
from vit_sweep.report.tables.all_tables import NAMES
from vit_sweep.report.tables.form.table import Table
from vit_sweep.report.tables.form.text import csv_parts, laid_out, to_latex, to_markdown

_FOR_PRINT = {".md": to_markdown, ".tex": to_latex}
SUFFIXES = (".csv", ".parquet", *_FOR_PRINT)
_NOT_PRINTED = ("runs",)
"""Tables too wide for paper."""
_DIGITS = bytes.maketrans(b"\0\1", b"01")
_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write every table in every format that fits it; files of tables that are no more are removed."""
    make_folder(folder)
    written: list[Path] = []
    for table in tables:
        stem = folder / table.name
        with replacing(stem.with_suffix(".csv")) as file:
            file.writelines(part.encode() for part in csv_parts(table))
        write_bytes(stem.with_suffix(".parquet"), to_parquet(table))
        written += [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]
        if table.name not in _NOT_PRINTED:
            printed = laid_out(table)
            for suffix, text in _FOR_PRINT.items():
                write(stem.with_suffix(suffix), text(table, printed))
                written.append(stem.with_suffix(suffix))
    for old in {folder / f"{name}{suffix}" for name in NAMES for suffix in SUFFIXES} - set(written):
        remove(old, pattern=re.escape(old.name))
    return written


def to_parquet(table: Table) -> bytes:
    """The table as a Parquet file: each field's metadata has `unit` and `meaning`, the file's `title` and `notes`."""
    fields, arrays = [], []
    for column in table.columns:
        arrays.append(_filled(table.values[column.name]))
        metadata = {"unit": column.unit, "meaning": column.meaning, "title": column.title}
        fields.append(pa.field(column.name, arrays[-1].type, metadata=metadata))
    metadata = {"title": table.title, "notes": json.dumps(table.notes, ensure_ascii=False)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _filled(values: Sequence[Any]) -> pa.Array:
    """A column as Arrow has it in memory: which values there are, and these.

    `pa.array` makes the same, but imports pandas, which takes as long as collecting a thousand runs.
    """
    unknown = values.count(None)
    kind = kind_of(values) if unknown < len(values) else str
    validity = None if not unknown else pa.py_buffer(_bits([value is not None for value in values]))
    if unknown == len(values):
        content = [pa.py_buffer(bytes(4 * (len(values) + 1))), pa.py_buffer(b"")]
    elif kind is str:
        texts = [b"" if value is None else str(value).encode() for value in values]
        ends = array("i", accumulate(map(len, texts), initial=0))
        content = [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    elif kind is bool:
        content = [pa.py_buffer(_bits(list(map(bool, values))))]
    else:
        numbers = [0 if value is None else value for value in values] if unknown else values
        content = [pa.py_buffer(array("q" if kind is int else "d", numbers))]
    return pa.Array.from_buffers(_TYPES[kind], len(values), [validity, *content], unknown)


def _bits(truths: Sequence[bool]) -> bytes:
    """Eight in a byte, the first in its lowest bit."""
    digits = bytes(truths)[::-1].translate(_DIGITS)
    return int(b"0" + digits, 2).to_bytes(-(-len(digits) // 8), "little")


def kind_of(values: Sequence[Any]) -> type:
    """The narrowest of bool, int, float and str that holds all values of a column; text where they are of several
    kinds, or none is known."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds in ({bool}, {int}):
        return kinds.pop()
    return float if kinds and kinds <= {int, float} else str
