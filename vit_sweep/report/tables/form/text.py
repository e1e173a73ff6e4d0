"""Tables as CSV, plain data, Markdown and LaTeX. Pure: text in, nothing written.

CSV and data hold every column in full precision. Markdown and LaTeX are for people: columns with nothing in them are
left out, those that are equal in all rows are said once above, numbers are rounded by the width of their interval.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import to_json

from launchers.text import visible
from vit_sweep.report.tables.form.rounding import field, fields
from vit_sweep.report.tables.form.table import Column, Table

NEVER_SHARED = frozenset(
    {"gpus", "status", "note", "sentence", "epoch_s", "n", "speedup", "efficiency", "flags", "seeds", "cell_id"}
    | {"time_ratio", "verdict", "memory_error", "gpu_hours", "time_to_accuracy_s", "reached"}
)
"""Columns that every row shows, even if all say the same: what the table is about."""
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "–": "--",
    "µ": r"\textmu{}", "×": r"$\times$", "±": r"$\pm$", "|": r"\textbar{}", "−": "$-$", "∞": r"$\infty$",
})  # fmt: skip
_MOST_TEXTS = 2**15
"""Of fields that are held with what they are in print: several tables have the same."""
_AT_ONCE = 1000
"""Rows of a CSV file that are turned into text together."""
_UNPRINTABLE = re.compile("[^ -~–µ×±−∞À-ÏÑ-Ýßà-ïñ-ýÿ⁻⁰¹²³⁴⁵⁶⁷⁸⁹]")
_MARKS = re.compile(r"[\\`<>*]|\[(?![-−\d., ∞n=%]*\](?!\())")
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def to_csv(table: Table) -> str:
    """Comma-separated, one header line, an empty field for what is not known."""
    return "".join(csv_parts(table))


def csv_parts(table: Table) -> Iterator[str]:
    """The same part by part: of a study of many runs the whole would be held several times."""
    names = [column.name for column in table.columns]
    yield ",".join(map(_csv_text, names)) + "\n"
    for first in range(0, table.height, _AT_ONCE):
        block = slice(first, first + _AT_ONCE)
        rows = zip(*(_csv_texts(table.values[name][block]) for name in names), strict=True)
        yield "\n".join(map(",".join, rows)) + "\n"


def _csv_texts(values: list[Any]) -> list[str]:
    """Some values of a column, as `csv.writer` writes them."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return [""] * len(values)
    if kinds <= {int, float}:
        # As JSON they are written in a fifth of the time, and alike but for the smallest and largest ones.
        text = to_json(values, inf_nan_mode="constants").decode()[1:-1].replace("null", "")
        if not _UNLIKE.search(text):
            return text.split(",")
    if kinds == {str}:
        texts: dict[str | None, str] = {value: _csv_text(value) for value in {*values} - {None}} | {None: ""}
        return [texts[value] for value in values]
    return ["" if value is None else _csv_text(value) if isinstance(value, str) else str(value) for value in values]


_UNLIKE = re.compile(r"e|0\.0000|[NI]")
"""Numbers that have an exponent in one of them, and such that are none."""


@lru_cache(maxsize=4096)
def _csv_text(value: str) -> str:
    text, line = visible(value), io.StringIO()
    guarded = f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
    csv.writer(line, lineterminator="\n").writerow([guarded, ""])
    return line.getvalue()[: -len(",\n")]


def to_data(table: Table) -> dict[str, Any]:
    """What JSON can hold: `title`, `columns` (name, title, unit, meaning), `rows` by name, `notes`; null: not known."""
    return {
        "title": table.title,
        "columns": [
            {"name": column.name, "title": column.title, "unit": column.unit, "meaning": column.meaning}
            for column in table.columns
        ],
        "rows": [{column.name: _plain(row[column.name]) for column in table.columns} for row in table.rows],
        "notes": list(table.notes),
    }


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int | float) else str(value)


class Printed(NamedTuple):
    """A table as people read it, in whatever form."""

    same: list[tuple[Column, str]]
    """What is said once, for all rows."""
    columns: list[Column]
    fields: list[list[str]]
    """By row, in the order of `columns`."""
    right: list[bool]
    """Columns that are set to the right."""


