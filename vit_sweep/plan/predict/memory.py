"""Predicted device memory of a cell, from formulas and one calibration. Pure.

    total = states + temporaries + 1.105 x activations + data + context

States by ZeRO stage, and of other engines by the stage that shards alike: Rajbhandari et al. 2020 (arXiv:1910.02054),
section 3, with DeepSpeed's fp32 master copy of a shard. Activations: `vit.activation_bytes`. The factor 1.105
(allocator and short-lived buffers), the temporaries and the context fit what torch reserved of an H200 for 52 shapes,
`benchmarks/trainer/gpu_memory.py`: all within 10 %, `tests/unit/plan/predict/test_memory_on_a_gpu.py` holds it. Logs of
arXiv:2602.21081 (nvidia-smi on a T4, ViT-B/16, 224 px, fp32) show 5077 MiB at micro batch 16 and 11,055 MiB at 64; this
model says 4892 and 10,869. Data: the uint8 images of `data.pipeline=device`. Autocast keeps fp32 weights, as fp32 does,
and a 16-bit cast of each from forward to backward, whole on every rank: what FSDP2 and ZeRO 3 let go of is the fp32
weight.
"""

import math
from dataclasses import replace

from launchers.checked import checked
from launchers.profile import Device
from launchers.text import plural
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, Offload, Pipeline, Precision, SequenceMethod
from vit_sweep.plan.engine.kinds import DDP, FSDP2, MEGATRON, machinery, sharding
from vit_sweep.plan.optimizers import moment_bytes
from vit_sweep.plan.predict import pairs, text
from vit_sweep.plan.predict.vit import activation_bytes, local_tokens, parameters, tokens
from vit_sweep.plan.specs import ModelSpec

USABLE = 0.97
"""Part of a GPU's memory that a job can really use."""
_ALLOCATOR = 1.105
CONTEXT_GIB = 1243 / 1024
"""Of a process on a GPU, outside of what torch counts; seen on an H200: 619 MiB at first, 685 after a product, 1243
after NCCL's first collective."""
_DATA_WORTH_SAYING_GIB = 0.05
_SWAPPED_WEIGHTS = 5 * 100_000_000
"""Of DeepSpeed's buffers in the memory of the node for weights that come from NVMe."""
_TOKEN = 8
"""Bytes."""
_SIDE = 32
"""Pixels of a side of the sets that come as they are: CIFAR; the digits are smaller."""


@checked
class MemoryEstimate:
    """Predicted memory of one GPU, in GiB."""

    states_gib: float
    """Parameters, gradients, optimizer states."""
    temporary_gib: float
    activations_gib: float
    context_gib: float
    data_gib: float = 0.0
    """Images that stay in device memory."""
    host_gib: float = 0.0
    """Beside it: states in the memory of its node."""
    nvme_gib: float = 0.0
    """And on its disk."""

    @property
    def total_gib(self) -> float:
        """What the GPU must hold."""
        return self.states_gib + self.temporary_gib + self.activations_gib + self.context_gib + self.data_gib


def predict(cell: Cell) -> MemoryEstimate | None:
    """Predict the peak of one GPU; None on a CPU device, where the host's memory is no such limit, and for a model of
    whose activations nothing is known."""
    activations = kept_bytes(
        cell.model,
        cell.precision,
        checkpointing=cell.activation_checkpointing,
        sequence=cell.sequence,
        attention=cell.attention,
    )
    if cell.device is Device.CPU or activations is None:
        return None
    if cell.activation_checkpointing:
        # Gradients of the block that is computed again: about half of what it keeps.
        activations += (activations - _block_inputs(cell.model, cell.precision, cell.sequence)) / 2
    if cell.model.text is not None:
        activations += text.kept_bytes(cell.model.text, cell.precision, checkpointing=cell.activation_checkpointing)
    count = parameters(cell.model, cell.outputs)
    return MemoryEstimate(
        states_gib=_state_bytes(cell, count) / 2**30,
        temporary_gib=(
            _buffer_bytes(cell, count) + cast_bytes(cell, count) + _exchanged_bytes(cell) + pairs.loss_bytes(cell)
        )
        / 2**30,
        activations_gib=_ALLOCATOR * cell.micro_batch * activations / 2**30,
        context_gib=CONTEXT_GIB,
        data_gib=data_bytes(cell) / 2**30,
        host_gib=offloaded_bytes(cell, Offload.CPU) / 2**30,
        nvme_gib=offloaded_bytes(cell, Offload.NVME) / 2**30,
    )


