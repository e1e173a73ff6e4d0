"""What is wrong with a value, in a sentence for who wrote it."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any, get_args

from pydantic_core import ErrorDetails

from launchers.errors import closest, nearest
from launchers.text import short


def sentences(cls: type[Any], details: list[ErrorDetails]) -> Iterator[str]:
    """A sentence for each wrong value; one for the forms that a value of several types could have."""
    for location, group in groupby(details, key=lambda detail: _without_form(detail["loc"])):
        forms = list(group)
        if len(forms) == 1:
            yield _sentence(cls, forms[0])
        else:
            rules = " or ".join(dict.fromkeys(_rule_of(form, location) for form in forms)).replace(
                " or must be ", " or "
            )
            yield f"{'.'.join(map(str, location))}={short(forms[0]['input'])} – {rules}"


_FORMS = re.compile(r"bool|(constrained-)?(int|float|str)|(literal|tuple)\[.*\]")


def _without_form(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of a value, without the form that was tried where it may have several, and what is in that."""
    form = next((n for n, part in enumerate(location) if _FORMS.fullmatch(str(part))), len(location))
    return location[:form]


def _rule_of(detail: ErrorDetails, location: tuple[int | str, ...]) -> str:
    """The rule of one form that a value could have; of a list whatever is wrong in it."""
    form = str((*detail["loc"][len(location) :], "")[0])
    if not form.startswith("tuple["):
        return _rule(detail)
    return "must be a list" + ("" if "..." in form else f" of {form.count(',') + 1}")


def _sentence(cls: type[Any], detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    value = detail["input"]
    match detail["type"]:
        case "json_invalid":
            return f"not valid JSON ({detail['msg']})"
        case "extra_forbidden" | "unexpected_keyword_argument":
            holder = _field_holder(cls, detail["loc"][:-1])
            return f"unknown key {key} – {closest(str(detail['loc'][-1]), field_names(holder))}"
        case "missing" | "missing_argument":
            return f"{key} is missing"
        case "enum" | "literal_error":
            menu = str(detail.get("ctx", {}).get("expected", ""))
            near = nearest(str(value), re.findall(r"'([^']+)'", menu))
            hint = f" – did you mean {near[0]}?" if near else ""
            return f"{key}={value} is not one of {menu}{hint}"
        case "dataclass_type":
            menu = ", ".join(field_names(_field_holder(cls, detail["loc"])))
            return f"{key}={short(value)} – must be keys with values: {menu}"
        case _:
            return f"{key}={short(value)} – {_rule(detail)}"


_RULES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text; write it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be keys with values; write {KEY: VALUE}",
    "dataclass_type": "must be keys with values; write {KEY: VALUE}",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be above"),
    "less_than": ("lt", "must be below"),
    "less_than_equal": ("le", "must be at most"),
    "literal_error": ("expected", "must be"),
}


def _rule(detail: ErrorDetails) -> str:
    """Say the rule that a value breaks in plain words; pydantic's for the rare ones."""
    kind, limits = detail["type"], detail.get("ctx", {})
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"{words} {limits[name]}"
    match kind:
        case "int_type" | "int_from_float" if isinstance(number := detail["input"], float) and number.is_integer():
            return f"{_RULES[kind]}; write {number:.0f}"
        case "string_type" if isinstance(detail["input"], bool):
            return f"{_RULES[kind]}, or YAML reads no and off as false, yes and on as true"
        case "tuple_type" | "list_type":
            return f"must be a list; write [{short(detail['input'])}]"
        case "string_pattern_mismatch" if limits["pattern"].startswith("^[A-Za-z0-9]"):
            return "must be letters, digits and . _ + - only, starting with a letter or digit"
        case "string_pattern_mismatch":
            return "has characters that have no place there"
        case _:
            return _RULES.get(kind, f"{detail['msg'][0].lower()}{detail['msg'][1:]}")


def field_names(cls: type[Any]) -> list[str]:
    """Names of the fields of a checked class, in order."""
    return list(getattr(cls, "__dataclass_fields__", {}))


def fields_for(cls: Any, value: object) -> dict[str, Any]:
    """What a checked value has of the fields of another class, by name."""
    own: Any = type(value)
    return {name: getattr(value, name) for name in _fields_of_both(cls, own)}


@cache
def _fields_of_both(cls: type[Any], other: type[Any]) -> list[str]:
    return [name for name in field_names(cls) if name in field_names(other)]


def _field_holder(cls: type[Any], path: tuple[int | str, ...]) -> type[Any]:
    """Follow `path` through nested checked classes; stop at the last class found."""
    for part in path:
        field = getattr(cls, "__dataclass_fields__", {}).get(str(part))
        kinds = () if field is None else (field.type, *get_args(field.type))
        inner = next((kind for kind in kinds if hasattr(kind, "__dataclass_fields__")), None)
        if inner is None:
            break
        cls = inner
    return cls
