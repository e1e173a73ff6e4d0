"""The parts of the docs that are made from the code: each says what the code says."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import typer

from launchers.checked import to_plain, words_under
from launchers.profile import PartitionProfile, Scheduler
from vit_sweep.cli.app import app
from vit_sweep.cli.terminal.exit_codes import CODES
from vit_sweep.config.explain import Key, all_keys
from vit_sweep.config.folders import VARIABLES
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.policy import POLICIES, Action
from vit_sweep.report.tables import accuracy, continued, costs, effects, isoefficiency, pairs, resolutions, scaling
from vit_sweep.report.tables.compared import COMPARED_COLUMNS
from vit_sweep.report.tables.form.columns import COLUMNS
from vit_sweep.report.tables.form.table import Column
from vit_sweep.report.tables.runs_columns import RUN_COLUMNS
from vit_sweep.report.tables.status import STATUS_COLUMNS


def columns(known: Iterable[Column]) -> str:
    """A table of columns: name, unit, meaning; a star behind those whose interval stands in two more."""
    known = list(known)
    starred = {column.bound_of for column in (*COLUMNS.values(), *COMPARED_COLUMNS)}
    return pipes(
        ("column", "unit", "meaning"),
        ((f"`{one.name}`{' *' if one.name in starred else ''}", one.unit, one.meaning) for one in known),
    )


def pipes(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a text does not end its cell."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(text.replace('|', '&#124;') for text in line)} |" for line in lines)


def keys(group: str) -> str:
    """The keys of a group, or with an empty one those that are no group's."""
    chosen = [key for key in all_keys() if (key.name.partition(".")[0] if "." in key.name else "") == group]
    return pipes(
        ("key", "meaning", "takes", "default", "unit"),
        ((f"`{key.name}`", _with_values(key), key.takes, _default_of(key), key.unit) for key in chosen),
    )


def _default_of(key: Key) -> str:
    """What holds where nobody says it; of a profile, where its file does not."""
    group, _, name = key.name.partition(".")
    if group != "partition" or not name:
        return code(key.default)
    field = PartitionProfile.__dataclass_fields__[name]
    if field.default is MISSING and field.default_factory is MISSING:
        return "required"
    smallest = PartitionProfile(name="a", scheduler=Scheduler.SLURM, nodes=1, gpus_per_node=1, gpu_model="a")
    value = to_plain(smallest)[name]
    return code("null" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


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


_TABLES = {
    "strong, weak": scaling.SCALING_COLUMNS,
    "batch": effects.BATCH_COLUMNS,
    "accumulation": effects.ACCUM_COLUMNS,
    "placement": pairs.PLACEMENT_COLUMNS,
    "engines": pairs.ENGINE_COLUMNS,
    "memory": costs.MEMORY_COLUMNS,
    "resolutions": resolutions.RESOLUTION_COLUMNS,
    "failures": costs.FAILURE_COLUMNS,
    "cost": costs.COST_COLUMNS,
    "isoefficiency": isoefficiency.ISOEFFICIENCY_COLUMNS,
    "accuracy": accuracy.ACCURACY_COLUMNS,
    "continued": continued.CONTINUED_COLUMNS,
}
_COMMON = ("model", "data", "precision", "engine", "optimizer", "partition", "gpu_model", "variant")


def tables() -> str:
    """The columns of each table, bounds of intervals and those that begin every table left out."""
    bounds = {name for name, column in COLUMNS.items() if column.bound_of}
    return pipes(
        ("table", "columns"),
        (
            (", ".join(code(name) for name in names.split(", ")), _names(found, {*bounds, *_COMMON}))
            for names, found in _TABLES.items()
        ),
    )


def _names(found: Iterable[str], without: set[str]) -> str:
    return ", ".join(code(name) for name in found if name not in without)


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
        "tables": tables(),
        "columns": columns(column for column in COLUMNS.values() if not column.bound_of),
        "runs": columns(RUN_COLUMNS.values()),
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
