"""Two towers learn which caption a picture has, compared over all ranks: the same on any number of them, or nothing."""

from dataclasses import replace

import pytest

from tests.conftest import LONG
from tests.e2e.train.guards import guarded
from tests.e2e.train.ranks import SMALL, small_cell
from tests.e2e.train.trainers import run
from tests.unit.builders import DATA
from vit_sweep.plan.choices import Pipeline, Precision, Task
from vit_sweep.plan.predict import text
from vit_sweep.plan.predict.memory import kept_bytes
from vit_sweep.plan.predict.pairs import gathering, loss_bytes, loss_flop
from vit_sweep.plan.predict.vit import parameters, train_flop
from vit_sweep.plan.specs import END, EngineSpec, TextSpec

pytestmark = pytest.mark.train

TEXT = TextSpec(layers=2, heads=4, width=32, mlp_width=64, length=16, embedding=8)
DDP = EngineSpec(name="ddp", zero_stage=None, kind="ddp")
ZERO3 = EngineSpec(name="zero3", zero_stage=3)
FSDP2 = EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True)
ACCELERATE = EngineSpec(name="accelerate", zero_stage=None, kind="accelerate")
ENGINES = {
    "ddp": {"engine": DDP},
    "zero0": {"accum": 2},
    "zero1": {"zero": 1, "activation_checkpointing": True},
    "zero2": {"zero": 2, "accum": 2},
    "zero3": {"zero": 3, "activation_checkpointing": True},
    "fsdp2": {"engine": FSDP2, "accum": 2},
    "accelerate": {"engine": ACCELERATE},
}


def pairs_cell(**changes):
    """Of digits-like noise with captions of a few bytes."""
    model = replace(SMALL, **({"text": TEXT} | changes.pop("model", {})))
    return small_cell(task=Task.CONTRASTIVE, model=model, **changes)


FAULTS = (
    "each rank compares its own pairs only",
    "the gathered points are not derived",
    "a rank takes its part unsummed",
)


def _plant(patch, fault):
    import torch.distributed as dist

    from vit_sweep.job.train import objective
    from vit_sweep.job.train.pairs import loss

    def part(_, whole):
        return whole.chunk(dist.get_world_size())[dist.get_rank()].clone()

    match FAULTS.index(fault):
        case 0:
            patch.setattr(objective, "contrastive_loss", lambda own: loss.local_contrastive_loss(own, own, first=0))
        case 1:
            gather = loss._Gather.apply
            patch.setattr(loss._Gather, "apply", lambda own: _with_own(gather(own.detach()), own))
        case 2:
            patch.setattr(loss._Gather, "backward", staticmethod(part))


def _with_own(whole, own):
    """Points of all ranks of which only the own ones are derived: what people call the local loss."""
    import torch
    import torch.distributed as dist

    parts = [*whole.detach().chunk(dist.get_world_size())]
    parts[dist.get_rank()] = own
    return torch.cat(parts)


# --- what is planned is what is counted ----------------------------------------------------------------------


def towers(**changes):
    """A cell that is large enough for its blocks to count."""
    image = {"image_size": 32, "layers": 3, "heads": 4, "width": 64, "mlp_width": 256}
    text_spec = TextSpec(layers=3, heads=4, width=48, mlp_width=192, length=24, embedding=16)
    model = image | {"text": text_spec} | changes.pop("model", {})
    return pairs_cell(model=model, micro_batch=8, **changes)


SHAPES = {
    "fp32": towers(),
    "bf16": towers(precision=Precision.BF16),
    "checkpointed": towers(activation_checkpointing=True),
    "longer captions": towers(precision=Precision.BF16, model={"text": replace(TEXT, length=96, mlp_width=128)}),
    "wide": pairs_cell(model={"text": TextSpec(layers=4, width=96, mlp_width=96, length=40)}, micro_batch=4),
}


def _counts():
    """Of one process: parameters, operations of a training step, bytes that forward leaves for backward; of each."""
    return {name: _counted(cell) for name, cell in SHAPES.items()}


