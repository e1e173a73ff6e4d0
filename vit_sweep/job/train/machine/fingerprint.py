"""One rank's fingerprint, from the kernel's files, torch and NVML. An edge that never fails: a fact may be None."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from launchers.process.identity import RankIdentity
from launchers.profile import Device
from vit_sweep.job.train.machine.nvml import SM_CLOCK, NvmlGpu, hashed, nvml_gpu
from vit_sweep.record.machine import Fingerprint, Gpu

T = TypeVar("T")

_ROOT = Path("/")
_UP = ("up", "unknown")
"""States of a network interface that may carry packets; many virtual ones do not know theirs."""


def fingerprint(identity: RankIdentity, device: Device) -> tuple[Fingerprint, NvmlGpu | None]:
    """Describe where this rank runs; also NVML's handle of its GPU, for the samples.

    Call it before the rank touches its GPU: afterwards its own process would count among those that use it, under
    a process id that nobody in a container knows.
    """
    properties = properties_of(identity) if device is Device.CUDA else None
    nvml = None if properties is None else nvml_gpu(_pci_bus(properties), _uuid(properties))
    on_gpu = device is Device.CUDA
    return Fingerprint(
        rank=identity.rank,
        host=identity.node_name,
        **host_facts(),
        gpu=gpu_facts(properties, nvml) if on_gpu else None,
        python=platform.python_version(),
        torch=str(torch.__version__),
        deepspeed=_or_none(lambda: version("deepspeed")),
        cuda=torch.version.cuda if on_gpu else None,
        nccl=_or_none(_nccl) if on_gpu else None,
    ), nvml


def host_facts(root: Path = _ROOT) -> dict[str, Any]:
    """Fields of `Fingerprint` that kernel and job's environment know; the kernel's files lie under `root`."""
    return {
        "cpu": processor(root),
        "host_cores": os.cpu_count(),
        "host_memory_mib": _or_none(lambda: _memory_mib(root)),
        "network_gbit_per_s": max(_network_speeds(root), default=None),
        "kernel": platform.release() or None,
        "modules": tuple(filter(None, loaded.split(":"))) if (loaded := os.environ.get("LOADEDMODULES")) else None,
    }


def processor(root: Path = _ROOT) -> str | None:
    """The processor's model, or at least its kind."""
    with suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or None


def properties_of(identity: RankIdentity) -> Any | None:
    """CUDA's description of the GPU that `pick_device` will pick; None if there is none, which it will say.

    It starts CUDA, but no context on any GPU.
    """
    with suppress(Exception):
        count = torch.cuda.device_count()
        return torch.cuda.get_device_properties(0 if count == 1 else identity.local_rank) if count else None
    return None


def gpu_facts(properties: Any | None, nvml: NvmlGpu | None, root: Path = _ROOT) -> Gpu:
    """Put together what CUDA (`properties`) and NVML say of one GPU."""
    return Gpu(
        model=getattr(properties, "name", None),
        memory_mib=_scaled(getattr(properties, "total_memory", None), 2**20),
        serial=hashed(_uuid(properties)),
        **(_nvml_facts(nvml) if nvml is not None else {}),
        numa_node=_numa_node(nvml, properties, root),
    )


def _nvml_facts(nvml: NvmlGpu) -> dict[str, Any]:
    mig = nvml.query("MigMode")
    processes = nvml.processes()
    if processes is not None:
        processes = [process for process in processes if process.pid != os.getpid()]
    return {
        "driver": nvml.driver,
        "mig": bool(mig[0]) if mig else None,
        "nvlinks": nvml.nvlinks(),
        "pcie_generation": nvml.query("MaxPcieLinkGeneration"),
        "pcie_width": nvml.query("CurrPcieLinkWidth"),
        "sm_clock_mhz": nvml.query("ClockInfo", SM_CLOCK),
        "max_sm_clock_mhz": nvml.query("MaxClockInfo", SM_CLOCK),
        "power_limit_w": _scaled(nvml.query("EnforcedPowerLimit"), 1000),
        "other_processes": None if processes is None else len(processes),
        "other_mib": None if processes is None else sum(process.usedGpuMemory or 0 for process in processes) / 2**20,
    }


def _numa_node(nvml: NvmlGpu | None, properties: Any | None, root: Path) -> int | None:
    """From NVML, else from the kernel, which says -1 where there is but one node."""
    numa_node = nvml.query("NumaNodeId") if nvml is not None else None
    address = _pci_bus(properties)
    if numa_node is not None or address is None:
        return numa_node
    numa_node = _or_none(lambda: int((root / "sys/bus/pci/devices" / address / "numa_node").read_text()))
    return numa_node if numa_node is not None and numa_node >= 0 else None


def _pci_bus(properties: Any | None) -> str | None:
    """The PCI address as the kernel and NVML write it; a GPU has function 0."""
    try:
        domain, bus, device = (getattr(properties, f"pci_{part}_id") for part in ("domain", "bus", "device"))
    except AttributeError:
        return None
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"


def _uuid(properties: Any | None) -> str | None:
    uuid = getattr(properties, "uuid", None)
    return None if uuid is None else str(uuid)


def _nccl() -> str:
    return ".".join(str(part) for part in torch.cuda.nccl.version())  # type: ignore[no-untyped-call]  # torch's own gap


def _memory_mib(root: Path) -> float:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise ValueError("no MemTotal")


def _network_speeds(root: Path) -> Iterator[float]:
    """Gbit/s of the network interfaces that are up: Ethernet's files say Mbit/s, InfiniBand's `200 Gb/sec (4X HDR)`."""
    for folder in sorted((root / "sys/class/net").glob("*")):
        with suppress(OSError, ValueError):
            if folder.name != "lo" and (folder / "operstate").read_text().strip() in _UP:
                speed = int((folder / "speed").read_text())
                if speed > 0:  # -1: unknown
                    yield speed / 1000
    for port in sorted((root / "sys/class/infiniband").glob("*/ports/*")):
        with suppress(OSError, ValueError):
            if "ACTIVE" in (port / "state").read_text():
                yield float((port / "rate").read_text().split()[0])


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _or_none(fact: Callable[[], T]) -> T | None:
    try:
        return fact()
    except Exception:  # a fact that cannot be learnt must not end a run
        return None
