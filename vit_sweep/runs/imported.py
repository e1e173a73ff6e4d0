"""Others' results: a tidy CSV file, and the published figures that come with this package, as runs. An edge."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launchers.checked import checked, parse
from launchers.errors import UserError, closest
from vit_sweep.runs.run import Origin
from vit_sweep.runs.tidy import Imported, tidy
from vit_sweep.runs.tidy_columns import COLUMNS, REQUIRED, is_number

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@checked
class ReferenceFacts:
    """What `reference/NAME.yaml` says of the figures in `reference/NAME.csv`."""

    title: str
    source: str
    section: str
    licence: str
    """Under which terms the figures may be repeated."""
    label: str
    """For the legend of a figure."""
    notes: tuple[str, ...] = ()
    """What its reader must know and no column can say."""


@checked
class Reference:
    """A published study."""

    name: str
    facts: ReferenceFacts
    imported: Imported


def read_csv(path: Path, *, origin: Origin = Origin.IMPORTED) -> Imported:
    """Read the runs of a tidy CSV file (docs/import.md).

    Raises `UserError` if there is no such file, no header, a required column is missing, or no row can be used.
    """
    text = _text(path)
    header, rows = _table(path, text)
    problems, notes = _columns(header)
    found = tidy(rows, source=path.name, origin=origin)
    if not found.runs:
        why = "; ".join(found.problems) or "there is no row below its header"
        raise UserError(f"{path}: nothing is left to judge – {why}")
    return replace(found, problems=(*problems, *found.problems), notes=(*notes, *found.notes))


def reference_dir() -> Path:
    """The published figures: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    return package / "reference" if (package / "reference").is_dir() else package.parent / "reference"


def reference_names() -> list[str]:
    """The names that `load_reference` knows."""
    return sorted(path.stem for path in reference_dir().glob("*.csv"))


def load_reference(name: str) -> Reference:
    """Read a published study by its name; raises `UserError` with the menu."""
    if name not in reference_names():
        raise UserError(f"reference={name}: there is no such published study – {closest(name, reference_names())}")
    import yaml

    path = reference_dir() / f"{name}.yaml"
    try:
        said: Any = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    facts = parse(ReferenceFacts, said, what=str(path))
    return Reference(
        name=name, facts=facts, imported=read_csv(reference_dir() / f"{name}.csv", origin=Origin.REFERENCE)
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text in UTF-8; a CSV file is expected, see docs/import.md") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _table(path: Path, text: str) -> tuple[list[str], Iterator[tuple[int, Mapping[str, str]]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    header = next((row for row in _lines(path, reader) if any(field.strip() for field in row)), None)
    if header is None:
        raise UserError(f"{path} is empty; its first line names the columns: {', '.join(REQUIRED)}, ...")
    names = [name.strip().lower() for name in header]
    _require_header(path, names)
    return names, _rows(path, reader, names)


def _rows(path: Path, reader: Any, names: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    for fields in _lines(path, reader):
        if any(field.strip() for field in fields):
            # A short row lacks its last fields; what is beyond the header belongs to no column.
            yield reader.line_num, dict(zip(names, fields, strict=False))


def _lines(path: Path, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: not CSV – {error}") from None


def _require_header(path: Path, names: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if missing and len(names) == 1:
        for separator, word in _OTHER_SEPARATORS.items():
            if separator in names[0]:
                raise UserError(f"{path}: its columns are separated by {word}; write commas, and points in numbers")
    if missing and all(is_number(name) or not name for name in names):
        raise UserError(
            f"{path}: its first line is numbers, not the names of columns; write a header with "
            f"{', '.join(REQUIRED)}, see docs/import.md"
        )
    if missing:
        others = [name for name in names if name not in COLUMNS]
        hints = [closest(name, others) if others else "no other column is left to be it" for name in missing]
        said = "; ".join(f"no column {name} ({hint})" for name, hint in zip(missing, hints, strict=True))
        raise UserError(f"{path}: {said.replace('Known:', 'columns that are not understood:')}; see docs/import.md")
    twice = sorted({name for name in names if names.count(name) > 1 and name in COLUMNS})
    if twice:
        raise UserError(f"{path}: the column {', '.join(twice)} comes twice; which one is meant?")


def _columns(names: list[str]) -> tuple[list[str], list[str]]:
    """What is said of columns that are not used, and of those that are not there."""
    import difflib

    said = []
    for name in (one for one in names if one and one not in COLUMNS):
        near = difflib.get_close_matches(name, [known for known in COLUMNS if known not in names], n=1)
        said.append(name + (f" (did you mean {near[0]}?)" if near else ""))
    problems = [f"columns that are not understood and not used: {', '.join(said)}; see docs/import.md"] if said else []
    notes = []
    if "scaling" not in names:
        notes.append("no column scaling: every run is judged as strong scaling")
    if "batch" not in names:
        notes.append("no column batch: whether the global batch grew cannot be judged")
    elif "accum" not in names:
        notes.append("no column accum: the global batch is not known; write 1 where nothing was accumulated")
    return problems, notes
