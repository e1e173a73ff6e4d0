"""fp32 weights whose products are taken in 16 bits: torch's autocast around the forward of the model.

It lies inside of what an engine wraps, alike for all of them: weights are kept, gathered and updated, and gradients
reduced, in fp32.
DeepSpeed's `torch_autocast` section (0.19.8) does not do that: it reduces the gradients of the modules that it knows
in 16 bits and those of attention in fp32, passes over `communication_data_type`, and in fp16 lets each rank of ZeRO 1
to 3 find out for its own shard whether to leave a step out. FSDP2's MixedPrecisionPolicy casts whole blocks, norms
and sums too, and is so another number format.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vit_sweep.job.train.model import DTYPES, device_of, fp32_products
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Precision

_OF_PRODUCTS = {DTYPES[precision.products]: precision for precision in Precision if precision.autocast}


class Autocast:
    """A model's forward, in which torch casts."""

    def __init__(self, forward: Callable[..., Tensor], device: str, dtype: torch.dtype) -> None:
        """`device`: its type; `dtype`: what products are taken in."""
        self._forward, self._device, self.dtype = forward, device, dtype

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        """Logits."""
        with torch.autocast(self._device, dtype=self.dtype):
            return self._forward(*args, **options)


def under_autocast(cell: Cell, model: nn.Module) -> nn.Module:
    """The model, which casts if the cell is to; its weights keep their names."""
    if cell.precision.autocast:
        model.forward = Autocast(model.forward, device_of(cell).type, DTYPES[cell.precision.products])
    return model


def precision_of(model: nn.Module) -> str:
    """Of the weights, which say themselves what they are, and of the products of fp32 weights."""
    (dtype,) = {parameter.dtype for parameter in model.parameters()}
    if dtype != torch.float32:
        return {torch.bfloat16: Precision.BF16.value, torch.float16: Precision.FP16.value}.get(dtype, str(dtype))
    forward = model.forward
    return (_OF_PRODUCTS[forward.dtype] if isinstance(forward, Autocast) else fp32_products()).value


def scaler_of(cell: Cell) -> torch.amp.GradScaler:
    """What keeps small gradients of fp16 products from being lost; where there are none, it does nothing."""
    return torch.amp.GradScaler(device_of(cell).type, enabled=cell.precision is Precision.FP16_AMP)
