"""What an optimizer step communicates, by engine. The one truth of plan, simulation and laws. Pure.

Counted on DeepSpeed 0.19.8 with the configuration of `ds_config` (`tests/e2e/train/engines/test_traffic.py` counts it
anew), in whole sets of gradients or weights, S = parameters x bytes of the number format:

| stage | gradients | weights |
|---|---|---|
| 0 | all-reduced once a step | each rank keeps its own |
| 1 | all-reduced once a step | all-gathered once a step |
| 2 | all-reduced after every micro step | all-gathered once a step |
| 3 | reduce-scattered after every micro step | all-gathered for every micro step |

| ddp | all-reduced once a step | each rank keeps its own |
| fsdp2 | reduce-scattered once a step | all-gathered for every micro step, twice with reshard_after_forward |
| megatron | all-reduced once a step | each rank keeps its own |
| ... distributed_optimizer | reduce-scattered once a step | all-gathered once a step |

Stages 1 and 2 reduce buckets by all-reduce, not by reduce-scatter. Stage 3 keeps gathered weights between forward and
backward if at most `REUSE_DISTANCE` weights are used in between, so those among the last `REUSE_DISTANCE` / 2; what
lies before them is gathered twice. Weights below its persistence threshold (norms, biases) are gathered once a step:
left out, 1 % of a ViT's traffic. FSDP2 keeps what is in no block (patches, head) until backward whatever the switch
says, since backward begins there: the smaller part of a ViT, taken to be gathered as the blocks are.
"""

import math
from typing import NamedTuple

from vit_sweep.plan.engine.ds_config import REUSE_DISTANCE
from vit_sweep.plan.engine.kinds import (
    DDP,
    DDP_BUCKET_BYTES,
    FSDP2,
    MEGATRON,
    MEGATRON_BUCKET_ELEMENTS,
    machinery,
    sharding,
)
from vit_sweep.plan.specs import EngineSpec

_ONE_BUCKET = 500_000_000
"""Elements that DeepSpeed reduces at a time without ZeRO."""


class Traffic(NamedTuple):
    """Collectives of an optimizer step, in whole sets of gradients or weights."""

    reduced: float
    """By all-reduce."""
    scattered: float
    """By reduce-scatter."""
    gathered: float
    """By all-gather."""
    buckets: int
    """Calls that a whole set takes, at least: each pays the latency of its messages anew."""

    @property
    def all_reduces(self) -> float:
        """All-reduces of the whole gradient that move as much: a gathering or a reduce-scatter is half of one."""
        return self.gradients + self.weights

    @property
    def gradients(self) -> float:
        """The part of the gradients."""
        return self.reduced + self.scattered / 2

    @property
    def weights(self) -> float:
        """The part of the weights."""
        return self.gathered / 2


def of_step(engine: EngineSpec, accum: int, parameters: int, *, blocks: int = 1) -> Traffic:
    """What a step of `accum` micro steps communicates; `blocks` of the model are communicated one by one by FSDP2."""
    if engine.kind == FSDP2:
        gathers = accum * (2 if engine.reshard_after_forward else 1)
        return Traffic(reduced=0, scattered=1, gathered=gathers, buckets=blocks + 1)
    if machinery(engine) == DDP:
        return Traffic(reduced=1, scattered=0, gathered=0, buckets=math.ceil(4 * parameters / DDP_BUCKET_BYTES))
    if engine.kind == MEGATRON:
        buckets, parts = math.ceil(parameters / MEGATRON_BUCKET_ELEMENTS), 1 if engine.distributed_optimizer else 0
        return Traffic(reduced=1 - parts, scattered=parts, gathered=parts, buckets=buckets)
    stage = sharding(engine)
    size = engine.reduce_bucket_size if stage else _ONE_BUCKET
    regathered = max(0.0, 1 - REUSE_DISTANCE / 2 / parameters)
    return Traffic(
        reduced=(0 if stage == 3 else accum if stage == 2 else 1),
        scattered=accum if stage == 3 else 0,
        gathered=accum * (1 + regathered) if stage == 3 else min(stage, 1),
        buckets=math.ceil(parameters / size),
    )
