"""A point becomes a cell or keeps its reasons: layouts, batch arithmetic, both scaling modes."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launchers.profile import Device
from tests.unit.builders import DATA, MODEL, OPTIMIZER, data, point, profile
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import BatchPer, LrScaling, LrSchedule, Pipeline, Placement, Precision, Scaling
from vit_sweep.plan.grid import cell_of, series_of
from vit_sweep.plan.specs import EngineSpec

PLENTY = data(1_000_000)
WIDE = profile(gpus_per_node=32)
GLOBAL = {"batch_per": BatchPer.GLOBAL}
WEAK = {"scaling": Scaling.WEAK}


def reason(**changes):
    """The only reason why a point has no cell."""
    reasons = cell_of(point(**changes))
    assert isinstance(reasons, tuple)
    assert len(reasons) == 1
    return reasons[0]


def allowed(gpus, nodes, limits):
    return gpus % nodes == 0 and nodes <= limits.nodes and gpus // nodes <= limits.gpus_per_node


limits = st.builds(profile, nodes=st.integers(1, 6), gpus_per_node=st.integers(1, 8))
counts = st.integers(1, 50)


# --- layout ------------------------------------------------------------------------------------------


@given(gpus=counts, limits=limits, placement=st.sampled_from(Placement), nodes=st.none() | st.integers(1, 50))
def test_a_layout_divides_evenly_and_keeps_the_partitions_limits_or_has_reasons(gpus, limits, placement, nodes):
    built = cell_of(point(gpus=gpus, nodes=nodes, placement=placement, partition=limits, data=PLENTY))
    if isinstance(built, Cell):
        assert allowed(gpus, built.nodes, limits)
        assert built.nodes * built.gpus_per_node == gpus
        assert nodes in (None, built.nodes)
    else:
        assert built
        assert nodes is None or not allowed(gpus, nodes, limits)


@given(gpus=counts, limits=limits)
def test_packed_is_the_fewest_nodes_that_can_be_and_is_refused_only_if_none_can(gpus, limits):
    possible = [n for n in range(1, gpus + 1) if allowed(gpus, n, limits)]
    built = cell_of(point(gpus=gpus, partition=limits, data=PLENTY))
    assert built.nodes == possible[0] if possible else isinstance(built, tuple)


@given(gpus=counts, limits=limits)
def test_spread_is_one_gpu_a_node_and_is_refused_only_if_nodes_are_too_few(gpus, limits):
    built = cell_of(point(gpus=gpus, placement=Placement.SPREAD, partition=limits, data=PLENTY))
    assert built.nodes == gpus if gpus <= limits.nodes else isinstance(built, tuple)


def test_a_given_node_count_wins_over_the_placement():
    assert cell_of(point(gpus=4, nodes=2, placement=Placement.SPREAD)).nodes == 2


def test_a_given_node_count_is_a_curve_of_its_own():
    """What stays constant along `gpus` names the curve: with nodes=2 it is the node count."""
    assert series_of(point(gpus=4, nodes=2)).placement == "nodes=2"
    assert series_of(point(gpus=4, placement=Placement.SPREAD)).placement == "spread"


def test_more_gpus_than_the_partition_has_are_refused():
    assert reason(gpus=33) == "gpus=33: lab has 4 nodes x 8 GPUs = 32; use fewer GPUs or another partition"


def test_a_million_gpus_are_refused_without_a_search_for_their_layout():
    """A prime just below the most that may be asked for."""
    assert reason(gpus=999_983).startswith("gpus=999983: lab has 4 nodes")


def test_gpus_that_do_not_divide_over_the_nodes_get_the_menu_that_does():
    assert reason(gpus=4, nodes=3) == "nodes=3 gpus=4: 4 GPUs do not divide over 3 nodes; use nodes=1 or 2 or 4"


def test_too_many_gpus_on_a_node_are_refused():
    assert "nodes=1 gpus=16: 16 GPUs a node, but lab has 8" in reason(gpus=16, nodes=1)


def test_more_nodes_than_a_job_may_have_are_refused():
    assert "nodes=5 gpus=5: lab gives a job 4 nodes at most" in reason(gpus=5, placement=Placement.SPREAD)


def test_every_node_count_of_the_menu_can_be_chosen():
    menu = reason(gpus=16, nodes=3).split("use nodes=")[1].split(" or ")
    assert [n for n in menu if not isinstance(cell_of(point(gpus=16, nodes=int(n))), Cell)] == []


def test_the_advice_is_never_what_was_already_chosen():
    assert "placement=packed" not in reason(gpus=7, partition=profile(gpus_per_node=4))


# --- batch -------------------------------------------------------------------------------------------


@given(gpus=st.integers(1, 32), accum=st.integers(1, 8), batch=st.integers(1, 4096))
def test_a_global_batch_is_kept_exactly_or_refused_with_counts_that_work(gpus, accum, batch):
    wanted = point(gpus=gpus, accum=accum, batch=batch, partition=WIDE, data=PLENTY, **GLOBAL)
    built = cell_of(wanted)
    if isinstance(built, Cell):
        assert (built.global_batch, built.accum) == (batch, accum)
        return
    menu = [int(count) for count in re.search(r"use (\d+)(?: or (\d+))?$", built[0]).groups() if count]
    assert menu
    assert all(0 < abs(count - batch) < gpus * accum for count in menu)
    assert [cell_of(replace(wanted, batch=count)).global_batch for count in menu] == menu


@given(gpus=st.integers(1, 8), accum=st.integers(1, 8), batch=st.integers(1, 512))
def test_a_batch_per_gpu_is_the_micro_batch_whatever_gpus_and_accum_are(gpus, accum, batch):
    built = cell_of(point(gpus=gpus, accum=accum, batch=batch, data=PLENTY))
    assert (built.micro_batch, built.global_batch) == (batch, batch * accum * gpus)


def test_a_global_batch_that_does_not_divide_says_which_do():
    assert reason(gpus=8, batch=100, **GLOBAL) == (
        "batch=100 accum=1 gpus=8 batch_per=global: 100 images do not divide over 8 ranks x 1 micro step; use 96 or 104"
    )


def test_a_global_batch_smaller_than_the_ranks_is_never_advised_to_be_zero():
    assert reason(gpus=8, batch=3, **GLOBAL).endswith("use 8")


def test_a_global_batch_larger_than_an_epoch_is_refused():
    words = reason(gpus=8, batch=256, accum=2)
    assert "256 x 2 x 8 = 4096 is more than the 1,600 images of an epoch" in words
    assert "use a smaller batch" in words


def test_a_global_batch_as_large_as_an_epoch_is_one_step():
    assert cell_of(point(gpus=4, batch=400)).steps_per_epoch == 1


# --- scaling and data ---------------------------------------------------------------------------------


@given(gpus=st.integers(1, 8), images=st.integers(1000, 100_000), share=st.floats(0.01, 1))
def test_weak_scaling_gives_every_gpu_the_same_images_never_more_than_there_are(gpus, images, share):
    single, many = (cell_of(point(gpus=n, batch=1, weak_fraction=share, data=data(images), **WEAK)) for n in (1, gpus))
    if isinstance(many, Cell):
        assert many.train_images == gpus * single.train_images <= images
    else:
        assert gpus * single.train_images > images


@given(gpus=st.integers(2, 32), images=st.integers(100, 100_000), share=st.floats(0.1, 1))
def test_a_weak_fraction_that_is_too_large_is_told_one_that_works(gpus, images, share):
    wanted = point(gpus=gpus, batch=1, weak_fraction=share, data=data(images), partition=WIDE, **WEAK)
    reasons = cell_of(wanted)
    assume(not isinstance(reasons, Cell))
    advice = float(re.search(r"use weak_fraction=(\S+) or less", reasons[0])[1])
    assert isinstance(cell_of(replace(wanted, weak_fraction=advice)), Cell)


def test_fewer_images_than_gpus_are_not_told_to_change_the_weak_fraction():
    assert "weak_fraction=" not in reason(gpus=4, batch=1, data=data(2), **WEAK).split("use ")[1]


def test_weak_scaling_shares_the_selected_images_not_all():
    assert cell_of(point(gpus=4, fraction=0.5, weak_fraction=0.25, **WEAK)).train_images == 800


@given(gpus=st.integers(1, 8), fraction=st.floats(0.1, 1))
def test_strong_scaling_covers_the_selected_images_whatever_gpus_are(gpus, fraction):
    single, many = (cell_of(point(gpus=n, batch=1, fraction=fraction)) for n in (1, gpus))
    assert single.train_images == many.train_images <= DATA.train_images


def test_a_decimal_fraction_selects_the_whole_number_that_it_names():
    assert cell_of(point(batch=1, fraction=0.29, data=data(100))).train_images == 29


def test_weak_scaling_of_a_global_batch_means_nothing():
    assert "batch_per=global scaling=weak means nothing" in reason(**GLOBAL, **WEAK)


# --- the trainer's axes -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", range(4))
def test_a_zero_stage_by_number_is_the_engine_of_that_name(stage):
    named = cell_of(point(engine=EngineSpec(name=f"zero{stage}", zero_stage=stage)))
    assert cell_of(point(zero=stage)) == named
    assert named.engine.zero_stage == stage


def test_a_zero_stage_that_an_engine_of_ones_own_has_keeps_its_name():
    own_engine = EngineSpec(name="mine", zero_stage=2)
    assert cell_of(point(zero=2, engine=own_engine)).engine == own_engine


@pytest.mark.parametrize("engine", [EngineSpec(name="zero1", zero_stage=1), EngineSpec(name="mine", zero_stage=0)])
def test_a_zero_stage_against_another_engine_is_refused(engine):
    message = reason(zero=2, engine=engine)
    assert message.startswith(f"zero=2 engine={engine.name}: this engine's ZeRO stage is {engine.zero_stage}; use one")


def test_compiling_on_a_processor_is_refused_and_on_a_gpu_is_not():
    assert "lab is a CPU partition" in reason(compile=True, partition=profile(device=Device.CPU))
    assert cell_of(point(compile=True, partition=profile(device=Device.CUDA))).compile


@pytest.mark.parametrize("stage", range(4))
def test_compiling_goes_with_every_zero_stage_but_the_third(stage):
    built = cell_of(point(compile=True, zero=stage))
    assert isinstance(built, Cell) == (stage != 3)
    assert isinstance(built, Cell) or "ZeRO stage 3 gathers the weights" in built[0]


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.FP16_AMP, Precision.TF32])
def test_a_processor_refuses_what_it_does_not_have_whether_its_profile_says_so_or_not(precision):
    assert f"precision={precision}" in reason(precision=precision, partition=profile(device=Device.CPU))


def test_a_gpu_without_native_bf16_has_neither_its_autocast_nor_tf32():
    assert "precision=bf16_amp" in reason(precision=Precision.BF16_AMP, partition=profile(refused_precisions=("bf16",)))
    assert "precision=tf32" in reason(precision=Precision.TF32, partition=profile(refused_precisions=("bf16",)))
    assert isinstance(cell_of(point(precision=Precision.TF32)), Cell)


def test_a_warm_up_longer_than_the_run_is_refused():
    assert "the run would end inside its warm-up" in reason(lr_warmup_epochs=3.5, epochs=3)
    assert isinstance(cell_of(point(lr_warmup_epochs=3.0, epochs=3)), Cell)


def test_a_base_batch_that_nothing_scales_from_is_no_other_cell():
    other = replace(OPTIMIZER, base_batch=128)
    assert cell_of(point(optimizer=other)) == cell_of(point())
    scaled = {cell_of(point(optimizer=o, lr_scaling=LrScaling.SQRT)).cell_id for o in (OPTIMIZER, other)}
    assert len(scaled) == 2


def test_every_new_axis_reaches_the_cell():
    wanted = {
        "pipeline": Pipeline.LOADER,
        "lr_scaling": LrScaling.LINEAR,
        "schedule": LrSchedule.COSINE,
        "lr_warmup_epochs": 1.5,
        "activation_checkpointing": True,
        "compile": True,
    }
    built = cell_of(point(**wanted))
    assert {name: getattr(built, name) for name in wanted} == wanted


# --- reasons -----------------------------------------------------------------------------------------

REFUSED = {
    "precision": {"precision": Precision.BF16, "partition": profile(refused_precisions=("bf16",))},
    "patches": {"model": replace(MODEL, patch_size=7)},
    "heads": {"model": replace(MODEL, heads=3)},
    "gpus": {"gpus": 33},
    "nodes divide": {"gpus": 4, "nodes": 3},
    "nodes": {"gpus": 8, "nodes": 8},
    "node": {"gpus": 16, "nodes": 1},
    "global batch": {"gpus": 8, "batch": 100, **GLOBAL},
    "weak fraction": {"gpus": 8, "weak_fraction": 0.5, **WEAK},
    "epoch": {"batch": 1601},
    "zero": {"zero": 2, "engine": EngineSpec(name="zero1", zero_stage=1)},
    "compile": {"compile": True, "partition": profile(device=Device.CPU, nodes=4)},
    "compile zero": {"compile": True, "zero": 3},
    "warm-up": {"lr_warmup_epochs": 9.0},
}


def test_a_refused_precision_is_told_the_others():
    assert reason(**REFUSED["precision"]).endswith("lab (Tesla T4) refuses it; use fp32 or fp16")


def test_a_partition_that_refuses_every_precision_is_said_in_a_whole_sentence():
    refusing = profile(refused_precisions=("fp32", "bf16", "fp16"))
    assert not reason(partition=refusing).endswith("use ")


@pytest.mark.parametrize("name", REFUSED)
def test_every_reason_has_the_numbers_and_a_next_step(name):
    assert re.search(r"\d", reason(**REFUSED[name])) or name == "compile"  # which has none
    assert re.search(r"; use \S|must divide", reason(**REFUSED[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_every_reason_starts_with_the_key_and_value_that_was_asked(name):
    assert re.match(r"[a-z_]+=\S+", reason(**REFUSED[name]))


def test_every_violated_limit_has_its_own_reason():
    reasons = cell_of(point(**(REFUSED["precision"] | {"gpus": 33, "batch": 100} | GLOBAL)))
    assert [words.split("=")[0] for words in reasons] == ["gpus", "batch", "precision"]
