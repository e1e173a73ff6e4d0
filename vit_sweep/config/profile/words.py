"""Values that a profile's file spells otherwise than its schema, normalised where their meaning is clear. Pure.

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


def normalised(keys: Plain) -> Plain:
    """The same keys, their values as the schema has them; raises `UserError` for one that has two meanings."""
    kinds, label = _kinds(), f"partition {keys.get('name', '')}".strip()
    values = {key: _normalised(value, kinds[key]) if key in kinds else value for key, value in keys.items()}
    for key in _MINUTES:
        if isinstance(keys.get(key), str):
            values[key] = minutes_of(key, keys[key], prefix=f"{label}: ")
    _refuse_flat_network(label, keys.get("network"))
    if isinstance(partitions := values.get("partition"), str | list):
        names = partitions.split(",") if isinstance(partitions, str) else map(str, partitions)
        values["partition"] = ",".join(dict.fromkeys(filter(None, map(str.strip, names)))) or None
    return values


@cache
def _kinds() -> dict[str, Any]:
    """The type of each key, without `None` and bounds."""
    return {key: _without_none(hint) for key, hint in get_type_hints(PartitionProfile).items()}


def _without_none(hint: Any) -> Any:
    forms = get_args(hint)
    return next((form for form in forms if form is not type(None)), hint) if type(None) in forms else hint


def _normalised(value: Any, kind: Any) -> Any:
    """One value in the type of its key; unchanged where its meaning is not clear."""
    if get_origin(kind) is tuple and value is not None:
        (element, *_) = get_args(kind)
        if isinstance(value, str) and element is int:
            value = [part.strip() for part in value.split(",")]
        return [_normalised(part, element) for part in (value if isinstance(value, list) else [value])]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _normalised(inner, get_args(kind)[1]) for name, inner in value.items()}
    if isinstance(value, str):
        text = value.strip().lower()
        if kind is bool:
            return _MEANING.get(text, value)
        if kind is int and re.fullmatch(r"\d+", text):
            return int(text)
        if kind is float and re.fullmatch(r"\d+(\.\d*)?", text):
            return float(text)
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def minutes_of(key: str, value: str, *, prefix: str = "") -> int:
    """A time as Slurm writes it, in minutes; raises `UserError` for another text."""
    text = value.strip()
    if re.fullmatch(r"\d+", text):
        return int(text)
    if colon := re.fullmatch(r"(\d+):(\d\d)", text):
        first, second = int(colon[1]), int(colon[2])
        raise UserError(
            f"{prefix}{key}={text} – to Slurm these are {first} minutes, to a clock {first} hours; write {first} or "
            f"{60 * first + second}: a whole number of minutes"
        )
    if not _OF_SLURM.fullmatch(text):
        raise UserError(f"{prefix}{key}={text} – must be minutes, or Slurm's 24:00:00 or 1-00:00:00")
    days, _, clock_part = text.rpartition("-")
    hours, *below = clock_part.split(":")
    clock = ":".join([hours, *below, *["00"] * (2 - len(below))])
    return minutes(f"{days}-{clock}" if days else clock) or 0


def _refuse_flat_network(label: str, network: object) -> None:
    """Raise `UserError` for links without a place: inside a node and between nodes they differ tenfold."""
    if isinstance(network, int | float) and not isinstance(network, bool):
        network = {"gb_per_s": network}
    flat = {name: value for name, value in network.items() if name in _OF_LINK} if isinstance(network, dict) else {}
    if flat:
        words = ", ".join(f"{name}: {value}" for name, value in flat.items())
        raise UserError(
            f"{label}: network has {', '.join(flat)} without a place – links inside a node and between nodes are two "
            f"things: write network: {{inside: {{{words}}}}}, or with between: {{...}} both of them"
        )
