"""The update of 16-bit weights, with one question to the device instead of one for every weight, whatever the stage.

DeepSpeed (0.19) gives bf16 and fp16 without ZeRO its `FP16_UnfusedOptimizer`. That asks of each gradient whether it is
finite: a host synchronisation per parameter tensor (152 of them for ViT-B/16) and half a dozen small kernels for each,
while the device waits. And it reduces the answer over all ranks once more, since we reduce the gradients ourselves.
The same follows from one number: the norm of all gradients, alike on all ranks after their reduction. The weights
that come out are the same bit by bit; a test compares.

ZeRO 1 and 2, and 3 in fp16, look through all gradients for what is not finite, reduce that answer over the ranks and
wait for it, and then take the norm, wait for that too, and leave the step out where it is not finite. The first is part
of the second, so it is left out: else stages would be compared that do not do the same.
"""

from functools import partial
from typing import Any

import torch
from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from torch import Tensor


def lean(optimizer: Any) -> None:
    """Ask once a step; optimizers of full precision, and one without ZeRO that clips gradients, stay as they are."""
    if isinstance(optimizer, DeepSpeedZeroOptimizer | DeepSpeedZeroOptimizer_Stage3):
        if getattr(optimizer, "compute_grad_norm", True):
            optimizer.check_overflow = _left_to_the_norm
    elif isinstance(optimizer, FP16_UnfusedOptimizer) and not optimizer.clip_grad:
        optimizer.step = partial(_step, optimizer)


def _left_to_the_norm(partition_gradients: bool = True) -> None:
    """A gradient that is not finite makes the norm so, which DeepSpeed asks next."""


@torch.no_grad()
def _step(optimizer: Any, closure: None = None) -> bool:  # noqa: ARG001 - DeepSpeed's signature
    """Update; returns whether the step was left out because a gradient is not finite."""
    halves: list[Tensor] = [p for group in optimizer.fp16_groups for p in group]
    masters: list[Tensor] = [p for group in optimizer.fp32_groups for p in group]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in halves]
    wide = [torch.empty_like(p) for p in masters]
    torch._foreach_copy_(wide, gradients)
    norms = torch.stack(torch._foreach_norm(wide))
    norm = float(norms.square().sum().sqrt())  # the one wait for the device
    optimizer.overflow = not norm < float("inf")  # a norm that is no number is not below it either
    if optimizer.overflow:
        return bool(optimizer._skip_invalid_grad_norm())
    optimizer._global_grad_norm = norm
    # DeepSpeed's order: in a step in which fp16's scale grows, the gradients are divided by the new one.
    optimizer._update_scale(False)
    scale = optimizer.loss_scale_config.cur_scale
    if scale != 1:
        torch._foreach_mul_(wide, 1.0 / scale)
    for master, gradient in zip(masters, wide, strict=True):
        master.grad = gradient
    optimizer.optimizer.step()
    for master in masters:
        master.grad = None
    torch._foreach_copy_(halves, masters)
    return False
