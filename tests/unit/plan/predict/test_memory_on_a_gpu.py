"""What is predicted for a GPU's memory is what torch's allocator reserved of one."""

from dataclasses import replace
from statistics import median

import pytest

from benchmarks.trainer.gpu_memory import ENGINES, shapes
from vit_sweep.plan.choices import Attention, Offload, Precision
from vit_sweep.plan.predict.memory import memory_error, predict
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train  # torch comes with the benchmark

RESERVED_MIB = {
    "fp32": 9_592,
    "tf32": 9_568,
    "bf16": 5_694,
    "bf16_amp": 6_210,
    "fp16": 5_694,
    "bf16, 16 images": 2_602,
    "S/16": 2_494,
    "fp16_amp": 6_210,
    "fp32, 16 images": 3_592,
    "bf16, 256 images": 17_192,
    "fp32, checkpointing": 2_974,
    "L/16": 16_524,
    "checkpointing": 2_684,
    "H/14": 23_462,
    "H/14, checkpointing": 14_350,
    "1024 px, 4 images": 7_472,
    "accum 4": 5_694,
    "384 px": 13_270,
    "ddp, fp32": 9_926,
    "attention=math": 8_058,
    "fp32, attention=math": 11_520,
    "compile": 5_526,
    "fp32, compile": 9_342,
    "fsdp2, bf16_amp": 6_364,
    "attention=flash": 5_694,
    "attention=efficient": 5_936,
    "megatron, bf16_amp": 6_288,
    "megatron, fp32": 9_514,
    "ddp, bf16_amp": 6_442,
    "fsdp2, fp32": 9_516,
    "zero0, bf16_amp": 6_210,
    "zero0, bf16": 5_694,
    "accelerate, bf16_amp": 5_968,
    "zero2, bf16": 5_892,
    "megatron_whole, bf16_amp": 6_296,
    "zero2, fp32": 10_540,
    "zero0, fp32": 9_592,
    "fsdp2, bf16_amp, accum 4": 6_566,
    "zero1, bf16": 5_728,
    "zero1, bf16_amp": 6_988,
    "zero3, bf16_amp": 7_216,
    "adam, L/16, fp32": 10_326,
    "zero3, fp32": 10_226,
    "sgd, L/16, fp32": 9_154,
    "zero3, bf16": 6_008,
    "adafactor, L/16, fp32": 7_898,
    "zero2 offloaded, bf16": 4_422,
    "lars, L/16, fp32": 9_154,
    "adamw, L/16, fp32": 10_326,
    "muon, L/16, fp32": 9_156,
    "lamb, L/16, fp32": 10_324,
}
"""Of one NVIDIA H200 (driver 580.159.04, torch 2.11.0+cu130, DeepSpeed 0.19.8, megatron-core 0.16.1), 2026-11-29, by
`python benchmarks/trainer/gpu_memory.py --workers 5`, which had no time left for six more shapes."""


ENGINES_OF_JOBS = ENGINES | {
    "accelerate_zero2": EngineSpec(name="accelerate_zero2", zero_stage=2, kind="accelerate"),
    "zero3 offloaded": replace(ENGINES["zero3"], offload_optimizer=Offload.CPU),
}
AGAIN = {"activation_checkpointing": True}
JOBS = [
    ("zero0", "tf32", {}, 9560),
    ("zero0", "fp16", {}, 5668),
    ("zero0", "bf16", {}, 5668),
    ("zero0", "fp32", {}, 9584),
    ("megatron", "fp32", {}, 9444),
    ("megatron", "bf16_amp", {}, 6254),
    ("accelerate", "fp32", {}, 9226),
    ("accelerate", "bf16_amp", {}, 5960),
    ("fsdp2", "bf16_amp", {}, 6356),
    ("ddp", "bf16_amp", {}, 6432),
    ("fsdp2", "bf16_amp", {"compile": True}, 5728),
    ("ddp", "bf16_amp", {"compile": True}, 6250),
    ("zero1", "bf16", {"attention": Attention.FLASH}, 6406),
    ("zero2", "bf16", {"attention": Attention.FLASH}, 6406),
    ("zero3", "bf16", {"attention": Attention.FLASH}, 6676),
    ("zero2", "bf16", AGAIN, 3252),
    ("zero3", "bf16", AGAIN, 3496),
    ("zero3 offloaded", "bf16", AGAIN, 1502),
    ("zero0", "fp16_amp", {"attention": Attention.EFFICIENT}, 5992),
    ("zero0", "fp16_amp", {"attention": Attention.MATH}, 7988),
    ("accelerate_zero2", "fp16_amp", {"attention": Attention.MATH}, 9590),
    ("accelerate_zero2", "fp16_amp", {"attention": Attention.EFFICIENT}, 7568),
]
"""What whole jobs of 46 steps reserved (MiB), in the same hour: `model=vit_b_16 batch=64`, the digits. They were not
looked at when the benchmark's shapes were fitted, but for ZeRO's temporaries, of which a job keeps more."""


@pytest.mark.parametrize(("engine", "precision", "changes", "reserved"), JOBS)
def test_whole_jobs_are_met_within_ten_percent(*, engine, precision, changes, reserved):
    usual = shapes()["bf16"]
    job = replace(
        usual,
        engine=ENGINES_OF_JOBS[engine],
        precision=Precision(precision),
        train_images=1440,
        data=replace(usual.data, train_images=1440, test_images=357, classes=10),
        **changes,
    )
    assert abs(memory_error(reserved, 1024 * predict(job).total_gib)) < 0.1


def error(name):
    return memory_error(RESERVED_MIB[name], 1024 * predict(shapes()[name]).total_gib)


@pytest.mark.parametrize("name", RESERVED_MIB)
def test_each_shape_is_met_within_ten_percent(name):
    assert abs(error(name)) < 0.1


def test_most_are_met_within_five_percent_and_few_need_more_than_was_thought():
    """What needs more than was thought may end without memory: rather a little too much."""
    errors = [error(name) for name in RESERVED_MIB]
    assert median(map(abs, errors)) < 0.03
    assert sum(value > 0.03 for value in errors) <= 3
    assert -0.05 < median(errors) <= 0
