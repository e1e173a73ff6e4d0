"""Image-caption pairs: what cannot be, what a reader of the plan is told, and which losses are one work."""

from dataclasses import replace

import pytest

from launchers.profile import Link, Network
from tests.unit.builders import ENGINE, MODEL, point, profile
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, BatchPer, DataSource, OptimizerKind, Scaling, Task
from vit_sweep.plan.curve_groups import _curve
from vit_sweep.plan.grid import cell_of, series_of
from vit_sweep.plan.optimizers import moment_bytes
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.predict import text
from vit_sweep.plan.predict.cost import exchanges_s
from vit_sweep.plan.predict.memory import predict
from vit_sweep.plan.predict.pairs import gathering, loss_flop
from vit_sweep.plan.predict.vit import forward_flop, parameters, train_flop
from vit_sweep.plan.specs import EngineSpec, ModelCounts, ModelSpec, TextSpec

TEXT = TextSpec()
TWO = replace(MODEL, text=TEXT)
KINDS = (OptimizerKind.ADAMW, OptimizerKind.MUON)
MEGATRON = EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=False)


def pairs(**changes):
    return point(**({"task": Task.CONTRASTIVE, "model": TWO} | changes))


def pairs_cell(**changes):
    cell = cell_of(pairs(**changes))
    assert isinstance(cell, Cell), cell
    return cell


