"""The model and its engine: torchvision's VisionTransformer under DeepSpeed, built from a cell."""

from typing import Any

import deepspeed
import torch
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from launchers.profile import Device
from vit_sweep.cell import Cell
from vit_sweep.ds_config import ds_config
from vit_sweep.point import OptimizerKind, Precision
from vit_sweep.record import BatchTriple

DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def vision_transformer(cell: Cell) -> nn.Module:
    """Build the model from the cell's seed; its head has one output per class of the data."""
    torch.manual_seed(cell.seed)
    spec = cell.model
    model: nn.Module = VisionTransformer(
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        num_layers=spec.layers,
        num_heads=spec.heads,
        hidden_dim=spec.width,
        mlp_dim=spec.mlp_width,
        num_classes=cell.data.classes,
    )
    return model


def optimizer(cell: Cell, model: nn.Module) -> torch.optim.Optimizer:
    """torch's own optimizer: DeepSpeed's named ones are compiled in the job, which costs minutes."""
    spec = cell.optimizer
    if spec.kind is OptimizerKind.ADAMW:
        return torch.optim.AdamW(
            model.parameters(),
            lr=spec.learning_rate,
            betas=(spec.beta1, spec.beta2),
            weight_decay=spec.weight_decay,
            fused=cell.device is Device.CUDA,
        )
    return torch.optim.SGD(
        model.parameters(), lr=spec.learning_rate, momentum=spec.beta1, weight_decay=spec.weight_decay
    )


def engine_of(cell: Cell) -> Any:
    """Wrap model and optimizer in a DeepSpeed engine with the cell's configuration."""
    # Building this op takes a compiler and 50 s; without it, gloo does the same work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(
        dist_backend="gloo" if cell.device is Device.CPU else "nccl", auto_mpi_discovery=False, verbose=False
    )
    model = vision_transformer(cell)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer(cell, model), config=ds_config(cell))
    return engine


def resolved_batch(engine: Any) -> BatchTriple:
    """What DeepSpeed itself says of its batch."""
    return BatchTriple(
        micro_batch=engine.train_micro_batch_size_per_gpu(),
        accum=engine.gradient_accumulation_steps(),
        global_batch=engine.train_batch_size(),
    )


def resolved_precision(engine: Any) -> str:
    """What DeepSpeed itself says of its number format."""
    if engine.bfloat16_enabled():
        return Precision.BF16.value
    return Precision.FP16.value if engine.fp16_enabled() else Precision.FP32.value
