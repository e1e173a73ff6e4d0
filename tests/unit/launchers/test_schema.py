"""Checked classes mean what pydantic would make of the same types: its own schemas are the truth here."""

import copy
import dataclasses
import importlib
import pickle
import pkgutil
from enum import StrEnum
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

import launchers
import vit_sweep
from launchers.checked import After, Ge, InFile, Le, Name, Pattern, Rule, checked, parse_json, to_plain
from launchers.checked.schema import schema_of
from launchers.errors import UserError

CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
APART = ("vit_sweep.job.train.", "vit_sweep.data.prepare.", "vit_sweep.__main__")
"""What imports torch or a reader of images, or runs; none of them has a file's types."""


def checked_classes():
    """Every checked class of ours."""
    for package in (launchers, vit_sweep):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(APART):
                cells = vars(importlib.import_module(module.name)).values()
                yield from (one for one in cells if hasattr(one, "__get_pydantic_core_schema__"))


def in_pydantics_words(kind):
    """The same type, with pydantic's own marks for our rules."""
    inner = get_args(kind)
    match get_origin(kind):
        case origin if origin is Annotated:
            marks = [mark for rule in inner[1:] if (mark := _mark(rule)) is not None]
            return reduce(lambda made, mark: Annotated[made, mark], marks, in_pydantics_words(inner[0]))
        case origin if origin in (Union, UnionType):
            return reduce(or_, map(in_pydantics_words, inner))
        case origin if origin is None or origin is Literal:
            return kind
        case origin:
            return origin[tuple(part if part is Ellipsis else in_pydantics_words(part) for part in inner)]


def _mark(rule):
    match rule:
        case After():
            return AfterValidator(rule.judge)
        case Rule(word="pattern"):
            return StringConstraints(pattern=rule.limit)
        case Rule():
            return Field(**{rule.word: rule.limit})
        case InFile():
            return None


def bare(schema, known=None):
    """A core schema without what only names, documents or writes it."""
    if isinstance(schema, list | tuple):
        return [bare(part, known) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {one["ref"]: one for one in schema.get("definitions", [])} | (known or {})
    if schema.get("type") == "definitions":
        return bare(schema["schema"], known)
    if schema.get("type") == "definition-ref":
        return bare(known[schema["schema_ref"]], known)
    described = {"metadata", "ref", "serialization", "definitions"}
    if schema.get("type") == "dict":
        described.add("strict")  # of a Mapping, where pydantic says what our files cannot: that another mapping will do
    return {key: bare(value, known) for key, value in schema.items() if key not in described}


@pytest.fixture(scope="module")
def classes():
    return list(dict.fromkeys(checked_classes()))


def test_pydantic_makes_the_same_schema_of_every_field(classes):
    assert len(classes) > 100
    compared = 0
    for cls in classes:
        for field in dataclasses.fields(cls):
            if "Path" not in str(field.type):
                # In a tuple, since pydantic lets nobody say how strict it shall be with a class.
                theirs = TypeAdapter(tuple[in_pydantics_words(field.type)], config=CONFIG).core_schema
                assert bare(schema_of(tuple[field.type])) == bare(theirs), (cls, field.name)
                compared += 1
    assert compared > 800


def test_another_rule_makes_another_schema():
    """So that the test above can fail."""
    ours, theirs = schema_of(Annotated[int, Ge(0)]), TypeAdapter(Annotated[int, Field(gt=0)], config=CONFIG).core_schema
    assert bare(ours) != bare(theirs)


class Colour(StrEnum):
    RED = "red"


@checked
class Ours:
    name: Name
    count: Annotated[int, Ge(1), Le(9)] = 1
    colour: Colour | None = None
    parts: tuple[Annotated[str, Pattern("^[a-z]$")], ...] = ()
    place: Path | None = None
    index: Annotated[int, InFile("at")] = 0


@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=CONFIG)
class Theirs:
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=200)]
    count: Annotated[int, Field(ge=1, le=9)] = 1
    colour: Colour | None = None
    parts: tuple[Annotated[str, StringConstraints(pattern="^[a-z]$")], ...] = ()
    place: Path | None = None
    index: int = 0


