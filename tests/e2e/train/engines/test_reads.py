"""What a CUDA graph needs of a step, seen without a GPU: nothing of the device is read, no shape or branch hangs on it,
and every step does the same.

A read makes the host wait for the device, and cannot be captured. Here device and host are one, so reads are counted as
torch dispatches them, and where a tensor is asked for its numbers without that. What a step does is the operations that
it dispatches, with the shapes and types of what they are given: another step of the host's choosing shows there. AdamW
is the fused one that CUDA has: torch's other one reads its own count of steps on the host.
"""

import json

import pytest

from tests.e2e.train.ranks import Program

pytestmark = pytest.mark.train

PROBE = """
import itertools, json, os, sys
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from tests.e2e.train.trainers import STEPS, measured_cell, trainer_of
from vit_sweep.job.train import loop
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.specs import EngineSpec

ENGINES = {
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
} | {f"zero{stage}": EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)}
READS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2"}  # the last: their shapes

ASKED = []
def noting(way):
    asked = getattr(torch.Tensor, way)
    def ask(tensor, *given, **options):
        frame = sys._getframe(1)
        ASKED.append(f"{way} at {frame.f_code.co_filename}:{frame.f_lineno}")
        return asked(tensor, *given, **options)
    setattr(torch.Tensor, way, ask)
for way in ("tolist", "numpy", "cpu", "__array__"):  # on a GPU these read; here none of them is dispatched as a read
    noting(way)

class Seen(TorchDispatchMode):
    def __init__(self, trainer):
        super().__init__()
        self.reads, self.steps = [], []
        trainer._enter = lambda: self.steps.append([])

    def __torch_dispatch__(self, called, types, given=(), options=None):
        if called.overloadpacket.__name__ in READS and not self.of_the_autograd_engine():
            self.reads.append(f"{called} at {self.frame.f_code.co_filename}:{self.frame.f_lineno}")
        tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(given) if isinstance(leaf, torch.Tensor)]
        if self.steps:
            self.steps[-1].append((str(called), *((tuple(one.shape), str(one.dtype)) for one in tensors)))
        return called(*given, **(options or {}))

    def of_the_autograd_engine(self):
        # DDP's C++ asks for the number that it scales gradients by, which is the host's own.
        self.frame = sys._getframe(2)
        torchs_own = ("torch/_dynamo", "torch/_compile", "_python_dispatch")
        while any(part in self.frame.f_code.co_filename for part in torchs_own):
            self.frame = self.frame.f_back
        return self.frame.f_code.co_filename.endswith("torch/autograd/graph.py")

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
torch.set_num_threads(1)
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)

def planted(reads_loss):
    loss_of, step = loop.loss_of, itertools.count()
    def loss(*given, **options):
        lost = loss_of(*given, **options)
        return reads_loss(lost, next(step))
    return loss

PLANTS = {
    "item": lambda loss, step: loss * (1 if loss.item() else 2),
    "branch": lambda loss, step: loss if loss > 0 else -loss,
    "tolist": lambda loss, step: loss * len(loss.detach().reshape(1).tolist()),
    "odd steps": lambda loss, step: loss + 0 * loss if step % 2 else loss,
}
adamw = torch.optim.AdamW
class Fused(adamw):
    def __init__(self, *given, **options):
        super().__init__(*given, **options | {"fused": True})
torch.optim.AdamW = Fused
found = {}
honest = loop.loss_of
for name, precision, plant in json.loads(sys.argv[2]):
    cell = measured_cell(engine=ENGINES[name], precision=Precision(precision))
    trainer, _ = trainer_of(cell, 0)
    trainer.epoch()  # the first time buckets are built, and ZeRO 3 learns its order
    loop.loss_of = planted(PLANTS[plant]) if plant else honest
    ASKED.clear()
    with Seen(trainer) as seen:
        trainer._train_steps()
    seen.reads += ASKED
    loop.loss_of = honest
    _, second, *later, _ = seen.steps  # the first has the beginning of an epoch too, the last its end
    found[f"{name} {precision} {plant}"] = {
        "a step": len(seen.reads) / STEPS,
        "where": sorted(set(seen.reads)),
        "operations": len(second),
        "other steps": sum(step != second for step in later),
    }
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""
READ_IN_A_STEP = {
    ("ddp", "fp32"): 0,
    ("ddp", "bf16_amp"): 0,
    ("fsdp2", "fp32"): 0,
    ("zero0", "fp32"): 0,
    ("zero0", "bf16"): 1,  # whether the update is finite
    ("zero1", "fp32"): 1,  # DeepSpeed's norm of all gradients, as the following ones
    ("zero2", "bf16"): 1,
    ("zero3", "fp32"): 1,
}
PLANTS = {"item": (1, 0), "branch": (1, 0), "tolist": (1, 0), "odd steps": (0, 3)}
"""What is put into DDP's step, and what is seen of it: reads a step, and steps of five that do not do what the one
before them does."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What is seen of each engine and number format, and of what was planted."""
    folder = tmp_path_factory.mktemp("reads")
    wanted = [*((*of, "") for of in READ_IN_A_STEP), *(("ddp", "fp32", plant) for plant in PLANTS)]
    program = Program(folder, PROBE, folder / "found.json", json.dumps(wanted))
    assert program.wait() == 0, program.err
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize(("engine", "precision"), READ_IN_A_STEP)
def test_a_step_reads_nothing_of_the_device_but_what_its_engine_asks_for_its_update(engine, precision, found):
    seen = found[f"{engine} {precision} "]
    assert seen["a step"] == READ_IN_A_STEP[engine, precision], seen["where"]


@pytest.mark.parametrize(("engine", "precision"), READ_IN_A_STEP)
def test_every_step_dispatches_the_same_operations_on_the_same_shapes(engine, precision, found):
    seen = found[f"{engine} {precision} "]
    assert seen["operations"] > 100
    assert seen["other steps"] == 0


@pytest.mark.parametrize("plant", PLANTS)
def test_a_read_or_a_branch_of_the_host_in_a_step_is_seen(plant, found):
    seen = found[f"ddp fp32 {plant}"]
    assert (seen["a step"], seen["other steps"]) == PLANTS[plant]
