"""What a step moves in the memory of its device: counted operation by operation, outside of the timed steps."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.job.train.without_compiler import is_loaded

_OVERWRITE = frozenset({"copy_", "fill_", "zero_", "_foreach_copy_", "_foreach_zero_"})
"""These write their first argument without reading it."""
_UNWRITTEN = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"})
"""Of these nothing is read or written; the last is a view that torch does not call one."""


class MovedBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Sums what each operation of torch reads and writes: its tensors, each once an operation.

    So each operation goes through memory, as unfused kernels do; what a cache holds, or a fused kernel keeps to itself,
    is not taken off. Views move nothing. Collectives move over links, which `Collective` counts.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.total: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation, and count it."""
        given = kwargs or {}
        result = func(*args, **given)
        if func.namespace == "aten" and not func.is_view:
            self.total += _moved(func, args, given, result)
        return result


def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    name = func._schema.name.removeprefix("aten::")
    if name in _UNWRITTEN:
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
    return _bytes(read) + _bytes(written if written else result)


def _bytes(values: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def moved_bytes(step: Callable[[], None]) -> int:
    """Count the bytes of one call."""
    eager = torch.compiler.set_stance("force_eager") if is_loaded() else nullcontext()
    with eager, MovedBytes() as moved:
        step()
    return int(moved.total)


def count_moved(bench: Bench) -> int:
    """Bytes that a step of this rank moves in memory; a collective, since its steps communicate."""
    bench.enter()
    return moved_bytes(bench.step)
