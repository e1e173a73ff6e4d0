"""Tables of runs that learn from image-caption pairs count these, where others count images. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vit_sweep.plan.choices import Task
from vit_sweep.report.tables.form.table import Column, Table
from vit_sweep.runs.run import Run, counted

_COUNTS = frozenset(
    {"batch", "micro_batch", "global_batch", "work", "train_images", "batch_needed", "below_batch", "reached_batch"}
    | {"images_per_s", "joules_per_image", "joules_per_epoch", "images_per_joule"}
)
"""Columns, with those of their bounds, that count what goes through the model."""
_SOME = "rows of task=contrastive count image-caption pairs where columns say images"


def in_pairs(tables: Iterable[Table], runs: Sequence[Run]) -> list[Table]:
    """The same tables in words of what their runs count; names of columns stay, for programs.

    Where only some learn from pairs, a note says so.
    """
    if counted(runs) == "pairs":
        return [replace(t, title=_pairs(t.title), columns=tuple(map(_counting, t.columns))) for t in tables]
    is_mixed = any(run.condition("task") == Task.CONTRASTIVE for run in runs)
    return [_noted(table) for table in tables] if is_mixed else list(tables)


def _noted(table: Table) -> Table:
    counts = any(column.name in _COUNTS for column in table.filled)
    return replace(table, notes=(*table.notes, _SOME)) if counts else table


def _counting(column: Column) -> Column:
    if (column.bound_of or column.name) not in _COUNTS:
        return column
    title, unit, meaning = map(_pairs, (column.title, column.unit, column.meaning))
    return replace(column, title=title, unit=unit, meaning=meaning)


def _pairs(text: str) -> str:
    return re.sub(r"\b([Ii])mage(s?)\b", lambda match: ("P" if match[1] == "I" else "p") + "air" + match[2], text)
