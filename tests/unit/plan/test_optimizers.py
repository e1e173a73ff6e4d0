"""What the plan refuses of optimizers, and the bytes of their states."""

from dataclasses import replace

import pytest

from tests.unit.builders import MODEL, OPTIMIZER, point
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.optimizers import moment_bytes
from vit_sweep.plan.predict.vit import parameters
from vit_sweep.plan.specs import EngineSpec

FSDP2 = EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True)
ZERO2 = EngineSpec(name="zero2", zero_stage=2)


def of(kind, **changes):
    return replace(OPTIMIZER, name=kind, kind=OptimizerKind(kind), **changes)


def test_a_constant_of_another_optimizer_is_refused_with_those_that_have_it():
    assert cell_of(point(optimizer=of("sgd", eps=1e-6))) == (
        "optimizer=sgd optimizer.eps=1e-06: sgd has no such constant; leave it out, or use optimizer=adamw or adam or "
        "muon or lamb",
    )


@pytest.mark.parametrize(("kind", "engine"), [("lamb", ZERO2), ("muon", ZERO2), ("adafactor", FSDP2)])
def test_an_optimizer_in_pieces_is_refused_in_words_where_it_is_another_algorithm(kind, engine):
    (reason,) = cell_of(point(optimizer=of(kind), engine=engine))
    assert reason.startswith(f"optimizer={kind} engine={engine.name}: {kind} looks at whole tensors, and this engine")
    assert "use engine=zero0 or ddp, or optimizer=adamw or sgd or adam or lion" in reason
    assert isinstance(cell_of(point(optimizer=of(kind))), Cell)


def test_a_stage_by_number_is_the_engine_that_counts():
    (reason,) = cell_of(point(optimizer=of("lamb"), zero=2))
    assert "engine=zero2" in reason


def test_states_of_optimizers_are_bytes_of_their_moments():
    whole = parameters(MODEL, 10)
    states = {kind.value: moment_bytes(of(kind), MODEL, 10) / whole for kind in OptimizerKind}
    assert 0 < states.pop("adafactor") < 0.5
    assert 4 < states.pop("muon") < 8
    assert states == {"adamw": 8, "adam": 8, "lamb": 8, "lion": 4, "sgd": 4, "lars": 4}
    assert moment_bytes(of("sgd", beta1=0.0), MODEL, 10) == 0
