"""DeepSpeed's configuration of a cell, with nothing left to a default that moves. Pure.

DeepSpeed ignores unknown top-level keys in silence and changes defaults between releases
(`gradient_clipping` went from 0 to 1.0 in 0.19.3), so every key that matters is written, and only keys
of this list are.
"""

from typing import Any

from launchers.errors import UserError, closest
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Offload, Precision
from vit_sweep.plan.engine.deepspeed_keys import KEYS
from vit_sweep.plan.engine.knobs import changed, further
from vit_sweep.plan.specs import EngineSpec

KNOWN_KEYS = frozenset(
    {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "prescale_gradients",
        "zero_optimization",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
        "communication_data_type",
        "bf16",
        "fp16",
        "steps_per_print",
        "wall_clock_breakdown",
        "dump_state",
        "timers",
        "disable_allgather",
        "flops_profiler",
    }
)

REUSE_DISTANCE = 1_000_000_000
"""ZeRO 3 lets go of gathered weights that are not used again within so many others."""


def ds_config(cell: Cell) -> dict[str, Any]:
    """Return the configuration; the product of its three batch keys is asserted."""
    config: dict[str, Any] = {
        # DeepSpeed knows of no sequence groups: it counts the images of every rank.
        "train_batch_size": cell.global_batch * cell.sequence,
        "train_micro_batch_size_per_gpu": cell.micro_batch,
        "gradient_accumulation_steps": cell.accum,
        "gradient_clipping": cell.optimizer.clip_norm,
        "prescale_gradients": False,
        "zero_optimization": _zero(cell.engine),
        # Our optimizer is torch's own, handed in ready: the named ones would be compiled in the job.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": cell.precision is Precision.BF16},
        "fp16": {"enabled": cell.precision is Precision.FP16},
        "steps_per_print": 2**31 - 1,
        "wall_clock_breakdown": False,
        "dump_state": False,
        # On by default, it synchronises the device twice in every step.
        "timers": {"throughput": {"enabled": False, "synchronized": False}},
        # No "comms_logger": DeepSpeed switches it on wherever the key stands, whatever "enabled" says, and it then
        # synchronises the device after every collective. The trainer's profilers use it after the timed epochs.
        "flops_profiler": {"enabled": False},
    }
    if cell.engine.communication_data_type is not None:
        config["communication_data_type"] = cell.engine.communication_data_type.value
    for key, value in further(cell.engine):
        *sections, name = key.split(".")
        target = config
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = value
    check(config, gpus=cell.gpus)
    return config


def check(config: dict[str, Any], *, gpus: int) -> None:
    """Refuse unknown keys and a batch triple whose product is wrong; raises `UserError`."""
    for key in config:
        if key not in KNOWN_KEYS | KEYS[""] | KEYS.keys():
            raise UserError(f"ds_config.json: unknown key {key} – {closest(key, KNOWN_KEYS)}")
    micro, accum = config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]
    if config["train_batch_size"] != micro * accum * gpus:
        raise UserError(
            f"ds_config.json: train_batch_size={config['train_batch_size']} is not micro {micro} x "
            f"accum {accum} x {gpus} GPUs = {micro * accum * gpus}"
        )


def _zero(engine: EngineSpec) -> dict[str, Any]:
    stage = engine.zero_stage
    zero: dict[str, Any] = {"stage": stage}
    if stage:
        zero |= {"overlap_comm": engine.overlap_comm, "reduce_bucket_size": engine.reduce_bucket_size}
        zero["contiguous_gradients"] = True
    if stage in (1, 2):
        zero |= {"allgather_bucket_size": engine.allgather_bucket_size, "round_robin_gradients": False}
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": engine.prefetch_bucket_size,
            "stage3_param_persistence_threshold": engine.param_persistence_threshold,
            "stage3_max_live_parameters": REUSE_DISTANCE,
            "stage3_max_reuse_distance": REUSE_DISTANCE,
        }
    for name in ("zero_hpz_partition_size", "zero_quantized_weights", "zero_quantized_gradients"):
        if changed(engine, name):
            zero[name] = getattr(engine, name)
    for name in ("offload_optimizer", "offload_param"):
        if changed(engine, name):
            # Its path on NVMe is the node's, which the job knows.
            zero[name] = {"device": getattr(engine, name).value}
    if engine.offload_param is Offload.NVME:
        # By default a thousand million weights stay in memory, so that those of a ViT would never reach the disk.
        zero["offload_param"]["max_in_cpu"] = 0
    return zero
