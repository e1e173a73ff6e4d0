"""What a rank imports, and what it does not: every rank of every cell pays for it."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.train


PROBE = """
import gc, json, os, sys
import torch
import vit_sweep.job.train.preload
heavy = ("mlflow", "pandas", "scipy", "sklearn", "tensorboard", "wandb", "torch._inductor.compile_fx")
seen = {
    "heavy": [module for module in heavy if module in sys.modules],
    "frozen": gc.get_freeze_count(),
    "looked at": len(gc.get_objects()),
}

from tests.e2e.train.ranks import small_cell
from vit_sweep.job.train.engines.build import wrapped
from vit_sweep.job.train.model import vision_transformer
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
programs = seen["programs"] = []
sys.addaudithook(lambda event, given: programs.append(given[0]) if event == "subprocess.Popen" else None)
wrapped(small_cell(), vision_transformer(small_cell()))
seen["programs"] = list(programs)

from deepspeed.runtime.zero.muon.original_muon import zeropower_via_newtonschulz5 as orthogonal
seen["shape"] = list(orthogonal(torch.eye(4), 5).shape)
seen["compiler"] = "torch._inductor.compile_fx" in sys.modules
seen["compile"] = torch.compile.__module__
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen():
    """What a fresh process says of itself, one thing after the other."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_rank_imports_nothing_that_only_others_need(seen):
    assert seen["heavy"] == []


def test_what_deepspeed_compiles_at_import_is_compiled_when_it_is_called(seen):
    assert (seen["compiler"], seen["compile"], seen["shape"]) == (True, "torch", [4, 4])


def test_what_is_imported_is_not_looked_at_for_garbage_again(seen):
    assert seen["frozen"] > seen["looked at"]


def test_making_an_engine_starts_no_other_program(seen):
    """DeepSpeed would run a compiler in every rank, to see which of its own operations could be built."""
    assert seen["programs"] == []
