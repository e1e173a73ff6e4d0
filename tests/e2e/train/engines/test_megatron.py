"""Megatron trains as one process does; without CUDA three answers stand in for a device, and only behind the switch."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.e2e.train.engines.test_offloaded_bytes import SIZE, WIDE
from tests.e2e.train.ranks import be_one_of_two, run_all, small_cell
from vit_sweep.plan.predict import traffic
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

ACCUM = 2
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
    for engine, result in zip(ENGINES, (whole, parts), strict=True):
        planned, reported, counted = traffic.of_step(engine, ACCUM, SIZE), *result.pop("bytes")
        wanted = {
            "all_reduce": planned.reduced,
            "reduce_scatter_tensor": planned.scattered,
            "all_gather_into_tensor": planned.gathered,
        }
        assert counted == reported, "what the engine says of itself is what went by"
        assert {name: size / (4 * SIZE) for name, size in reported.items()} == pytest.approx(
            {name: times for name, times in wanted.items() if times}, rel=0.03
        ), "Megatron fills up its buffer to even parts"
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
    from vit_sweep.job.train.proof import certificate, gradients, rehearsal

    class WithoutCuda(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            options = dict(kwargs or {})
            if options.get("device") == "cuda":
                options["device"] = "cpu"
            output = func(*args, **options)
            is_name = func is torch.Tensor.type and isinstance(output, str)
            return output.replace("torch.Float", "torch.cuda.Float") if is_name else output

    torch.cuda.current_device = lambda: torch.device("cpu")
    build.Device = SimpleNamespace(CUDA=Device.CPU)
    certificate.STEPS = 10
    names = []
    for engine in ENGINES:
        cell = small_cell(gpus=2, engine=engine)
        with WithoutCuda():
            guarded = gradients.check_gradients(cell, rank=rank, device=torch.device("cpu"))
            assert guarded.difference < guarded.tolerance / 10
            names.append(to_plain(certificate.certify(cell, rank=rank, device=torch.device("cpu"))))
            _decays_as_torch_does(cell)
            _comes_back(rehearsal.small(cell, cell.optimizer), folder)
            names[-1]["bytes"] = _moved(small_cell(gpus=2, accum=ACCUM, engine=engine, model=WIDE))
    return names


def _decays_as_torch_does(cell):
    """Ten steps of a strong decay of some weights only; 0 would be that nobody looks at it."""
    import torch
    import torch.distributed as dist

    from vit_sweep.job.train.engines.build import wrapped
    from vit_sweep.job.train.model import decays, optimizer, vision_transformer

    spec = replace(cell.optimizer, decay_all=False, weight_decay=0.5, learning_rate=0.01)
    cell = replace(cell, optimizer=spec)
    plain, engine = vision_transformer(cell), wrapped(cell, vision_transformer(cell))
    steps, groups = optimizer(cell, plain), [part.optimizer.param_groups for part in engine._parts()]
    assert sorted(group["weight_decay"] for part in groups for group in part) == [0, 0.5]
    images = torch.randn(2, 3, cell.model.image_size, cell.model.image_size, generator=torch.Generator().manual_seed(2))
    for _ in range(10):
        _step(engine, images)
        (plain(images) + 1).square().sum().backward()
        steps.step()
        steps.zero_grad()
    assert {decays(spec, weight) for weight in plain.parameters()} == {True, False}
    for name, weight in engine.weights().items():
        torch.testing.assert_close(weight, plain.state_dict()[name], rtol=1e-4, atol=1e-5)
    dist.barrier()


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


def _step(engine, images, accum=1):
    for micro in range(accum):
        boundary = micro == accum - 1
        engine.backward((engine.forward(images, boundary=boundary) + 1).square().sum(), boundary=boundary)
        engine.step(boundary=boundary)


def _moved(cell):
    """Bytes of a step by collective: as they went by in torch's, and as the engine counts them itself."""
    import torch
    from megatron.core.distributed import param_and_grad_buffer as buffers

    from vit_sweep.job.train.engines.build import wrapped
    from vit_sweep.job.train.model import vision_transformer

    engine = wrapped(cell, vision_transformer(cell))
    images = torch.randn(2, 3, cell.model.image_size, cell.model.image_size)
    _step(engine, images, ACCUM)
    bytes_by_kind = {}

    def noting(collective, whole):
        def call(*tensors, **options):
            size = (tensors or [options.get("tensor")])[whole].nbytes
            if size > 1000:  # not its norms
                bytes_by_kind[collective.__name__] = bytes_by_kind.get(collective.__name__, 0) + size
            return collective(*tensors, **options)

        return call

    with pytest.MonkeyPatch.context() as patch, engine.counted() as counts:
        patch.setattr(torch.distributed, "all_reduce", noting(torch.distributed.all_reduce, 0))
        patch.setattr(buffers, "dist_reduce_scatter_func", noting(buffers.dist_reduce_scatter_func, 1))
        patch.setattr(buffers, "dist_all_gather_func", noting(buffers.dist_all_gather_func, 0))
        _step(engine, images, ACCUM)
    return bytes_by_kind, {kind.name: kind.bytes for kind in counts.kinds(1)}