def offloaded_bytes(cell: Cell, target: Offload) -> float:
    """Bytes of a rank's states offloaded to `target`; in host memory, those included that are swapped to NVMe.

    Of the optimizer: its fp32 copy of the weights, its fp32 gradients and its moments; the updates are made there.
    """
    engine, count, weight = cell.engine, parameters(cell.model, cell.outputs), cell.precision.bytes
    updates = 8 * count + moment_bytes(cell.optimizer, cell.model, cell.outputs)
    states = updates / cell.gpus if engine.offload_optimizer is target else 0.0
    states += weight * count / cell.gpus if engine.offload_param is target else 0.0
    if target is Offload.CPU and engine.offload_param is Offload.NVME:
        states += weight * _SWAPPED_WEIGHTS
    if target is Offload.CPU and engine.offload_optimizer is Offload.NVME:
        states += updates / cell.gpus  # of a ViT all at once: DeepSpeed's sub groups of 1e9 weights are larger
    return states


def too_little_room(cell: Cell, target: Offload, *, room_gib: float, ranks: int, owner: str) -> str | None:
    """One sentence where `ranks` of a node need more than there is for their offloaded states, else None."""
    need = ranks * offloaded_bytes(cell, target) / 2**30
    if need <= room_gib:
        return None
    names = [n for n in ("offload_optimizer", "offload_param") if getattr(cell.engine, n) is not Offload.NONE]
    return (
        f"engine.{names[0]}={getattr(cell.engine, names[0]).value}: the states of {plural(ranks, 'rank')} need about "
        f"{need:.1f} GiB {'of memory' if target is Offload.CPU else 'on disk'} a node, {owner} has {room_gib:.1f}; use "
        f"more nodes or a smaller model, or {names[0]}=none"
    )


def kept_bytes(
    model: ModelSpec,
    precision: Precision,
    *,
    checkpointing: bool,
    sequence: int = 1,
    attention: Attention = Attention.SDPA,
) -> float | None:
    """Bytes of activations that one image keeps on a rank at the start of backward; None where nobody knows.

    With checkpointing of each block only its input, L N D numbers, and the whole of the one block that is computed
    again: fp32 4 LND + 64 ND (M = 4D).
    """
    activations = activation_bytes(model, precision, sequence=sequence, attention=attention)
    if not checkpointing or activations is None:
        return activations
    return _block_inputs(model, precision, sequence) + activations / model.layers


def _block_inputs(model: ModelSpec, precision: Precision, sequence: int) -> int:
    """Bytes of one image's inputs of all blocks."""
    return precision.bytes * model.layers * local_tokens(tokens(model), sequence) * model.width


def data_bytes(cell: Cell) -> int:
    """Bytes of the uint8 images and their captions in device memory: with the loader those of the test alone, which it
    does not feed."""
    count = cell.data.test_images + (cell.train_images if cell.pipeline is Pipeline.DEVICE else 0)
    caption = _TOKEN * cell.model.text.length if cell.model.text is not None else 0
    return count * ((cell.data.image_bytes or cell.data.channels * (cell.data.side or _SIDE) ** 2) + caption)


def largest_micro_batch(cell: Cell, gpu_memory_gib: float) -> int:
    """The largest micro batch that is predicted to fit; 0 when not even one image does."""
    estimate = predict(cell)
    if estimate is None:
        return cell.micro_batch
    free = USABLE * gpu_memory_gib - (estimate.total_gib - estimate.activations_gib)
    return max(0, int(free / (estimate.activations_gib / cell.micro_batch)))


