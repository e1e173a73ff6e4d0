"""Collectives of DeepSpeed and of a loss, counted or turned off for a while: those of each go through one object."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor

from launchers.profile import Device
from vit_sweep.plan.cell import Cell
from vit_sweep.record.counts import CollectiveKind

_KINDS = (
    "all_reduce",
    "all_reduce_coalesced",
    "reduce",
    "broadcast",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_coalesced",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "all_to_all_single",
)
Call = Callable[..., Any]


def start_deepspeed(cell: Cell) -> None:
    """Let DeepSpeed communicate over the process group that is there."""
    import deepspeed

    # Asked by one reader, whether to build an op that takes a compiler and 50 s and does what gloo does without it.
    # Left to DeepSpeed, every rank would try out compilers to fill it.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(
        dist_backend="gloo" if cell.device is Device.CPU else "nccl", auto_mpi_discovery=False, verbose=False
    )


class Direct:
    """torch's collectives for whoever communicates beside an engine."""

    def all_gather_into_tensor(self, full: Tensor, local: Tensor) -> None:
        """Put the `local` tensors of all ranks into `full`, in their order."""
        dist.all_gather_into_tensor(full, local)

    def reduce_scatter_tensor(self, local: Tensor, full: Tensor) -> None:
        """Put the sum over ranks of this rank's part of `full` into `local`."""
        dist.reduce_scatter_tensor(local, full)


DIRECT = Direct()


class _Done:
    """The handle of a collective that has nothing to wait for."""

    def wait(self) -> None:
        """Return at once."""


class Counted:
    """What went by while collectives were counted, on this rank."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, kind: str, size_bytes: int) -> None:
        self._calls[kind] += 1
        self._bytes[kind] += size_bytes

    def kinds(self, steps: int) -> tuple[CollectiveKind, ...]:
        """Per step, over `steps` steps."""
        return tuple(
            CollectiveKind(name=name, calls=calls / steps, bytes=self._bytes[name] / steps)
            for name, calls in sorted(self._calls.items())
        )


@contextmanager
def counted() -> Iterator[Counted]:
    """Count the collectives of the block."""
    counts = Counted()

    def counting(kind: str, call: Call) -> Call:
        def count(*args: Any, **kwargs: Any) -> Any:
            counts.add(kind, _bytes(kind, [*args, *kwargs.values()]))
            return call(*args, **kwargs)

        return count

    with _replaced(counting):
        yield counts


@contextmanager
def silenced() -> Iterator[None]:
    """Let no collective of the block reach another rank.

    What would be reduced, or gathered in place, stays as it is; what would be gathered into other memory is filled with
    this rank's own part, so that no rank computes with whatever was there before. Results are wrong, times are those of
    a step without communication.
    """
    with _replaced(lambda kind, _: lambda *args, **kwargs: fill_locally(kind, [*args, *kwargs.values()])):
        yield


@contextmanager
def _replaced(make: Callable[[str, Call], Call]) -> Iterator[None]:
    # DeepSpeed's is not there where it is not imported, or nothing goes through it.
    backends = (DIRECT, getattr(sys.modules.get("deepspeed.comm.comm"), "cdb", None))
    replaced = [(backend, kind) for backend in backends for kind in _KINDS if hasattr(backend, kind)]
    for backend, kind in replaced:
        setattr(backend, kind, make(kind, getattr(backend, kind)))
    try:
        yield
    finally:
        for backend, kind in replaced:
            delattr(backend, kind)  # the class's own method shows again


def _bytes(kind: str, args: Sequence[Any]) -> int:
    """Bytes of the full tensor: the output of an all-gather, the input of everything else."""
    full = args[1] if kind.startswith("reduce_scatter") else args[0]
    return sum(tensor.numel() * tensor.element_size() for tensor in (full if isinstance(full, list) else [full]))


def fill_locally(kind: str, args: Sequence[Any]) -> _Done:
    """Fill the outputs of a collective with this rank's own part; `args`: its arguments in torch's order."""
    match kind:
        case "all_gather":
            for part in args[0]:
                part.copy_(args[1])
        case "all_gather_into_tensor":
            _fill(args[0], args[1])
        case "all_gather_coalesced":
            for full, part in zip(args[0], args[1], strict=True):
                _fill(full, part)
        case "reduce_scatter":
            args[0].copy_(args[1][dist.get_rank()])
        case "reduce_scatter_tensor":
            args[0].view(-1).copy_(args[1].view(-1).chunk(dist.get_world_size())[dist.get_rank()])
        case "all_to_all_single":
            args[0].copy_(args[1])
    return _Done()


def _fill(full: Tensor, part: Tensor) -> None:
    if full.untyped_storage().data_ptr() == part.untyped_storage().data_ptr():
        return  # in place: what other ranks would send is what was there before
    full.view(-1, part.numel()).copy_(part.view(1, -1))
