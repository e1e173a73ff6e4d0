"""Exposed communication by differencing: blocks of steps with and without collectives, interleaved."""

import random
import time
from contextlib import nullcontext
from enum import StrEnum
from statistics import median
from typing import Any

import torch.distributed as dist

from vit_sweep.breakdown import Exposed
from vit_sweep.train.bench import Bench
from vit_sweep.train.collectives import silenced

ROUNDS = 8
"""Rounds of one block of each kind."""
BLOCK_STEPS = 3
AT_MOST_S = 60.0
"""Fewer rounds where this many would take longer, but at least `LEAST_ROUNDS`, of single steps if need be."""
LEAST_ROUNDS = 3


class _Kind(StrEnum):
    FIRST = "first"
    SECOND = "second"
    WITHOUT = "without"


def rounds_and_steps(usual_step_s: float) -> tuple[int, int]:
    """How many rounds, and steps in a block, for steps that usually take so long; the same on all ranks."""
    for steps in (BLOCK_STEPS, 1):
        rounds = int(AT_MOST_S / max(len(_Kind) * steps * usual_step_s, 1e-9))
        if rounds >= LEAST_ROUNDS:
            return min(rounds, ROUNDS), steps
    return LEAST_ROUNDS, 1


def measure_exposed(bench: Bench, *, seed: int, usual_step_s: float) -> Exposed:
    """Measure it; a collective. The order of the blocks is drawn from `seed`, the same on all ranks."""
    rounds, steps = rounds_and_steps(usual_step_s)
    order = random.Random(seed)
    mine: dict[str, list[float]] = {kind: [] for kind in _Kind}
    for kind in (_Kind.WITHOUT, _Kind.FIRST):  # the first of each is not counted
        _block_ms(bench, kind, 1)
    for _ in range(rounds):
        for kind in order.sample(list(_Kind), len(_Kind)):
            mine[kind].append(_block_ms(bench, kind, steps))
    ranks: list[Any] = [None] * bench.ranks
    dist.all_gather_object(ranks, mine)
    slowest = {kind: [max(same) for same in zip(*(rank[kind] for rank in ranks), strict=True)] for kind in _Kind}
    first, second = slowest[_Kind.FIRST], slowest[_Kind.SECOND]
    return Exposed(
        first_ms=round(median(first), 3),
        second_ms=round(median(second), 3),
        with_ms=round(median(first + second), 3),
        without_ms=round(median(slowest[_Kind.WITHOUT]), 3),
        rounds=rounds,
        block_steps=steps,
    )


def _block_ms(bench: Bench, kind: _Kind, steps: int) -> float:
    """Milliseconds of a step, from a barrier: a rank that ran ahead without collectives does not pay in the next."""
    bench.enter()
    bench.barrier()
    bench.settle()
    with silenced() if kind is _Kind.WITHOUT else nullcontext():
        begun = time.perf_counter()
        for _ in range(steps):
            bench.step()
        bench.settle()
        return 1000 * (time.perf_counter() - begun) / steps
