"""A GPU's facts and samples, from an NVML that is faked, and from one that is not there."""

import os
import sys
import threading
from types import SimpleNamespace

import pytest

from vit_sweep.job.train.machine.nvml import SM_CLOCK, NvmlGpu, hashed, nvml_gpu
from vit_sweep.job.train.machine.sampler import Sampler
from vit_sweep.record.machine import EnergySource, Gpu, Samples, Spread


class FakeNvml:
    """The part of `pynvml` that is asked; a question without an answer here is not supported."""

    def __init__(self, **answers):
        self.answers = answers
        self.inits = 0
        self.now = {}
        """Answers that change with every sample."""

    def __getattr__(self, name):
        def answer_of(handle, *arguments):
            assert handle == "handle"
            question = name.removeprefix("nvmlDeviceGet")
            answers = self.answers | self.now
            if question not in answers:
                raise RuntimeError("Not Supported")
            answer = answers[question]
            return answer(*arguments) if callable(answer) else answer

        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)
        return answer_of

    def nvmlInit(self):  # noqa: N802
        self.inits += 1

    def nvmlDeviceGetHandleByPciBusId(self, address):  # noqa: N802
        if address != b"0000:41:00.0":
            raise RuntimeError("Not Found")
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        if uuid != b"GPU-4f3a":
            raise RuntimeError("Not Found")
        return "handle"

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return b"550.54"


def test_a_gpu_is_found_by_address_or_by_uuid_or_not_at_all():
    library = FakeNvml()
    assert nvml_gpu("0000:41:00.0", None, library=library) is not None
    assert nvml_gpu("0000:42:00.0", "4f3a", library=library) is not None
    assert nvml_gpu(None, "GPU-4f3a", library=library) is not None
    assert nvml_gpu("0000:42:00.0", "5555", library=library) is None
    assert nvml_gpu(None, None, library=library) is None


def test_without_the_package_or_the_driver_there_is_no_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    assert nvml_gpu("0000:41:00.0", None) is None

    class NoDriver(FakeNvml):
        def nvmlInit(self):  # noqa: N802
            raise RuntimeError("NVML Shared Library Not Found")

    assert nvml_gpu("0000:41:00.0", None, library=NoDriver()) is None


def test_a_question_that_fails_is_none():
    gpu = NvmlGpu(FakeNvml(PowerUsage=lambda: 1 / 0), "handle")
    assert gpu.query("PowerUsage") is None
    assert gpu.query("NoSuchQuestion", 1) is None
    assert gpu.nvlinks() is None
    assert gpu.processes() is None


def test_active_nvlinks_are_counted():
    def state(link):
        if link >= 6:
            raise RuntimeError("Invalid Argument")
        return 1 if link < 4 else 0

    assert NvmlGpu(FakeNvml(NvLinkState=state), "handle").nvlinks() == 4


def test_a_serial_stands_for_a_uuid_however_it_is_written():
    assert hashed("GPU-4f3a") == hashed("4f3a") != hashed("4f3b")
    assert len(hashed("4f3a")) == 12
    assert hashed(None) is None


