"""Checked data: every dataclass that crosses a boundary is frozen, strict and refuses unknown keys.

The types here say what a value from a file may be at most: whoever can write into a study's folder chooses its names
and numbers, and they become paths, words of commands, and sums.

One decorator and two functions, so that YAML, JSON and our own code meet the same rules and a mistake
becomes one sentence instead of a validation dump.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import groupby, pairwise
from typing import Annotated, Any, TypeVar, dataclass_transform

from annotated_types import Ge, Le
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _pydantic_dataclass
from pydantic_core import ErrorDetails

from launchers.errors import UserError, closest, nearest
from launchers.text import short

T = TypeVar("T")

# Built when first used: a process starts with a hundred of these classes and uses a few.
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

_LONGEST_NAME = 200
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=_LONGEST_NAME)]
"""One component of a path, and one word of a command: it neither climbs out nor looks like an option."""
CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Of a pattern's class: control characters, and all that ends a line."""
Line = Annotated[str, StringConstraints(pattern=rf"^[^{CONTROLS}]*$")]
"""Text of one line without control characters."""
Below = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][^/\x00-\x1f\x7f]*(/[A-Za-z0-9_][^/\x00-\x1f\x7f]*)*$")]
"""A path below some folder."""
AttemptName = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5})?$")]
"""`2`, or `2.1` after its job was started again."""
CLUSTER = r"[A-Za-z0-9][A-Za-z0-9._-]*"
ClusterName = Annotated[str, StringConstraints(pattern=f"^{CLUSTER}$")]
"""What Slurm calls a cluster."""
_SLURM_JOB, _QUEUE = rf"[0-9]{{1,20}}(;{CLUSTER})?", r"[^/\s-][^/\s]*/[0-9]{1,10}/[^\x00-\x1f]*"
Handle = Annotated[str, StringConstraints(pattern=f"^({_SLURM_JOB}|{_QUEUE})?$")]
"""What a job is called: Slurm's number, with its cluster where that was named (`17;west`), or `host/process/birth` of
one of our queues; empty before it has a name."""
HostList = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._,\[\]-]*$", max_length=4096)]
"""Hosts as Slurm lists them: `node[01-02,07]`."""
Quantity = Annotated[float, Ge(0), Le(1e18)]
"""Seconds, bytes, watts: a sum of as many as a study can hold is still a number."""
Signed = Annotated[float, Ge(-1e18), Le(1e18)]
"""A difference, or a temperature."""
Whole = Annotated[int, Ge(0), Le(2**63 - 1)]
Part = Annotated[float, Ge(0), Le(1)]
Loss = Annotated[float, Field(allow_inf_nan=True)]
"""Of a training that may have gone wrong: NaN is an answer."""
End = Annotated[float, Field(allow_inf_nan=True)]
"""Of an interval that was computed, not read: it may reach to infinity."""


def _instant(text: str) -> str:
    if text and (datetime.fromisoformat(text).tzinfo is None or not "1970" <= text[:4] < "9999"):
        raise ValueError("must be a time like 2025-01-01T00:00:00+00:00")
    return text


Instant = Annotated[str, AfterValidator(_instant)]
"""A time in ISO 8601 with its zone; empty where nobody noted it."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def checked(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, slotted, keyword-only dataclass that validates its fields strictly."""
    make: Callable[[type[T]], Any] = _pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
    made: type[T] = make(cls)
    return made


def words_under(cls: type[Any]) -> dict[str, str]:
    """What the source says under each field of a class, or under each member of an enumeration; read when asked."""
    if cls not in _WORDS:
        _WORDS[cls] = dict(_words_of(cls))
    return _WORDS[cls]


def _words_of(cls: type[Any]) -> Iterator[tuple[str, str]]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, below in pairwise(tree.body):
        names = field.targets if isinstance(field, ast.Assign) else [getattr(field, "target", None)]
        if isinstance(names[0], ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield names[0].id, inspect.cleandoc(str(below.value.value))


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
_WORDS: dict[type[Any], dict[str, str]] = {}


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """The validator of a class, made once."""
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def parse(cls: type[T], data: Mapping[str, Any], *, what: str) -> T:
    """Build a checked `cls` from plain data (a YAML mapping, a composed config).

    `what` names the source in the error, for example `partition vector_t4v2`.
    Raises `UserError` with one clause per wrong key.
    """
    return parse_json(cls, json.dumps(data), what=what)


def parse_json(cls: type[T], text: str | bytes, *, what: str) -> T:
    """Build a checked `cls` from JSON text; raises `UserError` that names `what`."""
    try:
        parsed: T = _adapter(cls).validate_json(text)
        return parsed
    except ValidationError as error:
        raise UserError(f"{what}: {'; '.join(_sentences(cls, error.errors(include_url=False)))}") from None


def to_plain(value: object, *, defaults: bool = True) -> Any:
    """Turn a checked value into JSON-ready data: dicts, lists, strings, numbers; without `defaults` what differs."""
    return _adapter(type(value)).dump_python(value, mode="json", by_alias=True, exclude_defaults=not defaults)


def to_json(value: object) -> str:
    """Turn a checked value into indented JSON text that ends with a newline."""
    return json.dumps(to_plain(value), indent=1, sort_keys=True) + "\n"


def _sentences(cls: type[Any], details: list[ErrorDetails]) -> Iterator[str]:
    """A sentence for each wrong value; one for the forms that a value of several types could have."""
    for where, group in groupby(details, key=lambda detail: _without_form(detail["loc"])):
        forms = list(group)
        if len(forms) == 1:
            yield _sentence(cls, forms[0])
        else:
            rules = " or ".join(_rule(form) for form in forms).replace(" or must be ", " or ")
            yield f"{'.'.join(map(str, where))}={short(forms[0]['input'])} – {rules}"


def _without_form(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of a value, without the form that was tried where it may have several."""
    return place[:-1] if re.fullmatch(r"bool|int|float|str|literal\[.*\]", "".join(map(str, place[-1:]))) else place


def _sentence(cls: type[Any], detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    given = detail["input"]
    match detail["type"]:
        case "json_invalid":
            return f"not valid JSON ({detail['msg']})"
        case "extra_forbidden" | "unexpected_keyword_argument":
            holder = _field_holder(cls, detail["loc"][:-1])
            return f"unknown key {where} – {closest(str(detail['loc'][-1]), field_names(holder))}"
        case "missing" | "missing_argument":
            return f"{where} is missing"
        case "enum" | "literal_error":
            menu = str(detail.get("ctx", {}).get("expected", ""))
            near = nearest(str(given), re.findall(r"'([^']+)'", menu))
            hint = f" – did you mean {near[0]}?" if near else ""
            return f"{where}={given} is not one of {menu}{hint}"
        case _:
            return f"{where}={short(given)} – {_rule(detail)}"


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


def _field_holder(cls: type[Any], path: tuple[int | str, ...]) -> type[Any]:
    """Follow `path` through nested checked classes; stop at the last class found."""
    for part in path:
        field = getattr(cls, "__dataclass_fields__", {}).get(str(part))
        if field is None or not hasattr(field.type, "__dataclass_fields__"):
            break
        cls = field.type
    return cls
