"""Megatron trains as one process does; without CUDA three answers stand in for a device, and only behind the switch."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.e2e.train.ranks import be_one_of_two, run_all, small_cell
from vit_sweep.plan.point import EngineSpec

pytestmark = pytest.mark.train

ENGINES = [
    EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=distributed)
    for distributed in (False, True)
]


@pytest.mark.skipif(
    not os.environ.get("VIT_SWEEP_LONG_TESTS"), reason="megatron-core takes long to import: VIT_SWEEP_LONG_TESTS=1"
)
def test_it_trains_the_same_and_comes_back_where_what_it_asks_of_cuda_lies_on_the_processor(tmp_path):
    """Buffer, scale and the name of a tensor's type; all else, gloo's collectives too, is the real one."""
    run_all(_rank, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=300)
    whole, parts = json.loads((tmp_path / "0.json").read_text())
    assert (whole["absolute"], parts["absolute"]) == (0, 0)
    assert whole["classes"] == ["megatron DistributedDataParallel", "FP32Optimizer"]
    assert parts["classes"] == ["megatron DistributedDataParallel", "DistributedOptimizer"]
    assert whole["collectives"] == ["all_reduce"]
    assert parts["collectives"] == ["all_gather_into_tensor", "reduce_scatter_tensor"]


def _rank(folder, rank):
    be_one_of_two(folder, rank, lambda: _on_a_processor(Path(folder), rank))


def _on_a_processor(folder, rank):
    import torch
    from torch.overrides import TorchFunctionMode

    from launchers.checked import to_plain
    from launchers.profile import Device
    from vit_sweep.job.train.engines import build
    from vit_sweep.job.train.proof import certificate, rehearsal

    class WithoutCuda(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            given = dict(kwargs or {})
            if given.get("device") == "cuda":
                given["device"] = "cpu"
            made = func(*args, **given)
            is_name = func is torch.Tensor.type and isinstance(made, str)
            return made.replace("torch.Float", "torch.cuda.Float") if is_name else made

    torch.cuda.current_device = lambda: torch.device("cpu")
    build.Device = SimpleNamespace(CUDA=Device.CPU)
    certificate.STEPS = 10
    made = []
    for engine in ENGINES:
        cell = small_cell(gpus=2, engine=engine)
        with WithoutCuda():
            made.append(to_plain(certificate.certify(cell, rank=rank, device=torch.device("cpu"))))
            _comes_back(rehearsal.small(cell, cell.optimizer), folder)
    return made


def _comes_back(cell, folder):
    """What is saved after a step is there again in another copy, weights and moments."""
    import torch
    import torch.distributed as dist

    from vit_sweep.job.train.engines.build import wrapped
    from vit_sweep.job.train.model import vision_transformer

    first, second = (wrapped(cell, vision_transformer(cell)) for _ in range(2))
    images = torch.randn(2, 3, cell.model.image_size, cell.model.image_size, generator=torch.Generator().manual_seed(1))
    _step(first, images)
    first.save(folder)
    dist.barrier()
    second.load(folder)
    for engine in (first, second):
        _step(engine, images)
    assert all(torch.equal(weight, second.weights()[name]) for name, weight in first.weights().items())
    dist.barrier()


def _step(engine, images):
    engine.backward((engine.forward(images, boundary=True) + 1).square().sum(), boundary=True)
    engine.step(boundary=True)