@pytest.mark.train  # the module imports torch
def test_the_gpus_facts_come_from_cuda_and_nvml_and_none_has_to_be_there(tmp_path):
    from vit_sweep.job.train.machine.fingerprint import gpu_facts

    properties = SimpleNamespace(
        name="NVIDIA A100", total_memory=40 * 2**30, uuid="4f3a", pci_domain_id=0, pci_bus_id=0x41, pci_device_id=0
    )
    node = tmp_path / "sys/bus/pci/devices/0000:41:00.0"
    node.mkdir(parents=True)
    (node / "numa_node").write_text("1\n")
    own_process = SimpleNamespace(pid=os.getpid(), usedGpuMemory=2**30)
    others = [SimpleNamespace(pid=-5, usedGpuMemory=2540 * 2**20), SimpleNamespace(pid=-6, usedGpuMemory=None)]
    nvml = NvmlGpu(
        FakeNvml(
            MigMode=[0, 0],
            MaxPcieLinkGeneration=4,
            CurrPcieLinkWidth=16,
            EnforcedPowerLimit=400_000,
            ClockInfo=lambda kind: 210 if kind == SM_CLOCK else 0,
            ComputeRunningProcesses=[own_process, *others],
            MaxClockInfo=lambda kind: 1410 if kind == SM_CLOCK else 0,
        ),
        "handle",
    )
    assert gpu_facts(properties, nvml, tmp_path) == Gpu(
        model="NVIDIA A100",
        memory_mib=40960.0,
        serial=hashed("4f3a"),
        driver="550.54",
        mig=False,
        nvlinks=None,
        pcie_generation=4,
        pcie_width=16,
        numa_node=1,
        sm_clock_mhz=210,
        max_sm_clock_mhz=1410,
        power_limit_w=400.0,
        other_processes=2,
        other_mib=2540.0,
    )
    assert gpu_facts(None, None, tmp_path) == Gpu()
    assert gpu_facts(properties, None, tmp_path).driver is None
    (node / "numa_node").write_text("-1\n")
    assert gpu_facts(properties, NvmlGpu(FakeNvml(), "handle"), tmp_path).numa_node is None


