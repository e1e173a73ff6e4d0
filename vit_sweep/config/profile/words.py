"""What a profile's file says in other words than its schema: read as it is meant, where that is clear. Pure.

`nodes: '12'`, `account: 00123`, `requeue: "no"`, `max_minutes: 24:00:00`, `setup: module load cuda` leave no doubt.
"""

import re
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from launchers.errors import UserError
from launchers.profile import Link, PartitionProfile
from launchers.slurm.scontrol import minutes

Plain = dict[str, Any]

ON_OFF = {"on": True, "yes": True, "off": False, "no": False}
"""Words that YAML of today and Hydra's grammar take for text."""
_MEANING = ON_OFF | {"true": True, "false": False}
_MINUTES = ("default_minutes", "max_minutes")
_OF_SLURM = re.compile(r"(\d+-)?\d+:\d\d:\d\d|\d+-\d+(:\d\d)?")
"""A time that Slurm and people read alike: hours:minutes:seconds, with or without days."""
_OF_LINK = frozenset(getattr(Link, "__dataclass_fields__", {}))


def meant(given: Plain) -> Plain:
    """The same keys with the values that are meant; raises `UserError` for one that has two meanings."""
    kinds, what = _kinds(), f"partition {given.get('name', '')}".strip()
    values = {key: _meant(value, kinds[key]) if key in kinds else value for key, value in given.items()}
    for key in _MINUTES:
        if isinstance(given.get(key), str):
            values[key] = meant_minutes(key, given[key], what=f"{what}: ")
    _refuse_flat_network(what, given.get("network"))
    return values


@cache
def _kinds() -> dict[str, Any]:
    """The type of each key, without `None` and bounds."""
    hints = get_type_hints(PartitionProfile)
    return {key: next(iter(set(get_args(hint)) - {type(None)}), hint) if _optional(hint) else hint
            for key, hint in hints.items()}  # fmt: skip


def _optional(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _meant(value: Any, kind: Any) -> Any:
    """One value; unchanged where it is none that could be meant."""
    if get_origin(kind) is tuple and value is not None:
        (element, *_) = get_args(kind)
        if isinstance(value, str) and element is int:
            value = [part.strip() for part in value.split(",")]
        return [_meant(part, element) for part in (value if isinstance(value, list) else [value])]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _meant(inner, get_args(kind)[1]) for name, inner in value.items()}
    if isinstance(value, str):
        word = value.strip().lower()
        if kind is bool:
            return _MEANING.get(word, value)
        if kind is int and re.fullmatch(r"\d+", word):
            return int(word)
        if kind is float and re.fullmatch(r"\d+(\.\d*)?", word):
            return float(word)
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def meant_minutes(key: str, given: str, *, what: str = "") -> int:
    """A time as Slurm writes it, in minutes; raises `UserError` for another text."""
    text = given.strip()
    if re.fullmatch(r"\d+", text):
        return int(text)
    if two := re.fullmatch(r"(\d+):(\d\d)", text):
        raise UserError(
            f"{what}{key}={text} – to Slurm these are {int(two[1])} minutes, to a clock {int(two[1])} hours; write "
            f"{int(two[1])} or {60 * int(two[1]) + int(two[2])}: a whole number of minutes"
        )
    if not _OF_SLURM.fullmatch(text):
        raise UserError(f"{what}{key}={text} – must be minutes, or Slurm's 24:00:00 or 1-00:00:00")
    days, _, rest = text.rpartition("-")
    hours, *below = rest.split(":")
    clock = ":".join([hours, *below, *["00"] * (2 - len(below))])
    return minutes(f"{days}-{clock}" if days else clock) or 0


def _refuse_flat_network(what: str, network: object) -> None:
    """Raise `UserError` for links without a place: inside a node and between nodes they differ tenfold."""
    if isinstance(network, int | float) and not isinstance(network, bool):
        network = {"gb_per_s": network}
    flat = {name: value for name, value in network.items() if name in _OF_LINK} if isinstance(network, dict) else {}
    if flat:
        words = ", ".join(f"{name}: {value}" for name, value in flat.items())
        raise UserError(
            f"{what}: network has {', '.join(flat)} without a place – links inside a node and between nodes are two "
            f"things: write network: {{inside: {{{words}}}}}, or with between: {{...}} both of them"
        )
