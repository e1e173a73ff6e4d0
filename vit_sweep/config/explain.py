"""Every key of a command with its meaning, what it takes, its default and its unit. An edge: reads the shipped files.

Meanings are the words under the fields of the classes that check the values: there is no other place for them.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from omegaconf import OmegaConf

from launchers.checked import checked, words_under
from launchers.checked.schema import Schema, schema_of
from launchers.errors import UserError
from vit_sweep.config.folders import DEFAULT_PARTITION, conf_dir
from vit_sweep.config.plain_yaml import known_keys
from vit_sweep.config.settings import Settings
from vit_sweep.config.spelling import likely_key
from vit_sweep.config.words import word
from vit_sweep.data.request import Request
from vit_sweep.plan.point import Point

_UNITS = {
    "gpus": "GPUs", "nodes": "hosts", "batch": "images", "epochs": "epochs", "warmup_steps": "steps",
    "lr_warmup_epochs": "epochs", "sequence": "ranks", "minutes": "min", "hang_minutes": "min",
    "budget_gpu_hours": "GPU-hours", "max_gpus_in_flight": "GPUs", "pack": "cells", "checkpoint_epochs": "epochs",
    "profile_steps": "steps", "data_workers": "processes", "repeats": "runs", "max_repeats": "runs",
    "model.image_size": "px", "model.patch_size": "px", "data.side": "px", "data.image_bytes": "bytes",
    "data.train_images": "images", "data.test_images": "images", "optimizer.base_batch": "images",
    "model.text.length": "tokens",
    "partition.nodes": "hosts", "partition.gpus_per_node": "GPUs", "partition.max_submit": "jobs",
    "partition.max_array_size": "jobs", "partition.cpus_per_gpu": "cores", "partition.peak_tflops": "TFLOP/s",
    "partition.default_minutes": "min", "partition.max_minutes": "min",
}  # fmt: skip
"""Of keys that are amounts; the rest are names, switches, numbers of things, and parts of 1."""
_ELSEWHERE = {"data.pipeline": "pipeline"}
"""A key, and the field of a point that it becomes."""


@checked
class Key:
    """One word that a command may set."""

    name: str
    meaning: str
    takes: str
    """In words: `whole number, at least 1`; `packed, spread`."""
    default: str
    """In a command's grammar, as the shipped files have it; empty: it must be given, or the group's file says."""
    unit: str = ""
    values: tuple[tuple[str, str], ...] = ()
    """Of a word out of a menu: each, and what it means where that is said."""


def explain(name: str) -> Key:
    """One key; raises `UserError` with the likeliest ones for a name that is none."""
    known = known_keys()
    if name not in known:
        raise UserError(f"{name}: there is no such key – {likely_key(name, known)}")
    return _key(name, _defaults())


def all_keys() -> Iterator[Key]:
    """Every key, groups first, in the order of `known_keys`."""
    defaults = _defaults()
    return (_key(name, defaults) for name in known_keys())


def _key(name: str, defaults: Mapping[str, object]) -> Key:
    owner, field = _field(name)
    default = defaults.get(name, "")
    text = default if isinstance(default, str) else word(default)
    if field is None:
        return Key(name=name, meaning="A value of the chosen file of this group.", takes="", default=text)
    meaning = words_under(owner).get(field.name, "")
    kind = _enum_of(field.type)
    if "." not in name and (conf_dir() / name).is_dir():
        files = sorted(path.stem for path in (conf_dir() / name).glob("*.yaml"))
        return Key(
            name=name, meaning=_line(meaning or _class_summary(field.type)), takes=", ".join(files), default=text
        )
    words = words_under(kind) if kind else {}
    values = tuple((str(member.value), _line(words.get(member.name, ""))) for member in kind or ())
    return Key(
        name=name,
        meaning=_line(meaning or (_class_summary(kind) if kind else _class_summary(field.type))),
        takes=_takes(schema_of(field.type)),
        default=text,
        unit=_UNITS.get(name, ""),
        values=values,
    )


def _field(name: str) -> tuple[type[Any], Any]:
    """The class that checks a key, and its field there; None where a file of the group alone has it."""
    group, _, last = _ELSEWHERE.get(name, name).rpartition(".")
    for owner in (Settings, Point) if not group else (_class_at(group), Request):
        if last in _fields(owner):
            return owner, _fields(owner)[last]
    return Point, None


def _class_at(path: str) -> type[Any]:
    """The class that checks what a point has there: of `model.text` that of the text tower."""
    owner: type[Any] = Point
    for part in path.split("."):
        kind = _fields(owner)[part].type
        owner = next((form for form in (kind, *get_args(kind)) if _fields(form)), owner)
    return owner


def _fields(owner: type[Any]) -> dict[str, Any]:
    return getattr(owner, "__dataclass_fields__", {})


def _enum_of(kind: Any) -> type[StrEnum] | None:
    """The menu of a type, that of `Menu | None` too."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, StrEnum)), None)


