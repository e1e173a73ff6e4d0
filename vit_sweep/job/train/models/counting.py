"""Count what a model that others build needs: a program for the plan, which itself imports neither torch nor the model.

    python -m vit_sweep.job.train.models.counting < request.json

The model is built on torch's `meta` device: nothing is computed, and no memory is taken. Operations are those of
torch's FlopCounterMode, a multiply-add as two; bytes are those of what autograd saves, once per storage and without the
weights. The answer, `ModelCounts` as JSON, is all that goes to standard output; where there is none, a sentence goes to
standard error, and the exit code says whose fault it is.
"""

import os
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from launchers.checked import parse_json, to_json
from launchers.errors import UserError
from vit_sweep.job.train.models.library import load
from vit_sweep.outcome.failure import one_line
from vit_sweep.plan.models import REFUSED, CountRequest
from vit_sweep.plan.specs import ModelCounts

_IMAGES = 2


def count(request: CountRequest) -> ModelCounts:
    """Count the model; raises `UserError` for one that cannot be built, or not without computing."""
    shape = (_IMAGES, request.model.channels, *request.model.image_shape)
    try:
        with torch.device("meta"):
            model = load(request.model, request.classes)
            forward, with_backward = _operations(model, shape)
            kept_bytes = [_kept_bytes(model.to(dtype), shape, dtype) for dtype in (torch.float32, torch.bfloat16)]
    except NotImplementedError as error:
        raise UserError(f"it cannot be counted without computing: {one_line(error)}") from error
    return ModelCounts(
        parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        flop_per_image=with_backward,
        forward_flop=forward,
        kept_bytes_32=kept_bytes[0],
        kept_bytes_16=kept_bytes[1],
        scalars=tuple(name for name, weight in model.named_parameters() if weight.ndim == 0),
    )


def _operations(model: nn.Module, shape: tuple[int, ...]) -> tuple[float, float]:
    """Of one image: those of forward, and of forward and backward."""
    with FlopCounterMode(display=False) as forward:
        logits = model(torch.zeros(shape))
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    one_way = forward.get_total_flops() / _IMAGES
    return one_way, one_way + backward.get_total_flops() / _IMAGES


def _kept_bytes(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> float:
    """Bytes per image that forward leaves for backward, where attention is fused, as on a device."""
    parameter_storages = {weight.untyped_storage()._cdata for weight in model.parameters()}
    saved: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameter_storages:
            saved[storage._cdata] = tensor  # kept alive, so that no other storage gets its address
        return tensor

    as_built, functional.scaled_dot_product_attention = functional.scaled_dot_product_attention, _fused
    try:
        with saved_tensors_hooks(note, lambda tensor: tensor):
            model(torch.zeros(shape, dtype=dtype))
    finally:
        functional.scaled_dot_product_attention = as_built
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) / _IMAGES


_unfused = functional.scaled_dot_product_attention


def _fused(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
    """What `meta` takes apart into products that keep each weight of attention.

    All are (images, heads, tokens, width of a head).
    """
    if any(args) or any(options.get(name) for name in ("attn_mask", "dropout_p", "is_causal", "enable_gqa")):
        return _unfused(query, key, value, *args, **options)
    attended: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[0]
    return attended


def main() -> int:
    """Answer the request on standard input; a model's own prints go to standard error."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        counts = count(parse_json(CountRequest, sys.stdin.buffer.read(), source="request"))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    with output:
        output.write(to_json(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
