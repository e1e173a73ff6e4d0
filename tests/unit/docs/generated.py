"""The parts of the docs that are made from the code: each says what the code says."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vit_sweep.report.tables.form.table import Column
from vit_sweep.report.tables.runs_columns import RUN_COLUMNS
from vit_sweep.report.tables.status import STATUS_COLUMNS


def columns(known: Iterable[Column]) -> str:
    """A table of columns: name, unit, meaning."""
    return pipes(("column", "unit", "meaning"), ((f"`{one.name}`", one.unit, one.meaning) for one in known))


def pipes(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a text does not end its cell."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(text.replace('|', '&#124;') for text in line)} |" for line in lines)


PARTS = {
    "python.md": {"runs": columns(RUN_COLUMNS.values()), "status": columns(STATUS_COLUMNS)},
}
"""By page below docs/, the text of each part."""


def filled(page: Path, parts: dict[str, str]) -> str:
    """The page with its parts as they are to be; raises `ValueError` where one has no place on it."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        place = re.compile(rf"(<!-- generated: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        places = place.findall(text)
        if len(places) != 1:
            raise ValueError(f"{page}: {len(places)} places for the part {name}")
        begin, end = places[0]
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{part}\n{end}{rest.partition(end)[2]}"
    return text
