"""What an optimizer step communicates, by ZeRO stage. The one truth of plan, simulation and laws. Pure.

Counted on DeepSpeed 0.19.8 with the configuration of `ds_config` (`tests/e2e/train/test_traffic.py` counts it anew), in
whole sets of gradients or weights, S = parameters x bytes of the number format:

| stage | gradients | weights |
|---|---|---|
| 0 | all-reduced once a step | each rank keeps its own |
| 1 | all-reduced once a step | all-gathered once a step |
| 2 | all-reduced after every micro step | all-gathered once a step |
| 3 | reduce-scattered after every micro step | all-gathered for every micro step |

Stages 1 and 2 reduce buckets by all-reduce, not by reduce-scatter. Stage 3 keeps gathered weights between forward and
backward if at most `REUSE_DISTANCE` weights are used in between, so those among the last `REUSE_DISTANCE` / 2; what
lies before them is gathered twice. Weights below its persistence threshold (norms, biases) are gathered once a step:
left out, 1 % of a ViT's traffic.
"""

import math
from typing import NamedTuple

from vit_sweep.plan.ds_config import BUCKET_ELEMENTS, REUSE_DISTANCE

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


def of_step(stage: int, accum: int, parameters: int) -> Traffic:
    """What a step of `accum` micro steps communicates under a ZeRO stage."""
    size = BUCKET_ELEMENTS if stage else _ONE_BUCKET
    again = max(0.0, 1 - REUSE_DISTANCE / 2 / parameters)
    return Traffic(
        reduced=(0 if stage == 3 else accum if stage == 2 else 1),
        scattered=accum if stage == 3 else 0,
        gathered=accum * (1 + again) if stage == 3 else min(stage, 1),
        buckets=math.ceil(parameters / size),
    )
