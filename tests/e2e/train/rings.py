"""torch's ring of attention on processors: its own steps, rotations and merging, with a processor's kernel in them.

torch sends keys and values round for the kernels of GPUs only. Its template takes any kernel that gives the logarithm
of its sums, and a processor has one.
"""

from typing import Any

import pytest


def moved(cells):
    """Calls and bytes of what a ring sends in an optimizer step of each cell, and what the guard says of the first."""
    import torch

    from vit_sweep.job.train.model import DTYPES, vision_transformer
    from vit_sweep.job.train.models import sequence
    from vit_sweep.job.train.proof.gradients import check_gradients

    counts_by_shape = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "_ring", _on_processors)
        for cell in cells:
            dtype = DTYPES[cell.precision]
            model = vision_transformer(cell).to(dtype)
            with _counter() as counts:
                for _ in range(cell.accum):
                    images = torch.zeros(cell.micro_batch, 3, *cell.model.image_shape, dtype=dtype)
                    model(images).float().sum().backward()
            counts_by_shape.append((counts.calls, counts.bytes))
        alike = check_gradients(cells[0], rank=torch.distributed.get_rank(), device=torch.device("cpu"))
    return {"moved": counts_by_shape, "difference": alike.difference}


def _on_processors(_cell, mesh):
    """In the place of the ring of a GPU's kernels."""
    import torch
    from torch.distributed.tensor.experimental._context_parallel import _attention

    from vit_sweep.job.train.models.sequence import send_round

    send_round()
    kernel, group = torch.ops.aten, mesh.get_group()

    class Ring(torch.autograd.Function):
        """Queries, keys and values (images, heads, own tokens, width of a head)."""

        @staticmethod
        def forward(ctx: Any, *own: Any) -> Any:
            attended, sums = _attention._templated_ring_attention(
                group, 2, kernel._scaled_dot_product_flash_attention_for_cpu, *own
            )
            ctx.save_for_backward(*own, attended, sums)
            return attended

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            backward = kernel._scaled_dot_product_flash_attention_for_cpu_backward
            queries, keys, values, attended, sums = ctx.saved_tensors
            return _attention._templated_ring_attention_backward(
                group, 2, backward, gradient, "grad_out", queries, keys, values, attended, sums, False, dropout_p=0.0
            )

    def across(*own: Any) -> Any:
        return Ring.apply(*(part.transpose(1, 2) for part in own)).transpose(1, 2)

    return across


def _counter():
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        """All-to-alls that reach the process group through torch's functional collectives."""

        calls = bytes = 0

        def __torch_dispatch__(self, op: Any, _types: Any, args: Any = (), words: Any = None) -> Any:
            if op is torch.ops._c10d_functional.all_to_all_single.default:
                self.calls += 1
                self.bytes += args[0].nbytes
            return op(*args, **(words or {}))

    return Counter()
