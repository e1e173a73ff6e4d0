"""What a step consists of: each call that torch dispatches is looked at, in one step after the training.

`StepCounts` says what is counted. Nothing is timed here, so that it takes longer does not matter; nothing else is
disturbed, since calls are looked at and passed on.
"""

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType, NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vit_sweep.job.train.imports.importing import instead_of
from vit_sweep.job.train.imports.without_compiler import is_loaded
from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.job.train.measure.collectives import Counted
from vit_sweep.job.train.measure.memory_traffic import bytes_of, moved, tensors_in
from vit_sweep.job.train.measure.readback import agreed, gathered
from vit_sweep.job.train.measure.window import DeviceCalls
from vit_sweep.plan.predict.measuring import SETTLING_STEPS
from vit_sweep.record.counts import CollectiveKind, RankCounts, StepCounts, step_counts

_COLLECTIVES = {
    "allreduce_": "all_reduce",
    "allreduce_coalesced_": "all_reduce_coalesced",
    "broadcast_": "broadcast",
    "reduce_": "reduce",
    "gather_": "gather",
    "scatter_": "scatter",
    "allgather_": "all_gather",
    "_allgather_base_": "all_gather_into_tensor",
    "allgather_coalesced_": "all_gather_coalesced",
    "allgather_into_tensor_coalesced_": "all_gather_into_tensor_coalesced",
    "reduce_scatter_": "reduce_scatter",
    "_reduce_scatter_base_": "reduce_scatter_tensor",
    "reduce_scatter_tensor_coalesced_": "reduce_scatter_tensor_coalesced",
    "alltoall_": "all_to_all",
    "alltoall_base_": "all_to_all_single",
    "send": "send",
    "recv_": "recv",
    "recv_any_source_": "recv",
    "barrier": "barrier",
    "monitored_barrier_": "monitored_barrier",
}
"""torch.distributed's names of what it calls `c10d::...` itself."""
_FUNCTIONAL = "_c10d_functional"
"""Collectives that return new tensors; their names are torch.distributed's already."""
_NO_OPERATIONS = ("profiler", "prim")
"""Namespaces of what marks a trace, or asks a tensor what it is."""
_TO_HOST = ("_local_scalar_dense", "equal")
"""Their result is a number of Python's."""
_COPIES = ("_to_copy", "copy_")
_NONE = torch._C._disabled_torch_dispatch_impl
"""What a tensor that says nothing of its own has."""
_READS = (Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__)
"""On a CPU device torch dispatches nothing for these."""


def _formulas() -> dict[Any, Any]:
    """What torch knows of the work of its operations; imported late, since no rank needs it to start.

    It asks for a type of Triton's, which is forty times all else that it imports, and of whose kernels it knows none.
    """
    triton = ModuleType("triton.runtime.jit")
    vars(triton)["JITFunction"] = NoneType  # torch's own where there is no Triton, but that it warns of it
    with instead_of(triton.__name__, triton):
        from torch.utils.flop_counter import flop_registry
    return flop_registry


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Counts what is dispatched, below autograd."""

    supports_higher_order_operators = True

    def __init__(self, device: str) -> None:
        """Begin with nothing; `device`: the kind of device that computes."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._device = device
        self._formulas = _formulas()
        self.operations = self.flop = self.host_reads = self.moved_bytes = 0
        self.memory = LiveMemory()
        self._communicated = Counted()

    def __torch_dispatch__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation, and count it. A subclass of a tensor says first which operations it is made of."""
        if any(kind.__torch_dispatch__ is not _NONE for kind in types):
            return NotImplemented
        keywords = kwargs or {}
        result = func(*args, **keywords)
        if not isinstance(func, HigherOrderOperator):
            self._count(func, args, keywords, result)
        return result

    @property
    def collectives(self) -> tuple[CollectiveKind, ...]:
        """By name."""
        return self._communicated.kinds(steps=1)

    def _count(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        name = func._opname
        if func.namespace == "c10d":
            self._communicate(_COLLECTIVES.get(name, name), args, None)
        elif func.namespace == _FUNCTIONAL:
            if name != "wait_tensor":
                self._communicate(name.removesuffix("_"), args, result)
        elif func.namespace not in _NO_OPERATIONS:
            self.operations += 1
            self._operate(func, name, args, kwargs, result)
        self.memory.see(tensors_in((args, *kwargs.values())), created=False)
        self.memory.see(tensors_in(result), created=True)

    def _communicate(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        self._communicated.add(name, max(bytes_of(given) for given in (*args, result)))

    def _operate(self, func: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.flop += int(formula(*args, **kwargs, out_val=result))
        if (name in _TO_HOST and args[0].device.type == self._device) or (
            name in _COPIES and _is_to_host(args, result)
        ):
            self.host_reads += 1
        if func.namespace == "aten":
            self.moved_bytes += moved(func, args, kwargs, result)


class _Reads(TorchFunctionMode):
    """Counts what takes a CPU tensor's values without any operation."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self._counting = counting

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _READS and args[0].device.type == "cpu":
            self._counting.host_reads += 1
        return func(*args, **(kwargs or {}))


