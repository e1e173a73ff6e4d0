"""A partition profile: what an admin writes about one partition, as data. Pure."""

from dataclasses import field
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt

from launchers.checked import checked
from launchers.errors import UserError

Count = Annotated[int, Ge(1)]
"""A whole number of at least one."""

Positive = Annotated[float, Gt(0)]


class Scheduler(StrEnum):
    """Who starts the processes."""

    SLURM = "slurm"
    LOCAL = "local"


class Device(StrEnum):
    """What a "GPU" is on this partition: a CUDA device, or one CPU process (tests, laptops)."""

    CUDA = "cuda"
    CPU = "cpu"


class GpuDialect(StrEnum):
    """How GPUs are asked for; sites accept one of these and often refuse the others."""

    GRES = "gres"
    """`--gres=gpu:4`"""
    GRES_TYPED = "gres_typed"
    """`--gres=gpu:t4:4`, with the type from `gpu_type`"""
    GPUS_PER_NODE = "gpus_per_node"
    """`--gpus-per-node=4`"""


@checked
class PartitionProfile:
    """One partition. Not a request: it says what is possible, never what is wanted."""

    name: str
    """Our name of the profile: the word after `partition=`."""
    scheduler: Scheduler
    nodes: Count
    """Hosts that one job may use."""
    gpus_per_node: Count
    device: Device = Device.CUDA
    gpu_model: str
    """As people write it: `Tesla T4`; part of a run's identity, runs on unlike models are never pooled."""
    gpu_memory_gib: Positive | None = None
    gpu_type: str | None = None
    """Slurm's type name for `gres_typed`: `t4`."""
    gpu_dialect: GpuDialect = GpuDialect.GRES
    refused_precisions: tuple[str, ...] = ()
    cpus_per_gpu: Count = 1
    """CPU cores (and on a CPU device: threads) for each rank."""
    partition: str | None = None
    """Slurm's name of the partition, where it is not the default one."""
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    exclusive: bool = False
    """Nothing else on the nodes of a job (Slurm's --exclusive); on this machine: one cell at a time."""
    mem_gib: Count | None = None
    """Host memory of a node; at most one of the three memory keys."""
    mem_per_cpu_gib: Count | None = None
    mem_per_gpu_gib: Count | None = None
    default_minutes: Count = 60
    max_minutes: Count = 1440
    max_array_size: Count = 1001
    """Tasks in one array (Slurm's MaxArraySize; its own default is 1001)."""
    python: str | None = None
    """Interpreter of the jobs; default: the one that submits."""
    srun_args: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    """Shell lines before the job: modules, conda, a virtual environment."""
    teardown: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """Variables for every rank: NCCL_*, OMP_*, caches."""

    def __post_init__(self) -> None:
        """Refuse contradictions that no single key shows."""
        memory = [k for k in ("mem_gib", "mem_per_cpu_gib", "mem_per_gpu_gib") if getattr(self, k) is not None]
        if len(memory) > 1:
            raise UserError(f"partition {self.name}: {' and '.join(memory)} contradict each other – keep one")
        if self.gpu_dialect is GpuDialect.GRES_TYPED and self.gpu_type is None:
            raise UserError(f"partition {self.name}: gpu_dialect=gres_typed needs gpu_type, for example t4")
        if self.default_minutes > self.max_minutes:
            raise UserError(
                f"partition {self.name}: default_minutes={self.default_minutes} is above max_minutes={self.max_minutes}"
            )
