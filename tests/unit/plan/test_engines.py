"""What the plan knows of engines: their identity, what they refuse, hide and keep in memory."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.profile import Device
from tests.unit.builders import ENGINE, OPTIMIZER, cell, point
from tests.unit.plan.predict.test_cost import T4
from tests.unit.plan.predict.test_memory import on_t4
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import CommunicationType, Offload, OptimizerKind, Precision
from vit_sweep.plan.engine.kinds import (
    ACCELERATE,
    DDP,
    FSDP2,
    MEGATRON,
    compares_engines,
    hides,
    needs_compiler,
    sharding,
)
from vit_sweep.plan.engine.knobs import STAGES as STAGES_OF_KNOBS
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.predict.cost import Throughput, communicates_s, predict, traffic_of
from vit_sweep.plan.predict.memory import predict as memory
from vit_sweep.plan.predict.overlap import exposed_s
from vit_sweep.plan.predict.vit import parameters
from vit_sweep.plan.specs import EngineSpec

ON_DDP = EngineSpec(name="ddp", zero_stage=None, kind=DDP)
SHARDED = EngineSpec(name="fsdp2", zero_stage=None, kind=FSDP2, reshard_after_forward=True)
ON_MEGATRON = EngineSpec(name="megatron", zero_stage=None, kind=MEGATRON, distributed_optimizer=True)
ACCELERATED = EngineSpec(name="accelerate", zero_stage=None, kind=ACCELERATE)
KEPT = replace(SHARDED, reshard_after_forward=False)
STAGES = [EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)]


def test_cells_of_deepspeed_are_the_cells_that_they_were_before_there_were_other_engines():
    identities = [cell(engine=engine).cell_id.rpartition("-")[2] for engine in STAGES]
    assert identities == ["7591a241", "ba0600f8", "d3f3e6a2", "96120e0c"]


def test_ranks_of_deepspeed_and_ddp_do_without_torchs_compiler_unless_they_compile_or_share_tokens():
    assert [needs_compiler(cell(engine=engine)) for engine in (*STAGES, ON_DDP)] == [False] * 5
    assert [needs_compiler(cell(engine=engine)) for engine in (SHARDED, ACCELERATED, ON_MEGATRON)] == [True] * 3
    assert needs_compiler(cell(compile=True))
    assert needs_compiler(cell(gpus=2, sequence=2))


def test_engines_are_compared_where_equal_work_is_done_by_several_and_seeds_are_no_other_work():
    stages = [cell(engine=engine, seed=seed) for seed, engine in enumerate(STAGES)]
    assert compares_engines(stages)
    assert not compares_engines([cell(seed=0), cell(seed=1), cell(gpus=2)])
    assert not compares_engines([stages[0], replace(stages[1], micro_batch=8)])


@pytest.mark.parametrize("knob", STAGES_OF_KNOBS)
def test_a_sweep_over_a_schedule_compares_no_engines_and_one_over_what_is_computed_does(knob):
    plain = getattr(STAGES[3], knob)
    values = {bool: True, int: 7, type(None): CommunicationType.BF16, Offload: Offload.CPU}
    cells = [cell(engine=replace(STAGES[3], **{knob: value})) for value in (plain, values[type(plain)])]
    schedule = {name for name in STAGES_OF_KNOBS if "bucket" in name or "persistence" in name} | {"overlap_comm"}
    assert compares_engines(cells) == (knob not in schedule)


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (
            replace(ON_DDP, kind="dpp"),
            "engine.kind=dpp: there is no such engine – did you mean ddp? Known: accelerate, ddp, deepspeed, fsdp2, "
            "megatron; an engine of your own is a module, written with a dot: engine.kind=my_package.my_engine",
        ),
        (
            replace(ON_DDP, zero_stage=2),
            "engine=ddp engine.zero_stage=2: only DeepSpeed has ZeRO stages; use null, or engine=zero0 to zero3",
        ),
        (
            replace(ENGINE, zero_stage=None),
            "engine=zero0 engine.zero_stage=null: DeepSpeed needs its ZeRO stage; use 0, 1, 2 or 3",
        ),
        (
            replace(SHARDED, reshard_after_forward=None),
            "engine=fsdp2 engine.reshard_after_forward=null: FSDP2 needs it; use true or false",
        ),
        (
            replace(ON_DDP, reshard_after_forward=True),
            "engine=ddp engine.reshard_after_forward=true: only fsdp2 has it; use engine=fsdp2",
        ),
        (
            replace(ON_MEGATRON, distributed_optimizer=None),
            "engine=megatron engine.distributed_optimizer=null: megatron needs it; use true or false",
        ),
        (
            replace(ON_DDP, distributed_optimizer=False),
            "engine=ddp engine.distributed_optimizer=false: only megatron has it; use engine=megatron",
        ),
    ],
)
def test_an_engine_with_keys_of_another_is_one_sentence(engine, sentence):
    assert cell_of(point(engine=engine)) == (sentence,)


def test_an_engine_of_ones_own_is_planned_as_one_that_shards_and_hides_nothing():
    own = cell_of(point(engine=replace(ON_DDP, kind="my.engine")))
    assert (sharding(own.engine), hides(own)) == (0, 0)


def test_a_stage_by_number_is_refused_where_the_engine_has_none():
    (reason,) = cell_of(point(engine=ON_DDP, zero=1))
    assert reason == "zero=1 engine=ddp: this engine has no ZeRO stages; use one of the two words"


@pytest.mark.parametrize("engine", [ON_DDP, SHARDED])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_16_bit_weights_without_a_copy_of_full_precision_are_refused(engine, precision):
    (reason,) = cell_of(point(engine=engine, precision=precision, partition=T4))
    assert reason.startswith(f"engine={engine.name} precision={precision.value}: this engine keeps no fp32 copy")
    assert f"use precision={precision.value}_amp" in reason
    assert isinstance(cell_of(point(engine=engine, precision=Precision(f"{precision}_amp"), partition=T4)), Cell)


def test_ddp_takes_no_time_for_what_it_hides_behind_the_last_backward_pass():
    """Against ZeRO 0, which moves as much and hides nothing: all of it where links are fast, else 0.6 of a step."""
    plain = cell(gpus=8, nodes=1, device=Device.CUDA)
    ddp = replace(plain, engine=ON_DDP)
    assert communicates_s(ddp, T4) == pytest.approx(communicates_s(plain, T4), rel=0.01)
    computes_ms = predict(replace(plain, gpus=1), T4, ()).step_ms
    step_ms = predict(ddp, T4, ()).step_ms
    whole_ms = 1000 * communicates_s(ddp, T4)
    assert whole_ms > 0.6 * computes_ms, "or the test shows nothing"
    assert step_ms == pytest.approx(0.4 * computes_ms + whole_ms)
    heavy = replace(ddp, micro_batch=4096)
    assert predict(heavy, T4, ()).step_ms == pytest.approx(predict(replace(heavy, gpus=1), T4, ()).step_ms)


@given(
    engine=st.sampled_from([ON_DDP, SHARDED, KEPT, *STAGES]),
    accum=st.sampled_from([1, 4]),
    micro_batch=st.sampled_from([1, 8, 64, 512]),
    again=st.booleans(),
)
def test_a_run_is_predicted_from_itself_as_it_was(engine, accum, micro_batch, again):
    """What it computed is taken from what it took, whether or not its communication was hidden."""
    ran = cell(
        gpus=8,
        nodes=1,
        device=Device.CUDA,
        engine=engine,
        accum=accum,
        micro_batch=micro_batch,
        activation_checkpointing=again,
    )
    step_ms = predict(ran, T4, ()).step_ms
    finished = (Throughput(cell=ran, images_per_s=1000 * micro_batch * accum / step_ms),)
    again_ms = predict(ran, T4, finished).step_ms
    assert again_ms == pytest.approx(step_ms) or again_ms > step_ms, "at least a tenth of a step is computation"


def test_what_hides_at_best_is_never_more_than_the_plan_takes_to_be_hidden():
    for engine in (ON_DDP, SHARDED, KEPT):
        ran = cell(gpus=8, nodes=1, device=Device.CUDA, engine=engine, accum=2)
        for compute_s in (1e-4, 1e-2, 1.0):
            most, least = exposed_s(ran, T4.network, gpus=8, nodes=1, compute_s=compute_s)
            assert least <= max(0.0, most - hides(ran) * compute_s) <= most


def test_engines_without_a_copy_of_the_weights_keep_what_their_states_are():
    """fp32 and Adam: 4 bytes of weight, 4 of gradient, 8 of moments."""
    count = parameters(on_t4().model, 1000)
    states = {
        engine.name + str(engine.reshard_after_forward): memory(on_t4(engine=engine, gpus=4)).states_gib * 2**30 / count
        for engine in (ON_DDP, SHARDED, KEPT)
    }
    assert states == pytest.approx({"ddpNone": 16, "fsdp2True": 4, "fsdp2False": 4})


def test_what_fsdp2_keeps_whole_is_counted():
    """Of 12 blocks: weights of all where they are kept, and gradients of all while they are accumulated."""
    count = parameters(on_t4().model, 1000)

    def whole(engine, accum):
        return memory(on_t4(engine=engine, gpus=4, accum=accum)).temporary_gib * 2**30 / count

    assert whole(KEPT, 1) - whole(SHARDED, 1) == pytest.approx(4 * (1 - 2 / 13))
    assert whole(SHARDED, 4) - whole(SHARDED, 1) == pytest.approx(4)


def test_ddp_needs_more_than_zero_0_since_its_gradients_stay_in_their_buckets():
    """As an H200 showed: 334 MiB more in fp32, one copy of the gradients."""
    more = memory(on_t4(engine=ON_DDP)).total_gib - memory(on_t4()).total_gib
    assert more * 2**30 == pytest.approx(4 * parameters(on_t4().model, 1000))


def test_accelerate_is_planned_as_what_it_hands_the_work_to():
    """Its DDP without a stage, DeepSpeed with one; `zero=` says the stage."""
    for stage, plain in ((None, ON_DDP), (2, STAGES[2])):
        built, other = (
            cell_of(point(gpus=4, engine=engine, zero=zero)) for engine, zero in ((ACCELERATED, stage), (plain, None))
        )
        assert (built.engine.zero_stage, built.engine.name) == (
            stage,
            f"accelerate_zero{stage}" if stage else "accelerate",
        )
        assert memory(built) == memory(other)
        assert (hides(built), traffic_of(built)) == (hides(other), traffic_of(other))


def test_megatron_needs_cuda_and_shards_moments_with_its_distributed_optimizer():
    refused = cell_of(point(engine=ON_MEGATRON, partition=replace(T4, device=Device.CPU)))
    assert len(refused) == 1
    assert "megatron-core keeps gradients in a buffer on a CUDA device, and" in refused[0]
    (reason,) = cell_of(point(engine=ON_MEGATRON, optimizer=replace(OPTIMIZER, kind=OptimizerKind.LION)))
    start_of_reason = (
        f"engine=megatron optimizer={OPTIMIZER.name}: megatron-core updates by optimizers of its own, here adamw,"
    )
    assert reason.startswith(start_of_reason)
    assert memory(cell_of(point(engine=ON_MEGATRON, optimizer=replace(OPTIMIZER, decay_all=False))))
    on_sgd = replace(OPTIMIZER, kind=OptimizerKind.SGD)
    (reason,) = cell_of(point(engine=ON_MEGATRON, optimizer=on_sgd))
    assert "distributed optimizer updates by AdamW only" in reason
    assert memory(cell_of(point(engine=replace(ON_MEGATRON, distributed_optimizer=False), optimizer=on_sgd)))
    whole, parts = (
        cell_of(point(gpus=4, engine=replace(ON_MEGATRON, distributed_optimizer=on))) for on in (False, True)
    )
    moments = 8 * parameters(parts.model, parts.data.classes) / 2**30
    assert memory(whole).states_gib - memory(parts).states_gib == pytest.approx(moments * 3 / 4)
    assert [traffic_of(made)[:3] for made in (whole, parts)] == [(1, 0, 0), (0, 1, 1)]
