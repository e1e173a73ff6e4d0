"""Tokens of an image over the ranks of a sequence group, in torchvision's VisionTransformer; parameters stay whole.

Each rank takes ceil(N / s) tokens next to each other, the class token lies on the first one, and what is left over at
the end is padding, which attention never sees. Only attention looks at tokens of other ranks.

All ranks of a group reach the same logits and the same loss, so together they derive s times the loss. The sum over the
ranks that makes the head's input hands back the sum of their gradients: a parameter of the encoder gets on each rank
its tokens' part of the gradient of that, a parameter of the head all of one loss's. The mean over all ranks, which any
engine takes anyway, is then the gradient of the loss for both. So no engine need know of sequence groups.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from launchers.profile import Device
from vit_sweep.job.train.measure.collectives import start_deepspeed
from vit_sweep.job.train.models.vit import Across, AnyImages, attend_by
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, one_line
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, Pool, SequenceMethod
from vit_sweep.plan.predict.vit import local_tokens, patches, tokens

_BACKENDS = {
    Attention.MATH: SDPBackend.MATH,
    Attention.FLASH: SDPBackend.FLASH_ATTENTION,
    Attention.EFFICIENT: SDPBackend.EFFICIENT_ATTENTION,
}


def sequence_ranks(model: nn.Module) -> int:
    """Ranks that share the tokens of an image, as the model itself has it."""
    return int(getattr(model, "sequence", 1))


def data_ranks(model: nn.Module) -> int:
    """Groups of ranks that see images of their own."""
    return dist.get_world_size() // sequence_ranks(model)


class TokenTransformer(AnyImages):
    """A rank's part of it; with one rank, the whole with another pooling than torchvision's."""

    def __init__(self, cell: Cell) -> None:
        """The process group is there if tokens are shared."""
        super().__init__(cell.model, cell.outputs)
        self._columns = cell.model.image_shape[1]
        self.sequence, self._rank, self._sum = cell.sequence, 0, _nothing_to_add
        self._pool, self._patches, self._tokens = cell.model.pool, patches(cell.model), tokens(cell.model)
        if self._pool is Pool.MEAN:
            del self.class_token
            self.encoder.pos_embedding = nn.Parameter(self.encoder.pos_embedding.detach()[:, 1:].clone())
        if self.sequence > 1:
            mesh = _mesh(cell)
            self._rank, self._sum = mesh.get_local_rank(), partial(_Sum.apply, mesh.get_group())
            across = in_kernel(_across(cell, mesh, self._tokens), cell.attention)
            for block in self.encoder.layers.children():
                attend_by(block.self_attention, across)
        self._own = local_tokens(self._tokens, self.sequence)
        # Within its own forward, where ZeRO 3 has gathered its positions.
        self.encoder.forward = self._encode

    def forward(self, images: Tensor) -> Tensor:
        """Logits (images, classes), the same on all ranks of the group, of (images, channels, rows, columns)."""
        embedded = self._embedded(images)
        if self._pool is Pool.CLASS:
            if self._rank == 0:
                embedded = torch.cat([self.class_token.expand(len(images), -1, -1), embedded], dim=1)
            else:
                embedded = embedded + 0 * self.class_token  # no parameter may lack a gradient
        logits: Tensor = self.heads(self._pooled(self.encoder(embedded)))
        return logits

    def _embedded(self, images: Tensor) -> Tensor:
        """This rank's patches (images, patches, width), those of padding black."""
        class_tokens = 1 if self._pool is Pool.CLASS else 0
        first_patch = max(0, self._rank * self._own - class_tokens)
        count = self._own - (class_tokens if self._rank == 0 else 0)
        last = min(first_patch + count, self._patches)
        size, row_patches = self.patch_size, self._columns // self.patch_size  # patches of a row
        top, bottom = first_patch // row_patches, -(-last // row_patches)
        rows = images[:, :, top * size : max(top, bottom) * size]
        # (images, channels, size, patches of these rows x size)
        parted = rows.reshape(*rows.shape[:2], max(top, bottom) - top, size, self._columns)
        strip = parted.transpose(2, 3).flatten(3)
        strip = strip[
            ..., (first_patch - top * row_patches) * size : max(first_patch, last) * size - top * row_patches * size
        ]
        strip = functional.pad(strip, (0, count * size - strip.shape[-1]))
        embedded: Tensor = self.conv_proj(strip).squeeze(2).transpose(1, 2)
        return embedded

    def _encode(self, embedded: Tensor) -> Tensor:
        encoder, first_token = self.encoder, self._rank * self._own
        positions = encoder.pos_embedding[:, first_token : first_token + self._own]
        positions = functional.pad(positions, (0, 0, 0, self._own - positions.shape[1]))
        encoded: Tensor = encoder.ln(encoder.layers(encoder.dropout(embedded + positions)))
        return encoded

    def _pooled(self, encoded: Tensor) -> Tensor:
        """What the head sees (images, width), of the tokens of all ranks; added up in fp32."""
        if self._pool is Pool.CLASS:
            part = encoded[:, 0].float() * (self._rank == 0)
        else:
            real = max(0, min(self._own, self._tokens - self._rank * self._own))
            part = encoded[:, :real].float().sum(dim=1) / self._tokens
        return self._sum(part).to(encoded.dtype)