@pytest.mark.train
def test_the_hosts_facts_come_from_the_kernels_files_and_none_has_to_be_there(tmp_path):
    from vit_sweep.job.train.machine.fingerprint import host_facts

    facts = host_facts(tmp_path)
    assert facts["network_gbit_per_s"] is None
    assert facts["host_memory_mib"] is None
    files = {
        "proc/cpuinfo": "processor : 0\nmodel name : AMD EPYC 7543\n",
        "proc/meminfo": "MemTotal:       16777216 kB\n",
        "sys/class/net/lo/operstate": "unknown\n",
        "sys/class/net/lo/speed": "100000\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/eth0/speed": "1000\n",
        "sys/class/net/eth1/operstate": "down\n",
        "sys/class/net/eth1/speed": "40000\n",
        "sys/class/net/veth/operstate": "unknown\n",
        "sys/class/net/veth/speed": "-1\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    facts = host_facts(tmp_path)
    assert facts["cpu"] == "AMD EPYC 7543"
    assert facts["host_memory_mib"] == 16384.0
    assert facts["network_gbit_per_s"] == 1.0
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    port.mkdir(parents=True)
    (port / "state").write_text("4: ACTIVE\n")
    (port / "rate").write_text("200 Gb/sec (4X HDR)\n")
    assert host_facts(tmp_path)["network_gbit_per_s"] == 200.0


@pytest.mark.train
@pytest.mark.parametrize(("loaded", "modules"), [("gcc/12::cuda/12.4", ("gcc/12", "cuda/12.4")), ("", None)])
def test_the_modules_that_a_job_has_loaded_are_kept(tmp_path, monkeypatch, loaded, modules):
    from vit_sweep.job.train.machine.fingerprint import host_facts

    monkeypatch.setenv("LOADEDMODULES", loaded)
    assert host_facts(tmp_path)["modules"] == modules


def sampled(readings, cold=None, **constant):
    """Ticks at given times: (seconds, epoch, answers)."""
    library = FakeNvml(**constant)
    place = {}
    sampler = Sampler(3, NvmlGpu(library, "handle"), lambda: place["epoch"], cold=cold)
    for now, epoch, answers in readings:
        place["epoch"], library.now = epoch, answers
        sampler.tick(now)
    return sampler.samples


def test_samples_are_kept_as_least_median_and_largest():
    samples = sampled(
        [(t, 2, {"ClockInfo": clock, "PowerUsage": 60_400}) for t, clock in enumerate([1590, 1500, 1200, 1500])],
        UtilizationRates=SimpleNamespace(gpu=97, memory=50),
        Temperature=71,
    )
    assert (samples.rank, samples.count, samples.seconds) == (3, 4, 3.0)
    assert samples.sm_clock_mhz == Spread(min=1200, median=1500, max=1590)
    assert samples.power_w == Spread(min=60, median=60, max=60)
    assert samples.temperature_c.max == 71
    assert samples.utilisation.median == 0.97


def test_energy_is_the_counters_difference_where_there_is_a_counter():
    samples = sampled([(t, 1, {"TotalEnergyConsumption": 10**9 + 70_000 * t, "PowerUsage": 1}) for t in range(5)])
    assert (samples.energy_j, samples.energy_from) == (280.0, EnergySource.COUNTER)


def test_energy_is_the_integral_of_power_where_there_is_none():
    samples = sampled([(2.0 * t, 1, {"PowerUsage": 50_000 + 10_000 * t}) for t in range(3)])
    assert (samples.energy_j, samples.energy_from) == (2 * (55 + 65), EnergySource.POWER)


def test_a_counter_that_begins_anew_loses_one_interval_and_no_energy():
    """A driver that was loaded again: the interval is taken to be like the others."""
    samples = sampled([(t, 1, {"TotalEnergyConsumption": mj}) for t, mj in enumerate([900_000, 970_000, 0, 70_000])])
    assert samples.energy_j == pytest.approx(210.0)


def test_evaluations_are_not_training_and_no_interval_reaches_over_one():
    samples = sampled(
        [
            (t, epoch, {"PowerUsage": watt * 1000})
            for t, (epoch, watt) in enumerate([(2, 70), (2, 70), (None, 500), (3, 70), (3, 70), (4, 70)])
        ]
    )
    assert (samples.count, samples.seconds) == (5, 2.0)
    assert samples.power_w.max == 70
    assert samples.energy_j == pytest.approx(140.0)


def test_the_cold_epoch_counts_only_if_there_is_no_other():
    cold = [(t, 1, {"PowerUsage": 10_000}) for t in range(3)]
    warm = [(t, 2, {"PowerUsage": 70_000}) for t in range(3, 6)]
    assert sampled([*cold, *warm], cold=1).power_w == Spread(min=70, median=70, max=70)
    assert sampled(cold, cold=1).power_w == Spread(min=10, median=10, max=10)


def test_throttling_is_seconds_by_reason_and_an_idle_or_set_clock_is_none():
    idle, chosen, power_cap, heat = 0x1, 0x2, 0x4, 0x20
    bits = [0, power_cap, power_cap | heat, idle | chosen, 0x100]
    samples = sampled([(t, 1, {"CurrentClocksEventReasons": bit}) for t, bit in enumerate(bits)])
    assert samples.throttled_s == 2.0
    assert samples.throttled_s_by_reason == (("power_cap", 2.0), ("thermal_software", 1.0))


def test_the_older_name_of_the_reasons_is_asked_where_the_new_one_is_not_known():
    assert sampled([(t, 1, {"CurrentClocksThrottleReasons": 0x4}) for t in range(2)]).throttled_s == 1.0


def test_a_gpu_that_answers_nothing_leaves_only_a_count():
    assert sampled([(t, 1, {}) for t in range(3)]) == Samples(rank=3, count=3, seconds=2.0)


def test_no_gpu_no_thread_and_no_samples():
    with Sampler(0, None, lambda: 1) as sampler:
        assert sampler._thread is None
    assert sampler.samples is None


def test_the_thread_samples_at_once_and_ends_with_the_training():
    library = FakeNvml(PowerUsage=70_000)
    event = threading.Event()

    def training():
        event.set()
        return 1

    with Sampler(0, NvmlGpu(library, "handle"), training) as sampler:
        assert event.wait(300)
    assert not sampler._thread.is_alive()
    assert sampler.samples is not None
