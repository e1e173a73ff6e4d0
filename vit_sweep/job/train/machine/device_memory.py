"""What a GPU's memory held when it ran out."""

import torch

from vit_sweep.outcome.ending import DeviceMemory


def device_memory() -> DeviceMemory | None:
    """The state of this rank's GPU now; None without one, or when it no longer answers."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's own gap
        return None
    try:
        free, total = torch.cuda.mem_get_info()
        return DeviceMemory(
            allocated_mib=torch.cuda.max_memory_allocated() / 2**20,
            reserved_mib=torch.cuda.memory_reserved() / 2**20,
            free_mib=free / 2**20,
            total_mib=total / 2**20,
        )
    except RuntimeError:
        return None
