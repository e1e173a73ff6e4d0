"""What a step consists of, counted instead of timed: the same in every run of a cell. Pure.

What is counted how, and what cannot be, is said in docs/results/measuring.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

from launchers.checked import Quantity, Whole, checked, field_names


@checked
class CollectiveKind:
    """One kind of collective in a step."""

    name: str
    """As torch.distributed calls it: all_reduce, all_gather_into_tensor, ..."""
    calls: Quantity
    """Per step."""
    bytes: Quantity
    """Per step, of the whole tensor that ranks end up with (all-gather) or begin with (the others)."""


@checked
class StepCounts:
    """One optimizer step of a rank, with all of its micro steps, counted after the training.

    Where nothing else is said, the mean over the ranks: one more on every rank is one more, one more on one of four
    ranks is 0.25 more, and nothing that a rank does hides behind what another does. Two runs of one cell on machines
    and with software of one kind have equal counts, to the last digit.
    """

    collectives: tuple[CollectiveKind, ...]
    """By name: what torch's dispatcher saw, whoever called it, be it DDP's own C++. Empty of one rank that has none."""
    operations: Quantity
    """ATen operations that are dispatched below autograd in forward, backward and update, views among them. Of a
    compiled model those of the model as it is written."""
    flop: Quantity
    """Of matrix products, convolutions and attention, a multiply-add being two: torch's own formulas of the shapes.
    What is recomputed counts again. On each rank a whole number."""
    host_reads: Quantity
    """How often the host takes values from a tensor (item, tolist, numpy, cpu, bool, float) or copies one from the
    device to itself. Each makes it wait for a GPU; on a CPU device it would on a GPU."""
    kernels: Quantity | None = None
    """Kernels of a GPU, per step of the profiled window; None on a CPU, and without that window."""
    synchronisations: Quantity | None = None
    """CUDA's calls in which the host waits for the device, likewise."""
    peak_memory_bytes: Whole | None = None
    """The most at once on any rank. On CUDA: what its allocator had handed out. On a CPU: of all tensors that
    operations have made or that Python holds, without what kernels and libraries allocate for themselves."""
    parameters: Whole
    """Of the whole model: those that are trained."""
    all_parameters: Whole
    """Of the whole model: frozen ones too."""

    @property
    def by_name(self) -> dict[str, float]:
        """Every number that was counted: `collectives.all_reduce.calls`, `host_reads`, ..."""
        moved = {
            f"collectives.{kind.name}.{quantity}": float(getattr(kind, quantity))
            for kind in self.collectives
            for quantity in ("calls", "bytes")
        }
        fields = {name: getattr(self, name) for name in field_names(type(self)) if name != "collectives"}
        return moved | {name: float(number) for name, number in fields.items() if number is not None}


class RankCounts(NamedTuple):
    """What one rank has counted of one step; `StepCounts` says what each means."""

    collectives: tuple[CollectiveKind, ...]
    operations: int
    flop: int
    host_reads: int
    kernels: float | None
    synchronisations: float | None
    peak_memory_bytes: int | None


def step_counts(ranks: Sequence[RankCounts], *, parameters: int, all_parameters: int) -> StepCounts:
    """Combine what all ranks have counted."""
    collectives = [kind for rank in ranks for kind in rank.collectives]
    peaks = [rank.peak_memory_bytes for rank in ranks if rank.peak_memory_bytes is not None]
    return StepCounts(
        collectives=tuple(
            CollectiveKind(
                name=name,
                calls=sum(kind.calls for kind in collectives if kind.name == name) / len(ranks),
                bytes=sum(kind.bytes for kind in collectives if kind.name == name) / len(ranks),
            )
            for name in sorted({kind.name for kind in collectives})
        ),
        operations=sum(rank.operations for rank in ranks) / len(ranks),
        flop=sum(rank.flop for rank in ranks) / len(ranks),
        host_reads=sum(rank.host_reads for rank in ranks) / len(ranks),
        kernels=_mean([rank.kernels for rank in ranks]),
        synchronisations=_mean([rank.synchronisations for rank in ranks]),
        peak_memory_bytes=max(peaks) if len(peaks) == len(ranks) else None,
        parameters=parameters,
        all_parameters=all_parameters,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a rank does not know its own."""
    counted = [value for value in values if value is not None]
    return sum(counted) / len(values) if len(counted) == len(values) else None
