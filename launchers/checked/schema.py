"""The core schema of a type: what pydantic's validator, without the rest of pydantic, checks values of it by.

pydantic makes the same schemas (a test compares them), but to import it and have it look at a hundred classes took a
third of a dry run. Only the types that our files need are known here.
"""

import dataclasses
import enum
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import CoreConfig

from launchers.checked.kinds import After, InFile, Rule

Schema = dict[str, Any]

STRICT: CoreConfig = {"strict": True, "allow_inf_nan": False, "extra_fields_behavior": "forbid"}
"""Of every class: `1` is no text and no truth, NaN is no number, and a key that no field has is a mistake."""
_PLAIN = {int: "int", float: "float", str: "str", bool: "bool", NoneType: "none", None: "none", Any: "any"}
_MADE: dict[type[Any], Schema] = {}


def schema_of(kind: Any) -> Schema:
    """The schema of a type; raises `TypeError` for one of which this page knows nothing."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and not get_origin(kind):
        return _of_class(kind)
    inner = get_args(kind)
    match get_origin(kind):
        case origin if origin is Annotated:
            return _ruled(schema_of(inner[0]), inner[1:])
        case origin if origin in (Union, UnionType):
            return _of_union(inner)
        case origin if origin is tuple:
            return _of_tuple(inner)
        case origin if origin in (dict, Mapping):
            return {"type": "dict", "keys_schema": schema_of(inner[0]), "values_schema": schema_of(inner[1])}
        case origin if origin is Literal:
            return {"type": "literal", "expected": list(inner)}
    raise TypeError(f"{kind} is none of the types that checked classes are made of")


def schema_of_class(cls: type[Any]) -> Schema:
    """The schema of a checked class, made once."""
    if cls not in _MADE:
        fields = dataclasses.fields(cls)
        _MADE[cls] = {
            "type": "dataclass",
            "cls": cls,
            "schema": {
                "type": "dataclass-args",
                "dataclass_name": cls.__name__,
                "fields": [_of_field(f) for f in fields],
            },
            "fields": [field.name for field in fields],
            "post_init": hasattr(cls, "__post_init__"),
            "slots": True,
            "config": {**STRICT, "title": cls.__name__},
        }
    return _MADE[cls]


def _of_class(kind: type[Any]) -> Schema:
    if issubclass(kind, enum.StrEnum):
        return {"type": "enum", "cls": kind, "members": list(kind), "sub_type": "str"}
    if dataclasses.is_dataclass(kind):
        return schema_of_class(kind)
    if hasattr(kind, "__fspath__"):
        path = {"type": "function-after", "function": {"type": "no-info", "function": kind}, "schema": {"type": "str"}}
        return {
            "type": "json-or-python",
            "json_schema": path,
            "python_schema": {"type": "is-instance", "cls": kind},
            "serialization": {"type": "to-string"},
        }
    raise TypeError(f"{kind} is none of the types that checked classes are made of")


def _ruled(schema: Schema, rules: tuple[Any, ...]) -> Schema:
    for rule in rules:
        match rule:
            case Rule():
                schema = schema | {rule.word: rule.limit}
            case After():
                function = {"type": "no-info", "function": rule.judge}
                schema = {"type": "function-after", "function": function, "schema": schema}
            case InFile():  # of the field
                pass
            case _:
                raise TypeError(f"{rule} is no rule")
    return schema


def _of_union(kinds: tuple[Any, ...]) -> Schema:
    schemas = [schema_of(kind) for kind in kinds if kind is not NoneType]
    schema = schemas[0] if len(schemas) == 1 else {"type": "union", "choices": schemas}
    return {"type": "nullable", "schema": schema} if NoneType in kinds else schema


def _of_tuple(kinds: tuple[Any, ...]) -> Schema:
    if kinds[1:] == (Ellipsis,):
        return {"type": "tuple", "items_schema": [schema_of(kinds[0])], "variadic_item_index": 0}
    return {"type": "tuple", "items_schema": [schema_of(kind) for kind in kinds]}


def _of_field(field: "dataclasses.Field[Any]") -> Schema:
    schema = schema_of(field.type)
    if field.default is not dataclasses.MISSING:
        schema = {"type": "default", "schema": schema, "default": field.default}
    elif field.default_factory is not dataclasses.MISSING:
        schema = {"type": "default", "schema": schema, "default_factory": field.default_factory}
    definition: Schema = {"type": "dataclass-field", "name": field.name, "schema": schema}
    for rule in getattr(field.type, "__metadata__", ()):
        if isinstance(rule, InFile):
            definition |= {"validation_alias": [[rule.name], [field.name]], "serialization_alias": rule.name}
    return definition
