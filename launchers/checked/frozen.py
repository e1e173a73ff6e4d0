"""What a frozen dataclass can do beside holding fields, by functions that all classes share.

Python's own decorator compiles six functions for each class, 0.4 ms of it, and a process starts with a hundred classes.
"""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from functools import cache
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def freeze(cls: Any) -> None:
    """Let objects of a dataclass be compared, hashed, shown and pickled by their fields, and changed by nobody.

    A method that the class has of its own stays.
    """
    names = tuple(field.name for field in fields(cls))
    values = _values(names)

    def equal(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(values(self))

    def representation(self: Any) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(names, values(self), strict=True))
        return f"{self.__class__.__qualname__}({fields})"

    def state(self: Any) -> list[Any]:
        return list(values(self))

    def take_state(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    methods = {
        "__eq__": equal,
        "__hash__": hashed,
        "__repr__": representation,
        "__getstate__": state,
        "__setstate__": take_state,
        "__setattr__": _not_set,
        "__delattr__": _not_deleted,
    }
    defined = set(vars(cls)) - ({"__hash__"} if vars(cls).get("__hash__") is None else set())
    for name, method in methods.items():
        if name not in defined:
            setattr(cls, name, method)


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What returns an object's values of these names, a tuple of one or none too."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple(getattr(one, name) for name in names)


def varied(value: T, /, *bases: object, **changed: Any) -> T:
    """A frozen object with other fields, taken as they are: of such as were checked before, for thousands of objects.

    `bases`: objects of classes that its own class is made of, whose fields it takes. `dataclasses.replace` has every
    field checked again, which takes five times as long.
    """
    made: T = object.__new__(type(value))
    part: Any
    for part in (value, *bases):
        values, slots = _slots(part.__class__)
        for assign, field in zip(slots, values(part), strict=True):
            assign(made, field)
    for name, field in changed.items():
        object.__setattr__(made, name, field)
    return made


@cache
def _slots(cls: Any) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[Callable[[Any, Any], None], ...]]:
    """What reads all fields of a class at once, and what sets each of them."""
    names = tuple(field.name for field in fields(cls))
    return _values(names), tuple(getattr(cls, name).__set__ for name in names)


def _not_set(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _not_deleted(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
