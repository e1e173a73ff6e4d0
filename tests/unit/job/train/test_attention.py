"""Attention from one product: what torch's module computes, with far fewer bytes moved."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from launchers.profile import Device
from tests.unit.builders import cell
from vit_sweep.job.train.measure.counting import counting
from vit_sweep.job.train.model import vision_transformer
from vit_sweep.job.train.models.vit import built
from vit_sweep.plan.specs import ModelSpec

pytestmark = pytest.mark.train

SHAPE = ModelSpec(name="vit", image_size=32, patch_size=4, layers=2, heads=3, width=96, mlp_width=384)


def pair(**changes):
    """Ours and torchvision's own, with the same weights, none of them zero."""
    this_cell = cell(device=Device.CPU, model=replace(SHAPE, **changes))
    ours, theirs = vision_transformer(this_cell).train(), built(this_cell.model, this_cell.data.classes).train()
    for weight in ours.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def loss_of(model, images):
    return cross_entropy(model(images), torch.arange(len(images)))


def test_it_is_what_torchs_module_computes():
    ours, theirs = pair()
    images = torch.randn(4, 3, 32, 32)
    losses = [loss_of(model, images) for model in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    for loss in losses:
        loss.backward()
    right = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, right[name].grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_block_moves_two_thirds_of_the_bytes(monkeypatch):
    """Units of tokens x width of one block and image, forward and backward: `docs/performance.md` reckons with them."""
    # DeepSpeed's ZeRO 3, of some other test of this process, puts one of its own in the place of torch's.
    monkeypatch.setattr(torch.nn.functional, "linear", torch._C._nn.linear)

    def moved(model, images):
        model.zero_grad()
        with counting() as counted:
            loss_of(model, torch.randn(images, 3, 224, 224)).backward()
        return counted.moved_bytes

    def units(which):
        """By differences, so that nothing of other layers, and no weight, is left in."""
        wide = {"image_size": 224, "patch_size": 16, "heads": 12, "width": 768, "mlp_width": 3072}
        deep, flat = pair(layers=2, **wide)[which], pair(layers=1, **wide)[which]
        grown = [moved(model, 3) - moved(model, 1) for model in (deep, flat)]
        return (grown[0] - grown[1]) / 2 / (4 * 197 * 768)

    assert [round(units(which)) for which in (0, 1)] == [117, 186]


def test_the_compiler_finds_it_whole():
    from torch._dynamo.utils import counters

    ours, _ = pair()
    counters.clear()
    for block in ours.encoder.layers.children():
        block.compile(backend="eager")
    loss_of(ours, torch.randn(4, 3, 32, 32)).backward()
    assert counters["stats"]["unique_graphs"] >= 1
    assert not counters["graph_break"]
