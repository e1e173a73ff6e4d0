"""The model and its optimizer: torchvision's VisionTransformer, built from a cell, or what others build."""

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from launchers.errors import UserError
from launchers.profile import Device
from vit_sweep.job.train.imports.without_compiler import is_loaded
from vit_sweep.job.train.models.init import begin
from vit_sweep.job.train.models.library import load
from vit_sweep.job.train.models.sequence import TokenTransformer, in_kernel
from vit_sweep.job.train.models.vit import attend_by, built, over_own_tokens
from vit_sweep.job.train.pairs.towers import text_blocks, with_text_tower
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, one_line
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import OptimizerKind, Pool, Precision
from vit_sweep.plan.specs import ModelSpec, OptimizerSpec
from vit_sweep.record.record import Compilations

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.TF32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.BF16_AMP: torch.float32,
    Precision.FP16_AMP: torch.float32,
}
"""Of weights and images."""
_TF32_SINCE = (8, 0)
"""Compute capability of the first GPUs whose tensor cores multiply in TF32."""
_TELL_THE_PLAN = "use fp32 or fp16, and add bf16 to the partition's refused_precisions, so that the plan refuses both"


def vision_transformer(cell: Cell) -> nn.Module:
    """Build the model from the cell's seed; its head has one output per class of the data. Of pairs, both towers."""
    torch.manual_seed(cell.seed)
    spec = cell.model
    image = _image_tower(cell)
    if spec.text is None:
        return image
    towers = with_text_tower(image, spec.text)
    for block in text_blocks(towers) if cell.activation_checkpointing else ():
        block.forward = _computed_again(block.forward)
    return towers


def _image_tower(cell: Cell) -> nn.Module:
    spec = cell.model
    if spec.target is not None:
        return _of_others(spec, cell.outputs)
    is_plain = cell.sequence == 1 and spec.pool is Pool.CLASS
    model: nn.Module = built(spec, cell.outputs) if is_plain else TokenTransformer(cell)
    if spec.init is not None:
        begin(model, spec)
    for block in model.get_submodule("encoder.layers").children():
        if cell.sequence == 1:
            attend_by(block.get_submodule("self_attention"), in_kernel(over_own_tokens, cell.attention))
        # All in place, so that the weights keep their names.
        if cell.activation_checkpointing:
            block.forward = _computed_again(block.forward)
        if cell.compile:
            # Two graphs, whatever the depth: the first block's input lies otherwise in memory than the others'.
            block.compile()
    return model


def _of_others(spec: ModelSpec, classes: int) -> nn.Module:
    """The model that was planned; raises `JobError` where there is none, or another one, as of another release."""
    try:
        model = load(spec, classes)
    except UserError as error:
        raise JobError(Cause.CONFIGURATION, str(error)) from error
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if spec.counts is not None and trained != spec.counts.parameters:
        raise JobError(
            Cause.CONFIGURATION,
            f"model={spec.name} of {spec.target}: it has {trained:,} trainable parameters here and "
            f"{spec.counts.parameters:,} where it was planned; use the same release in both places, or another name",
        )
    return model


def compilations() -> Compilations:
    """What torch.compile has done in this process so far; nothing where its tracer was never loaded."""
    if not is_loaded():
        return Compilations(graphs=0, breaks=0)
    tracer = sys.modules["torch._dynamo.utils"]
    return Compilations(
        graphs=tracer.counters["stats"]["unique_graphs"], breaks=sum(tracer.counters["graph_break"].values())
    )


