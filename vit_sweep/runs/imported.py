"""Others' results: tables in files, and the published figures that come with this package, as runs. An edge."""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from launchers.checked import checked, parse
from launchers.errors import UserError, closest
from launchers.text import short, some
from vit_sweep.runs.decoding import content_of
from vit_sweep.runs.reshaping import Reading, long, recognised, renamed, scaled, with_decimal_points, without_units
from vit_sweep.runs.run import Origin
from vit_sweep.runs.table_file import read_table
from vit_sweep.runs.tidy.columns import COLUMNS, REQUIRED, is_number
from vit_sweep.runs.tidy.table import Imported, nothing_to_compare, tidy
from vit_sweep.study.code.provenance import require_extra


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
    file: Path


class TableRows(NamedTuple):
    """The rows of a file, by the columns that are understood, and what was remarkable about it."""

    rows: list[tuple[int, dict[str, str]]]
    """With the numbers of their lines."""
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ranks(self) -> frozenset[str]:
        """The ranks that its rows are of; empty unless all rows are of one."""
        texts = [row.get("rank", "").strip() for _, row in self.rows]
        return frozenset(texts) if all(texts) else frozenset()


def read_csv(path: Path, *, origin: Origin = Origin.IMPORTED, reading: Reading = Reading()) -> Imported:  # noqa: B008
    """Read the runs of a table (docs/results/import.md).

    Raises `UserError` if there is no such file, no header, a required column is missing, or no row can be used.
    """
    imported = _runs_of(path, [read_rows(path, reading)], path.name, origin)
    return replace(imported, notes=(*imported.notes, *nothing_to_compare(imported.runs)))


def read_tables(paths: Sequence[Path], reading: Reading) -> dict[str, Imported]:
    """The runs of several files, by file, or by folder where its files are of different ranks of the same runs.

    Raises as `read_csv` does.
    """
    folders: dict[Path, dict[Path, TableRows]] = {}
    for path in paths:
        folders.setdefault(path.parent, {})[path] = read_rows(path, reading)
    names = dict(zip(paths, short_names(paths), strict=True))
    by_name: dict[str, Imported] = {}
    for folder, tables in folders.items():
        ranks = [table.ranks for table in tables.values()]
        if len(tables) > 1 and all(ranks) and sum(map(len, ranks)) == len(frozenset().union(*ranks)):
            name = Path(names[next(iter(tables))]).parent.as_posix() if len(folders) > 1 else folder.absolute().name
            merged = _runs_of(folder, list(tables.values()), name, Origin.IMPORTED)
            note = f"{len(tables)} files of different ranks are read as one table, its lines counted through"
            by_name[name] = replace(merged, notes=(note, *merged.notes))
        else:
            by_name |= {
                names[path]: _runs_of(path, [table], names[path], Origin.IMPORTED) for path, table in tables.items()
            }
    return by_name


def short_names(paths: Sequence[Path]) -> list[str]:
    """What tells files apart, without the folders that all of them lie in."""
    whole = [path.absolute() for path in paths]
    if not whole:
        return []
    folder = os.path.commonpath([path.parent for path in whole])
    return [path.relative_to(folder).as_posix() for path in whole]


def _runs_of(path: Path, tables: Sequence[TableRows], source: str, origin: Origin) -> Imported:
    rows = tables[0].rows
    if len(tables) > 1:
        rows = list(enumerate((row for table in tables for _, row in table.rows), start=1))
    imported = tidy(rows, source=source, origin=origin)
    if not imported.runs:
        why = "; ".join(imported.problems) or "there is no row below its header"
        raise UserError(f"{path}: nothing is left to judge – {why}")
    notes = dict.fromkeys(note for table in tables for note in table.notes)
    problems = dict.fromkeys(problem for table in tables for problem in table.problems)
    return replace(imported, problems=(*problems, *imported.problems), notes=(*notes, *imported.notes))


def read_rows(path: Path, reading: Reading) -> TableRows:
    """The rows of a file; raises `UserError` as `read_csv` does."""
    require_extra("report")
    table = read_table(path, reading)
    names, factors, name_notes = recognised(renamed(table.names, reading, source=str(path)))
    duplicates = sorted({name for name in names if names.count(name) > 1 and name in COLUMNS})
    if duplicates:
        raise UserError(f"{path}: the column {', '.join(duplicates)} comes twice; which one is meant?")
    if all(is_number(name) or not name for name in table.names):
        raise UserError(
            f"{path}: its first line is numbers, not the names of columns; write a header with "
            f"{', '.join(REQUIRED)}, see docs/results/import.md"
        )
    frame = table.cells.set_axis(_unique(names), axis=1)
    frame, shape_notes = long(frame)
    for name, value in reading.constants:
        frame[name] = value
    names = [str(name) for name in frame.columns]
    _require_header(path, names)
    frame, spelling_notes = without_units(frame)
    frame, number_notes = with_decimal_points(frame, reading, source=str(path))
    frame, unit_notes = scaled(frame, factors)
    problems, notes = _columns(names)
    rows = [
        (line, {str(name): str(cell) for name, cell in row.items()})
        for line, row in zip(frame.index.tolist(), frame.to_dict("records"), strict=True)
    ]
    column_notes = (*name_notes, *shape_notes, *spelling_notes, *number_notes, *unit_notes)
    return TableRows(rows, (*table.notes, *column_notes, *notes), tuple(problems))


_UNNAMED = re.compile(r" ?(\(\d+\))?")
"""A column whose name is empty: the index that pandas writes."""


def _unique(names: Sequence[str]) -> list[str]:
    """Columns that are not understood may have equal names or none; each needs one of its own."""
    return [name if name and names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


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
        facts_of_yaml: Any = yaml.safe_load(content_of(path).text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    facts = parse(ReferenceFacts, facts_of_yaml, source=str(path))
    file = reference_dir() / f"{name}.csv"
    return Reference(name=name, facts=facts, imported=read_csv(file, origin=Origin.REFERENCE), file=file)


def _require_header(path: Path, names: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        others = [name for name in names if name not in COLUMNS and not _UNNAMED.fullmatch(name)]
        near = {name: difflib.get_close_matches(name, others, n=1) for name in missing}
        lacking = "; ".join(
            f"no column {name}" + (f" (did you mean {close[0]}?)" if close else "") for name, close in near.items()
        )
        lacking += f" – not understood: {some(others, 8)}" if others else " – no other column is left to be it"
        raise UserError(
            f"{path}: {lacking}; name it with --map {missing[0]}=THEIRS or give it with --set {missing[0]}=VALUE, see "
            "docs/results/import.md"
        )


def _columns(names: list[str]) -> tuple[list[str], list[str]]:
    """What is said of columns that are not used, and of those that are not there."""
    unused = []
    for name in (name for name in names if name not in COLUMNS and not _UNNAMED.fullmatch(name)):
        near = difflib.get_close_matches(name, [known for known in COLUMNS if known not in names], n=1)
        unused.append(short(name) + (f" (did you mean {near[0]}?)" if near else ""))
    problems = (
        [f"columns that are not understood and not used: {', '.join(unused)}; see docs/results/import.md"]
        if unused
        else []
    )
    notes = []
    if "scaling" not in names:
        notes.append("no column scaling: every run is judged as strong scaling")
    if "batch" not in names:
        notes.append("no column batch: whether the global batch grew cannot be judged")
    elif "accum" not in names:
        notes.append("no column accum: the global batch is not known; write 1 where nothing was accumulated")
    return problems, notes
