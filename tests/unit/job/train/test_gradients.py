"""An engine that loses or changes a gradient is caught before it trains, by name of the parameter."""

import pytest
import torch
import torch.distributed as dist

from tests.e2e.train.ranks import small_cell
from vit_sweep.job.train.engines.plain_torch import PlainTorch
from vit_sweep.job.train.model import optimizer
from vit_sweep.job.train.proof import gradients, rehearsal
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

CPU = torch.device("cpu")
ENGINES = [  # DeepSpeed's are checked in the jobs of test_training: it remembers a process group that is gone
    EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A process group of this process alone."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    dist.init_process_group("gloo", store=dist.FileStore(f"{tmp_path}/store", 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Planted(PlainTorch):
    """An engine with a fault between its gradients and its update."""

    fault = staticmethod(lambda model: None)

    def step(self, *, boundary):
        self.fault(self.module)
        super().step(boundary=boundary)


def check(monkeypatch, fault, **changes):
    monkeypatch.setattr(Planted, "fault", staticmethod(fault))
    monkeypatch.setattr(
        rehearsal, "wrapped", lambda cell, model: Planted(cell, model, optimizer(cell, model), kind="planted")
    )
    return gradients.check_gradients(small_cell(**changes), rank=0, device=CPU)


def no_fault(_):
    pass


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_every_engine_passes_by_a_wide_margin(engine):
    checked = gradients.check_gradients(small_cell(engine=engine, accum=2), rank=0, device=CPU)
    assert checked.difference < checked.tolerance / 10
    assert checked.parameters == len(rehearsal.first_weights(small_cell()))


@pytest.mark.parametrize("accum", [1, 2, 8])
def test_one_process_is_itself(monkeypatch, accum):
    assert check(monkeypatch, no_fault, accum=accum).difference < 1e-5


@pytest.mark.parametrize("fault", ["lose", "halve"])
def test_what_knows_adamw_alone_shows_its_gradients_too(monkeypatch, fault):
    """Megatron's distributed optimizer; another engine stands in, which takes whatever rule it is given."""
    engine = EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=True)
    assert check(monkeypatch, no_fault, engine=engine, accum=2).difference < 1e-5
    with pytest.raises(JobError, match=NAME):
        check(monkeypatch, globals()[fault], engine=engine, accum=2)


NAME = "encoder.layers.encoder_layer_1.mlp.0.weight"


def lose(model):
    model.get_parameter(NAME).grad = None


def halve(model):
    model.get_parameter(NAME).grad /= 2


def spoil(model):
    model.get_parameter(NAME).grad.fill_(float("nan"))


def shift(model):
    model.get_parameter(NAME).grad *= 1.002


@pytest.mark.parametrize(
    ("fault", "part"), [(lose, "by 1 of it"), (halve, "by 0.5 of it"), (spoil, "by inf of it"), (shift, "by 0.002 of")]
)
def test_a_lost_halved_spoilt_or_shifted_gradient_is_named(monkeypatch, fault, part):
    with pytest.raises(JobError) as error:
        check(monkeypatch, fault)
    assert error.value.cause is Cause.WRONG_GRADIENTS
    assert f"engine=zero0: on rank 0 the gradient of {NAME} is not that of one process" in str(error.value)
    assert part in str(error.value)