def smallest_sequence(cell: Cell, gpu_memory_gib: float) -> Cell | None:
    """The cell with the fewest ranks a sequence group that is predicted to fit, on as many GPUs if it can be, else on
    more; None if there is none, or if its model cannot share tokens at all."""
    model = cell.model
    if model.target is not None or model.text is not None or cell.compile or cell.engine.kind == MEGATRON:
        return None
    # First those that these GPUs can have.
    for sequence in sorted(range(cell.sequence + 1, model.heads + 1), key=lambda degree: cell.gpus % degree > 0):
        if model.heads % sequence or tokens(model) <= sequence:
            continue
        gpus = -(-cell.gpus // sequence) * sequence
        shared = replace(cell, gpus=gpus, sequence=sequence, sequence_method=SequenceMethod.ULYSSES)
        estimate = predict(shared)
        if estimate is not None and estimate.total_gib <= USABLE * gpu_memory_gib:
            return shared
    return None


def why_it_does_not_fit(cell: Cell, gpu_memory_gib: float) -> str | None:
    """One sentence with the figures when the cell is predicted not to fit, else None."""
    estimate = predict(cell)
    if estimate is None or estimate.total_gib <= USABLE * gpu_memory_gib:
        return None
    largest = largest_micro_batch(cell, gpu_memory_gib)
    advice = (
        f"a micro batch of {largest} or less"
        if largest
        else "a smaller model, a higher ZeRO stage or engine.offload_optimizer=cpu"
    )
    degree = smallest_sequence(cell, gpu_memory_gib)
    if degree is not None:
        gpus = f" on gpus={degree.gpus}" if degree.gpus != cell.gpus else ""
        advice += f", or sequence={degree.sequence}{gpus}, from which on {cell.model.image_text} px fits"
    if not cell.activation_checkpointing:
        advice += ", or activation_checkpointing=true"
    if cell.pipeline is Pipeline.DEVICE and estimate.data_gib > _DATA_WORTH_SAYING_GIB:
        advice += ", or data.pipeline=loader"
    data = f" + images {estimate.data_gib:.1f}" if estimate.data_gib > _DATA_WORTH_SAYING_GIB else ""
    return (
        f"micro batch {cell.micro_batch} of {cell.model.name} at {cell.model.image_text} px in {cell.precision.value} "
        f"needs about {estimate.total_gib:.1f} GiB a GPU (states {estimate.states_gib:.1f} + temporaries "
        f"{estimate.temporary_gib:.1f} + activations {estimate.activations_gib:.1f} + context "
        f"{estimate.context_gib:.1f}{data}), {cell.gpu_model} has {gpu_memory_gib:g} of which {USABLE:.0%} can be "
        f"used; use {advice}, or memory_check=warn"
    )


def _state_bytes(cell: Cell, count: int) -> float:
    """Bytes of parameters, gradients and optimizer states on one GPU."""
    moments = moment_bytes(cell.optimizer, cell.model, cell.outputs) / count
    # What FSDP2 keeps whole for a while is no state.
    ranks, stage = cell.gpus, 3 if cell.engine.kind == FSDP2 else sharding(cell.engine)
    weight = cell.precision.bytes
    wide = weight == 4
    # Stage 0 in fp32, DDP, FSDP2 and Megatron update the weights in place; every other case keeps an fp32 master copy,
    # and 16-bit stage 0 an fp32 copy of the gradients too.
    master = 0 if wide and (stage == 0 or cell.engine.kind in (FSDP2, MEGATRON)) else 4
    extra = 4 if not wide and stage == 0 else 0
    if cell.engine.offload_optimizer is not Offload.NONE:
        master = moments = 0
    weights = weight if cell.engine.offload_param is Offload.NONE else 0
    replicated = {0: 2 * weight + extra + master + moments, 1: 2 * weight, 2: weight, 3: 0}[stage]
    shared = {0: 0, 1: master + moments, 2: weight + master + moments, 3: weights + weight + master + moments}[stage]
    return count * (replicated + shared / ranks)


def cast_bytes(cell: Cell, count: int) -> int:
    """Bytes of the weights' casts, which autocast keeps from the forward pass to the backward one, on every rank."""
    return cell.precision.products.bytes * count if cell.precision.autocast else 0


def _buffer_bytes(cell: Cell, count: int) -> float:
    """Bytes of buffers that live for a part of the step."""
    weight, stage = cell.precision.bytes, sharding(cell.engine)
    if machinery(cell.engine) == DDP:
        return 2 * count * weight  # its buckets hold the gradients; after the first step it builds them anew
    if cell.engine.kind == MEGATRON:
        return count * weight
    if cell.engine.kind == FSDP2:
        # Whole weights of two blocks, or of all; whole gradients of two, twice while they are scattered, or, while they
        # are accumulated, of all.
        part = min(1.0, 2 / (cell.model.layers + 1))
        weights, gradients = (1 if stage == 2 else part), (1 if cell.accum > 1 else 0) + 2 * part
        return count * weight * (weights + gradients)
    if stage == 0:
        return count * weight  # the gradients once more, flat
    buckets = 2 * min(count, cell.engine.reduce_bucket_size) * weight
    optimizer = 12 * count / cell.gpus if cell.engine.offload_optimizer is Offload.NONE else 0
    # Stage 3 may hold every gathered parameter at once: its limit of 1e9 is above any ViT here.
    gathered = count * weight if stage == 3 else 0
    return buckets + optimizer + gathered


def _exchanged_bytes(cell: Cell) -> int:
    """Of ranks that share tokens: three copies of a tensor on its way, and the whole pixels that each rank has."""
    if cell.sequence == 1:
        return 0
    activations = local_tokens(tokens(cell.model), cell.sequence) * cell.model.width
    return (
        cell.micro_batch
        * cell.precision.bytes
        * (3 * activations + cell.model.channels * math.prod(cell.model.image_shape))
    )


def used_mib(reserved_mib: float) -> float:
    """What torch reserved of a GPU, and the CUDA context, which lies outside of it."""
    return reserved_mib + 1024 * CONTEXT_GIB


def memory_error(reserved_mib: float | None, predicted_mib: float | None) -> float | None:
    """`used / predicted - 1`, above 0 where a cell needs more than the plan thinks; None on a CPU device."""
    return used_mib(reserved_mib) / predicted_mib - 1 if reserved_mib is not None and predicted_mib else None
