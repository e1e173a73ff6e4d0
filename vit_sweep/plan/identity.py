"""What makes two checked values the same thing, whatever release wrote them. Pure."""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

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


def _identity(value: object, plain: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(value):  # type: ignore[arg-type]  # a checked value is a dataclass instance
        own = getattr(value, field.name)
        if field.name in _NEVER_IN_IDENTITY:
            continue
        if field.default is not MISSING and own == field.default and field.name not in _ALWAYS_IN_IDENTITY:
            continue
        values[field.name] = _identity(own, plain[field.name]) if is_dataclass(own) else plain[field.name]
    return values