def laid_out(table: Table) -> Printed:
    """Its values rounded, once for all forms."""
    same, columns = printed(table)
    return Printed(
        same=said_once(table, same),
        columns=columns,
        fields=[[*row] for row in zip(*(fields(table, column) for column in columns), strict=True)],
        right=[not is_text(table, column) for column in columns],
    )


def said_once(table: Table, same: Iterable[Column]) -> list[tuple[Column, str]]:
    """Columns that are equal in all rows, each with its text."""
    first = next(iter(table.part(slice(1)).rows), {})
    return [(column, field(column, first)) for column in same]


def to_markdown(table: Table, layout: Printed | None = None) -> str:
    """A heading, what is equal in all rows, a pipe table, the notes."""
    layout = layout or laid_out(table)
    lines = [f"# {markdown(table.title)}", ""]
    if layout.same:
        lines += [", ".join(f"{column.name}={_cell(text)}" for column, text in layout.same), ""]
    lines += pipe_table([column.title for column in layout.columns], layout.fields, right=layout.right)
    lines += ["", *(f"- {markdown(note)}" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=_MOST_TEXTS)
def markdown(text: str) -> str:
    """Text for Markdown: it makes no link, no code, no tag, no emphasis. An interval keeps its brackets."""
    return _MARKS.sub(r"\\\g<0>", visible(" ".join(text.split())))


def _cell(text: str) -> str:
    return markdown(text).replace("|", "\\|")


def pipe_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[bool] = (),
    escape: Callable[[str], str] = _cell,
) -> list[str]:
    """The lines of a Markdown table. `right`: columns that are set to the right."""
    marks = ["---:" if number else "---" for number in right] or ["---"] * len(heads)
    lines = [[escape(text) for text in heads], marks, *([escape(text) for text in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def to_latex(table: Table, layout: Printed | None = None) -> str:
    """A `table` with caption, label `tab:NAME` and booktabs rules; the notes are comments and in the caption."""
    layout = layout or laid_out(table)
    constants = ", ".join(f"{column.title or column.name}: {text}" for column, text in layout.same)
    sentences = [table.title, constants, *table.notes]
    caption = " ".join(f"{latex(text.rstrip('.'))}." for text in sentences if text)
    form = "".join("r" if right else "l" for right in layout.right)
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{table.name}}}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{{form}}}",
        "\\toprule",
        " & ".join(latex(column.title) for column in layout.columns) + " \\\\",
        "\\midrule",
        *(" & ".join(map(latex, row)) + " \\\\" for row in layout.fields),
        "\\bottomrule",
        "\\end{tabular}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=_MOST_TEXTS)
def latex(text: str) -> str:
    """Text for LaTeX: characters with a meaning of their own are escaped, line breaks become spaces.

    What no plain LaTeX can print stands as its number. A bracket or star would be an option of the line break before.
    """
    escaped = _UNPRINTABLE.sub(lambda char: f"(U+{ord(char[0]):04X})", " ".join(text.split())).translate(_LATEX)
    escaped = f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped
    return re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda power: f"$^{{{power[0].translate(_RAISED)}}}$", escaped)


def printed(table: Table) -> tuple[list[Column], list[Column]]:
    """The columns that are said once, and those of the printed table: filled ones, bounds left to their number.

    Ids and seeds are printed only where every row is one run; the CSV file has all of them.
    """
    many = any(" " in str(name) for name in table.values.get("cell_id", ()))
    shown = [c for c in table.filled if not c.bound_of and not (many and c.name in ("cell_id", "seeds"))]
    same = [column for column in shown if column.name not in NEVER_SHARED and equal_in_all_rows(table, column)]
    return same, [column for column in shown if column not in same]


def is_text(table: Table, column: Column) -> bool:
    """Whether a column is set to the left."""
    return any(isinstance(value, str) for value in table.values[column.name])


def equal_in_all_rows(table: Table, column: Column) -> bool:
    """Whether several rows say the same of a column."""
    values = table.values[column.name]
    return len(values) > 1 and all(str(value) == str(values[0]) for value in values)
