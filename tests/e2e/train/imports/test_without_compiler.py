"""Ranks that compile nothing do without torch's compiler: what they measure is the same, and who needs it has it."""

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.train.ranks import Job, Program, small_cell
from tests.warm import clean_environment

pytestmark = pytest.mark.train

ASKS = {
    "a module below it": "from torch._dynamo.utils import counters as asked",
    "a name of its own": "asked = torch._dynamo.optimize",
    "its compiler": "from torch._inductor import config as asked; asked.fx_graph_cache",
    "torch.compile": "asked = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2))",
}
PROBE = """
import inspect, sys
import torch
from vit_sweep.job.train.imports.without_compiler import is_loaded

weight = torch.nn.Parameter(torch.ones(2))
updates = torch.optim.AdamW([weight])
weight.sum().backward()
updates.step()
inspect.getmodule(updates.step)  # looks through all modules for the one that it comes from
assert not is_loaded(), "a step loads it"
{asks}
assert is_loaded(), "it is not the real one"
for name in ("torch._dynamo", "torch._dynamo.utils", "torch._inductor", "torch._inductor.config"):
    module = sys.modules[name]
    assert module.__spec__.origin == module.__file__, name
    assert eval(name) is module, name
assert sys.modules["torch._dynamo.utils"].counters is sys.modules["torch._dynamo.convert_frame"].counters, "two of them"
updates.step()
"""
COLD = "import sys, torch._dynamo; from vit_sweep.job.task import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
def test_whatever_else_is_asked_of_torchs_compiler_loads_it_once(asks, tmp_path):
    program = Program(tmp_path, PROBE.replace("{asks}", asks))
    assert program.wait() == 0, program.err


def shape(value):
    """The fields of a JSON value, whatever they hold."""
    if isinstance(value, dict):
        return {name: shape(field) for name, field in value.items()}
    return type(value).__name__ if not isinstance(value, list) else [shape(item) for item in value[:1]]


def learnt(record):
    """What depends on every weight after every step, and on nothing that is timed."""
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return [[epoch[name] for name in names] for epoch in record["epochs"]], record["gradients"]


def test_a_forked_rank_without_the_compiler_records_what_a_process_of_its_own_with_it_does(tmp_path):
    """The same fields; and loss, accuracy and gradients bit by bit."""
    measured = {"preflight": True, "profile_steps": 1}
    warm, cold = (Job(tmp_path / kind, small_cell(), **measured) for kind in ("warm", "cold"))
    assert warm.run() == [0]
    place = {"VIT_SWEEP_TASK_INDEX": "0", "VIT_SWEEP_JOB_ID": "local-1-1", "OMP_NUM_THREADS": "1"}
    ranks = dict.fromkeys(("RANK", "LOCAL_RANK"), "0") | dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "1")
    environment = clean_environment() | place | ranks | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", COLD, str(cold.batch(1))], env=environment, check=True)
    one, other = warm.json("record.json"), cold.json("record.json")
    assert json.dumps(shape(one)) == json.dumps(shape(other))
    assert learnt(one) == learnt(other)
    assert one["breakdown"]["moved_bytes"] == other["breakdown"]["moved_bytes"]
