"""Every engine trains what DeepSpeed's ZeRO 0 does, also after a stop, bit by bit but for an offloaded one;
docs/engines.md is true.
"""

import re

import pytest

from tests.conftest import ROOT
from tests.e2e.train.ranks import Job, small_cell
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

ENGINES = {
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
    "kept": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=False),
    "offloaded": EngineSpec(name="zero2", zero_stage=2, offload_optimizer=Offload.CPU),
    "accelerate": EngineSpec(name="accelerate", zero_stage=None, kind="accelerate"),
}
CLASSES = {
    "ddp": ["DistributedDataParallel", "AdamW"],
    "fsdp2": ["FSDPVisionTransformer", "AdamW"],
    "kept": ["FSDPVisionTransformer", "AdamW"],
    "offloaded": ["DeepSpeedEngine", "DeepSpeedZeroOptimizer"],
    "accelerate": ["DistributedDataParallel", "AdamW"],
}
STOPS = {"ddp": (2, 1), "fsdp2": (2, 1), "kept": (2, 0), "accelerate": (2, 1), "offloaded": (2, 1)}
"""Epoch and finished steps: inside an epoch, and at its border, where FSDP2 may hold whole weights of an evaluation."""
MEASURED = {
    "ddp": {"profile_steps": 1, "certify": True},
    "fsdp2": {"profile_steps": 1, "exposed": True},
}
EXAMPLE = ROOT / "docs" / "engines.md"


@pytest.fixture(scope="module")
def zero0(tmp_path_factory):
    """What DeepSpeed learns without ZeRO, in two micro steps a step."""
    job = Job(tmp_path_factory.mktemp("zero0"), small_cell(gpus=2, accum=2), checkpoint_epochs=0)
    assert job.run() == [0, 0], job.log()
    record = job.json("record.json")
    assert record["resolved"]["engine"] == "deepspeed"
    assert record["resolved"]["classes"] == ["DeepSpeedEngine", "AdamW"]
    return learned(record)


def write_example(folder):
    """The engine that docs/engines.md shows, as a module below `folder`."""
    (folder / "my_engines").mkdir()
    text = re.search(r"```python\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)[1]
    (folder / "my_engines" / "by_hand.py").write_text(text)


def learned(record):
    keys = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return [[epoch[key] for key in keys] for epoch in record["epochs"]]


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_was_stopped_learns_what_deepspeed_does_and_is_measured_alike(tmp_path, zero0, name):
    measuring = MEASURED.get(name, {})
    job = Job(tmp_path, small_cell(gpus=2, accum=2, engine=ENGINES[name]), **measuring)
    assert job.run(probe=("signal_at", 1, "SIGUSR2", *STOPS[name])) == [1, 1], job.log()
    assert job.run(attempt=2) == [0, 0], job.log(attempt=2)
    record = job.json("record.json")
    # With an offloaded optimizer the last bits differ on some processors (an AMD EPYC with AVX-512, 2026-11-29).
    expected = [pytest.approx(epoch, rel=1e-6) for epoch in zero0] if name == "offloaded" else zero0
    assert learned(record) == expected
    assert record["restarts"] == 1
    assert record["gradients"]["difference"] < record["gradients"]["tolerance"] / 10
    resolved, measured = record["resolved"], record["breakdown"]
    assert (resolved["engine"], resolved["classes"]) == (ENGINES[name].kind, CLASSES[name])
    assert (resolved["zero_stage"], resolved["precision"]) == (ENGINES[name].zero_stage, "fp32")
    assert resolved["parameters"] == 19428
    assert measured["notes"] == []
    if not measuring:
        return
    certificate = record["certificate"]
    assert (certificate is not None) == ("certify" in measuring)
    assert certificate is None or certificate["difference"] <= certificate["tolerance"]
    assert (measured["exposed"] is not None) == ("exposed" in measuring)
    kinds = {kind["name"] for kind in measured["collective"]["kinds"]}
    assert kinds == ({"all_reduce"} if name == "ddp" else {"all_gather_into_tensor", "reduce_scatter_tensor"})


def test_accelerate_with_its_deepspeed_plugin_learns_the_same_and_says_its_version(tmp_path, zero0):
    engine = EngineSpec(name="accelerate_zero1", zero_stage=1, kind="accelerate")
    job = Job(tmp_path, small_cell(gpus=2, accum=2, engine=engine))
    assert job.run() == [0, 0], job.log()
    record = job.json("record.json")
    assert learned(record) == zero0
    assert (record["resolved"]["engine"], record["resolved"]["zero_stage"]) == ("accelerate", 1)
    assert {"accelerate", "transformers"} <= set(record["versions"])


def test_the_example_of_an_engine_of_ones_own_trains_and_learns_the_same(tmp_path, zero0):
    write_example(tmp_path)
    engine = EngineSpec(name="by_hand", zero_stage=None, kind="my_engines.by_hand")
    job = Job(tmp_path / "study", small_cell(gpus=2, accum=2, engine=engine), exposed=True)
    assert job.run(probe=("import_from", str(tmp_path))) == [0, 0], job.log()
    record = job.json("record.json")
    assert learned(record) == zero0
    assert record["resolved"]["engine"] == "my_engines.by_hand"
    assert {phase["median_ms"]["communication"] is None for phase in record["epochs"][1]["phases_by_rank"]} == {False}


DROPS = """
from my_engines.by_hand import ByHand, device_of, optimizer

def build(cell, model):
    return Drops(cell, model.to(device_of(cell)), optimizer(cell, model), kind="my_engines.drops")

class Drops(ByHand):
    def carries(self, name, size_bytes):
        return False
"""


def test_an_engine_that_drops_its_all_reduces_trains_nothing(tmp_path):
    write_example(tmp_path)
    (tmp_path / "my_engines" / "drops.py").write_text(DROPS)
    engine = EngineSpec(name="drops", zero_stage=None, kind="my_engines.drops")
    job = Job(tmp_path / "study", small_cell(gpus=2, engine=engine))
    assert job.run(probe=("import_from", str(tmp_path))) == [1, 1]
    for rank in range(2):
        assert job.end(rank)["cause"] == "wrong_gradients"
        assert "engine=drops: on rank" in job.end(rank)["message"]
        assert "is not that of one process with all images" in job.end(rank)["message"]
    assert not (job.dir / "record.json").exists()


def test_an_engine_that_cannot_be_imported_is_one_sentence(tmp_path):
    job = Job(tmp_path, small_cell(engine=EngineSpec(name="x", zero_stage=None, kind="my_engines.nowhere")))
    assert job.run() == [1]
    assert job.end()["cause"] == "configuration"
    assert job.end()["message"].startswith("engine.kind=my_engines.nowhere: no engine can be had from this module")
