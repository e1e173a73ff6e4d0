"""What is asked of a real GPU; each test skips where there is none."""

import time
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist

from launchers.profile import Device
from tests.unit.builders import rank_identity
from vit_sweep.job.train.machine.fingerprint import fingerprint
from vit_sweep.job.train.machine.sampler import Sampler
from vit_sweep.job.train.measure.bench import Bench
from vit_sweep.job.train.measure.collectives import counted
from vit_sweep.job.train.measure.preflight import preflight
from vit_sweep.job.train.measure.window import profile_window
from vit_sweep.plan.choices import Precision
from vit_sweep.record.machine import Samples

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA's"),
]
ME = rank_identity(node_name="here", job_id="1", visible_gpus=1)


def test_cuda_says_which_gpu_it_is():
    machine, _ = fingerprint(ME, Device.CUDA)
    assert machine.gpu.model == torch.cuda.get_device_name(0)
    assert machine.gpu.memory_mib > 1000
    assert len(machine.gpu.serial) == 12
    assert machine.cuda == torch.version.cuda
    assert machine.nccl.count(".") == 2


def test_nvml_says_the_rest():
    pytest.importorskip("pynvml")
    machine, nvml = fingerprint(ME, Device.CUDA)
    assert nvml is not None, "CUDA's address of the GPU is not NVML's"
    assert machine.gpu.driver[0].isdigit()
    assert 0 < machine.gpu.sm_clock_mhz <= machine.gpu.max_sm_clock_mhz
    assert machine.gpu.power_limit_w > 30
    assert machine.gpu.pcie_generation >= 3
    assert machine.gpu.other_processes is not None


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_a_preflight_leaves_no_trace_in_memory_or_random_numbers(precision):
    device = torch.device("cuda", 0)
    allocated = torch.zeros(2**20, device=device)
    state, before = torch.cuda.get_rng_state(device), torch.cuda.memory_allocated(device)
    probe = preflight(rank=0, ranks=1, device=device, precision=precision, parameters=10**6, beat=lambda: None)
    assert probe.note == ""
    assert probe.matmul_tflops > 0.5
    assert probe.seconds < 10
    assert torch.equal(torch.cuda.get_rng_state(device), state)
    # A workspace of cuBLAS may stay, which the training would ask for itself.
    assert torch.cuda.max_memory_allocated(device) - before < 64 * 2**20
    assert torch.cuda.max_memory_allocated(device) == torch.cuda.memory_allocated(device)
    del allocated


def test_a_working_gpu_draws_power_and_says_so():
    pytest.importorskip("pynvml")
    _, nvml = fingerprint(ME, Device.CUDA)
    work = torch.ones(4096, 4096, device="cuda")
    with Sampler(0, nvml, lambda: 2) as sampler:
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            work @ work
            torch.cuda.synchronize()
    samples = sampler.samples
    assert isinstance(samples, Samples)
    assert samples.count >= 3
    assert samples.power_w.max > 20
    assert 0 < samples.energy_j < 3000 * samples.seconds
    assert samples.sm_clock_mhz.max > 100


def test_one_more_product_and_one_more_read_are_one_more_kernel_and_one_more_wait(tmp_path):
    work = torch.ones(64, 64, device="cuda")
    plain, more = (_on_device(tmp_path, lambda extra=extra: _step(work, extra)) for extra in (0, 1))
    assert (more.kernels - plain.kernels, more.synchronisations - plain.synchronisations) == (1, 1)


def _step(work, extra):
    for _ in range(1 + extra):
        work @ work
        work[0, 0].item()


def _on_device(folder, step):
    """What the profiled window counts; torch's process group is there for it alone."""
    bench = Bench(
        ranks=1,
        rank=0,
        device=torch.device("cuda", 0),
        step=step,
        forward=step,
        enter=lambda: None,
        barrier=lambda: None,
        silenced=nullcontext,
        counted=counted,
    )
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        return profile_window(bench, steps=3, trace=folder / "trace.json").on_device
    finally:
        dist.destroy_process_group()
