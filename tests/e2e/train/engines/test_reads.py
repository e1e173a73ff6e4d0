"""What a CUDA graph needs of a step, seen without a GPU: nothing of the device is read, no shape or branch hangs on it.

A read makes the host wait for the device, and cannot be captured. Here device and host are one, so reads are counted as
torch dispatches them. AdamW is the fused one that CUDA has: torch's other one reads its own count of steps on the host.
"""

import json

import pytest

from tests.e2e.train.ranks import Program

pytestmark = pytest.mark.train

PROBE = """
import json, os, sys
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from tests.e2e.train.trainers import STEPS, measured_cell, trainer_of
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.specs import EngineSpec

ENGINES = {
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
} | {f"zero{stage}": EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)}
READS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2"}  # the last: their shapes

class Reads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, called, types, given=(), options=None):
        if called.overloadpacket.__name__ in READS and not self.of_the_autograd_engine():
            self.found.append(f"{called} at {self.frame.f_code.co_filename}:{self.frame.f_lineno}")
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
adamw = torch.optim.AdamW
class Fused(adamw):
    def __init__(self, *given, **options):
        super().__init__(*given, **options | {"fused": True})
torch.optim.AdamW = Fused
found = {}
for name, precision in json.loads(sys.argv[2]):
    cell = measured_cell(engine=ENGINES[name], precision=Precision(precision))
    trainer, _ = trainer_of(cell, 0)
    trainer.epoch()  # the first time buckets are built, and ZeRO 3 learns its order
    with Reads() as reads:
        trainer._train_steps()
    found[f"{name} {precision}"] = {"a step": len(reads.found) / STEPS, "where": sorted(set(reads.found))}
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


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Reads of each engine and number format."""
    folder = tmp_path_factory.mktemp("reads")
    wanted = json.dumps(list(READ_IN_A_STEP))
    program = Program(folder, PROBE, folder / "found.json", wanted)
    assert program.wait() == 0, program.err
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize(("engine", "precision"), READ_IN_A_STEP)
def test_a_step_reads_nothing_of_the_device_but_what_its_engine_asks_for_its_update(engine, precision, found):
    read = found[f"{engine} {precision}"]
    assert read["a step"] == READ_IN_A_STEP[engine, precision], read["where"]