def _class_summary(kind: Any) -> str:
    """Of a class of ours, what it says of itself."""
    is_own_class = isinstance(kind, type) and kind.__module__.startswith(("vit_sweep", "launchers"))
    return str(kind.__doc__ or "").partition("\n\n")[0] if is_own_class else ""


def _line(text: str) -> str:
    """In the words of a command, whose `null` is Python's None."""
    return " ".join(re.sub(r"\bNone\b", "null", text).split())


def _takes(schema: Schema) -> str:
    """The schema of a type in words."""
    match schema["type"]:
        case "nullable":
            return f"{_takes(schema['schema'])} or null"
        case "union":
            return " or ".join(dict.fromkeys(_takes(form) for form in schema["choices"]))
        case "enum" | "literal":
            return ", ".join(map(str, schema.get("members") or schema["expected"]))
        case "tuple":
            return f"list of: {_takes(schema['items_schema'][0])}" if "variadic_item_index" in schema else "list"
        case "int" | "float" as kind:
            limits = {name: schema[name] for name in _BOUNDS if abs(schema.get(name, _TECHNICAL)) < _TECHNICAL}
            bounds = [f"{_BOUNDS[name]} {bound:,.15g}" for name, bound in limits.items()]
            return ", ".join(["whole number" if kind == "int" else "number", *bounds])
        case kind:
            return _KINDS[kind]


_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_TECHNICAL = 1e9
"""From here on a bound is there to keep sums finite, and no user's business."""
_KINDS = {
    "bool": "true, false",
    "str": "text",
    "dict": "keys with values",
    "dataclass": "keys with values",
    "any": "a value",
}


def _defaults() -> dict[str, object]:
    """By key what the shipped files say: those of `config.yaml`, and of each group the file that it chooses."""
    config: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "config.yaml"), resolve=False)
    chosen = [next(iter(entry.items())) for entry in config.pop("defaults") if isinstance(entry, dict)]
    groups = {str(group): name for group, name in chosen if " " not in str(group)}
    defaults: dict[str, object] = {key: value for key, value in config.items() if not isinstance(value, dict)}
    for group, name in groups.items():
        file: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{name}.yaml"))
        inside = {f.name: f.default for f in _fields(_fields(Point)[group].type).values()} if group != "grid" else {}
        of_config = config.get(group) or {}
        defaults |= {group: name} | {f"{group}.{key}": value for key, value in (inside | file | of_config).items()}
    defaults["partition"] = f"{groups['partition']}, or what {DEFAULT_PARTITION} says"
    nested = {key: value for key, value in defaults.items() if isinstance(value, dict) and "." in key}
    defaults |= {f"{key}.{name}": value for key, values in nested.items() for name, value in values.items()}
    return {key: _in_words(value) for key, value in defaults.items() if not _is_open(value)}


def _is_open(value: object) -> bool:
    """Whether a dataclass has no default, or one that is made anew each time, or an object of its own."""
    return not isinstance(value, str | int | float | bool | list | tuple | dict | None)


def _in_words(value: Any) -> Any:
    """A default that an environment variable may give, in words: `local (VIT_SWEEP_PARTITION)`."""
    variable = re.fullmatch(r"\$\{oc\.env:(\w+),(.*)\}", value) if isinstance(value, str) else None
    if variable:
        return f"{variable[2]}, or what {variable[1]} says"
    return value if not isinstance(value, StrEnum) else value.value
