"""The parts of the docs that are made from the code: each says what the code says."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import typer

from launchers.checked import to_plain, words_under
from launchers.profile import PartitionProfile, Scheduler
from vit_sweep.cli.app import app_with
from vit_sweep.cli.terminal.exit_codes import CODES
from vit_sweep.config.explain import Key, all_keys
from vit_sweep.config.folders import VARIABLES
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.policy import POLICIES, Action
from vit_sweep.report.tables.comparisons.comparison import COMPARED_COLUMNS
from vit_sweep.report.tables.form.columns import COLUMNS
from vit_sweep.report.tables.form.table import Column
from vit_sweep.report.tables.runs_columns import RUN_COLUMNS
from vit_sweep.report.tables.status import STATUS_COLUMNS


def columns(known: Iterable[Column]) -> str:
    """A table of columns: name, unit and meaning; a star behind those whose interval stands in two more."""
    starred = {column.bound_of for column in (*COLUMNS.values(), *COMPARED_COLUMNS)}
    return pipes(
        ("column", "meaning"),
        (
            (f"`{one.name}`{f', {one.unit}' if one.unit else ''}{' *' if one.name in starred else ''}", one.meaning)
            for one in known
        ),
    )


def _said_above(column: Column) -> bool:
    """Whether another table has the same column with the same meaning."""
    other = COLUMNS.get(column.name)
    return other is not None and (other.unit, other.meaning) == (column.unit, column.meaning)


def pipes(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of a page in docs/reference/; a bar in a text does not end its cell, pages are links."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"docs/((?:\w+/)*(\w+))\.md", r"[\2](../\1.md)", text.replace("|", "&#124;"))


def keys(group: str) -> str:
    """The keys of a group, or with an empty one those that are no group's."""
    chosen = [key for key in all_keys() if (key.name.partition(".")[0] if "." in key.name else "") == group]
    chosen = [key for key in chosen if "not for a command to say" not in key.meaning]
    return pipes(
        ("key", "meaning", "takes", "default"),
        (
            (f"`{key.name}`", key.meaning, f"{_values_of(key)}{f' ({key.unit})' if key.unit else ''}", _default_of(key))
            for key in chosen
        ),
    )


def _default_of(key: Key) -> str:
    """What holds where nobody says it; of a profile, where its file does not."""
    group, _, name = key.name.partition(".")
    if group != "partition" or not name:
        return "of its keys" if key.default.startswith("{") else code(key.default)
    field = PartitionProfile.__dataclass_fields__[name]
    if field.default is MISSING and field.default_factory is MISSING:
        return "required"
    smallest = PartitionProfile(name="a", scheduler=Scheduler.SLURM, nodes=1, gpus_per_node=1, gpu_model="a")
    value = to_plain(smallest)[name]
    return code("null" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


def _values_of(key: Key) -> str:
    """What it takes; of a menu each value with what it means, where that is said."""
    if not any(words for _, words in key.values):
        return key.takes
    said = ((value, words.rstrip(".")) for value, words in key.values)
    menu = "<br>".join(f"`{value}`{f': {words}' if words else ''}" for value, words in said)
    return f"{menu}{'<br>or null' if key.takes.endswith('or null') else ''}"


def code(text: str) -> str:
    """As code, but nothing for nothing."""
    return f"`{text}`" if text else ""


def verbs() -> str:
    """Every verb with its arguments and options; what several verbs have alike stands once, behind them."""
    found = list(_verbs(typer.main.get_command(app_with())))
    often = Counter(row for _, _, rows in found for row in rows)
    shared = [row for row, count in often.items() if count >= SHARED]
    parts = ["\n\n".join([f"### {name}", says, *_options(rows, shared)]) for name, says, rows in found]
    return "\n\n".join([*parts, "### Options of several verbs", pipes(_HEADS, shared)])


SHARED = 3
"""Verbs with an option from which on it is said once."""
_HEADS = ("word", "meaning")
_Row = tuple[str, str]


def _options(rows: Sequence[_Row], shared: Sequence[_Row]) -> list[str]:
    own = [row for row in rows if row not in shared]
    others = ", ".join(word for word, *_ in rows if (word, *_) in shared)
    return [*([pipes(_HEADS, own)] if own else []), *([f"Also {others}."] if others else [])]


def _verbs(command: Any, name: str = "") -> Iterator[tuple[str, str, list[_Row]]]:
    children = getattr(command, "commands", {})
    for verb, child in sorted(children.items()):
        yield from _verbs(child, f"{name} {verb}".strip())
    if not children:
        words = (p.opts if p.param_type_name == "option" else [p.name.upper()] for p in command.params)
        rows = [
            (code(" ".join(said)), f"{_line(p.help or '')}{_default(p)}")
            for said, p in zip(words, command.params, strict=True)
        ]
        yield name, _line(command.help), rows


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _default(parameter: Any) -> str:
    value = parameter.default
    said = isinstance(value, str | int | float | Path) and not isinstance(value, bool) and str(value)
    return f" Default: `{value}`." if said else ""


def causes() -> str:
    """Every cause: what it means, what is done about it by itself, how often, and what a person does."""
    words = words_under(Cause)
    return pipes(
        ("cause", "what happened", "by itself", "at most", "then"),
        (
            (
                code(cause.value),
                _line(words[cause.name]),
                code(policy.action.value),
                f"{policy.times or ''}",
                policy.then,
            )
            for cause, policy in POLICIES.items()
        ),
    )


def actions() -> str:
    """What each action means."""
    words = words_under(Action)
    return pipes(("action", "says"), ((code(action.value), _line(words[action.name])) for action in Action))


PARTS = {
    "reference/keys.md": {
        "command": keys(""),
        **{group: keys(group) for group in ("model", "data", "engine", "optimizer", "partition")},
    },
    "reference/verbs.md": {
        "verbs": verbs(),
        "exit codes": pipes(("code", "says"), ((f"{number}", f"{words}.") for number, words in CODES.items())),
        "environment": pipes(("variable", "says"), ((f"`{name}`", f"{words}.") for name, words in VARIABLES.items())),
    },
    "reference/causes.md": {"causes": causes(), "actions": actions()},
    "reference/columns.md": {
        "columns": columns(column for column in COLUMNS.values() if not column.bound_of),
        "runs": columns(column for column in RUN_COLUMNS.values() if not _said_above(column)),
        "status": columns(STATUS_COLUMNS),
        "compared": columns(column for column in COMPARED_COLUMNS if not column.bound_of),
    },
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
