"""What a rank imports, and what it does not: every rank of every cell pays for it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.train


def ran(probe):
    program = f"import sys, torch\nimport vit_sweep.job.train.preload\n{probe}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_a_rank_imports_nothing_that_only_others_need():
    heavy = ("mlflow", "pandas", "scipy", "sklearn", "tensorboard", "wandb", "torch._inductor.compile_fx")
    assert ran(f"print([module for module in {heavy} if module in sys.modules])") == "[]"


def test_what_deepspeed_compiles_at_import_is_compiled_when_it_is_called():
    probe = """
from deepspeed.runtime.zero.muon.original_muon import zeropower_via_newtonschulz5 as orthogonal
result = orthogonal(torch.eye(4), 5)
print("torch._inductor.compile_fx" in sys.modules, torch.compile.__module__, tuple(result.shape))
"""
    assert ran(probe) == "True torch (4, 4)"


def test_what_is_imported_is_not_looked_at_for_garbage_again():
    assert int(ran("import gc; print(gc.get_freeze_count() - len(gc.get_objects()))")) > 0


def test_making_an_engine_starts_no_other_program():
    """DeepSpeed would run a compiler in every rank, to see which of its own operations could be built."""
    probe = """
import os
from tests.e2e.train.ranks import small_cell
from vit_sweep.job.train.engines.build import wrapped
from vit_sweep.job.train.model import vision_transformer
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
programs = []
sys.addaudithook(lambda event, given: programs.append(given[0]) if event == "subprocess.Popen" else None)
wrapped(small_cell(), vision_transformer(small_cell()))
print(programs)
"""
    assert ran(probe) == "[]"
