"""Engines that train the same have a certificate, exact on two ranks; every planted difference has none."""

import json
from dataclasses import replace

import pytest

from tests.e2e.train.ranks import be_one_of_two, run_all, small_cell
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.engine.kinds import OPTIONAL
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

DDP = EngineSpec(name="ddp", zero_stage=None, kind="ddp")
FSDP2 = EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True)
STAGES = [EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)]
OFFLOADED = EngineSpec(name="zero3_offloaded", zero_stage=3, offload_optimizer=Offload.CPU, offload_param=Offload.CPU)
KNOBS = EngineSpec(name="zero2_knobs", zero_stage=2, overlap_comm=True, reduce_bucket_size=1000)
ILL_VALUED = replace(STAGES[2], config=('zero_optimization.sub_group_size="many"',))
ACCELERATE = EngineSpec(name="accelerate", zero_stage=None, kind="accelerate")
PLUGIN = EngineSpec(name="accelerate_zero2", zero_stage=2, kind="accelerate")
MEGATRON = EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=True)
ENGINES = (DDP, FSDP2, *STAGES, OFFLOADED, KNOBS, ACCELERATE, PLUGIN)
STEPS = 10
"""Instead of 50: the differences that are planted show at once, and rounding grows with every step."""
CASES = {
    **{engine.name: (engine, "nothing") for engine in ENGINES},
    "another clipping": (STAGES[0], "clip"),
    "a dropped all-reduce": (DDP, "drop"),
    "each rank alone": (DDP, "ignore"),
    "DDP instead of ZeRO 2": (STAGES[2], "ddp_instead"),
    "an optimizer by layers, whole": (DDP, "by_layers"),
    "an optimizer by layers, in flat shards": (STAGES[1], "by_layers"),
}
HELD = {*(engine.name for engine in ENGINES), "an optimizer by layers, whole"}


def test_an_engine_that_trains_the_same_is_certified_and_one_that_does_not_is_not(tmp_path):
    """All in one pair of processes: DeepSpeed takes ten seconds to import."""
    run_all(_rank, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=300)
    certificate_of_0, others_made = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert certificate_of_0 == others_made, "all ranks say the same"
    by_itself, alone, *others = certificate_of_0.pop("refused")
    assert others == [
        "engine=megatron: megatron-core keeps gradients in a buffer on a CUDA device, and this rank has none; use "
        "another engine",
        "engine=accelerate: nowhere not installed: pip install 'vit_sweep[engines]', or another engine",
    ]
    cause = "DeepSpeedEngine was asked for on 2 ranks, and Accelerate made"
    assert (
        f"engine=accelerate_zero2: {cause} DistributedDataParallel of the model (MULTI_CPU, 2 processes)" in by_itself
    )
    assert "made VisionTransformer of the model (NO, 1 process); nothing was trained" in alone
    assert {name for name, (holds, *_) in certificate_of_0.items() if holds} == HELD, certificate_of_0
    exact = {name for name, (_, certificate) in certificate_of_0.items() if certificate["absolute"] == 0}
    assert exact >= {"ddp", "fsdp2", "zero0", "zero1", "zero2", "accelerate", "accelerate_zero2", KNOBS.name}, (
        certificate_of_0
    )
    assert certificate_of_0["accelerate"][1]["classes"] == ["DistributedDataParallel", "AdamW"]
    assert certificate_of_0["accelerate_zero2"][1]["classes"] == ["DeepSpeedEngine", "DeepSpeedZeroOptimizer"]
    assert certificate_of_0["zero3"][1]["absolute"] < 1e-4
    assert certificate_of_0["zero3"][1]["masked"] == "the keys' part of in_proj_bias"
    assert certificate_of_0.pop("DDP instead of ZeRO 2")[1]["instead"] == "ddp", "its weights are right"
    assert all(certificate_of_0[name][1]["difference"] > 0.01 for name in set(certificate_of_0) - HELD), (
        certificate_of_0
    )
    assert certificate_of_0["ddp"][1]["classes"] == ["DistributedDataParallel", "AdamW"]
    assert [certificate_of_0[name][1]["collectives"] for name in ("ddp", "fsdp2", "zero1", "each rank alone")] == [
        ["all_reduce"],
        ["all_gather_into_tensor", "reduce_scatter_tensor"],
        ["all_gather_into_tensor", "all_reduce"],
        [],
    ]


def _rank(folder, rank):
    be_one_of_two(folder, rank, lambda: _certified(rank))


