"""What makes two checked values the same thing, whatever release wrote them. Pure."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any, Self

from launchers.checked import to_plain

_ALWAYS_IN_IDENTITY = frozenset({"beta1", "beta2", "files"})
"""Fields with a default that were in the identity before the rule of `identity` was made."""
_NEVER_IN_IDENTITY = frozenset({"counts", "init", "continue_from", "folder", "training"})
"""What is known of a thing, not what it is: a later release of torch may count differently, a file lie elsewhere."""


def identity(value: object) -> dict[str, Any]:
    """Plain data of a checked value for a digest: a field at its default is left out, nested values alike.

    So a field that is added later, with the old behaviour as its default, leaves every older identity as it was.
    """
    return _identity(value, to_plain(value))


def _identity(value: object, serialized: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(value):  # type: ignore[arg-type]  # a checked value is a dataclass instance
        field_value = getattr(value, field.name)
        if field.name in _NEVER_IN_IDENTITY:
            continue
        if field.default is not MISSING and field_value == field.default and field.name not in _ALWAYS_IN_IDENTITY:
            continue
        values[field.name] = (
            _identity(field_value, serialized[field.name]) if is_dataclass(field_value) else serialized[field.name]
        )
    return values


def readers(cls: type[Any]) -> dict[str, Callable[[Any], Any]]:
    """What reads each field of a checked class as a command says it: of a specification the name, of a menu the word,
    true and false in small letters."""
    return {field.name: _reader(field.name, field.type) for field in fields(cls)}


def _reader(name: str, kind: Any) -> Callable[[Any], Any]:
    if kind is bool:
        return lambda value: str(getattr(value, name)).lower()
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return attrgetter(f"{name}.value")
    return attrgetter(f"{name}.name" if is_dataclass(kind) else name)


class Repeatable:
    """A checked value with a seed, whose repeats differ in it alone: whatever does not depend on it, its digest's text
    too, is worked out once for all that `repeated` makes. A large grid is thousands of repeats of a few dozen cells."""

    __slots__ = ("_around", "_digest")
    _around: tuple[str, str]
    _digest: str

    def repeated(self, seed: int) -> Self:
        """The same with another seed."""
        myself: Any = self
        repeat: Self = replace(myself, seed=seed)
        object.__setattr__(repeat, "_around", self.around)
        return repeat

    @property
    def around(self) -> tuple[str, str]:
        """The text of its digest before and behind its seed; one and the same object for all that `repeated` made."""
        if not hasattr(self, "_around"):
            object.__setattr__(self, "_around", self._worked_out())
        return self._around

    @property
    def digest(self) -> str:
        """8 hex digits of sha256 over the sorted fields of `identity`; asked for all the time, worked out once."""
        if not hasattr(self, "_digest"):
            head, tail = self.around
            text = f"{head}{self.seed}{tail}"  # type: ignore[attr-defined]  # a field of whoever is one of these
            object.__setattr__(self, "_digest", hashlib.sha256(text.encode()).hexdigest()[:8])
        return self._digest

    def _worked_out(self) -> tuple[str, str]:
        """What `around` is."""
        raise NotImplementedError


def around_seed(values: Mapping[str, Any], *, comma: str = ", ", colon: str = ": ") -> tuple[str, str]:
    """What `json.dumps(values, sort_keys=True)` says before and behind the value of `seed`.

    >>> around_seed({"gpus": 2, "seed": 7, "zero": None})
    ('{"gpus": 2, "seed": ', ', "zero": null}')
    """
    written = partial(json.dumps, sort_keys=True, separators=(comma, colon))
    head = written({name: value for name, value in values.items() if name < "seed"})
    behind = written({name: value for name, value in values.items() if name > "seed"})
    start = f"{head[:-1]}{comma}" if head != "{}" else "{"
    return f'{start}"seed"{colon}', f"{comma}{behind[1:]}" if behind != "{}" else "}"