def _counted(cell):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from vit_sweep.job.train.model import DTYPES, vision_transformer
    from vit_sweep.job.train.pairs.loss import local_contrastive_loss

    dtype, side = DTYPES[cell.precision], cell.model.image_size
    model = vision_transformer(cell).to(dtype)
    pairs = (
        torch.zeros(cell.micro_batch, 3, side, side, dtype=dtype),
        torch.full((cell.micro_batch, cell.model.text.length), END),
    )
    own, storages = {weight.untyped_storage()._cdata for weight in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            storages[storage._cdata] = storage  # alive, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = model(pairs)
        local_contrastive_loss(answers, answers, first=0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        answers = model(pairs)
        local_contrastive_loss(answers, answers, first=0).backward()
    parameters = sum(weight.numel() for weight in model.parameters())
    return parameters, counter.get_total_flops(), sum(storage.nbytes() for storage in storages.values())


def _planned(cell):
    again = 4 / 3 if cell.activation_checkpointing else 1
    pair = again * train_flop(cell.model, cell.outputs) + loss_flop(cell)
    images = kept_bytes(cell.model, cell.precision, checkpointing=cell.activation_checkpointing)
    captions = text.kept_bytes(cell.model.text, cell.precision, checkpointing=cell.activation_checkpointing)
    kept = cell.micro_batch * (images + captions) + loss_bytes(cell)
    return parameters(cell.model, cell.outputs), cell.micro_batch * pair, kept


# --- the guard ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [2, pytest.param(4, marks=pytest.mark.skipif(not LONG, reason="long"))])
def test_every_engine_passes_the_guard_every_fault_is_caught_and_counts_are_as_planned(gpus, tmp_path):
    cells = {name: pairs_cell(gpus=gpus, **changes) for name, changes in ENGINES.items()}
    for verdicts in guarded(tmp_path / "guard", cells, FAULTS, _plant, _counts):
        for name in cells:
            difference, loss = verdicts[name]
            assert (difference < 1e-4, loss < 1e-6) == (True, True), (name, difference, loss)
        for fault in FAULTS:
            cause, message = verdicts[fault]
            assert cause == "wrong_gradients", fault
            assert message.startswith("engine=ddp: on rank"), fault
        for name, cell in SHAPES.items():
            counts, planned = verdicts["measured"][name], _planned(cell)
            assert counts[0] == planned[0], name
            # What lies around the blocks is not computed again.
            again = cell.activation_checkpointing
            assert counts[1] == pytest.approx(planned[1], rel=0.01 if again else 1e-9), name
            if not again:  # of the block that is computed again nothing is there yet
                assert counts[2] == pytest.approx(planned[2], rel=0.1), name


# --- training ----------------------------------------------------------------------------------------------


def test_pairs_are_learnt_alike_on_any_number_of_ranks_which_gather_as_planned(tmp_path):
    """Eight made-up pictures under noise; 90 test images do not divide over the ranks."""
    data = replace(DATA, train_images=1024, test_images=90, classes=8)
    defaults = {"data": data, "train_images": 1024, "epochs": 6, "engine": DDP}
    defaults["optimizer"] = replace(small_cell().optimizer, learning_rate=3e-3)
    two = pairs_cell(gpus=2, micro_batch=16, **defaults)
    epochs, breakdown, ranks = run(tmp_path / "two", two, measure={"profile_steps": 1, "exposed": False})
    assert ranks[0]["before"] == ranks[0]["after"], "measuring changes no weight"
    kinds = {kind.name: (kind.calls, kind.bytes) for kind in breakdown.collective.kinds}
    planned = gathering(two)
    assert kinds["all_gather_into_tensor"] == kinds["reduce_scatter_tensor"] == (planned.calls, planned.size_bytes)
    last = epochs[-1]
    assert last.test_metrics["image_to_text"] > 0.4 and last.test_metrics["text_to_image"] > 0.8, last  # by chance: 1/8
    assert (last.train_accuracy, last.test_accuracy) == (None, None)
    defaults["epochs"] = 1  # rounding grows later
    others = {"alone": pairs_cell(micro_batch=32, **defaults)}
    others["loader"] = pairs_cell(gpus=2, micro_batch=16, **(defaults | {"engine": ZERO3, "pipeline": Pipeline.LOADER}))
    for name, cell in others.items():
        again, _, _ = run(tmp_path / name, cell, measure=False)
        for own, right in zip(again, epochs[:1], strict=True):
            assert (own.train_loss, own.test_loss) == pytest.approx((right.train_loss, right.test_loss), rel=1e-3)
            assert own.test_metrics == pytest.approx(right.test_metrics, abs=0.03)
