"""Ranks that share the tokens of an image train what one rank with all tokens does, or nothing."""

from dataclasses import replace

import pytest

from tests.conftest import LONG
from tests.e2e.train.guards import guarded
from tests.e2e.train.ranks import small_cell
from tests.e2e.train.rings import moved
from tests.e2e.train.trainers import run
from vit_sweep.plan.choices import Attention, Pool, Precision, SequenceMethod
from vit_sweep.plan.predict.sequence import exchange
from vit_sweep.plan.predict.vit import activation_bytes
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

TOKENS = {"image_size": 16, "patch_size": 4, "heads": 4, "width": 16, "mlp_width": 32}
RING = {"sequence_method": SequenceMethod.RING, "attention": Attention.MATH, "pool": Pool.MEAN}
DDP = EngineSpec(name="ddp", zero_stage=None, kind="ddp")
FSDP2 = EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True)
ACCELERATE = EngineSpec(name="accelerate_zero1", zero_stage=1, kind="accelerate")
GUARDED = {
    "zero0": {"accum": 2},
    "zero1": {"zero": 1, "activation_checkpointing": True},
    "zero2": {"zero": 2, "accum": 2, "pool": Pool.MEAN},
    "zero3": {"zero": 3, "activation_checkpointing": True},
    "ddp": {"engine": DDP},
    "fsdp2": {"engine": FSDP2, "accum": 2, "attention": Attention.MATH},
    "ring": RING,
    "rectangle": {"image_size": (8, 28)},
    "rectangle, ring": {"image_size": (16, 24), **RING},
    "autocast": {"precision": Precision.BF16_AMP},
}
FAULTS = ("an all-to-all is dropped", "the sum is not derived", "attention is local", "positions are those of rank 0")


def ring_cell(**changes):
    """Of the kernels that send keys and values round, which a processor has only in `rings`."""
    return shared_cell(**RING | {"attention": Attention.SDPA} | changes)


ONE_IMAGE = 0.051
"""Of 20: what rounding may turn over."""


def shared_cell(**changes):
    """`gpus` ranks in groups of as many, unless `sequence` says fewer; 17 tokens, or 16 without a class token."""
    pool, size = changes.pop("pool", Pool.CLASS), changes.pop("image_size", 16)
    fields = {"gpus": 2, "sequence": 2, "epochs": 2, "micro_batch": 4} | changes
    trained_cell = small_cell(**fields)
    return replace(trained_cell, model=replace(trained_cell.model, **(TOKENS | {"image_size": size}), pool=pool))


# --- the guard ---------------------------------------------------------------------------------------------


def _measured():
    return {"kept": _kept(), "ring": moved(RINGS)}


def _kept():
    """Of one image: what comes with two more, since casts of weights are kept once."""
    return [(_kept_bytes(cell, 4) - _kept_bytes(cell, 2)) / 2 for cell in SHAPES]


def _kept_bytes(cell, images):
    import torch

    from vit_sweep.job.train.engines.autocast import under_autocast
    from vit_sweep.job.train.model import DTYPES, vision_transformer

    dtype = DTYPES[cell.precision]
    model, storages = under_autocast(cell, vision_transformer(cell).to(dtype)), {}
    own = {weight.untyped_storage()._cdata for weight in model.parameters()}

    def keep(tensor):
        storage = getattr(tensor, "_local_tensor", tensor).untyped_storage()
        if storage._cdata not in own:
            storages[storage._cdata] = storage  # alive, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.zeros(images, 3, *cell.model.image_shape, dtype=dtype))
    return sum(storage.nbytes() for storage in storages.values())


def _plant(patch, fault):
    import deepspeed.sequence.layer as ulysses

    from vit_sweep.job.train.models import sequence

    def local(self, *own, **_):
        """As a layer that forgot its exchange: each rank attends to what it has."""
        import torch

        queries, keys, values = (tensor.transpose(1, 2) for tensor in own[:3])
        return torch.nn.functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)

    match FAULTS.index(fault):
        case 0:
            patch.setattr(ulysses.dist, "all_to_all_single", lambda output, own, **_: output.copy_(own))
        case 1:
            patch.setattr(sequence._Sum, "backward", staticmethod(lambda _, gradient: (None, gradient)))
        case 2:
            patch.setattr(ulysses.DistributedAttention, "forward", local)
        case 3:
            encode = sequence.TokenTransformer._encode
            patch.setattr(sequence.TokenTransformer, "_encode", lambda model, own: encode(_first(model), own))


def _first(model):
    """The same model as it would be on rank 0."""
    import copy

    first = copy.copy(model)
    first._rank = 0
    return first


def shape(side, layers, heads, width, mlp_width, **changes):
    pool = changes.pop("pool", Pool.CLASS)
    trained_cell = small_cell(**({"gpus": 2, "sequence": 2} | changes))
    size = {"image_size": side, "patch_size": 8, "layers": layers}
    return replace(
        trained_cell,
        model=replace(trained_cell.model, **size, heads=heads, width=width, mlp_width=mlp_width, pool=pool),
    )


