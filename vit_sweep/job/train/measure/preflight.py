"""What a job's machine can do, measured in the job itself just before it trains: matrix products and collectives.

The probes use random numbers of their own and give their memory back, so the training is the same with and without
them. Every rank takes part in the same collectives: what they do next depends on the slowest rank's time only.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor

from vit_sweep.job.train.clock import Marks, marks_of
from vit_sweep.job.train.model import DTYPES
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.predict.measuring import DEVICE_S, ONE_S, repetitions, sizes
from vit_sweep.record.machine import AllReduce, Preflight

_COPY_BYTES = {"cuda": 512 * 2**20, "cpu": 64 * 2**20}
"""Of a copy: far more than caches hold."""
_EXCHANGE_BYTES = {"cuda": 16 * 2**20, "cpu": 2**20}
_BATCHES, _IN_A_BATCH = 5, 4
_EXCHANGES = 3

Beat = Callable[[], None]


def preflight(
    *, rank: int, ranks: int, device: torch.device, precision: Precision, parameters: int, beat: Beat
) -> Preflight:
    """Measure in the number format in which `parameters` are trained; a collective. `beat` says that work goes on."""
    begun = time.perf_counter()
    product, gradient = DTYPES[precision.products], DTYPES[precision]
    notes: list[str] = []
    size, tflops = _matmul_size(device, product), None
    try:
        tflops = matmul_tflops(size, device, product)
    except RuntimeError as error:  # no memory left, or a number format that this device cannot multiply
        notes.append(f"no matrix product: {str(error).splitlines()[0]}")
    copied = memory_gb_per_s(_COPY_BYTES[device.type], device)
    reductions: list[AllReduce] = []
    to_next = None
    if ranks > 1:
        _slowest(0.0, device)  # opens the connections
        reductions = _all_reduces(sizes(parameters * gradient.itemsize), gradient, device, beat, notes)
        beat()
        to_next = _to_next(rank, ranks, device)
    if device.type == "cuda":
        # The probes' memory is none of the training's.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return Preflight(
        rank=rank,
        precision=precision.value,
        matmul_size=size,
        matmul_tflops=tflops,
        memory_gb_per_s=copied,
        all_reduce=tuple(reductions),
        to_next_gb_per_s=to_next,
        seconds=round(time.perf_counter() - begun, 3),
        note="; ".join(notes),
    )


def rounds(ranks: int) -> list[list[tuple[int, int]]]:
    """The links of a ring over ranks, in rounds in which no rank has two: none is measured in another one's traffic."""
    links = [(rank, (rank + 1) % ranks) for rank in range(ranks if ranks > 2 else 1)]
    unpaired = [links.pop()] if len(links) > 1 and len(links) % 2 else []
    return [stage for stage in (links[0::2], links[1::2], unpaired) if stage]


def matmul_tflops(size: int, device: torch.device, dtype: torch.dtype) -> float:
    """`2 size^3 / median time` of square matrix products, in 1e12 a second.

    Timed in batches on the device's own time line, so that the host's calls, which run ahead, are in no time. Of random
    numbers: a GPU draws less power for zeros, and then runs faster than it ever will in training.
    """
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    product = partial(torch.mm, a, b, out=torch.empty_like(a))
    return round(2 * size**3 / _device_ms(product, device) / 1e9, 4)


