"""Models that others build: what the plan takes from their counts, and what it refuses of them."""

from dataclasses import replace

import pytest

from launchers.profile import Device
from tests.unit.builders import DATA, MODEL, OPTIMIZER, cell, point, profile
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.models import wrong_model
from vit_sweep.plan.optimizers import moment_bytes
from vit_sweep.plan.predict.memory import predict
from vit_sweep.plan.predict.vit import activation_bytes, forward_flop, parameters, train_flop
from vit_sweep.plan.specs import EngineSpec, ModelCounts, ModelSpec

COUNTS = ModelCounts(parameters=1000, flop_per_image=9e6, kept_bytes_32=2e6, kept_bytes_16=1e6)
OTHERS = ModelSpec(name="swin_t", image_size=224, target="torchvision", counts=COUNTS)
DDP = EngineSpec(name="ddp", kind="ddp", zero_stage=None)
BY_PLUGIN = EngineSpec(name="accelerate_zero2", kind="accelerate", zero_stage=2)


def test_a_plan_takes_the_counts_for_the_formulas():
    assert (parameters(OTHERS, 10), train_flop(OTHERS, 10), forward_flop(OTHERS, 10)) == (1000, 9e6, 3e6)
    assert forward_flop(replace(OTHERS, counts=replace(COUNTS, forward_flop=4e6)), 10) == 4e6
    bytes_kept = [
        activation_bytes(OTHERS, precision) for precision in (Precision.TF32, Precision.BF16, Precision.BF16_AMP)
    ]
    assert bytes_kept == [2e6, 1e6, 1.125e6]
    assert moment_bytes(OPTIMIZER, OTHERS, 10) == 8 * 1000


def test_memory_is_predicted_where_activations_were_counted():
    library_cell: Cell = cell(model=OTHERS, device=Device.CUDA, gpu_model="Tesla T4")
    assert predict(library_cell).activations_gib == pytest.approx(1.105 * library_cell.micro_batch * 2e6 / 2**30)
    unknown = replace(OTHERS, counts=replace(COUNTS, kept_bytes_32=None))
    assert predict(replace(library_cell, model=unknown)) is None


def test_a_cell_is_the_same_whatever_was_counted_of_its_model():
    """A later release of torch may count differently, and where nothing could be counted, a user gives two numbers."""
    another = replace(OTHERS, counts=replace(COUNTS, kept_bytes_32=3e6))
    assert cell(model=another).cell_id == cell(model=OTHERS).cell_id
    assert cell(model=replace(OTHERS, arguments=(("depth", 2),))).cell_id != cell(model=OTHERS).cell_id


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model": replace(OTHERS, layers=3)},
            "model.layers=3 is of models that are built here, and torchvision builds",
        ),
        ({"model": replace(MODEL, width=0)}, "model.width must be at least 1, or model.target must say who builds it"),
        ({"model": OTHERS, "activation_checkpointing": True}, "use activation_checkpointing=false, or a model that"),
        ({"model": OTHERS, "compile": True}, "use compile=false, or a model that is built here"),
        ({"model": replace(OTHERS, arguments=(("pretrained", True),))}, "nodes have no internet"),
        (
            {"model": replace(OTHERS, counts=replace(COUNTS, scalars=("scale",)))},
            "its parameter scale has no dimension",
        ),
        (
            {"model": replace(OTHERS, counts=replace(COUNTS, scalars=("scale",))), "engine": BY_PLUGIN},
            "its parameter scale has no dimension",
        ),
        ({"model": replace(MODEL, channels=1)}, "model.channels=1: the images of data=made_up have 3; use"),
        ({"model": replace(OTHERS, image_size=(64, 32))}, "image_size=64 x 32: torchvision's models take squares"),
        ({"model": replace(MODEL, image_size=(32, 20))}, "image_size=32 x 20 must divide by patch_size=8"),
    ],
)
def test_what_a_model_cannot_is_refused(changes, sentence):
    requested_point = point(partition=profile(), data=DATA, **changes)
    assert sentence in wrong_model(requested_point, None)
    assert any(sentence in reason for reason in cell_of(requested_point))


def test_a_scalar_is_no_matter_without_deepspeed():
    assert (
        wrong_model(point(engine=DDP, model=replace(OTHERS, counts=replace(COUNTS, scalars=("scale",)))), None) is None
    )
