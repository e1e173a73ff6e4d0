"""Models that others build are counted as the formulas count ours, are refused in words, and train in every engine."""

from dataclasses import replace

import pytest

from launchers.errors import UserError
from tests.e2e.train.ranks import Job, small_cell
from tests.unit.builders import MODEL, point
from vit_sweep.config import models
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.models import CountRequest
from vit_sweep.plan.predict.vit import activation_bytes, forward_flop, parameters, train_flop
from vit_sweep.plan.specs import EngineSpec, ModelSpec

pytestmark = pytest.mark.train

CLASSES = 10
OURS = replace(MODEL, image_size=32, patch_size=4, layers=4, heads=3, width=192, mlp_width=768)
TIMM = ModelSpec(
    name="vit_tiny_patch16_224",
    image_size=32,
    target="timm",
    arguments=(("depth", 4), ("patch_size", 4)),
)
SMALL = replace(TIMM, image_size=16, arguments=(("depth", 2), ("embed_dim", 32), ("num_heads", 2), ("patch_size", 4)))
MINE = ModelSpec(name="mine", image_size=16, target="my_models.nets:build", arguments=(("width", 24),))
SOURCE = '''
import torch
from torch import nn

print("a module may say what it likes")

def build(num_classes, image_size, width=8):
    """Dropout, and no encoder blocks."""
    layers = nn.Linear(3 * image_size**2, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, num_classes)
    return nn.Sequential(nn.Flatten(), *layers)

def headless(num_classes, image_size):
    return nn.Flatten()

def number(num_classes, image_size):
    return 3

class Scaled(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.net, self.scale = build(num_classes, image_size), nn.Parameter(torch.tensor(1.0))

    def forward(self, images):
        return self.net(images) * self.scale
'''


@pytest.fixture
def models_folder(tmp_path, monkeypatch):
    """A package of somebody's own on PYTHONPATH, and a cache folder of this test."""
    package = tmp_path / "path" / "my_models"
    package.mkdir(parents=True)
    (package / "nets.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return package


def count(spec, classes=CLASSES):
    from vit_sweep.job.train.models import counting

    return counting.count(CountRequest(model=spec, classes=classes))


def test_what_is_counted_of_timms_vit_is_what_the_formulas_say_of_ours():
    """Two implementations of one architecture; what attention and norms keep of statistics is a few per cent."""
    counts = count(TIMM)
    assert counts.parameters == parameters(OURS, CLASSES)
    assert (counts.forward_flop, counts.flop_per_image) == (forward_flop(OURS, CLASSES), train_flop(OURS, CLASSES))
    assert counts.kept_bytes_32 == pytest.approx(activation_bytes(OURS, Precision.FP32), rel=0.05)
    assert counts.kept_bytes_16 == pytest.approx(activation_bytes(OURS, Precision.BF16), rel=0.05)


def test_what_the_formulas_say_of_other_images_is_what_ours_has():
    """Five channels and a rectangle: its parameters, its tokens, its operations."""
    import torch

    from vit_sweep.job.train.models.counting import _operations
    from vit_sweep.job.train.models.vit import built

    spec = replace(OURS, image_size=(32, 16), channels=5)
    with torch.device("meta"):
        model = built(spec, CLASSES)
        assert sum(weight.numel() for weight in model.parameters()) == parameters(spec, CLASSES)
        assert _operations(model, (2, 5, 32, 16))[0] == forward_flop(spec, CLASSES)
    assert built(spec, 10)(torch.zeros(2, 5, 32, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("target", "changes", "sentence"),
    [
        ("my_models.nets:headless", {}, r"answers one image with \(1, 768\) instead of logits \(1, 10\)"),
        ("my_models.nets:number", {}, "returned int, not a torch.nn.Module; it must return the model"),
        ("my_models.nets:nothing", {}, "no attribute 'nothing'; it must be a function my_package.my_module:build"),
        ("my_models.nowhere:build", {}, "No module named 'my_models.nowhere'; it must be a function"),
        ("my_models.nets:build", {"arguments": (("depth", 3),)}, "unexpected keyword argument 'depth'"),
        ("timm", {"name": "vit_bse_patch16_224"}, r"Unknown model .*; did you mean vit_base_patch16_224\?"),
        ("torchvision", {"name": "swn_t"}, r"Unknown model swn_t; did you mean swin_t\?"),
        ("torchvision", {"name": "swin_v2_t"}, "unexpected keyword argument 'image_size'; image_size and"),
    ],
)
def test_a_model_that_is_none_is_told_in_a_sentence(models_folder, target, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        count(replace(MINE, **({"target": target, "arguments": ()} | changes)))


def test_a_parameter_without_a_dimension_is_named(models_folder):
    assert count(replace(MINE, target="my_models.nets:Scaled", arguments=())).scalars == ("scale",)


def test_a_model_is_counted_by_a_process_of_its_own_and_again_only_when_its_source_changes(models_folder, monkeypatch):
    heard = []
    (counted_point, other) = models.with_counts([point(model=MINE), point(model=MINE, gpus=2)], heard.append)
    assert len(heard) == 1
    assert counted_point.model == other.model
    classes = counted_point.data.classes
    assert counted_point.model.counts.parameters == 3 * 16 * 16 * 24 + 24 + 24 * classes + classes
    started = []
    monkeypatch.setattr(models.subprocess, "run", lambda *given, **_: started.append(given) or 1 / 0)
    assert models.with_counts([point(model=MINE)], heard.append)[0].model == counted_point.model
    assert (len(heard), started) == (1, [])
    (models_folder / "nets.py").write_text(SOURCE + "\n# another\n")
    with pytest.raises(ZeroDivisionError):
        models.with_counts([point(model=MINE)], heard.append)


def test_without_torch_the_plan_asks_for_two_numbers(models_folder, monkeypatch):
    (models_folder.parent / "torch.py").write_text("raise ImportError('no torch on this login node')")
    sentence = r"nothing could be counted here \(ImportError: no torch on this login node\); .*model\.counts="
    with pytest.raises(UserError, match=sentence):
        models.with_counts([point(model=MINE)], print)


ENGINES = {
    "timm-zero2": (SMALL, EngineSpec(name="zero2", zero_stage=2)),
    "timm-fsdp2": (SMALL, EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True)),
    "mine-ddp": (MINE, EngineSpec(name="ddp", zero_stage=None, kind="ddp")),
}


@pytest.mark.parametrize("name", ENGINES)
def test_it_trains_and_its_engine_is_certified(models_folder, tmp_path, name):
    """Dropout in the model: a rehearsal that let chance in would refuse its gradients."""
    model, engine = ENGINES[name]
    trained_cell = small_cell(gpus=2, epochs=1, engine=engine, model=replace(model, counts=count(model, 4)))
    job = Job(tmp_path / "study", trained_cell, certify=True)
    assert job.run(probe=("on_path", str(models_folder.parent))) == [0, 0], job.log()
    record = job.json("record.json")
    assert record["resolved"]["parameters"] == trained_cell.model.counts.parameters
    assert record["certificate"]["difference"] < 1e-3
    assert record["certificate"]["masked"] == ("" if model is MINE else "the keys' part of qkv.bias")
    assert record["gradients"]["parameters"] > 3


def test_another_release_of_the_model_trains_nothing(models_folder, tmp_path):
    model = replace(MINE, counts=replace(count(MINE, 4), parameters=1000))
    job = Job(tmp_path / "study", small_cell(model=model))
    assert job.run(probe=("on_path", str(models_folder.parent))) == [1], job.log()
    assert "trainable parameters here and 1,000 where it was planned" in job.end()["message"]
