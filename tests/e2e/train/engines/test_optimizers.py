"""Where an optimizer is another algorithm is measured on two ranks."""

import json
import os
from dataclasses import replace

import pytest

from tests.e2e.train.ranks import be_one_of_two, run_all, small_cell
from tests.unit.builders import OPTIMIZER
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.optimizers import DIFFERENT, pieces
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

ENGINES = {
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
    **{f"zero{stage}": EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)},
}
EVERYTHING = [(kind.value, engine) for kind in OptimizerKind for engine in ENGINES]
QUICK = [
    ("lion", "zero2"),
    ("lamb", "fsdp2"),
    ("adafactor", "fsdp2"),
    *((k, "zero1") for k in ("lamb", "lars", "muon")),
]
CASES = EVERYTHING if os.environ.get("VIT_SWEEP_LONG_TESTS") == "1" else QUICK


def test_the_table_of_other_algorithms_is_what_two_ranks_measure(tmp_path):
    run_all(_rank, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=500)
    measured = json.loads((tmp_path / "0.json").read_text())
    holding = {tuple(case.split()) for case, difference in measured.items() if difference is not None}
    known = {(kind, engine) for kind, engine in CASES if OptimizerKind(kind) not in DIFFERENT[pieces(ENGINES[engine])]}
    assert holding == known, measured


def _rank(folder, rank):
    be_one_of_two(folder, rank, lambda: {f"{kind} {engine}": _difference(kind, engine, rank) for kind, engine in CASES})


def _difference(kind, engine, rank):
    """What the certificate says, where it holds; with weight decay, without which timm's LARS is SGD."""
    import torch

    from vit_sweep.job.train.proof import certificate

    certificate.STEPS = 10
    rate = 1.0 if kind == OptimizerKind.LARS else 1e-3  # steps of a thousandth of a weight
    spec = replace(OPTIMIZER, name=kind, kind=OptimizerKind(kind), weight_decay=0.05, learning_rate=rate)
    cell = small_cell(gpus=2, engine=ENGINES[engine], optimizer=replace(spec, decay_all=False))
    try:
        certificate_made = certificate.certify(cell, rank=rank, device=torch.device("cpu"))
    except RuntimeError as error:
        assert (kind, engine) == ("adafactor", "fsdp2"), error
        return None
    return certificate_made.difference if certificate_made.holds else None
