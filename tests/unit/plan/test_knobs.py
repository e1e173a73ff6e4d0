"""DeepSpeed's knobs: what an engine or a stage does not heed is refused, what it heeds reaches its configuration."""

from dataclasses import fields, replace

import pytest

from launchers.profile import Device
from tests.unit.builders import ENGINE, MODEL, cell, point, profile
from tests.unit.plan.predict.test_memory import on_t4
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import CommunicationType, Offload, Precision
from vit_sweep.plan.engine.ds_config import ds_config
from vit_sweep.plan.engine.knobs import STAGES
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.plan import Knowledge, MemoryCheck, make_plan
from vit_sweep.plan.predict.memory import offloaded_bytes, predict
from vit_sweep.plan.predict.vit import parameters
from vit_sweep.plan.specs import EngineSpec

VALUES = {
    "offload_optimizer": Offload.CPU,
    "offload_param": Offload.CPU,
    "overlap_comm": True,
    "reduce_bucket_size": 1000,
    "allgather_bucket_size": 1000,
    "prefetch_bucket_size": 1000,
    "param_persistence_threshold": 10,
    "zero_hpz_partition_size": 2,
    "zero_quantized_weights": True,
    "zero_quantized_gradients": True,
    "communication_data_type": CommunicationType.BF16,
}
"""Another value for every knob."""


def zero(stage, **knobs):
    return EngineSpec(name=f"zero{stage}", zero_stage=stage, **knobs)


def on(stage, gpus=2, **knobs):
    return cell_of(point(engine=zero(stage, **knobs), gpus=gpus))


def test_every_field_that_deepspeed_alone_has_is_a_knob():
    others = {"name", "kind", "zero_stage", "reshard_after_forward", "distributed_optimizer", "config"}
    assert set(STAGES) == set(VALUES) == {field.name for field in fields(EngineSpec)} - others


@pytest.mark.parametrize("name", STAGES)
def test_a_knob_reaches_deepspeed_where_its_stage_heeds_it_and_is_refused_elsewhere(name):
    value = VALUES[name]
    for stage in range(4):
        refused = on(stage, **{name: value})
        if stage not in STAGES[name]:
            (reason,) = refused
            assert reason.startswith(f"engine=zero{stage} engine.{name}=")
            assert f"stage {stage} has nothing that it could change; use zero={STAGES[name][0]}" in reason
            continue
        assert isinstance(refused, Cell)
        config, plain = ds_config(refused), ds_config(replace(refused, engine=zero(stage)))
        assert config != plain
        assert str(getattr(value, "value", value)) in str(config)
    (reason,) = cell_of(point(engine=replace(ENGINE, kind="ddp", name="ddp", zero_stage=None, **{name: value}), gpus=2))
    assert reason.startswith(f"engine=ddp engine.{name}=")
    assert ": only DeepSpeed has this knob; use zero=" in reason


def test_a_stage_by_number_keeps_the_knobs():
    built = cell_of(point(engine=zero(0, overlap_comm=True), zero=2))
    assert built.engine == zero(2, overlap_comm=True)


def test_a_second_copy_over_ranks_that_do_not_divide_is_refused():
    (reason,) = on(3, gpus=4, zero_hpz_partition_size=3)
    assert reason.startswith("engine.zero_hpz_partition_size=3 gpus=4: the second copy of the weights must be sharded")


def test_nothing_is_quantized_without_a_gpu():
    site = profile(device=Device.CPU)
    (reason,) = cell_of(point(engine=zero(3, zero_quantized_weights=True), partition=site))
    assert reason.startswith("engine.zero_quantized_weights=true: lab has no GPU")


# --- offload -----------------------------------------------------------------------------------------------


def test_nvme_takes_stage_3_and_a_folder_that_the_profile_names():
    (reason,) = on(2, offload_optimizer=Offload.NVME)
    assert reason == (
        "engine=zero2 engine.offload_optimizer=nvme: DeepSpeed swaps to NVMe in ZeRO stage 3 only; use zero=3, or "
        "offload_optimizer=cpu"
    )
    (reason,) = on(3, offload_param=Offload.NVME)
    assert "lab names no folder on NVMe; write it into the profile (nvme: /local/nvme)" in reason
    requested_point = point(engine=zero(3, offload_optimizer=Offload.NVME), partition=profile(nvme="/local"))
    assert isinstance(cell_of(requested_point), Cell)


def test_weights_on_nvme_take_a_gpu():
    """DeepSpeed's `dtype or float16 if is_fp16_supported() else bfloat16` asks for the device first."""
    on_cores, on_gpus = (profile(nvme="/local", device=device) for device in (Device.CPU, Device.CUDA))
    settings = {"engine": zero(3, offload_param=Offload.NVME)}
    (reason,) = cell_of(point(**settings, partition=on_cores))
    assert "engine.offload_param=nvme: without a GPU DeepSpeed" in reason
    assert isinstance(cell_of(point(**settings, partition=on_gpus)), Cell)