def in_kernel(forward: Callable[..., Any], attention: Attention) -> Callable[..., Any]:
    """`forward` with this kernel of attention and no other."""
    if attention is Attention.SDPA:
        return forward

    def forward_in_kernel(*args: Any, **options: Any) -> Any:
        with sdpa_kernel(_BACKENDS[attention]):
            return forward(*args, **options)

    return forward_in_kernel


def require_kernel(cell: Cell, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a kernel of attention that this rank's device does not have; raises `JobError`."""
    if cell.attention is Attention.SDPA:
        return
    shape = (1, cell.model.heads, 2, cell.model.width // cell.model.heads)
    try:
        in_kernel(functional.scaled_dot_product_attention, cell.attention)(
            *(torch.zeros(shape, device=device, dtype=dtype) for _ in range(3))
        )
    except RuntimeError as error:
        raise JobError(
            Cause.CONFIGURATION,
            f"attention={cell.attention.value} precision={cell.precision.value}: this device has no such kernel "
            f"({one_line(error)}); use attention=sdpa, which takes one that it has",
        ) from error


@lru_cache
def _groups(device: Device, data: int, sequence: int) -> DeviceMesh:
    """All ranks, those of a sequence group next to each other; a collective, once a process."""
    return init_device_mesh(device.value, (data, sequence), mesh_dim_names=("data", "sequence"))


def _mesh(cell: Cell) -> DeviceMesh:
    """This rank's sequence group."""
    start_deepspeed(cell)
    return _groups(cell.device, cell.data_ranks, cell.sequence)["sequence"]


def _across(cell: Cell, mesh: DeviceMesh, count: int) -> Across:
    if cell.sequence_method is SequenceMethod.RING:
        return _ring(cell, mesh)
    from deepspeed.sequence.layer import DistributedAttention

    padding = cell.sequence * local_tokens(count, cell.sequence) - count

    def of_some_heads(*of_all_tokens: Tensor) -> Tensor:  # each (images, all tokens, some heads, width of a head)
        queries, keys, values = (tensor[:, :count].transpose(1, 2) for tensor in of_all_tokens)
        attended = functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
        return functional.pad(attended, (0, 0, 0, 0, 0, padding)) if padding else attended

    exchange = DistributedAttention(of_some_heads, mesh.get_group(), scatter_idx=2, gather_idx=1)

    def across(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # each (images, own tokens, heads, width)
        attended: Tensor = exchange(queries, keys, values, 0)
        return attended

    return across


def _ring(cell: Cell, mesh: DeviceMesh) -> Across:
    """torch's context parallelism: a GPU's kernels take keys and values as they come round, the products of a processor
    gather them."""
    from torch.distributed.tensor import DTensor, Shard

    if cell.device is Device.CUDA:
        from torch.distributed.tensor.experimental import _attention

        # For as long as the process lives, since backward needs it too.
        send_round()
        _attention._enable_context_parallel_dispatcher()

    def across(*heads: Tensor) -> Tensor:  # each (images, own tokens, heads, width of a head)
        queries, keys, values = (
            DTensor.from_local(part.transpose(1, 2), mesh, [Shard(2)], run_check=False) for part in heads
        )
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        assert isinstance(attended, DTensor)
        local: Tensor = attended.redistribute(placements=[Shard(2)]).to_local()
        return local.transpose(1, 2)

    return across


def send_round() -> None:
    """Let torch's ring hand keys and values from rank to rank, rather than gather them; nothing here is causal, so
    nothing is balanced."""
    from torch.distributed.tensor.experimental import _attention

    _attention._cp_options.enable_load_balance = False
    _attention.set_rotate_method("alltoall")


def _nothing_to_add(part: Tensor) -> Tensor:
    return part


class _Sum(torch.autograd.Function):
    """The sum over a group's ranks, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup, part: Tensor) -> Tensor:
        """(images, width) on each rank."""
        ctx.group = group
        full = part.clone()
        _add_up(full, group)
        return full

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """Likewise."""
        (full,) = (gradient.clone(memory_format=torch.contiguous_format) for gradient in gradients)
        _add_up(full, ctx.group)
        return None, full


def _add_up(part: Tensor, group: dist.ProcessGroup) -> None:
    """Put the sum over the group in the place of this rank's part; seen by who counts DeepSpeed's collectives."""
    import deepspeed

    deepspeed.comm.all_reduce(part, group=group)