SHAPES = (
    shape(64, 4, 4, 64, 256),
    shape(64, 4, 4, 64, 256, pool=Pool.MEAN, precision=Precision.BF16),
    shape(64, 4, 4, 64, 256, attention=Attention.MATH),
    shape(64, 4, 4, 64, 256, attention=Attention.MATH, precision=Precision.BF16),
    shape(64, 4, 4, 64, 256, **RING),
    shape(64, 4, 4, 64, 256, sequence=1),
    shape(64, 4, 4, 64, 256, sequence=1, attention=Attention.MATH),
    shape(64, 4, 4, 64, 256, sequence=1, attention=Attention.MATH, precision=Precision.BF16),
    shape(128, 2, 2, 64, 128, attention=Attention.FLASH),
    shape(32, 8, 8, 128, 512, precision=Precision.BF16),
    shape((64, 96), 2, 4, 64, 512, precision=Precision.BF16_AMP),
    shape(64, 4, 4, 64, 256, attention=Attention.MATH, precision=Precision.BF16_AMP),
)


RING_OF_FOUR = ring_cell(gpus=4, sequence=4, activation_checkpointing=True, precision=Precision.BF16)


def _ring_of_four():
    return moved([RING_OF_FOUR])


RINGS = (
    ring_cell(),
    ring_cell(accum=2, activation_checkpointing=True, image_size=(16, 24)),
    ring_cell(precision=Precision.BF16),
)


def test_every_engine_passes_the_guard_every_fault_is_caught_on_all_ranks_and_the_plan_is_met(tmp_path):
    """Of memory within 10 %; of what goes round a ring exactly."""
    cells = {name: shared_cell(**changes) for name, changes in GUARDED.items()}
    for verdicts in guarded(tmp_path, cells, FAULTS, _plant, _measured):
        predicted = [
            activation_bytes(cell.model, cell.precision, sequence=cell.sequence, attention=cell.attention)
            for cell in SHAPES
        ]
        assert verdicts["measured"]["kept"] == pytest.approx(predicted, rel=0.1)
        ring = verdicts["measured"]["ring"]
        assert ring["moved"] == [list(exchange(cell)) for cell in RINGS]
        assert ring["difference"] < 1e-4
        for name in GUARDED:
            difference, loss = verdicts[name]
            most = 1e-2 if name == "autocast" else 1e-4  # products of 16 bits, whose rounding depends on their order
            assert (difference < most, loss < most / 100) == (True, True), (name, difference, loss)
        for fault in FAULTS:
            cause, message = verdicts[fault]
            assert cause == "wrong_gradients", fault
            assert message.startswith("engine=zero0 sequence=2 sequence_method=ulysses: on rank"), fault


@pytest.mark.skipif(not LONG, reason="long")
def test_four_ranks_in_one_group_and_in_two_pass_the_guard(tmp_path):
    """Of 5 tokens on 4 ranks the last one has nothing but padding."""
    of_four = {"gpus": 4, "sequence": 4, "image_size": 8}
    cells = {
        "padding": shared_cell(**of_four),
        "padding, zero3": shared_cell(zero=3, **of_four),
        "mean": shared_cell(pool=Pool.MEAN, **(of_four | {"image_size": 16})),
        "two groups": shared_cell(gpus=4, zero=2, accum=2),
        "two groups, zero3": shared_cell(gpus=4, zero=3, activation_checkpointing=True),
        "two groups, ring": shared_cell(gpus=4, **RING),
        "accelerate": shared_cell(gpus=4, engine=ACCELERATE),
    }
    for verdicts in guarded(tmp_path, cells, measure=_ring_of_four):
        assert verdicts["measured"]["moved"] == [list(exchange(RING_OF_FOUR))]
        assert verdicts["measured"]["difference"] < 1e-4
        assert max(verdicts[name][0] for name in cells) < 1e-4, verdicts
        assert max(verdicts[name][1] for name in cells) < 1e-6, verdicts


# --- training ----------------------------------------------------------------------------------------------


def learned(epochs):
    return [(e.train_loss, e.test_loss, e.train_accuracy, e.test_accuracy) for e in epochs]


@pytest.mark.parametrize(
    ("changes", "within"),
    [
        ({"zero": 2, "accum": 2}, 1e-5),
        ({"zero": 1, "precision": Precision.BF16, "activation_checkpointing": True}, 1e-2),
        ({"engine": DDP, "precision": Precision.BF16_AMP, "image_size": (16, 24)}, 1e-2),
    ],
    ids=["fp32", "bf16", "autocast of rectangles"],
)
def test_two_ranks_that_share_tokens_learn_what_one_rank_does_and_exchange_as_planned(tmp_path, changes, within):
    cell = shared_cell(**changes)
    epochs, breakdown, ranks = run(tmp_path / "shared", cell)
    alone, _, _ = run(tmp_path / "alone", replace(cell, gpus=1, nodes=1, sequence=1), measure=False)
    for own, right in zip(learned(epochs), learned(alone), strict=True):
        assert own == pytest.approx(right, rel=within, abs=ONE_IMAGE if within > 1e-3 else 0)
    assert ranks[0]["before"] == ranks[0]["after"], "measuring changes no weight"
    kinds = {kind.name: kind for kind in breakdown.collective.kinds}
    planned = exchange(cell)
    counted = kinds["all_to_all_single"]
    assert (counted.calls, counted.bytes) == (planned.calls, planned.size_bytes)
