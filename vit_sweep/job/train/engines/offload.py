"""States that a GPU does not keep between steps: whether this node has room for them. An edge.

The plan knows what a profile says; this asks the node itself, before anything is built.
"""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

from launchers.process.identity import RankIdentity
from vit_sweep.job.host_memory import limit_mib
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.predict.memory import offloaded_bytes, too_little_room

_FOLDER = "VIT_SWEEP_NVME"
"""Variable of the process that says where DeepSpeed may swap to: engines are built from a cell alone."""


def require_room(cell: Cell, identity: RankIdentity, nvme: str | None, environ: Mapping[str, str] = os.environ) -> None:
    """Raise `JobError` where the node lacks memory, or its fast disk a folder or room, for the cell's states."""
    ranks = identity.local_world_size
    if offloaded_bytes(cell, Offload.CPU):
        share = limit_mib(environ, local_world_size=1)
        free_gib = min(psutil.virtual_memory().available / 2**30, share / 1024 if share else float("inf"))
        _refuse(too_little_room(cell, Offload.CPU, room_gib=free_gib, ranks=ranks, owner=f"{platform.node()} now"))
    if offloaded_bytes(cell, Offload.NVME):
        folder = Path(os.path.expandvars(nvme or ""))
        if not nvme or not folder.is_dir() or not os.access(folder, os.W_OK):
            _refuse(
                f"partition.nvme={nvme}: {folder} is no folder that can be written to on {platform.node()}; name "
                "another in the profile, or use offload_optimizer=cpu"
            )
        free_gib = shutil.disk_usage(folder).free / 2**30
        _refuse(
            too_little_room(
                cell, Offload.NVME, room_gib=free_gib, ranks=ranks, owner=f"{folder} on {platform.node()} now"
            )
        )
        os.environ[_FOLDER] = str(folder)


def nvme_folder() -> str:
    """Where DeepSpeed may swap to, as `require_room` saw it."""
    return os.environ[_FOLDER]


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise JobError(Cause.CONFIGURATION, problem)
