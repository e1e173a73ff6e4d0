"""GPU counts that would carry more fits: which ones could run, and which of them to add. Pure."""

import math
from collections.abc import Callable, Sequence

from launchers.hosts import choose_hosts, models_of
from launchers.profile import PartitionProfile
from vit_sweep.analysis.laws.fitted import REACH
from vit_sweep.analysis.laws.laws import Law, counts_needed
from vit_sweep.plan.cell import Series
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.plan.plan import PlannedCell


def missing(known: Sequence[int], laws: Sequence[Law]) -> int:
    """Counts to add: enough for a second law beside the simplest, so that two can be compared; then for the next."""
    needs = sorted({counts_needed(law) for law in laws})
    first = next((need for need in needs[1:] if need > len(known)), 0)
    return max(0, first - len(known))


_FILL_UP_TO = 64
"""Counts between measured ones are looked for up to here: above it doublings are what a person runs."""


def further(known: Sequence[int], possible: Callable[[int], bool], most: int | None, *, wanted: int) -> list[int]:
    """Up to `wanted` counts: doublings beyond the largest, then whatever lies farthest (by ratio) from the others."""
    if not known:
        return []
    limit = most if most is not None else math.floor(REACH * known[-1])
    doublings = [known[-1] * 2**i for i in range(1, limit.bit_length() + 1) if known[-1] * 2**i <= limit]
    chosen = [gpus for gpus in doublings if possible(gpus)][:wanted]
    left = [gpus for gpus in range(1, min(limit, _FILL_UP_TO) + 1) if gpus not in known and gpus not in chosen]
    while len(chosen) < wanted:
        occupied = [*known, *chosen]
        free = [gpus for gpus in left if gpus not in chosen and possible(gpus)]
        if not free:
            break
        chosen.append(max(free, key=lambda gpus: (min(abs(math.log(gpus / other)) for other in occupied), -gpus)))
    return sorted(chosen)


def may_run(example: PlannedCell, series: Series, gpus: int) -> bool:
    """Whether the same cell on `gpus` GPUs would fit its partition, its batch and its data (`grid` has the words)."""
    cell, profile = example.cell, example.profile
    if profile.allowed_gpus and gpus not in profile.allowed_gpus:
        return False
    fixed = series.placement.removeprefix("nodes=")
    if fixed.isdigit():
        nodes = [int(fixed)]
    else:
        nodes = [gpus] if series.placement == "spread" else list(range(1, profile.nodes + 1))
    if not any(gpus % n == 0 and _has_room(profile, n, gpus // n, cell.gpu_model) for n in nodes):
        return False
    if series.batch_per is BatchPer.GLOBAL and cell.global_batch % (gpus * cell.accum):
        return False
    if series.scaling is Scaling.WEAK:
        return cell.train_images // cell.gpus * gpus <= cell.data.train_images
    return series.batch_per is BatchPer.GLOBAL or cell.micro_batch * cell.accum * gpus <= cell.train_images


def _has_room(profile: PartitionProfile, nodes: int, gpus_per_node: int, gpu_model: str) -> bool:
    """Whether so many nodes have so many GPUs each; of a hostfile, of the same model, or it were another curve."""
    if nodes > profile.nodes or gpus_per_node > profile.gpus_per_node:
        return False
    if not profile.hosts:
        return True
    hosts = choose_hosts(profile, nodes, gpus_per_node)
    return not isinstance(hosts, str) and models_of(profile, hosts) == gpu_model
