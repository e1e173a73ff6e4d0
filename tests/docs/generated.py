"""The parts of the docs that are made from the code: each says what the code says."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from vit_sweep.cli.app import app
from vit_sweep.cli.terminal.exit_codes import CODES
from vit_sweep.config.explain import Key, all_keys
from vit_sweep.config.folders import VARIABLES
from vit_sweep.report.tables.compared import COMPARED_COLUMNS
from vit_sweep.report.tables.form.columns import COLUMNS
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


def keys(group: str) -> str:
    """The keys of a group, or with an empty one those that are no group's."""
    chosen = [key for key in all_keys() if (key.name.partition(".")[0] if "." in key.name else "") == group]
    return pipes(
        ("key", "meaning", "takes", "default", "unit"),
        ((f"`{key.name}`", _with_values(key), key.takes, code(key.default), key.unit) for key in chosen),
    )


def _with_values(key: Key) -> str:
    said = "; ".join(f"`{value}`: {words.rstrip('.')}" for value, words in key.values if words)
    return f"{key.meaning}{f' {said}.' if said else ''}"


def code(text: str) -> str:
    """As code, but nothing for nothing."""
    return f"`{text}`" if text else ""


def verbs() -> str:
    """Every verb with its arguments and options."""
    return "\n\n".join(_verbs(typer.main.get_command(app)))


def _verbs(command: Any, name: str = "") -> Iterator[str]:
    children = getattr(command, "commands", {})
    for verb, child in sorted(children.items()):
        yield from _verbs(child, f"{name} {verb}".strip())
    if not children:
        options = [
            (
                code(" ".join(p.opts) if p.param_type_name == "option" else p.name.upper()),
                _line(p.help or ""),
                _default(p),
            )
            for p in command.params
        ]
        parts = [f"### {name}", _line(command.help)]
        yield "\n\n".join([*parts, *([pipes(("word", "meaning", "default"), options)] if options else [])])


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _default(parameter: Any) -> str:
    value = parameter.default
    return code(str(value)) if isinstance(value, str | int | float | Path) and not isinstance(value, bool) else ""


PARTS = {
    "python.md": {"runs": columns(RUN_COLUMNS.values()), "status": columns(STATUS_COLUMNS)},
    "reference/keys.md": {
        "command": keys(""),
        **{group: keys(group) for group in ("model", "data", "engine", "optimizer", "partition")},
    },
    "reference/verbs.md": {
        "verbs": verbs(),
        "exit codes": pipes(("code", "says"), ((f"{number}", f"{words}.") for number, words in CODES.items())),
        "environment": pipes(("variable", "says"), ((f"`{name}`", f"{words}.") for name, words in VARIABLES.items())),
    },
    "reference/columns.md": {"columns": columns(COLUMNS.values()), "compared": columns(COMPARED_COLUMNS)},
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