def _computed_again(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep only the input of `forward`; backward runs it a second time."""

    # A function and not a partial, which torch.compile passes over without a word.
    def forward_again(tokens: Tensor, *args: Any, **options: Any) -> Tensor:  # (batch, tokens, width)
        # Nothing in a block is random (no dropout): there is no state of generators to keep for backward.
        output: Tensor = checkpoint(forward, tokens, *args, use_reentrant=False, preserve_rng_state=False, **options)
        return output

    return forward_again


def device_of(cell: Cell) -> torch.device:
    """Where this rank computes."""
    return torch.device("cuda", torch.cuda.current_device()) if cell.device is Device.CUDA else torch.device("cpu")


def optimizer(cell: Cell, model: nn.Module) -> torch.optim.Optimizer:
    """torch's own optimizer, or timm's: DeepSpeed's named ones are compiled in the job, which costs minutes.

    Raises `JobError` where timm is needed and not installed.
    """
    spec = cell.optimizer
    weights, rate, decay = _groups(spec, model), spec.learning_rate, spec.weight_decay
    match spec.kind:
        case OptimizerKind.ADAMW | OptimizerKind.ADAM:
            kind = torch.optim.AdamW if spec.kind is OptimizerKind.ADAMW else torch.optim.Adam
            betas, fused = (spec.beta1, spec.beta2), cell.device is Device.CUDA
            return kind(weights, lr=rate, betas=betas, eps=spec.eps, weight_decay=decay, fused=fused)
        case OptimizerKind.SGD:
            return torch.optim.SGD(weights, lr=rate, momentum=spec.beta1, weight_decay=decay)
        case OptimizerKind.ADAFACTOR:
            return torch.optim.Adafactor(weights, lr=rate, beta2_decay=spec.beta2_decay, weight_decay=decay)
    return _optimizer_of_timm(spec, weights)


def _optimizer_of_timm(spec: OptimizerSpec, weights: list[dict[str, Any]]) -> torch.optim.Optimizer:
    try:
        from timm.optim import Lamb, Lars, Lion, Muon
    except ImportError as error:
        raise JobError(
            Cause.CONFIGURATION,
            f"optimizer.kind={spec.kind.value}: it is timm's, which cannot be imported ({one_line(error)}); "
            "pip install 'vit_sweep[timm]', or use adamw, adam, sgd or adafactor",
        ) from error
    rates, betas = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}, (spec.beta1, spec.beta2)
    optimizer: torch.optim.Optimizer
    match spec.kind:
        case OptimizerKind.LION:
            optimizer = Lion(weights, betas=betas, **rates)
        case OptimizerKind.MUON:
            optimizer = Muon(weights, momentum=spec.momentum, betas=betas, eps=spec.eps, **rates)
        case OptimizerKind.LAMB:
            # It would clip by itself, each rank by the norm of what it has.
            optimizer = Lamb(weights, betas=betas, eps=spec.eps, max_grad_norm=None, **rates)
        case OptimizerKind.LARS:
            optimizer = Lars(weights, momentum=spec.beta1, trust_coeff=spec.trust_coefficient, **rates)
    return optimizer


def clip(cell: Cell, model: nn.Module) -> None:
    """Scale all gradients down together where their norm is more than the cell allows."""
    if cell.optimizer.clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), cell.optimizer.clip_norm)


_OUTSIDE = re.compile(r"^(image\.)?head|embedding\.|projection\.")
"""Matrices in no block."""


def decays(spec: OptimizerSpec, weight: Tensor) -> bool:
    """Whether the optimizer makes a weight, given whole, smaller in every step.

    A bias or a norm has one dimension, a class token or positions a first one of 1: (1, tokens, width).
    """
    return spec.decay_all or (weight.ndim > 1 and weight.shape[0] > 1)


def order_of_updates(spec: OptimizerSpec, weights: Mapping[str, Tensor]) -> list[str]:
    """Names of whole weights, as the optimizer of `optimizer` numbers them."""
    return [name for names in _grouped(spec, weights).values() for name in names]


def _grouped(spec: OptimizerSpec, weights: Mapping[str, Tensor]) -> dict[tuple[bool, bool], list[str]]:
    """Names of weights by what the optimizer does to them: whether they decay, whether they are made orthogonal."""
    groups: dict[tuple[bool, bool], list[str]] = {}
    for name, weight in weights.items():
        orthogonal = weight.ndim == 2 and not _OUTSIDE.search(name)
        key = (decays(spec, weight), orthogonal or spec.kind is not OptimizerKind.MUON)
        groups.setdefault(key, []).append(name)
    return groups


def _groups(spec: OptimizerSpec, model: nn.Module) -> list[dict[str, Any]]:
    """The weights, by what the optimizer does to them."""
    weights = dict(model.named_parameters())
    return [
        {"params": [weights[name] for name in names], **_how(spec, decaying=decaying, orthogonal=orthogonal)}
        for (decaying, orthogonal), names in _grouped(spec, weights).items()
    ]


def _how(spec: OptimizerSpec, *, decaying: bool, orthogonal: bool) -> dict[str, Any]:
    options: dict[str, Any] = {} if decaying else {"weight_decay": 0.0}
    if spec.kind in (OptimizerKind.LAMB, OptimizerKind.LARS):
        options["always_adapt"] = decaying  # else they would be Adam and SGD where the decay is 0
    if spec.kind is OptimizerKind.MUON:
        options["use_fallback"] = not orthogonal
    return options


def require_precision(cell: Cell) -> None:
    """Refuse a number format that this rank's device only emulates or does not have; raises `JobError`.

    The plan refuses what the partition's profile says; this asks the device itself. `is_bf16_supported` alone says
    yes on a T4, which converts to fp32 and back and is slower than fp32.
    """
    precision, problem = cell.precision.products, None
    if cell.device is Device.CPU:
        if precision in (Precision.FP16, Precision.TF32):
            problem = "a processor does not train in it; use fp32"
    elif precision is Precision.BF16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        problem = f"{torch.cuda.get_device_name()} only emulates it, slower than fp32; {_TELL_THE_PLAN}"
    elif precision is Precision.TF32 and torch.cuda.get_device_capability() < _TF32_SINCE:
        problem = f"{torch.cuda.get_device_name()} has no such products; {_TELL_THE_PLAN}"
    if problem:
        raise JobError(Cause.CONFIGURATION, f"precision={cell.precision.value}: {problem}")


def multiply_in(precision: Precision) -> None:
    """Let fp32 products be fp32, or TF32 where asked: cuDNN's convolutions would take TF32 by default."""
    torch.backends.cuda.matmul.allow_tf32 = precision is Precision.TF32
    torch.backends.cudnn.allow_tf32 = precision is Precision.TF32


def fp32_products() -> Precision:
    """What products of fp32 weights are taken in now."""
    return Precision.TF32 if torch.backends.cuda.matmul.allow_tf32 else Precision.FP32
