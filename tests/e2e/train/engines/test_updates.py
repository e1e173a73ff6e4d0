"""Every optimizer as it is built from a cell, in one process: its states, its groups, its clipping, its absence."""

import sys
from dataclasses import replace

import pytest

from tests.e2e.train.ranks import small_cell
from tests.unit.builders import OPTIMIZER
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.optimizers import moment_bytes

pytestmark = pytest.mark.train


def built(kind, **changes):
    """A cell, its model with gradients of one batch, and its optimizer."""
    import torch

    from vit_sweep.job.train import model

    spec = replace(OPTIMIZER, name=str(kind), kind=OptimizerKind(kind), **({"weight_decay": 0.05} | changes))
    cell = small_cell(optimizer=spec)
    network = model.vision_transformer(cell)
    torch.nn.init.trunc_normal_(network.get_parameter("heads.head.weight"), std=0.02)
    updates = model.optimizer(cell, network)
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    return cell, network, updates


@pytest.mark.parametrize("kind", OptimizerKind)
def test_an_optimizer_updates_keeps_the_states_that_the_plan_knows_and_rests_at_rate_0(kind):
    import torch

    cell, network, updates = built(kind)
    before = [weight.detach().clone() for weight in network.parameters()]
    updates.step()
    assert all(not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    moments = [v for state in updates.state.values() for v in state.values() if torch.is_tensor(v) and v.ndim]
    assert sum(value.nbytes for value in moments) == moment_bytes(cell.optimizer, cell.model, cell.data.classes)
    after = [weight.detach().clone() for weight in network.parameters()]
    for group in updates.param_groups:
        group["lr"] = 0.0
    updates.step()
    assert all(torch.equal(*pair) for pair in zip(after, network.parameters(), strict=True)), "as measuring needs it"


@pytest.mark.parametrize("kind", OptimizerKind)
def test_without_decay_of_all_neither_vectors_nor_tokens_are_pulled_to_zero(kind):
    """With gradients of zero only decay moves a weight; LAMB and LARS keep none of their own step length then."""
    _, network, updates = built(kind, decay_all=False, learning_rate=1e-2)
    for weight in network.parameters():
        weight.grad.zero_()
        weight.data += 1
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    updates.step()
    moved = {name for name, weight in network.named_parameters() if not weight.equal(before[name])}
    matrices = {name for name, weight in before.items() if weight.ndim in (2, 4)}
    assert moved == matrices
    assert {"class_token", "encoder.pos_embedding"} < set(before) - matrices


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_lars_gives_matrices_a_step_length_of_their_own_whatever_their_decay_and_vectors_that_of_sgd(decay):
    import torch

    _, network, updates = built("lars", decay_all=False, learning_rate=0.1, weight_decay=decay)
    network.get_parameter("class_token").data += 1
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    updates.step()
    for name, weight in network.named_parameters():
        step, descent = weight.detach() - before[name], -0.1 * weight.grad
        assert torch.allclose(step, descent, atol=1e-6) == (weight.ndim not in (2, 4)), name


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else():
    _, network, updates = built("muon")
    names = {id(weight): name for name, weight in network.named_parameters()}
    orthogonal = {names[id(w)] for group in updates.param_groups if not group["use_fallback"] for w in group["params"]}
    assert orthogonal == {
        n
        for n in names.values()
        if n.startswith("encoder.layers") and n.endswith("weight") and network.get_parameter(n).ndim == 2
    }


def test_gradients_of_a_larger_norm_are_scaled_down_together():
    import torch

    from vit_sweep.job.train.model import clip

    for limit, norm in ((0.0, 1.0), (0.5, 0.5), (2.0, 1.0)):
        cell, network, _ = built("sgd", clip_norm=limit)
        weights = list(network.parameters())
        whole = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
        for weight in weights:
            weight.grad /= whole
        first = weights[0].grad.clone()
        clip(cell, network)
        assert torch.nn.utils.get_total_norm([w.grad for w in weights]).item() == pytest.approx(norm, rel=1e-4)
        torch.testing.assert_close(weights[0].grad, first * norm, rtol=1e-4, atol=0)


def test_without_timm_a_job_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.optim", None)
    with pytest.raises(JobError, match=r"optimizer.kind=lion: it is timm's, .*pip install 'vit_sweep\[timm\]'"):
        built("lion")
