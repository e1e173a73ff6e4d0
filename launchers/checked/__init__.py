"""Checked data: every dataclass that crosses a boundary is frozen, strict and refuses unknown keys.

The types here say what a value from a file may be at most: whoever can write into a study's folder chooses its names
and numbers, and they become paths, words of commands, and sums.

One decorator and two functions, so that YAML, JSON and our own code meet the same rules and a mistake
becomes one sentence instead of a validation dump.
"""

import ast
import inspect
import json
import textwrap
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, dataclass_transform

from pydantic_core import ArgsKwargs, SchemaSerializer, SchemaValidator, ValidationError

from launchers.checked.frozen import freeze, varied
from launchers.checked.kinds import (
    ANY_FLOAT,
    CLUSTER,
    CONTROLS,
    After,
    AttemptName,
    Below,
    ClusterName,
    End,
    Ge,
    Gt,
    Handle,
    HostList,
    InFile,
    Instant,
    Le,
    Line,
    Loss,
    Lt,
    MaxLen,
    MinLen,
    Name,
    Part,
    Pattern,
    Quantity,
    Rule,
    Signed,
    Whole,
)
from launchers.checked.schema import STRICT, Schema, schema_of_class
from launchers.checked.sentences import field_names, fields_for, sentences
from launchers.errors import UserError
from launchers.text import indented

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def checked(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, slotted, keyword-only dataclass that validates its fields strictly.

    What validates is built when it is first used: a process starts with a hundred of these classes and uses a few.
    """
    dataclass_type: Any = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(cls)
    freeze(dataclass_type)
    dataclass_type.__init__ = _validated
    dataclass_type.__get_pydantic_core_schema__ = classmethod(_as_pydantic_asks)
    result: type[T] = dataclass_type
    return result


def _validated(self: Any, /, *args: Any, **fields: Any) -> None:
    """Take the fields, or raise `pydantic_core.ValidationError`."""
    __tracebackhide__ = True
    _validator(type(self)).validate_python(ArgsKwargs(args, fields), self_instance=self)


def _as_pydantic_asks(cls: type[Any], _source: Any, _handler: Any) -> Schema:
    return schema_of_class(cls)


_VALIDATORS: dict[type[Any], SchemaValidator] = {}
_SERIALIZERS: dict[type[Any], SchemaSerializer] = {}


def _validator(cls: type[Any]) -> SchemaValidator:
    """The validator of a class, made once."""
    if cls not in _VALIDATORS:
        schema: Any = schema_of_class(cls)
        _VALIDATORS[cls] = SchemaValidator(schema, STRICT)
    return _VALIDATORS[cls]


def _serializer(cls: type[Any]) -> SchemaSerializer:
    if cls not in _SERIALIZERS:
        schema: Any = schema_of_class(cls)
        _SERIALIZERS[cls] = SchemaSerializer(schema, STRICT)
    return _SERIALIZERS[cls]


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


_WORDS: dict[type[Any], dict[str, str]] = {}


def parse(cls: type[T], data: Mapping[str, Any], *, source: str) -> T:
    """Build a checked `cls` from plain data (a YAML mapping, a composed config).

    `source` is named in the error, for example `partition vector_t4v2`; empty for the words of a command.
    Raises `UserError` with one clause per wrong key.
    """
    return parse_json(cls, json.dumps(data), source=source)


def parse_json(cls: type[T], text: str | bytes, *, source: str) -> T:
    """Build a checked `cls` from JSON text; raises `UserError` that names `source`.

    Bytes may begin with a byte order mark, which editors and shells of Windows put before a text.
    """
    if isinstance(text, bytes):
        text = text.removeprefix(BOM_UTF8)
    try:
        parsed: T = _validator(cls).validate_json(text)
        return parsed
    except ValidationError as error:
        message = "; ".join(sentences(cls, error.errors(include_url=False)))
        raise UserError(f"{source}: {message}" if source else message) from None


def to_plain(value: object, *, defaults: bool = True) -> Any:
    """Turn a checked value into JSON-ready data: dicts, lists, strings, numbers; without `defaults` what differs."""
    return _serializer(type(value)).to_python(value, mode="json", by_alias=True, exclude_defaults=not defaults)


def to_compact_json(value: object) -> bytes:
    """Turn a checked value into JSON that only we read again: on one line, without what equals its default.

    Numbers that are none become null: not for values with fields of `Loss` or `End`.
    """
    return _serializer(type(value)).to_json(value, by_alias=True, exclude_defaults=True)


def to_json(value: object) -> str:
    """Turn a checked value into indented JSON text that ends with a newline."""
    return indented(to_plain(value), sort_keys=True) + "\n"
