"""DeepSpeed is told everything that matters, and nothing that it would ignore."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given

from launchers.errors import UserError
from tests.unit.builders import OPTIMIZER, cell, cells
from vit_sweep.plan.choices import Offload, Precision
from vit_sweep.plan.engine.ds_config import KNOWN_KEYS, check, ds_config
from vit_sweep.plan.specs import EngineSpec

TRIPLE = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


@given(cells())
def test_all_three_batch_keys_are_written_and_their_product_is_right(any_cell):
    total, micro, accum = (ds_config(any_cell)[key] for key in TRIPLE)
    assert (total, micro, accum) == (any_cell.global_batch, any_cell.micro_batch, any_cell.accum)
    assert total == micro * accum * any_cell.gpus


@given(cells())
def test_only_known_keys_are_written_and_json_keeps_them(any_cell):
    config = ds_config(any_cell)
    assert set(config) <= KNOWN_KEYS
    assert json.loads(json.dumps(config)) == config


def test_gradient_clipping_is_off_in_writing_unless_it_is_asked_for():
    assert ds_config(cell())["gradient_clipping"] == 0.0
    assert ds_config(cell(optimizer=replace(OPTIMIZER, clip_norm=1.5)))["gradient_clipping"] == 1.5


def test_nothing_that_synchronises_the_device_is_left_on():
    config = ds_config(cell())
    assert config["timers"] == {"throughput": {"enabled": False, "synchronized": False}}
    assert config["wall_clock_breakdown"] is False
    assert not config["flops_profiler"]["enabled"]
    assert "comms_logger" not in config  # DeepSpeed heeds the key: e2e/train/measure/test_instruments.py


@pytest.mark.parametrize("precision", Precision)
def test_exactly_the_asked_number_format_is_on(precision):
    config = ds_config(cell(precision=precision))
    assert {name for name in ("bf16", "fp16") if config[name]["enabled"]} == {precision.value} & {"bf16", "fp16"}


@pytest.mark.parametrize("stage", range(4))
def test_the_zero_stage_is_the_engines(stage):
    engine = EngineSpec(name="any", zero_stage=stage)
    assert ds_config(cell(engine=engine))["zero_optimization"]["stage"] == stage


def test_weights_that_are_swapped_to_files_do_not_stay_in_memory():
    """DeepSpeed keeps a thousand million of them there where nobody says otherwise."""
    on_disk, in_memory = (
        ds_config(cell(engine=EngineSpec(name="any", zero_stage=3, offload_param=place)))["zero_optimization"]
        for place in (Offload.NVME, Offload.CPU)
    )
    assert on_disk["offload_param"] == {"device": "nvme", "max_in_cpu": 0}
    assert in_memory["offload_param"] == {"device": "cpu"}


def test_an_unknown_key_is_refused_with_the_nearest():
    config = ds_config(cell()) | {"gradient_cliping": 1.0}
    with pytest.raises(UserError, match="unknown key gradient_cliping – did you mean gradient_clipping"):
        check(config, gpus=1)


@pytest.mark.parametrize("key", TRIPLE)
def test_a_wrong_product_is_refused_with_the_numbers(key):
    config = ds_config(cell(gpus=2, accum=3))
    check(config, gpus=2)
    wrong = config | {key: config[key] + 1}
    with pytest.raises(UserError, match=re.escape(f"train_batch_size={wrong['train_batch_size']} is not micro")):
        check(wrong, gpus=2)


def test_a_batch_for_another_world_size_is_refused():
    with pytest.raises(UserError, match=re.escape("16 x accum 1 x 4 GPUs = 64")):
        check(ds_config(cell(gpus=2)), gpus=4)