def memory_gb_per_s(size_bytes: int, device: torch.device) -> float | None:
    """Bytes that a copy in the device's memory reads and writes over its median time, in 1e9 a second.

    None without memory for it.
    """
    try:
        source, target = (torch.zeros(size_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    except RuntimeError:
        return None
    return round(2 * size_bytes / _device_ms(partial(target.copy_, source), device) / 1e6, 3)


def _device_ms(work: Callable[[], object], device: torch.device) -> float:
    """Median milliseconds of a piece of work over batches, within about `DEVICE_S`."""
    marks = marks_of(device)
    deadline = time.perf_counter() + DEVICE_S
    _batch_ms(marks, work)  # loads the library and raises the clock
    times_ms = [_batch_ms(marks, work)]
    while len(times_ms) < _BATCHES and time.perf_counter() < deadline:
        times_ms.append(_batch_ms(marks, work))
    return median(times_ms)


def _batch_ms(marks: Marks, work: Callable[[], object]) -> float:
    """Milliseconds of one call, in a batch."""
    marks.mark()
    for _ in range(_IN_A_BATCH):
        work()
    marks.mark()
    (batch_ms,) = marks.gaps_ms()
    return batch_ms / _IN_A_BATCH


def _matmul_size(device: torch.device, dtype: torch.dtype) -> int:
    """Rows and columns that fill the device: its 16-bit units take products of 4096 in too short a time."""
    if device.type == "cpu":
        return 512
    return 8192 if dtype.itemsize == 2 else 4096


def _all_reduces(
    sizes_bytes: Sequence[int], dtype: torch.dtype, device: torch.device, beat: Beat, notes: list[str]
) -> list[AllReduce]:
    """Measure one size after the other, until one would take too long or too much memory, which is a note."""
    measured: list[AllReduce] = []
    before_s, last_bytes = 0.0, 1
    for size_bytes in sizes_bytes:
        beat()
        predicted_s = before_s * size_bytes / last_bytes
        if predicted_s > ONE_S:
            notes.append(f"no all-reduce of {size_bytes} bytes: it would take about {predicted_s:.0f} s")
            break
        buffer = _zeros(size_bytes, dtype, device)
        if _slowest(float(buffer is None), device) or buffer is None:
            notes.append(f"no all-reduce of {size_bytes} bytes: not enough memory")
            break
        reduction, before_s = _all_reduce(buffer)
        last_bytes = size_bytes
        measured.append(reduction)
    return measured


def _all_reduce(buffer: Tensor) -> tuple[AllReduce, float]:
    """Measure one size; also the seconds that the slowest rank took for the first one."""
    work = partial(dist.all_reduce, buffer)
    first_s = _slowest(_seconds(work, buffer.device), buffer.device)
    times_ms = [1000 * _seconds(work, buffer.device) for _ in range(repetitions(first_s))]
    measured = AllReduce(
        size_bytes=buffer.numel() * buffer.element_size(),
        repetitions=len(times_ms),
        min_ms=round(min(times_ms), 4),
        median_ms=round(median(times_ms), 4),
    )
    return measured, first_s


def _to_next(rank: int, ranks: int, device: torch.device) -> float | None:
    """GB/s of the exchange with the next rank of the ring, both directions at once."""
    size = _EXCHANGE_BYTES[device.type]
    outgoing, incoming = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    speed = None
    for links in rounds(ranks):
        _slowest(0.0, device)
        for link in links:
            if rank not in link:
                continue
            peer = link[1] if rank == link[0] else link[0]
            times = [_seconds(partial(_exchange, outgoing, incoming, peer), device) for _ in range(1 + _EXCHANGES)]
            # Two ranks have but one link: it is next to both.
            if rank == link[0] or ranks == 2:
                speed = round(size / median(times[1:]) / 1e9, 4)
    return speed


def _exchange(outgoing: Tensor, incoming: Tensor, peer: int) -> None:
    """Send (bytes,) to a rank and receive as many from it."""
    operations = [dist.P2POp(dist.isend, outgoing, peer), dist.P2POp(dist.irecv, incoming, peer)]
    for request in dist.batch_isend_irecv(operations):
        request.wait()


def _zeros(size_bytes: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """A message; None if there is no memory for it."""
    try:
        return torch.zeros(size_bytes // dtype.itemsize, dtype=dtype, device=device)
    except RuntimeError:
        return None


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """From the start of the work until its result is there."""
    _wait(device)
    begun = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _slowest(seconds: float, device: torch.device) -> float:
    """The largest number of all ranks: what they decide by must be the same for all."""
    agreed = torch.tensor([seconds], dtype=torch.float64, device=device)
    dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
    return float(agreed.item())