class LiveMemory:
    """Bytes of a CPU's tensors that are there at once.

    What an operation is given and nobody has seen yet was there from the beginning: weights, states of the optimizer,
    the batch. A memory that several tensors share counts once.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._now = 0
        self._known: dict[int, tuple[int, Any]] = {}
        """By the address of a tensor's memory: its bytes, and what waits for its end."""

    def see(self, tensors: Iterable[Tensor], *, created: bool) -> None:
        """Note tensors that an operation was given, or has created."""
        for tensor in tensors:
            if not tensor.is_cpu or tensor.layout is not torch.strided:
                continue
            memory = tensor.untyped_storage()
            if memory._cdata in self._known:
                continue
            self._known[memory._cdata] = 0, weakref.ref(memory, self._forget(memory._cdata))
            if not created:
                self.peak += memory.nbytes()
            self.resize(memory)

    def resize(self, memory: torch.UntypedStorage) -> None:
        """Take the size that it has now."""
        size_before, waiting = self._known.get(memory._cdata, (0, None))
        if waiting is not None:
            size = memory.nbytes()
            self._known[memory._cdata] = size, waiting
            self._change(size - size_before)

    def _forget(self, address: int) -> Callable[[Any], None]:
        def forget(_: Any) -> None:
            size, _ = self._known.pop(address)
            self._change(-size)

        return forget

    def _change(self, size: int) -> None:
        self._now += size
        self.peak = max(self.peak, self._now)


def _is_to_host(args: tuple[Any, ...], result: Any) -> bool:
    """Whether a copy goes from a device to the host: `_to_copy` makes one, `copy_` writes into its first argument."""
    source = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else args[0]
    return bool(result.device.type == "cpu" and source.device.type != "cpu")


@contextmanager
def counting(device: str = "cpu") -> Iterator[Counting]:
    """Count what the block does, in this thread and in those of autograd that work for it.

    Compiled code runs as it is written. Python's collector waits: when it lets go of memory hangs on what ran before.
    """
    memories: Any = torch.UntypedStorage
    resize = memories.resize_

    def resized(memory: torch.UntypedStorage, size: int) -> Any:
        outcome = resize(memory, size)
        mode.memory.resize(memory)
        return outcome

    with ExitStack() as undo:
        if is_loaded():
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        if gc.isenabled():
            gc.disable()
            undo.callback(gc.enable)
        undo.callback(delattr, memories, "resize_")  # the class below has it
        memories.resize_ = resized
        mode = Counting(device)
        undo.enter_context(_Reads(mode))
        undo.enter_context(mode)
        yield mode


def count_step(
    bench: Bench, *, model: nn.Module, on_device: DeviceCalls | None
) -> tuple[StepCounts | None, int | None, tuple[str, ...]]:
    """Count one step of this rank; a collective. Returns the counts, the bytes that a step of this rank moves in
    memory, and notes.

    Some steps are run before, so that an engine that learns from its first ones (DDP its buckets, ZeRO 3 the order of
    the weights) has learnt whatever else was measured.
    """
    bench.enter()
    counted: list[tuple[RankCounts, int]] = []

    def count() -> None:
        for _ in range(SETTLING_STEPS):
            bench.settle()
            if bench.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(bench.device)
            bench.step()
        bench.settle()
        peak = torch.cuda.max_memory_allocated(bench.device) if bench.device.type == "cuda" else None
        with counting(bench.device.type) as counter:
            bench.step()
        counts = RankCounts(
            collectives=counter.collectives,
            operations=counter.operations,
            flop=counter.flop,
            host_reads=counter.host_reads,
            kernels=on_device.kernels if on_device is not None else None,
            synchronisations=on_device.synchronisations if on_device is not None else None,
            peak_memory_bytes=counter.memory.peak if peak is None else peak,
        )
        counted.append((counts, counter.moved_bytes))

    notes = agreed("no counts of a step", count)
    if notes:
        return None, None, notes
    first_counts, moved_bytes = counted[0]
    # ZeRO 3 keeps a part of each parameter; `ds_numel` is the whole one's size.
    sizes = [(int(getattr(p, "ds_numel", p.numel())), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, is_trained in sizes if is_trained)
    all_parameters = sum(size for size, _ in sizes)
    return step_counts(gathered(first_counts), parameters=trained, all_parameters=all_parameters), moved_bytes, ()
