"""What an operation moves in the memory of its device."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

_OVERWRITE = frozenset({"copy_", "fill_", "zero_", "_foreach_copy_", "_foreach_zero_"})
"""These write their first argument without reading it."""
_UNWRITTEN = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"})
"""Of these nothing is read or written; the last is a view that torch does not call one."""


def moved(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    """Bytes that an operation of ATen's reads and writes: its tensors, each once. Views move nothing.

    So each operation goes through memory, as unfused kernels do; what a cache holds, or a fused kernel keeps to itself,
    is not taken off. Collectives move over links, and are none of ATen's operations.
    """
    name = func._opname
    if func.is_view or name in _UNWRITTEN:
        return 0
    arguments = _arguments(func)
    values = [*zip(arguments, args, strict=False), *((a, kwargs[a.name]) for a in arguments if a.name in kwargs)]
    written = [value for argument, value in values if argument.is_written]
    read = [
        value
        for argument, value in values
        if not argument.is_out and not (name in _OVERWRITE and argument is arguments[0])
    ]
    if name.endswith("_like") or name.startswith("new_"):
        read = []  # of its first argument they take the shape
    return bytes_of(read) + bytes_of(written if written else result)


class _Argument(NamedTuple):
    name: str
    is_written: bool
    is_out: bool


@cache
def _arguments(func: Any) -> tuple[_Argument, ...]:
    """Asked of torch once: it makes them anew each time."""
    return tuple(
        _Argument(a.name, is_written=a.alias_info is not None and a.alias_info.is_write, is_out=a.is_out)
        for a in func._schema.arguments
    )


def bytes_of(values: Any) -> int:
    """Of all tensors in it."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(values))


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Each tensor that an operation is given or returns: alone, or in lists."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)
