"""`compile=true` with torch's own compiler, whose kernels a processor runs: the rest of the tests only trace, as a GPU
would have it, and need no C++ compiler."""

import json
import shutil

import pytest

from tests.conftest import LONG
from tests.e2e.train.ranks import Program

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler here"),
]

PROBE = """
import json, os, sys
import torch
import torch.distributed as dist
import torch._dynamo
from tests.e2e.train.ranks import small_cell
from tests.e2e.train.trainers import trainer_of
from torch._inductor import metrics
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.specs import EngineSpec

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
torch.set_num_threads(1)
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
found = []
for compiled in json.loads(sys.argv[2]):
    cell = small_cell(
        gpus=1,
        epochs=2,
        compile=compiled,
        precision=Precision(sys.argv[3]),
        engine=EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    )
    trainer, _ = trainer_of(cell, 0)
    epochs, kernels = [], []
    for _ in range(cell.epochs):
        epochs.append(trainer.epoch().train_loss)
        kernels.append(metrics.generated_kernel_count)
    breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
    found.append({"losses": epochs, "kernels": kernels, "breaks": breaks})
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


@pytest.mark.parametrize(
    "precision",
    ["fp32", pytest.param("bf16_amp", marks=pytest.mark.skipif(not LONG, reason="VIT_SWEEP_LONG_TESTS=1"))],
)
def test_compiled_blocks_are_kernels_of_their_own_that_learn_the_same(tmp_path, precision):
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    kept["TORCHINDUCTOR_VEC_ISA_OK"] = "1"  # or it compiles a sample for each set of instructions first: 7 s
    program = Program(tmp_path, PROBE, tmp_path / "found.json", json.dumps([False, True]), precision, **kept)
    assert program.wait() == 0, program.err
    plain, compiled = json.loads((tmp_path / "found.json").read_text())
    assert (plain["kernels"], plain["breaks"]) == ([0, 0], 0)
    first, second = compiled["kernels"]
    assert 0 < first == second, "later epochs compile nothing"
    assert compiled["breaks"] == 0
    assert compiled["losses"] == pytest.approx(plain["losses"], rel=1e-4 if precision == "fp32" else 1e-2)