GIVEN = [
    {"name": "a"},
    {"name": "a", "count": 3, "colour": Colour.RED, "parts": ("a",), "place": Path("b")},
    {},
    {"name": "-a"},
    {"name": "a" * 201},
    {"name": "a", "count": 0},
    {"name": "a", "count": 10},
    {"name": "a", "count": True},
    {"name": "a", "count": 1.0},
    {"name": "a", "count": "1"},
    {"name": "a", "colour": "red"},
    {"name": "a", "parts": ["a"]},
    {"name": "a", "parts": ("A", 1)},
    {"name": "a", "place": "b"},
    {"name": "a", "further": 1},
    {"name": 1, "count": None, "colour": 2, "parts": None, "place": 3, "index": []},
]


def outcome(make, **values):
    try:
        return [getattr(make(**values), field.name) for field in dataclasses.fields(make)]
    except ValidationError as error:
        return [(detail["type"], detail["loc"]) for detail in error.errors()]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_class_takes_and_refuses_what_pydantics_own_would(given):
    assert outcome(Ours, **given) == outcome(Theirs, **given)


def test_a_class_takes_no_value_without_a_name():
    with pytest.raises(ValidationError):
        Ours("a")


def test_a_field_that_files_call_otherwise_is_written_so_and_read_by_both():
    parsed = parse_json(Ours, '{"name": "a", "at": 3, "place": "b/c"}', source="it")
    assert (
        parsed
        == Ours(name="a", index=3, place=Path("b/c"))
        == parse_json(Ours, '{"name": "a", "index": 3, "place": "b/c"}', source="it")
    )
    assert to_plain(parsed) == {
        "name": "a",
        "count": 1,
        "colour": None,
        "parts": [],
        "place": "b/c",
        "at": 3,
    }
    assert to_plain(parsed, defaults=False) == {"name": "a", "place": "b/c", "at": 3}
    with pytest.raises(UserError, match="it: unknown key further"):
        parse_json(Ours, '{"name": "a", "further": 1}', source="it")


@checked
class Own:
    count: int

    def __repr__(self):
        return "own"


@checked
class Empty:
    pass


@pytest.mark.parametrize(("one", "other"), [(Ours(name="a"), Ours(name="b")), (Own(count=1), Own(count=2))])
def test_objects_are_compared_hashed_and_copied_by_their_fields(one, other):
    again = dataclasses.replace(one)
    assert one == again == pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) != other
    assert len({one, again, other}) == 2
    assert dataclasses.replace(one, **{f.name: getattr(other, f.name) for f in dataclasses.fields(one)}) == other


def test_objects_of_other_classes_and_of_no_fields_compare_too():
    assert Ours(name="a") != Theirs(name="a")
    assert Empty() == Empty() != Own(count=1)
    assert hash(Empty()) == hash(Empty())


def test_nothing_of_an_object_is_set_or_deleted():
    ours = Ours(name="a")
    for change in (lambda: setattr(ours, "name", "b"), lambda: setattr(ours, "odd", 1), lambda: delattr(ours, "name")):
        with pytest.raises(dataclasses.FrozenInstanceError, match=r"cannot (assign to|delete) field"):
            change()
    assert ours == Ours(name="a")


def test_an_object_is_shown_as_python_shows_a_dataclass_unless_it_says_how():
    assert repr(Ours(name="a")) == repr(Theirs(name="a")).replace("Theirs", "Ours")
    assert repr(Own(count=1)) == "own"
    assert repr(Empty()) == "Empty()"


@pytest.mark.parametrize("kind", [bytes, list[int], Annotated[int, "of no rule"], object])
def test_a_type_that_no_file_has_is_refused_by_name(kind):
    with pytest.raises(TypeError, match=r"none of the types|no rule"):
        schema_of(kind)
