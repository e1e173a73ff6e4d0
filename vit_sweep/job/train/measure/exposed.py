"""Exposed communication by differencing: blocks of steps with and without collectives, interleaved."""

import random
import time
from contextlib import nullcontext
from enum import StrEnum
from typing import Any

import torch.distributed as dist

from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.plan.predict.measuring import rounds_and_steps
from vit_sweep.record.breakdown import Exposed, exposed


class _Kind(StrEnum):
    FIRST = "first"
    SECOND = "second"
    WITHOUT = "without"


def measure_exposed(bench: Bench, *, seed: int, usual_step_s: float, trained_steps: int) -> Exposed:
    """Measure it; a collective. The order of the blocks is drawn from `seed`, the same on all ranks."""
    rounds, steps = rounds_and_steps(usual_step_s, trained_steps)
    order = random.Random(seed)
    own_blocks_ms: dict[str, list[float]] = {kind: [] for kind in _Kind}
    # The first of each is not counted. With communication before without: DDP learns its graph in a step with it, which
    # may be this one, in a run that goes on after its last epoch.
    for kind in (_Kind.FIRST, _Kind.WITHOUT):
        _block_ms(bench, kind, 1)
    for _ in range(rounds):
        for kind in order.sample(list(_Kind), len(_Kind)):
            own_blocks_ms[kind].append(_block_ms(bench, kind, steps))
    ranks: list[Any] = [None] * bench.ranks
    dist.all_gather_object(ranks, own_blocks_ms)
    slowest = {kind: [max(same) for same in zip(*(rank[kind] for rank in ranks), strict=True)] for kind in _Kind}
    return exposed(*(slowest[kind] for kind in _Kind), block_steps=steps)


def _block_ms(bench: Bench, kind: _Kind, steps: int) -> float:
    """Milliseconds of a step, from a barrier: a rank that ran ahead without collectives does not pay in the next."""
    bench.enter()
    bench.barrier()
    bench.settle()
    with bench.silenced() if kind is _Kind.WITHOUT else nullcontext():
        begun = time.perf_counter()
        for _ in range(steps):
            bench.step()
        bench.settle()
        return 1000 * (time.perf_counter() - begun) / steps
