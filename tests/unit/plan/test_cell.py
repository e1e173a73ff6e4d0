"""A cell's identity holds what it physically is, and its arithmetic is exact."""

import re
from dataclasses import replace
from functools import reduce
from operator import getitem

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.checked import parse, to_plain
from launchers.profile import Device
from tests.unit.builders import cell, cells, data, point
from vit_sweep.plan.cell import Cell, CellFile, oversubscribed
from vit_sweep.plan.choices import BatchPer, Placement, Scaling
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.identity import identity

# Another value for every physical field, nested ones by path.
CHANGES = {
    "gpus": 2,
    "nodes": 2,
    "micro_batch": 8,
    "accum": 2,
    "train_images": 1599,
    "precision": "bf16",
    "epochs": 2,
    "warmup_steps": 2,
    "seed": 1,
    "partition": "other",
    "device": "cpu",
    "gpu_model": "A100",
    "cpus_per_gpu": 2,
    "model.name": "other",
    "model.image_size": 64,
    "model.patch_size": 4,
    "model.layers": 3,
    "model.heads": 4,
    "model.width": 32,
    "model.mlp_width": 256,
    "model.target": "my_models.nets:build",
    "model.arguments": [["depth", 6]],
    "data.name": "other",
    "data.source": "digits",
    "data.train_images": 1601,
    "data.test_images": 99,
    "data.classes": 11,
    "data.files": [{"path": "a", "md5": "b"}],
    "data.channels": 1,
    "data.image_bytes": 100,
    "data.content": "0123abcd",
    "model.channels": 1,
    "engine.name": "other",
    "engine.zero_stage": 1,
    "engine.kind": "ddp",
    "engine.reshard_after_forward": True,
    "engine.distributed_optimizer": True,
    "engine.offload_optimizer": "cpu",
    "engine.offload_param": "cpu",
    "engine.overlap_comm": True,
    "engine.reduce_bucket_size": 1000,
    "engine.allgather_bucket_size": 1000,
    "engine.prefetch_bucket_size": 1000,
    "engine.param_persistence_threshold": 10,
    "engine.zero_hpz_partition_size": 2,
    "engine.zero_quantized_weights": True,
    "engine.zero_quantized_gradients": True,
    "engine.communication_data_type": "bf16",
    "engine.config": ["prescale_gradients=true"],
    "optimizer.name": "other",
    "optimizer.kind": "sgd",
    "optimizer.learning_rate": 0.0011,
    "optimizer.weight_decay": 0.0,
    "optimizer.beta1": 0.8,
    "optimizer.beta2": 0.99,
    "optimizer.base_batch": 512,
    "optimizer.eps": 1e-6,
    "optimizer.momentum": 0.9,
    "optimizer.trust_coefficient": 0.01,
    "optimizer.beta2_decay": -0.5,
    "optimizer.decay_all": False,
    "optimizer.clip_norm": 1.0,
    "data.augment": True,
    "data.side": 64,
    "pipeline": "loader",
    "lr_scaling": "linear",
    "schedule": "cosine",
    "lr_warmup_epochs": 0.5,
    "activation_checkpointing": True,
    "compile": True,
    "allocation": "shared",
    "sequence": 2,
    "sequence_method": "ring",
    "attention": "math",
    "task": "regression",
    "data.targets": "regression",
    "model.pool": "mean",
    "model.init_content": "0123abcd",
    "model.text": {"layers": 3},
    "origin": {
        **{"cell_id": "n1-g2", "checkpoint": "e0002-s000000", "content": "0123abcd", "folder": "/s", "gpus": 2},
        **{"engine": "zero2", "machinery": "deepspeed", "zero_stage": 2, "epoch": 2, "step": 0, "training": []},
    },
}


LATER = (
    "pipeline",
    "lr_scaling",
    "schedule",
    "lr_warmup_epochs",
    "activation_checkpointing",
    "compile",
    "allocation",
    "sequence",
    "sequence_method",
    "attention",
    "task",
    "origin",
)
"""Fields that cells of earlier versions had not."""


def leaves(plain):
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from (f"{key}.{path}" for path in leaves(value))
        else:
            yield key


def changed(path, value):
    plain = to_plain(cell())
    *holders, key = path.split(".")
    target = plain
    for holder in holders:
        target = target[holder]
    assert target[key] != value
    target[key] = value
    return parse(Cell, plain, source="test")


def test_the_list_of_changes_covers_every_physical_field():
    # What was counted of a model is not what it is.
    assert {*CHANGES, "model.counts", "model.init"} == set(leaves(to_plain(cell())))


@pytest.mark.parametrize(("path", "value"), CHANGES.items())
def test_the_identity_changes_with_every_physical_field(path, value):
    assert changed(path, value).cell_id != cell().cell_id