REFUSED = {
    "no text": ({"model": MODEL}, "task=contrastive model.text=null: captions need a tower"),
    "heads": (
        {"model": replace(MODEL, text=replace(TEXT, heads=3))},
        "model.text.heads=3 model.text.width=128: the width must divide by the heads; use model.text.heads=2",
    ),
    "sequence": ({"gpus": 2, "sequence": 2}, "use sequence=1"),
    "kernel": ({"attention": Attention.MATH}, "use attention=sdpa"),
    "compiled": ({"compile": True}, "use compile=false"),
    "megatron": ({"engine": MEGATRON}, "use engine=ddp, fsdp2, accelerate or zero0 to zero3"),
    "one pair": ({"batch": 1}, "a micro step has one pair on all ranks together"),
    "one pair of several": ({"batch": 4, "accum": 4, "batch_per": BatchPer.GLOBAL}, "use a larger batch"),
    "data": ({"data": replace(point().data, source=DataSource.CIFAR10)}, "labelled for classification"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_on_pairs_is_one_sentence_with_what_can(name):
    changes, sentence = REFUSED[name]
    (reason,) = cell_of(pairs(**changes))
    assert sentence in reason


def test_one_pair_a_rank_is_enough_on_two_ranks():
    assert pairs_cell(batch=1, gpus=2).compared == 2


def remarks(**changes):
    (planned,) = make_plan([pairs(**changes)]).points
    return [remark for remark in planned.remarks if "pair" in remark]


def test_a_reader_is_told_what_the_number_of_compared_pairs_does_to_the_loss():
    whole = {"batch_per": BatchPer.GLOBAL, "batch": 64, "gpus": 4}
    assert remarks(**whole) == []
    (accumulated,) = remarks(accum=2, **whole)
    assert "compared with the 32 of its micro step on all ranks, not with the 64 of the optimizer step" in accumulated
    (grown,) = remarks(gpus=4)
    assert "here 64, which is another loss: counts stand apart, each its own baseline; use batch_per=global" in grown
    (weak,) = remarks(gpus=4, scaling=Scaling.WEAK)
    assert "64 pairs are compared here, 16 on one GPU: another loss at each count" in weak
    cell = pairs_cell(gpus=4, scaling=Scaling.WEAK)
    share = loss_flop(cell) / (loss_flop(cell) + train_flop(cell.model, cell.outputs))
    assert f"the loss is {share:.2%} of a GPU's operations" in weak
    assert remarks(gpus=1) == []


@pytest.mark.parametrize(
    ("changes", "curves"),
    [
        ({"batch_per": BatchPer.GLOBAL, "batch": 64}, 1),
        ({"batch_per": BatchPer.GPU}, 3),
        ({"scaling": Scaling.WEAK}, 1),
        ({"batch_per": BatchPer.GLOBAL, "batch": 64, "accum": 2}, 1),
    ],
    ids=["one loss", "a loss each", "weak", "accumulated"],
)
def test_counts_share_an_allocation_only_where_they_have_one_loss(changes, curves):
    points = [pairs(gpus=gpus, **changes) for gpus in (1, 2, 4)]
    assert len({_curve(cell_of(p), series_of(p)) for p in points}) == curves
    others = [replace(p, task=Task.CLASSIFICATION, model=MODEL) for p in points]
    assert len({_curve(cell_of(p), series_of(p)) for p in others}) == 1


def test_a_text_tower_adds_to_the_model_what_its_shape_says():
    d, m = TEXT.width, TEXT.mlp_width
    block = 4 * (d * d + d) + 2 * d * m + m + d + 4 * d
    own = TEXT.layers * block + (258 + TEXT.length) * d + 2 * d + TEXT.embedding * d
    assert text.parameters(TEXT) == own
    assert parameters(TWO, 64) == parameters(MODEL, 64) + own + 1
    assert forward_flop(TWO, 64) == forward_flop(MODEL, 64) + text.forward_flop(TEXT)
    assert train_flop(TWO, 64) == train_flop(MODEL, 64) + 3 * text.forward_flop(TEXT)
    assert pairs_cell().outputs == TEXT.embedding


def test_the_loss_is_shared_work_of_the_compared_pairs():
    """At one global batch all ranks together do the same, whatever their number: strong scaling of one work."""
    whole = {"batch_per": BatchPer.GLOBAL, "batch": 64}
    cells = [pairs_cell(gpus=gpus, **whole) for gpus in (1, 2, 4, 8)]
    assert {loss_flop(cell) * cell.global_batch for cell in cells} == {12 * 64 * 64 * TEXT.embedding}
    assert {gathering(cell).size_bytes for cell in cells[1:]} == {64 * 2 * TEXT.embedding * 4}
    assert gathering(cells[0]) == (0, 0) == gathering(cell_of(point(gpus=2)))
    assert gathering(pairs_cell(gpus=2, accum=4, batch=16, batch_per=BatchPer.GPU)).calls == 4


def test_nothing_hides_what_the_loss_gathers_and_captions_take_memory():
    lab = profile(network=Network(inside=Link(gb_per_s=4.0, latency_us=10)))
    two, one = pairs_cell(gpus=2, accum=3), replace(pairs_cell(gpus=2), model=MODEL, task=Task.CLASSIFICATION)
    # As an all-reduce of all points in each micro step: on two ranks two messages of half of them.
    points = 32 * 2 * TEXT.embedding * 4
    assert exchanges_s(two, lab.network) == pytest.approx(3 * (2 * 10e-6 + points / 4e9))
    assert exchanges_s(one, lab.network) == 0 == exchanges_s(two, None)
    assert predict(two).total_gib > predict(one).total_gib
    captions = 8 * TEXT.length * (two.train_images + two.data.test_images) / 2**30
    assert predict(two).data_gib - predict(one).data_gib == pytest.approx(captions)


def test_cells_without_captions_keep_their_ids():
    assert cell_of(point()).cell_id == cell_of(replace(point(), model=replace(MODEL, text=None))).cell_id
    assert cell_of(point(engine=ENGINE)).cell_id != pairs_cell().cell_id


def test_a_model_of_others_has_a_text_tower_beside_it_too():
    """Of which the shapes are known, where of the other only a number is."""
    counts = ModelCounts(parameters=1000, flop_per_image=9e6, forward_flop=3e6, kept_bytes_32=500.0)
    others = ModelSpec(name="x", image_size=32, target="timm", counts=counts, text=TEXT)
    cell = pairs_cell(model=others)
    assert parameters(others, 64) == 1001 + text.parameters(TEXT)
    assert train_flop(others, 64) == 9e6 + 3 * text.forward_flop(TEXT)
    assert forward_flop(others, 64) == 3e6 + text.forward_flop(TEXT)
    adamw, muon = (moment_bytes(replace(cell.optimizer, kind=kind), others, 64) for kind in KINDS)
    d, m = TEXT.width, TEXT.mlp_width
    assert adamw - muon == 4 * TEXT.layers * (4 * d * d + 2 * d * m)
    assert moment_bytes(cell.optimizer, replace(others, text=None), 64) == 8000
    assert predict(cell).total_gib > predict(replace(cell, model=replace(others, text=None))).total_gib
