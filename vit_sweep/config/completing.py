"""What may follow in a sweep's words: keys, and the values of those that have a menu. An edge: lists files of conf/."""

import os
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, get_args, get_type_hints

from launchers.errors import UserError
from vit_sweep.config.groups import catalog
from vit_sweep.config.plain_yaml import known_keys
from vit_sweep.config.settings import Settings
from vit_sweep.config.spelling import GROUPS
from vit_sweep.plan.point import Point

_MORE = {"dry_run": ("true", "json", "stdout"), "plan": ("all",)}


def complete(prefix: str) -> list[str]:
    """The words that `prefix` may become: `gp` a key with its equals sign, `model=vit_b` a value behind its key.

    Of several values (`gpus=1,2,`) the last is completed.
    """
    key, mark, values = prefix.partition("=")
    if not mark:
        return sorted(f"{name}=" for name in known_keys() if name.startswith(prefix))
    *earlier, last = values.split(",")
    head = "".join(f"{value}," for value in earlier)
    return [
        f"{key}={head}{value}" for value in menu(key.lstrip("+")) if value.startswith(last) and value not in earlier
    ]


def menu(key: str) -> list[str]:
    """The values of a key, where they can be listed; else none."""
    if key in GROUPS:
        try:
            return list(dict.fromkeys(entry.name for entry in catalog(key, None, os.environ)))
        except UserError:
            return []
    if key in _MORE:
        return list(_MORE[key])
    return list(_values(_kind(key)))


def _kind(key: str) -> Any:
    """The type of a key; None for one that there is not."""
    kind: Any = Point
    for part in key.split("."):
        hints = get_type_hints(kind) if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__") else {}
        kind = hints.get(part)
    return kind if kind is not None else get_type_hints(Settings).get(key)


def _values(kind: Any) -> Iterable[str]:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [member.value for member in kind]
    if kind is bool:
        return ["true", "false"]
    # `Retry | None`, `tuple[Logger, ...]`
    return [value for inner in get_args(kind) if inner not in (type(None), Ellipsis) for value in _values(inner)]
