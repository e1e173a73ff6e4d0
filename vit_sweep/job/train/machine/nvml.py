"""NVIDIA's management library, asked so that nothing can fail: whatever it does not say is None. An edge.

Its package (nvidia-ml-py, module `pynvml`) may be missing, its library too, and each GPU and driver answers only some
of the questions. Its calls are plain C calls that let other threads of Python run.
"""

import hashlib
from contextlib import suppress
from typing import Any

SM_CLOCK = 1
"""NVML_CLOCK_SM."""
CORE_TEMPERATURE = 0
"""NVML_TEMPERATURE_GPU."""
MOST_NVLINKS = 36
"""NVML_NVLINK_MAX_LINKS of today's library; asking for one that a GPU does not have is an answer too."""


class NvmlGpu:
    """One GPU, by the names that NVML's C interface has for the questions, without their `nvmlDeviceGet`."""

    def __init__(self, library: Any, handle: Any) -> None:
        """Ask `library` (the module `pynvml`) about the device `handle`."""
        self._library, self._handle = library, handle

    def query(self, question: str, *arguments: Any) -> Any:
        """The answer, or None."""
        try:
            return getattr(self._library, f"nvmlDeviceGet{question}")(self._handle, *arguments)
        except Exception:  # not supported, not allowed, a library older than the question, a GPU that fell off
            return None

    @property
    def driver(self) -> str | None:
        """Version of the kernel's driver."""
        try:
            return text(self._library.nvmlSystemGetDriverVersion())
        except Exception:
            return None

    def nvlinks(self) -> int | None:
        """How many NVLinks are active; None if the GPU knows no NVLink."""
        states = [self.query("NvLinkState", link) for link in range(MOST_NVLINKS)]
        known_states = [state for state in states if state is not None]
        return sum(1 for state in known_states if state) if known_states else None

    def processes(self) -> list[Any] | None:
        """Compute processes on it, each with `pid` and `usedGpuMemory` (bytes or None)."""
        processes = self.query("ComputeRunningProcesses")
        return None if processes is None else list(processes)


def nvml_gpu(pci_bus: str | None, uuid: str | None, *, library: Any = None) -> NvmlGpu | None:
    """Find the GPU at a PCI address (`0000:41:00.0`) or with a UUID; None without NVML or without such a GPU.

    By address first: a MIG slice has its own UUID, but clocks and power belong to the whole GPU.
    """
    library = library or _installed()
    try:
        library.nvmlInit()
    except Exception:  # no library, no driver, no permission
        return None
    if pci_bus is not None:
        with suppress(Exception):
            return NvmlGpu(library, library.nvmlDeviceGetHandleByPciBusId(pci_bus.encode()))
    if uuid is not None:
        name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        with suppress(Exception):
            return NvmlGpu(library, library.nvmlDeviceGetHandleByUUID(name.encode()))
    return None


def _installed() -> Any | None:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def hashed(uuid: str | None) -> str | None:
    """12 hex digits that stand for a UUID, with or without its `GPU-`."""
    return hashlib.sha256(uuid.removeprefix("GPU-").encode()).hexdigest()[:12] if uuid else None


def text(value: bytes | str) -> str:
    """Older versions of the package answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value