def test_what_is_offloaded_leaves_the_gpu_for_the_host():
    """16 bits and Adam: 16 bytes of fp32 copy, gradient and moments a parameter, over the ranks, and 2 of weights."""
    count = parameters(on_t4().model, 1000)
    half = {"gpus": 4, "precision": Precision.FP16}
    plain = predict(on_t4(engine=zero(3), **half))
    states = on_t4(engine=zero(3, offload_optimizer=Offload.CPU), **half)
    both = on_t4(engine=zero(3, offload_optimizer=Offload.CPU, offload_param=Offload.CPU), **half)
    assert offloaded_bytes(states, Offload.CPU) == pytest.approx(16 * count / 4)
    assert offloaded_bytes(both, Offload.CPU) == pytest.approx(18 * count / 4)
    assert predict(both).host_gib * 2**30 == pytest.approx(18 * count / 4)
    assert (plain.host_gib, plain.nvme_gib) == (0, 0)
    saved = plain.states_gib - predict(states).states_gib, predict(states).states_gib - predict(both).states_gib
    assert [part * 2**30 / count for part in saved] == pytest.approx([12 / 4, 2 / 4])
    swapped = on_t4(engine=zero(3, offload_optimizer=Offload.NVME), **half)
    assert offloaded_bytes(swapped, Offload.NVME) == offloaded_bytes(states, Offload.CPU)


def test_a_plan_refuses_what_the_memory_of_a_job_does_not_hold():
    """Four ranks of a node at 16 bytes of states for each of 86.6 M parameters: 1.3 GiB over all of them."""
    vit_b = replace(MODEL, image_size=224, patch_size=16, layers=12, heads=12, width=768, mlp_width=3072)
    settings = {"engine": zero(2, offload_optimizer=Offload.CPU), "gpus": 4, "model": vit_b}
    (planned,) = make_plan([point(partition=profile(mem_gib=1.0), **settings)]).points
    assert planned.reasons == (
        "engine.offload_optimizer=cpu: the states of 4 ranks need about 1.3 GiB of memory a node, a job on lab has "
        "1.0; use more nodes or a smaller model, or offload_optimizer=none",
    )
    for site in (profile(mem_gib=2.0), profile(mem_per_gpu_gib=0.5), profile(mem_gib=0.0), profile()):
        assert make_plan([point(partition=site, **settings)]).cells
    assert make_plan([point(partition=profile(mem_gib=1.0), **settings)], Knowledge(memory_check=MemoryCheck.OFF)).cells


def test_identities_of_before_the_knobs_stay():
    assert cell(engine=zero(2)).cell_id.endswith("d3f3e6a2")


# --- further keys ------------------------------------------------------------------------------------------


def test_a_further_key_of_deepspeed_is_part_of_the_cell_and_of_its_configuration():
    words = ("fp16.initial_scale_power=12", "prescale_gradients=true", "zero_optimization.sub_group_size=1000000")
    refused = on(2, config=words)
    assert refused.cell_id != on(2).cell_id
    config = ds_config(refused)
    assert config["zero_optimization"]["sub_group_size"] == 1000000
    assert (config["fp16"]["initial_scale_power"], config["prescale_gradients"]) == (12, True)
    assert config["zero_optimization"]["stage"] == 2


@pytest.mark.parametrize(
    ("key_and_value", "sentence"),
    [
        ("train_batch_size=8", "engine.config.train_batch_size=8: batch says it; use batch=..."),
        ("fp16.enabled=true", "engine.config.fp16.enabled=true: precision says it; use precision=..."),
        ("zero_optimization.stage=3", "engine.config.zero_optimization.stage=3: zero says it; use zero=..."),
        (
            "zero_optimization.overlap_comm=true",
            "engine.overlap_comm says it; use engine.overlap_comm=...",
        ),
        (
            "zero_optimization.subgroup_size=1",
            "DeepSpeed 0.19.8 has no key subgroup_size in zero_optimization – did you mean sub_group_size?",
        ),
        ("prescale_gradient=true", "DeepSpeed 0.19.8 has no key prescale_gradient – did you mean prescale_gradients?"),
        ("zero_optimisation.stage=1", "has no such section – did you mean zero_optimization?"),
        (
            "zero_optimization.offload_param.pin_memory=false",
            "nothing is offloaded there; use engine.offload_param=cpu as well",
        ),
    ],
)
def test_a_further_key_that_is_unknown_or_said_by_a_word_of_ours_is_one_sentence(key_and_value, sentence):
    (reason,) = on(2, config=(key_and_value,))
    assert reason.startswith(f"engine.config.{key_and_value}: ")
    assert sentence in reason


def test_a_further_key_for_another_engine_is_refused():
    ddp = replace(ENGINE, kind="ddp", name="ddp", zero_stage=None, config=("prescale_gradients=true",))
    assert cell_of(point(engine=ddp)) == (
        "engine.config.prescale_gradients=true: engine=ddp is not DeepSpeed; leave it out",
    )
