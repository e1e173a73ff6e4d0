"""What a rank imports, and what it does not: every rank of every cell pays for it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.train


PROBE = """
import encodings.idna, gc, json, os, sys
from dataclasses import replace
from pathlib import Path
import torch
import vit_sweep.job.train.imports.importing
looks = []
gc.collect()  # or what was made before, by a compiler of these lines too, may ask for a look
gc.callbacks.append(lambda phase, about: looks.append(phase))
import vit_sweep.job.train.imports.preload
gc.callbacks.pop()
from vit_sweep.job.train.imports.part_of_torchvision import began
from tests.e2e.train.ranks import Job, small_cell
from vit_sweep.job.task import main

os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}

PARTS = {"deepspeed": "deepspeed", "compiler": "torch._dynamo.convert_frame", "triton": "triton"}

def loads(**engine):
    cell = small_cell(epochs=2)  # with a checkpoint after the first
    made = replace(cell, engine=replace(cell.engine, **engine))
    folder = Job(Path(sys.argv[1], engine["kind"]), made, preflight=True, profile_steps=1).batch(1)
    rank = os.fork()
    if rank == 0:
        os.environ |= {"VIT_SWEEP_TASK_INDEX": "0", "VIT_SWEEP_JOB_ID": "local-1-1", "LOCAL_WORLD_SIZE": "1"}
        failed = main([str(folder)])
        os._exit(1 if failed else 8 + sum(1 << i for i, name in enumerate(PARTS.values()) if name in sys.modules))
    code = os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1])
    return {part: bool(code & 1 << i) for i, part in enumerate(PARTS)} if code & 8 else "failed"

engines = [{"kind": "ddp", "zero_stage": None}, {"kind": "fsdp2", "zero_stage": None, "reshard_after_forward": True}]
ranks = [loads(**engine) for engine in [*engines, {"kind": "deepspeed"}]]

import vit_sweep.job.train.imports.with_deepspeed
compiler = ("sympy", "torch._dynamo.convert_frame", "torch._inductor.compile_fx", "torch.distributed.tensor")
heavy = (*compiler, "mlflow", "pandas", "scipy", "sklearn", "tensorboard", "triton", "wandb")
seen = {
    "ranks": ranks,
    "looks": len(looks),
    "collects": gc.isenabled(),
    "began": sorted(began()),
    "torchvision": sum(name.startswith("torchvision") for name in sys.modules),
    "heavy": [module for module in heavy if module in sys.modules],
    "frozen": gc.get_freeze_count(),
    "looked at": len(gc.get_objects()),
}

from vit_sweep.job.train.engines.build import wrapped
from vit_sweep.job.train.model import vision_transformer
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
programs = seen["programs"] = []
sys.addaudithook(lambda event, given: programs.append(given[0]) if event == "subprocess.Popen" else None)
wrapped(small_cell(), vision_transformer(small_cell()))
seen["programs"] = list(programs)
seen["triton"] = "triton" in sys.modules
from torch.utils._triton import has_triton_package
seen["torch finds triton"] = has_triton_package()

from deepspeed.runtime.zero.muon.original_muon import zeropower_via_newtonschulz5 as orthogonal
seen["shape"] = list(orthogonal(torch.eye(4), 5).shape)
seen["compiler"] = "torch._inductor.compile_fx" in sys.modules
seen["compile"] = torch.compile.__module__
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What a fresh process says of itself, one thing after the other."""
    folder = tmp_path_factory.mktemp("ranks")
    # Or Inductor compiles a sample for each set of instructions first: 15 s.
    environment = os.environ | {"TORCHINDUCTOR_VEC_ISA_OK": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    completed = subprocess.run(
        [sys.executable, "-c", PROBE, folder], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(completed.stdout.splitlines()[-1])


def test_a_rank_imports_nothing_that_only_others_need(report):
    assert report["heavy"] == []


def test_only_ranks_of_cells_that_use_deepspeed_load_it(report):
    """Of DDP, FSDP2 and DeepSpeed."""
    assert [rank["deepspeed"] for rank in report["ranks"]] == [False, False, True]


def test_a_rank_that_compiles_nothing_never_loads_the_compiler_nor_triton(report):
    """From its first line to its record, checkpoint and measurements included. FSDP2 asks torch for both."""
    for part in ("compiler", "triton"):
        assert [rank[part] for rank in report["ranks"]] == [False, True, False]


def test_what_deepspeed_compiles_at_import_is_compiled_when_it_is_called(report):
    assert (report["compiler"], report["compile"], report["shape"]) == (True, "torch", [4, 4])


def test_deepspeed_has_no_triton_and_torch_finds_it(report):
    assert (report["triton"], report["torch finds triton"]) == (False, find_spec("triton") is not None)


def test_what_is_imported_is_not_looked_at_for_garbage_again(report):
    assert report["frozen"] > report["looked at"]


def test_no_look_for_garbage_disturbs_the_imports(report):
    assert (report["looks"], report["collects"]) == (0, True)


def test_a_rank_imports_the_part_of_torchvision_that_it_uses(report):
    """Its data sets, models and operations stay where they are: 160 of its modules otherwise."""
    assert report["began"] == ["torchvision.transforms"]
    assert report["torchvision"] < 60


def test_making_an_engine_starts_no_other_program(report):
    """DeepSpeed would run a compiler in every rank, to see which of its own operations could be built."""
    assert report["programs"] == []
