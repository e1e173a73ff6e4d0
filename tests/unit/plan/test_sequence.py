"""Tokens over several ranks: which degrees, methods and kernels can be, and what a reader of the plan is told."""

import itertools
from dataclasses import replace

import pytest

from launchers.profile import Device
from tests.unit.builders import ENGINE, MODEL, point, profile
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, BatchPer, Placement, Pool, Precision, SequenceMethod
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.predict.vit import parameters, tokens
from vit_sweep.plan.specs import EngineSpec, ModelCounts, ModelSpec

RING = {"sequence_method": SequenceMethod.RING}
HERE = profile(device=Device.CPU)
EIGHT = replace(MODEL, heads=8, width=64)
MEAN = replace(EIGHT, pool=Pool.MEAN)
OTHERS = ModelSpec(name="x", image_size=32, target="timm", counts=ModelCounts(parameters=9, flop_per_image=9))
MEGATRON = EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=False)

REFUSED = {
    "gpus": ({"gpus": 8, "sequence": 3}, "use sequence=1 or 2 or 4 or 8"),
    "heads and tokens": (
        {"gpus": 4, "sequence": 4, "model": replace(MODEL, image_size=24)},  # 9 patches
        "2 heads of vit_test do not divide over 4 ranks; use sequence=1 or 2",
    ),
    "heads, but a ring": (
        {"gpus": 4, "sequence": 4, "partition": HERE},
        "use sequence=1 or 2, or sequence_method=ring model.pool=mean attention=math",
    ),
    "ring of heads that do not divide": (
        {"gpus": 4, "sequence": 4, **RING},
        "torch's ring masks no padding; use sequence=1, or model.pool=mean",
    ),
    "more than gpus": ({"gpus": 2, "sequence": 4}, "use sequence=1 or 2"),
    "heads": ({"gpus": 4, "sequence": 4}, "2 heads of vit_test do not divide over 4 ranks; use sequence=1 or 2, or"),
    "few tokens": ({"gpus": 2, "sequence": 2, "model": replace(MEAN, patch_size=32)}, "no more than the 2 ranks"),
    "ring": ({"gpus": 4, "sequence": 4, "model": EIGHT, **RING}, "17 tokens of an image do not divide over 4 ranks"),
    "ring on a processor": (
        {"gpus": 4, "sequence": 4, "model": MEAN, "partition": HERE, **RING},
        "use attention=math, or sequence_method=ulysses",
    ),
    "ring of products": (
        {"gpus": 4, "sequence": 4, "model": MEAN, "attention": Attention.MATH, **RING},
        "use attention=sdpa, flash or efficient, or",
    ),
    "another's model": ({"gpus": 2, "sequence": 2, "model": OTHERS}, "sequence=2 model=x: it works on encoder blocks"),
    "another's kernel": ({"attention": Attention.MATH, "model": OTHERS}, "attention=math model=x: it works on"),
    "another's tokens": ({"model": replace(OTHERS, pool=Pool.MEAN)}, "model.pool=mean model=x: it works on"),
    "megatron": ({"gpus": 2, "sequence": 2, "engine": MEGATRON}, "megatron-core has sequence groups of its own"),
    "compiled": ({"gpus": 2, "sequence": 2, "compile": True}, "use compile=false"),
    "a ring under autocast": (
        {"gpus": 4, "sequence": 4, "model": MEAN, "precision": Precision.BF16_AMP, **RING},
        "use sequence_method=ulysses, or precision=fp32, bf16 or fp16",
    ),
    "efficient": ({"attention": Attention.EFFICIENT, "partition": HERE}, "torch has sdpa, math and flash"),
    "flash in fp32": ({"attention": Attention.FLASH}, "use precision=bf16 or fp16, or attention=efficient"),
    "flash on old GPUs": (
        {
            "attention": Attention.FLASH,
            "precision": Precision.FP16,
            "partition": profile(refused_precisions=("bf16",)),
        },
        "(sm80); use attention=efficient",
    ),
    "global batch": (
        {"gpus": 8, "sequence": 2, "batch": 6, "batch_per": BatchPer.GLOBAL},
        "6 images do not divide over 4 sequence groups x 1 micro step; use 4 or 8",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_share_tokens_is_one_sentence_with_what_can(name):
    changes, sentence = REFUSED[name]
    (reason,) = cell_of(point(**changes))
    assert sentence in reason


def test_what_a_refusal_proposes_is_not_refused_in_turn():
    """Of every degree, size, pooling, kernel and device; a method for another never proposes one that sends it back."""
    words_seen = set()
    for heads, size, pool, degree, kernel, device, method in itertools.product(
        (3, 4, 8), (16, 24, 32), Pool, (2, 3, 4, 8), Attention, Device, SequenceMethod
    ):
        requested_point = point(
            gpus=degree,
            sequence=degree,
            sequence_method=method,
            attention=kernel,
            precision=Precision.BF16,
            model=replace(MODEL, heads=heads, width=24 * heads, image_size=size, pool=pool),
            partition=profile(device=device),
        )
        built = cell_of(requested_point)
        if isinstance(built, Cell) or not built[0].startswith(f"sequence={degree} sequence_method="):
            continue
        if built[0].endswith("; use a smaller sequence"):
            continue
        for proposal in built[0].rpartition("; use ")[2].replace(", flash", "").split(", or "):
            words, tried = dict(word.split("=") for word in proposal.split(" or ")[0].split()), requested_point
            for key, value in words.items():
                match key:
                    case "sequence":
                        tried = replace(tried, sequence=int(value))
                    case "sequence_method":
                        tried = replace(tried, sequence_method=SequenceMethod(value))
                    case "attention":
                        tried = replace(tried, attention=Attention(value))
                    case "model.pool":
                        tried = replace(tried, model=replace(tried.model, pool=Pool(value)))
            words_seen |= set(words)
            again = cell_of(tried)
            assert isinstance(again, Cell) or not again[0].startswith("sequence="), (built, again)
    assert {"sequence", "sequence_method", "model.pool"} <= words_seen


@pytest.mark.parametrize(
    "changes",
    [
        {"gpus": 2, "sequence": 2},
        {"gpus": 2, "sequence": 2, "precision": Precision.BF16_AMP},
        {"gpus": 2, "sequence": 2, "model": replace(MODEL, image_size=(32, 24))},
        {"gpus": 4, "sequence": 4, "model": MEAN, **RING},
        {"gpus": 4, "sequence": 4, "model": MEAN, "partition": HERE, "attention": Attention.MATH, **RING},
        {"attention": Attention.FLASH, "partition": HERE},
        {"attention": Attention.FLASH, "precision": Precision.BF16},
    ],
)
def test_what_can_is_a_cell(changes):
    assert isinstance(cell_of(point(**changes)), Cell)


def test_a_sequence_group_counts_its_images_once():
    built = cell_of(point(gpus=8, sequence=2, accum=2))
    assert (built.data_ranks, built.global_batch) == (4, 16 * 2 * 4)
    shared = cell_of(point(gpus=8, sequence=2, batch=64, batch_per=BatchPer.GLOBAL))
    assert (shared.micro_batch, shared.global_batch) == (16, 64)


def test_a_method_that_nothing_uses_is_no_other_cell():
    assert cell_of(point(gpus=2, **RING)) == cell_of(point(gpus=2))


def test_without_a_class_token_there_is_one_token_and_its_weights_less():
    assert tokens(replace(MODEL, pool=Pool.MEAN)) == tokens(MODEL) - 1
    assert parameters(replace(MODEL, pool=Pool.MEAN), 10) == parameters(MODEL, 10) - 2 * MODEL.width


def test_a_group_that_lies_on_several_nodes_is_remarked():
    spread = point(gpus=2, sequence=2, placement=Placement.SPREAD, engine=ENGINE)
    (planned,) = make_plan([spread]).points
    assert "a sequence group of 2 ranks lies on 2 nodes of 1 GPU each" in planned.remarks[0]
    (planned,) = make_plan([replace(spread, placement=Placement.PACKED)]).points
    assert planned.remarks == ()
