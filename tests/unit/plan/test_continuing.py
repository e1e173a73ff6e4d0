"""Which cell may go on from which checkpoint: the same training on whatever GPUs, and nothing else."""

from dataclasses import replace

import pytest

from tests.unit.builders import DATA, ENGINE, MODEL, OPTIMIZER, cell, point
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import (
    Allocation,
    Attention,
    BatchPer,
    LrSchedule,
    Offload,
    Pipeline,
    Precision,
    Scaling,
    Task,
)
from vit_sweep.plan.continuing.rules import origin_of, training_of
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.specs import EngineSpec

DDP = EngineSpec(name="ddp", zero_stage=None, kind="ddp")


def origin(before, **changes):
    checkpoint_fields = {
        "checkpoint": "e0002-s000003",
        "content": "0123abcd",
        "folder": "/s/cells/c/checkpoint/e2",
        "epoch": 2,
    }
    return origin_of(before, **(checkpoint_fields | {"step": 3} | changes))


def before(**changes):
    built = cell_of(point(**({"gpus": 2, "epochs": 3, "engine": replace(ENGINE, zero_stage=2)} | changes)))
    assert isinstance(built, Cell)
    return built


def going_on(start, **changes):
    """What becomes of a point with one GPU, twice the batch and the same training."""
    defaults = {"gpus": 1, "batch": 2 * point().batch, "epochs": 3, "origin": start, "continue_from": "s/c"}
    return cell_of(point(**(defaults | changes)))


def test_a_training_goes_on_with_another_number_of_gpus_and_another_engine_as_another_cell():
    checkpoint_origin = origin(before())
    continuation = going_on(checkpoint_origin, engine=DDP)
    assert isinstance(continuation, Cell)
    assert continuation.origin == checkpoint_origin
    assert continuation.global_batch == before().global_batch
    assert continuation.epochs_here == 2
    anew = replace(continuation, origin=None)
    others = {anew.cell_id, replace(continuation, origin=replace(checkpoint_origin, content="4567")).cell_id}
    assert continuation.cell_id not in others
    # Where it lies, and what is compared, is not what it is.
    assert (
        replace(continuation, origin=replace(checkpoint_origin, folder="/elsewhere", training=())).cell_id
        == continuation.cell_id
    )


def test_it_is_of_no_curve_and_the_plan_says_why():
    requested_point = point(gpus=1, batch=2 * point().batch, epochs=3, origin=origin(before()), continue_from="s/c")
    plan = make_plan([requested_point])
    (planned,) = plan.cells.values()
    assert planned.series == ()
    (remark, *_) = plan.points[0].remarks
    assert remark.startswith(f"goes on from epoch 2, step 3 of {before().cell_id}, which ran on 2 GPUs with ")
    # What is done is not paid again.
    whole = make_plan([replace(requested_point, origin=None, continue_from=None)])
    if planned.time is not None:
        assert planned.time.seconds < next(iter(whole.cells.values())).time.seconds


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 7}, "seed is 7, there 0"),
        ({"precision": Precision.BF16}, "precision is bf16, there fp32; use precision=fp32"),
        ({"model": replace(MODEL, name="other", layers=4)}, "model is other, there vit_test"),
        ({"model": replace(MODEL, layers=4)}, "model.layers is 4, there 2; use model.layers=2"),
        ({"data": replace(DATA, augment=True)}, "data.augment is True, there as by default"),
        ({"optimizer": replace(OPTIMIZER, learning_rate=0.1)}, "optimizer.learning_rate is 0.1, there 0.001"),
        ({"schedule": LrSchedule.COSINE}, "schedule is cosine, there constant"),
        ({"lr_warmup_epochs": 1.0}, "lr_warmup_epochs is 1, there 0"),
        ({"fraction": 0.5}, "images of an epoch is 800, there 1600; use fraction (or weak_fraction, scaling) that"),
        ({"batch": point().batch}, f"there {2 * point().batch}; use batch={2 * point().batch} batch_per=global"),
        ({"epochs": 1}, "epochs=1, and 1 are done: nothing is left"),
        ({"allocation": Allocation.SHARED}, "its times belong to no curve, so it shares no allocation"),
        (
            {"engine": replace(ENGINE, zero_stage=2, offload_optimizer=Offload.CPU)},
            "this cell keeps states away from the GPUs",
        ),
        (
            {"engine": EngineSpec(name="own", zero_stage=None, kind="my.engine")},
            "this cell has engine my.engine",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else " ".join(value),
)
def test_another_training_is_refused_with_both_values_and_the_words_to_use(changes, words):
    reasons = going_on(origin(before()), **changes)
    assert isinstance(reasons, tuple)
    assert any(words in reason for reason in reasons), reasons
    assert all(reason.startswith("continue_from=s/c: ") for reason in reasons)


def test_a_checkpoint_that_no_other_ranks_can_take_over_is_refused():
    for engine in (EngineSpec(name="own", zero_stage=None, kind="my.engine"), replace(ENGINE, zero_stage=2)):
        checkpoint_origin = origin(before(engine=engine))
        checkpoint_origin = replace(checkpoint_origin, offloads=engine.kind == "deepspeed")
        reasons = going_on(checkpoint_origin)
        assert isinstance(reasons, tuple)
        assert "taken over" in reasons[0]


def test_more_epochs_may_be_asked_for_only_where_no_step_depends_on_their_number():
    assert isinstance(going_on(origin(before()), epochs=9), Cell)
    falling = {"schedule": LrSchedule.COSINE}
    assert isinstance(going_on(origin(before(**falling)), **falling), Cell)
    (reason,) = going_on(origin(before(**falling)), epochs=9, **falling)
    assert "epochs is 9, there 3; use epochs=3" in reason


def test_all_that_only_says_how_it_is_computed_may_differ():
    same = {"gpus": 4, "nodes": 2, "micro_batch": 8, "accum": 2, "cpus_per_gpu": 9, "warmup_steps": 5, "compile": True}
    same |= {"pipeline": Pipeline.LOADER, "attention": Attention.MATH, "activation_checkpointing": True}
    one = cell(gpus=2, micro_batch=32, accum=1)
    assert training_of(replace(one, **same)) == training_of(one)
    for name, value in {"task": Task.REGRESSION, "seed": 3, "train_images": 7}.items():
        assert training_of(replace(one, **{name: value})) != training_of(one)


def test_weak_scaling_covers_other_images_on_other_gpus():
    checkpoint_origin = origin(before(scaling=Scaling.WEAK))
    (reason,) = going_on(checkpoint_origin, scaling=Scaling.WEAK)
    assert "images of an epoch is 160, there 320" in reason
    assert isinstance(going_on(checkpoint_origin, scaling=Scaling.WEAK, weak_fraction=0.2), Cell)


def test_the_same_global_batch_may_be_said_as_such():
    continuation = going_on(origin(before()), gpus=4, batch=2 * point().batch, batch_per=BatchPer.GLOBAL)
    assert isinstance(continuation, Cell)