@given(st.sets(st.sampled_from(sorted(CHANGES))), st.sets(st.sampled_from(sorted(CHANGES))))
def test_cells_that_differ_in_any_fields_have_different_identities(some, others):
    """A default that is left out of the identity is still another value than every one that is in it."""

    def any_cell(paths):
        plain = to_plain(cell())
        for path in paths:
            *holders, key = path.split(".")
            reduce(getitem, holders, plain)[key] = CHANGES[path]
        return parse(Cell, plain, source="test")

    assert (
        (any_cell(some).cell_id == any_cell(others).cell_id) == (any_cell(some) == any_cell(others)) == (some == others)
    )


def test_a_field_at_its_default_is_not_in_the_identity_and_any_other_value_is():
    """So studies that ran before the field existed keep their cells."""
    fields = identity(cell())
    assert not {"pipeline", "lr_scaling", "compile"} & fields.keys()
    assert "base_batch" not in fields["optimizer"]
    assert identity(cell(compile=True)) == fields | {"compile": True}
    assert identity(point()).keys() == set(to_plain(point())) - {"zero", "continue_from", *LATER}


def test_a_job_that_was_told_before_the_fields_existed_is_the_same_job():
    file = CellFile(cell_id=cell().cell_id, cell=cell(), series=(), data_root="/data")
    old = to_plain(file)
    for name in LATER:
        del old["cell"][name]
    for name in ("preflight", "exposed", "profile_steps", "data_workers", "target_accuracy"):
        del old["options"][name]
    assert parse(CellFile, old, source="test") == file


def test_the_identity_survives_a_change_of_code():
    """A new literal here means that no finished run of any user is found again."""
    assert cell().cell_id == "n1-g1-mb16-ga1-7591a241"


@given(cells())
def test_the_identity_reads_as_layout_and_batch_then_8_hex_digits(any_cell):
    prefix = f"n{any_cell.nodes}-g{any_cell.gpus}-mb{any_cell.micro_batch}-ga{any_cell.accum}"
    assert re.fullmatch(rf"{prefix}-[0-9a-f]{{8}}", any_cell.cell_id)


@given(cells())
def test_the_identity_survives_a_way_through_json(any_cell):
    assert parse(Cell, to_plain(any_cell), source="test").cell_id == any_cell.cell_id


@given(gpus=st.sampled_from([1, 2, 4, 8, 16]), share=st.integers(16, 5000))
def test_strong_and_weak_points_that_are_the_same_run_are_one_cell(gpus, share):
    strong = point(gpus=gpus, data=data(gpus * share))
    weak = replace(strong, scaling=Scaling.WEAK, weak_fraction=1 / gpus)
    assert cell_of(strong).cell_id == cell_of(weak).cell_id


@pytest.mark.parametrize("other", [{"batch": 64, "batch_per": BatchPer.GLOBAL}, {"nodes": 1}])
def test_how_a_run_was_asked_for_is_not_its_identity(other):
    assert cell_of(point(gpus=4, **other)).cell_id == cell_of(point(gpus=4)).cell_id


def test_one_gpu_packed_and_one_gpu_spread_are_one_cell():
    assert cell_of(point(placement=Placement.SPREAD)).cell_id == cell_of(point()).cell_id


def test_the_builders_make_the_cell_of_their_point():
    assert cell_of(point()) == cell()


@given(cells())
def test_the_global_batch_is_micro_batch_times_accum_times_data_parallel_ranks(any_cell):
    assert any_cell.global_batch == any_cell.micro_batch * any_cell.accum * any_cell.nodes * any_cell.gpus_per_node
    assert replace(any_cell, sequence=any_cell.gpus).global_batch == any_cell.micro_batch * any_cell.accum


@pytest.mark.parametrize(
    ("gpus", "nodes", "sequence", "crossed"), [(8, 2, 4, 1), (8, 2, 8, 2), (6, 2, 2, 2), (4, 4, 2, 2)]
)
def test_a_sequence_group_lies_on_as_many_nodes_as_its_ranks_next_to_each_other_do(gpus, nodes, sequence, crossed):
    assert cell(gpus=gpus, nodes=nodes, sequence=sequence).sequence_nodes == crossed


@given(cells())
def test_the_steps_cover_all_images_and_repeat_fewer_than_one_global_batch(any_cell):
    repeated = any_cell.images_per_epoch - any_cell.train_images
    assert any_cell.images_per_epoch == any_cell.steps_per_epoch * any_cell.global_batch
    assert 0 <= repeated < any_cell.global_batch
    assert any_cell.padding == pytest.approx(repeated / any_cell.train_images)


@given(cells())
def test_images_that_fill_every_step_are_never_repeated(any_cell):
    full = replace(any_cell, train_images=any_cell.images_per_epoch)
    assert (full.padding, full.steps_per_epoch) == (0, any_cell.steps_per_epoch)


def test_a_node_is_oversubscribed_by_its_own_ranks_and_all_their_threads():
    two_nodes = cell(gpus=8, nodes=2, device=Device.CPU, cpus_per_gpu=2)
    assert oversubscribed(two_nodes, 7)
    assert not oversubscribed(two_nodes, 8)
