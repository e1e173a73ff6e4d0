"""DeepSpeed's knobs: which ZeRO stages heed which, and what is refused of them. Pure."""

import json
from enum import Enum
from typing import Any

from launchers.errors import closest
from launchers.profile import Device
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.engine.deepspeed_keys import KEYS, VERSION
from vit_sweep.plan.engine.kinds import machinery
from vit_sweep.plan.point import Point
from vit_sweep.plan.specs import DEEPSPEED, EngineSpec

STAGES: dict[str, tuple[int, ...]] = {
    "offload_optimizer": (1, 2, 3),
    "offload_param": (3,),
    "overlap_comm": (1, 2, 3),
    "reduce_bucket_size": (1, 2, 3),
    "allgather_bucket_size": (1, 2),
    "prefetch_bucket_size": (3,),
    "param_persistence_threshold": (3,),
    "zero_hpz_partition_size": (3,),
    "zero_quantized_weights": (3,),
    "zero_quantized_gradients": (3,),
    "communication_data_type": (0, 1, 2, 3),
}
"""Keys of `engine` that are DeepSpeed's, and the stages that heed them."""


def changed(engine: EngineSpec, name: str) -> bool:
    """Whether a knob is not where it stands by itself."""
    return bool(getattr(engine, name) != EngineSpec.__dataclass_fields__[name].default)


def knob_without_a_stage(_: Point, engine: EngineSpec) -> str | None:
    """A knob that does nothing in this engine or stage."""
    for name, stages in STAGES.items():
        if not changed(engine, name):
            continue
        setting = f"engine={engine.name} engine.{name}={_spelt(getattr(engine, name))}"
        use = f"zero={' or '.join(map(str, stages))}, or leave it out"
        if machinery(engine) != DEEPSPEED:
            return f"{setting}: only DeepSpeed has this knob; use {use}"
        if engine.zero_stage not in stages:
            return f"{setting}: ZeRO stage {engine.zero_stage} has nothing that it could change; use {use}"
    return None


def knob_that_cannot_be(point: Point, engine: EngineSpec) -> str | None:
    """A knob against the number of GPUs or the device."""
    size = engine.zero_hpz_partition_size
    if point.gpus % size:
        return (
            f"engine.zero_hpz_partition_size={size} gpus={point.gpus}: the second copy of the weights must be sharded "
            "over a divisor of the GPUs; use such a one, as a rule the GPUs of a node"
        )
    quantized = [name for name in ("zero_quantized_weights", "zero_quantized_gradients") if changed(engine, name)]
    if quantized and point.partition.device is Device.CPU:
        return f"engine.{quantized[0]}=true: {point.partition.name} has no GPU, which alone can quantize; leave it out"
    return None


def offload_without_a_place(point: Point, engine: EngineSpec) -> str | None:
    """States on NVMe: of ZeRO 3 only, and below a folder that the partition's profile names."""
    names = [name for name in ("offload_optimizer", "offload_param") if getattr(engine, name) is Offload.NVME]
    if not names:
        return None
    setting = f"engine={engine.name} engine.{names[0]}=nvme"
    if engine.zero_stage != 3:
        return f"{setting}: DeepSpeed swaps to NVMe in ZeRO stage 3 only; use zero=3, or {names[0]}=cpu"
    if point.partition.nvme is None:
        return (
            f"{setting}: {point.partition.name} names no folder on NVMe; write it into the profile (nvme: "
            f"/local/nvme), say +partition.nvme=FOLDER, or use {names[0]}=cpu"
        )
    if "offload_param" in names and point.partition.device is Device.CPU:
        return (
            f"engine={engine.name} engine.offload_param=nvme: without a GPU DeepSpeed {VERSION} reads weights back as "
            "bf16, whatever they were, and some twice, which ends the job; use offload_param=cpu"
        )
    return None


_AXES = {
    "train_batch_size": "batch",
    "train_micro_batch_size_per_gpu": "batch",
    "gradient_accumulation_steps": "accum",
    "gradient_clipping": "optimizer.clip_norm",
    "fp16.enabled": "precision",
    "bf16.enabled": "precision",
    "communication_data_type": "engine.communication_data_type",
    "zero_optimization.stage": "zero",
    "zero_optimization.stage3_prefetch_bucket_size": "engine.prefetch_bucket_size",
    "zero_optimization.stage3_param_persistence_threshold": "engine.param_persistence_threshold",
    **{f"zero_optimization.offload_{what}.device": f"engine.offload_{what}" for what in ("optimizer", "param")},
    **{f"zero_optimization.offload_{what}.nvme_path": "partition.nvme" for what in ("optimizer", "param")},
    **{f"zero_optimization.{name}": f"engine.{name}" for name in STAGES},
}
"""Keys of DeepSpeed's that are said by a word of ours."""


def further(engine: EngineSpec) -> list[tuple[str, Any]]:
    """Keys of DeepSpeed's configuration that were given beside those of ours, and their values."""
    return [(key, json.loads(value)) for key, _, value in (given.partition("=") for given in engine.config)]


def further_key_refused(_: Point, engine: EngineSpec) -> str | None:
    """A key of DeepSpeed's configuration that it does not know, or that a word of ours says."""
    for key, value in further(engine):
        setting = f"engine.config.{key}={_spelt(value)}"
        section, _dot, name = key.rpartition(".")
        if machinery(engine) != DEEPSPEED:
            return f"{setting}: engine={engine.name} is not DeepSpeed; leave it out"
        if key in _AXES:
            return f"{setting}: {_AXES[key]} says it; use {_AXES[key]}=..."
        if section not in KEYS:
            return f"{setting}: DeepSpeed {VERSION} has no such section – {closest(section, filter(None, KEYS))}"
        if name not in KEYS[section]:
            within = f" in {section}" if section else ""
            menu = {*KEYS[section], *(() if section else filter(None, KEYS))}
            return f"{setting}: DeepSpeed {VERSION} has no key {name}{within} – {closest(name, menu)}"
        if section.startswith("zero_optimization.offload") and not changed(engine, section.rpartition(".")[2]):
            return f"{setting}: nothing is offloaded there; use engine.{section.rpartition('.')[2]}=cpu as well"
    return None


def _spelt(value: object) -> str:
    """As it is typed."""
    return str(value.value if isinstance(value, Enum) else value).lower()


OF_KNOBS = (knob_without_a_stage, knob_that_cannot_be, offload_without_a_place, further_key_refused)
