"""What an operation moves in the memory of its device."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

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
    arguments = func._schema.arguments
    values = [*zip(arguments, args, strict=False), *((a, kwargs[a.name]) for a in arguments if a.name in kwargs)]
    written = [value for argument, value in values if argument.alias_info is not None and argument.alias_info.is_write]
    out = {argument.name for argument in arguments if argument.is_out}
    read = [
        value
        for argument, value in values
        if argument.name not in out and not (name in _OVERWRITE and argument is arguments[0])
    ]
    if name.endswith("_like") or name.startswith("new_"):
        read = []  # of its first argument they take the shape
    return bytes_of(read) + bytes_of(written if written else result)


def bytes_of(values: Any) -> int:
    """Of all tensors in it."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