def _certified(rank):
    import torch

    from launchers.checked import to_plain
    from vit_sweep.job.train.proof import certificate

    certificate.STEPS = STEPS
    certificates = {}
    for name, (engine, difference) in CASES.items():
        with pytest.MonkeyPatch.context() as patch:
            PLANTED[difference](patch)
            made_here = certificate.certify(small_cell(gpus=2, engine=engine), rank=rank, device=torch.device("cpu"))
        certificates[name] = (made_here.holds, to_plain(made_here))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(JobError, match="offload_optimizer=cpu: DeepSpeed keeps"):
        _keep(patch)
        certificate.certify(small_cell(gpus=2, engine=OFFLOADED), rank=rank, device=torch.device("cpu"))
    with pytest.raises(JobError, match=r"engine.config=.*: DeepSpeed refuses it: .*sub_group_size"):
        certificate.certify(small_cell(gpus=2, engine=ILL_VALUED), rank=rank, device=torch.device("cpu"))
    refused = [_passed_over(PLUGIN, cpu=True), _passed_over(ACCELERATE, cpu=False), _refused(MEGATRON)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPTIONAL, "accelerate", ("nowhere",))
        return certificates | {"refused": [*refused, _refused(ACCELERATE)]}


def _refused(engine):
    from vit_sweep.job.train.engines.build import wrapped
    from vit_sweep.job.train.model import vision_transformer

    cell = small_cell(gpus=2, engine=engine)
    with pytest.raises(JobError) as refused:
        wrapped(cell, vision_transformer(cell))
    return str(refused.value)


def _passed_over(engine, *, cpu):
    """What is said where Accelerate is told `cpu` and takes it for a wish of its own."""
    from vit_sweep.job.train.engines import accelerate

    accelerator = accelerate.Accelerator
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accelerate, "Accelerator", lambda **given: accelerator(**(given | {"cpu": cpu})))
        if cpu:  # nobody has said the backend before
            unsaid = type("Unsaid", (accelerate.PartialState,), {"__init__": lambda self, **_: None})
            patch.setattr(accelerate, "PartialState", unsaid)
        return _refused(engine)


def _keep(patch):
    """What was to be offloaded stays."""
    from vit_sweep.job.train.engines import deepspeed

    configured = deepspeed.ds_config
    patch.setattr(deepspeed, "ds_config", lambda cell: configured(cell) | {"zero_optimization": {"stage": 3}})


def _clip(patch):
    """DeepSpeed's default of a later release."""
    from vit_sweep.job.train.engines import deepspeed

    configured = deepspeed.ds_config
    patch.setattr(deepspeed, "ds_config", lambda cell: configured(cell) | {"gradient_clipping": 1.0})


def _drop(patch):
    """Nothing is reduced from the second step on."""
    from vit_sweep.job.train.engines.ddp import Ddp

    forward = Ddp.forward

    def dropping(self, images, *, boundary):
        logits = forward(self, images, boundary=boundary)
        self._silent = True
        return logits

    patch.setattr(Ddp, "forward", dropping)


def _ignore(patch):
    """As Accelerate without CUDA: what was asked for is not there, and each rank trains by itself."""
    from vit_sweep.job.train.engines import build
    from vit_sweep.job.train.engines.plain_torch import PlainTorch
    from vit_sweep.job.train.model import optimizer

    alone = {"ddp": lambda cell, model: PlainTorch(cell, model, optimizer(cell, model), kind="ddp")}
    patch.setattr(build, "_BUILD", alone)


def _ddp_instead(patch):
    """As Accelerate on a CPU: the plugin that was asked for is passed over, and what runs trains rightly."""
    from vit_sweep.job.train.engines import build, ddp

    patch.setattr(build, "_BUILD", {"deepspeed": ddp.build})


def _by_layers(patch):
    """Each tensor's update has the norm of the tensor, as in LAMB: a flat shard is another tensor."""
    import torch

    from vit_sweep.job.train.engines import ddp, deepspeed
    from vit_sweep.job.train.proof import rehearsal

    class ByLayers(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        weight.grad *= (1 + weight.norm()) / (1e-6 + weight.grad.norm())
            return super().step(closure)

    for module in (rehearsal, ddp, deepspeed):
        patch.setattr(module, "optimizer", lambda cell, model: ByLayers(model.parameters(), lr=1e-3))


PLANTED = {
    "nothing": lambda patch: None,
    "clip": _clip,
    "drop": _drop,
    "ignore": _ignore,
    "by_layers": _by_layers,
    "ddp_instead": _ddp_instead,
}
