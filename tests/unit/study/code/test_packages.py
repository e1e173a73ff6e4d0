"""What jobs could not load is said before they are submitted, with the extra that has it."""

import re

import pytest

from launchers.errors import UserError
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.specs import ModelSpec
from vit_sweep.study.code import provenance


@pytest.fixture
def bare(monkeypatch):
    """An interpreter without any package of an extra."""
    monkeypatch.setattr(provenance, "_is_absent", lambda name: True)


def test_a_sweep_says_before_it_submits_which_optimizers_it_has_not(bare):
    words = (
        "optimizer=lamb,muon: timm not installed here: pip install 'vit_sweep[timm]', or use adamw or sgd or adam or"
    )
    with pytest.raises(UserError, match=re.escape(words)):
        provenance.require_optimizers([OptimizerKind.MUON, OptimizerKind.SGD, OptimizerKind.LAMB, OptimizerKind.MUON])
    provenance.require_optimizers([OptimizerKind.ADAMW, OptimizerKind.ADAFACTOR])


def test_a_sweep_says_before_it_submits_which_engines_it_has_not(bare):
    words = (
        "engine=accelerate: accelerate, transformers not installed: pip install 'vit_sweep[engines]', or another engine"
    )
    with pytest.raises(UserError, match=re.escape(words)):
        provenance.require_engines(["zero1", "accelerate", "ddp"])
    provenance.require_engines(["deepspeed", "ddp", "fsdp2"])


def test_a_sweep_says_before_it_submits_which_models_it_has_not(bare):
    """Their counts are kept, so that the plan knows them all the same."""
    words = (
        "model=timm model.name=deit,vit: timm not installed here: pip install 'vit_sweep[timm]', or use a model that"
    )
    models = [ModelSpec(name=name, image_size=32, target="timm") for name in ("vit", "deit")]
    with pytest.raises(UserError, match=re.escape(words)):
        provenance.require_models(models)
    provenance.require_models([ModelSpec(name="swin_t", image_size=224, target="torchvision")])
