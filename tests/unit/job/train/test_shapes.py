"""Shapes of a step of every shipped model, on torch's meta device: no memory, no arithmetic, and a read is an error."""

from dataclasses import replace

import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy

from tests.conftest import ROOT
from tests.unit.builders import DATA, cell
from vit_sweep.plan.choices import Attention, Pool, Precision
from vit_sweep.plan.predict.vit import parameters
from vit_sweep.plan.specs import ModelSpec

pytestmark = pytest.mark.train

SHIPPED = sorted(path.stem for path in (ROOT / "conf" / "model").glob("vit_*.yaml"))
CLASSES = 10
IMAGES = 3


def of_file(name):
    """The model that its file states."""
    stated = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text())
    return ModelSpec(**{key: value for key, value in stated.items() if not isinstance(value, dict)})


OTHERWISE = [{"attention": Attention.MATH}, {"activation_checkpointing": True}]


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in SHIPPED), *(("vit_s_16", c) for c in OTHERWISE)]
)
def test_a_step_of_a_shipped_model_has_the_planned_shapes_and_reads_nothing(name, changes):
    from vit_sweep.job.train.model import vision_transformer

    spec = of_file(name)
    this_cell = cell(model=spec, data=replace(DATA, classes=CLASSES), precision=Precision.BF16, **changes)
    with torch.device("meta"):
        model = vision_transformer(this_cell).to(torch.bfloat16)
        images = torch.empty(IMAGES, spec.channels, *spec.image_shape, dtype=torch.bfloat16)
        logits = model(images)
        cross_entropy(logits.float(), torch.zeros(IMAGES, dtype=torch.int64)).backward()
    assert spec.pool is Pool.CLASS
    assert logits.shape == (IMAGES, CLASSES)
    assert sum(weight.numel() for weight in model.parameters()) == parameters(spec, CLASSES)
    assert all(weight.grad.shape == weight.shape for weight in model.parameters())
