"""The options by which verbs take somebody's tables: files, names of columns, what the files leave open. An edge."""

from pathlib import Path
from typing import Annotated

import typer

Csv = Annotated[
    list[str] | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="Somebody's results: CSV, .gz, .xlsx or a pattern like 'runs/*.csv'; repeatable (docs/results/import.md).",
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=THEIRS", help="What the file calls a column: gpus=num_gpus; several times."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="COLUMN=VALUE", help="A column that the file lacks: data=cifar10; several times."),
]
Decimal = Annotated[
    str | None, typer.Option("--decimal", metavar="comma|point", help="What the commas in its numbers are.")
]
Sheet = Annotated[str | None, typer.Option("--sheet", metavar="NAME", help="Of a workbook with several.")]

_SUFFIXES = {".csv", ".tsv", ".txt", ".gz", ".xlsx", ".log"}


def is_table(argument: str) -> bool:
    """Whether a word names a file, or files, rather than a study."""
    path = Path(argument)
    return path.is_file() or path.suffix.lower() in _SUFFIXES or any(mark in argument for mark in "*?[")
