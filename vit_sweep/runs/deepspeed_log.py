"""DeepSpeed's own log with `wall_clock_breakdown: true` as rows of a tidy table. Pure.

It prints a line for every micro step, and one for every optimizer step with the sums over its micro steps:

    [Rank 0] time (ms) | fwd: 2.62 | bwd: 1.19 | bwd_inner: 0.33 | bwd_allreduce: 0.81 | step: 1.49

A step is fwd + bwd + step; bwd contains the all-reduce. The wait for images is in none of them. All is rank 0's, and
its time in the all-reduce contains the wait for slower ranks. A log knows no epochs: how many images one has must be
given.
"""

import re
from collections.abc import Mapping
from math import ceil
from statistics import median

from vit_sweep.runs.tidy.columns import LogError

_STEP = re.compile(r"time \(ms\) \| fwd: ([\d.]+) \| bwd: ([\d.]+) .*?bwd_allreduce: ([\d.]+) .*?step: ([\d.]+)")
_MICRO_STEP = re.compile(r"time \(ms\) \| fwd_microstep:")
_SETTING = re.compile(r"\b(world_size|train_batch_size|train_micro_batch_size_per_gpu) \.+ (\d+)")
"""Of the configuration that DeepSpeed prints at its start."""
NOTE = "DeepSpeed's timers of rank 0: forward, backward and optimizer; waiting for images is in no time"


def is_deepspeed_log(text: str) -> bool:
    """Whether a text has DeepSpeed's lines of optimizer steps."""
    return _STEP.search(text) is not None


def rows_of_deepspeed(text: str, constants: Mapping[str, str]) -> list[dict[str, str]]:
    """One row per whole epoch. `constants`: what the user states: images; gpus and batch where the log is silent.

    Raises `LogError` where images, gpus or batch are not known, or the log holds less than one epoch.
    """
    steps = [tuple(float(part) for part in match.groups()) for match in _STEP.finditer(text)]
    micro_steps = len(_MICRO_STEP.findall(text))
    printed = dict(_SETTING.findall(text))
    accum = max(1, round(micro_steps / len(steps)))
    batch = constants.get("batch") or printed.get("train_micro_batch_size_per_gpu")
    if batch is None:
        raise LogError("its batch", "batch=16, the images per GPU and forward")
    global_batch = printed.get("train_batch_size")
    gpus = (
        constants.get("gpus")
        or printed.get("world_size")
        or (str(int(global_batch) // (int(batch) * accum)) if global_batch else None)
    )
    if gpus is None:
        raise LogError("its GPUs", "gpus=4")
    if "images" not in constants:
        raise LogError("its epochs", "images=50000, the images of one")
    per_epoch = ceil(int(constants["images"]) / (int(batch) * accum * int(gpus)))
    if len(steps) < per_epoch:
        raise LogError(
            f"a whole epoch ({len(steps)} of its {per_epoch} steps)", "images=NUMBER, if an epoch is shorter"
        )
    epochs = [steps[first : first + per_epoch] for first in range(0, len(steps) - per_epoch + 1, per_epoch)]
    shared = {"gpus": gpus, "batch": batch, "batch_per": "gpu", "accum": str(accum), "rank": "0"}
    return [
        shared
        | {
            "epoch": str(epoch),
            "epoch_time_s": f"{sum(fwd + bwd + step for fwd, bwd, _, step in epoch_steps) / 1000:.6g}",
            "step_ms": f"{median(fwd + bwd + step for fwd, bwd, _, step in epoch_steps):.6g}",
            "communication_ms": f"{median(reduce for _, _, reduce, _ in epoch_steps):.6g}",
            "compute_ms": f"{median(fwd + bwd + step - reduce for fwd, bwd, reduce, step in epoch_steps):.6g}",
        }
        for epoch, epoch_steps in enumerate(epochs, start=1)
    ]
