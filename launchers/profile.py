"""A profile: what an admin writes about one partition, as data. Pure.

`partition=NAME` chooses a profile by its name; everywhere else a partition is what Slurm calls one. A profile for
hosts without Slurm describes them as if they were one.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import field
from enum import StrEnum
from typing import Annotated, Any

from launchers.checked import CONTROLS, ClusterName, Ge, Gt, Le, Name, checked, to_plain
from launchers.errors import UserError
from launchers.references import MASK, is_secret, masked, references
from launchers.text import nodes_by_gpus

Count = Annotated[int, Ge(1), Le(10**12)]
"""A whole number of at least one."""

Positive = Annotated[float, Gt(0)]

MIG = re.compile(r"\dg[._-]?\d+gb|(?<![a-z])mig(?![a-z])", re.IGNORECASE)
"""How Slurm's name of a GPU type says that it is a slice of one: `a100_1g.5gb`, `3g20gb`, `a100-mig`."""

_GRES = re.compile(r"(?!(?:gpu|shard|mps)\b)[A-Za-z][\w-]*(?::[\w.-]+){0,2}")
"""A generic resource beside the GPUs: name, type, count."""


class Scheduler(StrEnum):
    """Who starts the processes."""

    SLURM = "slurm"
    HOSTFILE = "hostfile"
    """No scheduler: mpirun over the hosts of the profile, by its remote shell."""
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
    """`--gpus-per-node=4` (`t4:4` where `gpu_type` is given)"""
    GPUS_PER_TASK = "gpus_per_task"
    """`--gpus-per-task=1`; hides a rank's peers, which costs peer-to-peer copies: only where a site insists"""
    GPUS = "gpus"
    """`--gpus=8`, of the whole job; on several nodes with `--gpus-per-node` beside it, or they may lie unevenly"""
    NONE = "none"
    """No flag: nodes are handed out whole, with GPUs that Slurm does not know of"""


class GpuVendor(StrEnum):
    """Whose GPUs they are: how a container is given them."""

    NVIDIA = "nvidia"
    AMD = "amd"


class Spawner(StrEnum):
    """Who starts the ranks inside an allocation."""

    SRUN = "srun"
    """One Slurm task per rank."""
    TORCHRUN = "torchrun"
    """One Slurm task per node, which starts a rank per GPU."""
    MPIRUN = "mpirun"
    """Open MPI, from the batch step or over a hostfile."""


class ContainerRuntime(StrEnum):
    """What runs a container image on the nodes."""

    APPTAINER = "apptainer"
    PYXIS = "pyxis"
    """Slurm's plugin for enroot: flags of srun."""


@checked
class Container:
    """An image that every rank runs in; the study's folder is mounted into it."""

    runtime: ContainerRuntime
    image: str
    """A path, or what the runtime understands (`docker://...`, `nvcr.io#...`)."""
    mounts: tuple[str, ...] = ()
    """More folders, each `from:to`."""
    python: str = "python"
    """Interpreter inside the image, which must have vit_sweep[train]."""


@checked
class Link:
    """One kind of connection between GPUs: what an all-reduce over it takes is in `vit_sweep/plan/predict/ring.py`."""

    gb_per_s: Positive
    """Bus bandwidth of an all-reduce, 10^9 bytes per second, as nccl-tests print it; of one port, where a node has
    several."""
    latency_us: Positive = 20.0
    """Of one message."""
    ports: Count = 1
    """Between nodes: ports of a node that an all-reduce uses at the same time, at most one for each GPU of a job."""


@checked
class Network:
    """Links inside a node and between nodes."""

    inside: Link
    between: Link | None = None
    """Absent where the partition has one node, or none of its jobs cross nodes."""


@checked
class OffloadLinks:
    """What offloaded states go through, in 10^9 bytes per second. Only times are predicted from it.

    As by itself: PCIe 3.0 x16 (15.8 by its standard) halved, since DeepSpeed copies from memory that is not pinned; six
    channels of DDR4-2933 (141); what a core of such a socket reaches alone; a disk on PCIe 3.0 x4 (3.9).
    """

    gpu_gb_per_s: Positive = 6.0
    """Between a GPU and the memory of its node, each GPU for itself."""
    memory_gb_per_s: Positive = 100.0
    """Of the memory of a node, which its ranks share."""
    core_gb_per_s: Positive = 10.0
    """Of the same, what one core can use: a rank has `cpus_per_gpu` of them."""
    read_gb_per_s: Positive = 3.0
    """From the disk of `nvme`, which the ranks of a node share."""
    write_gb_per_s: Positive = 1.5
    """To it."""


@checked
class Host:
    """A host of a hostfile profile; what is not given is the profile's."""

    name: str
    slots: Count = 1
    """GPUs of the host."""
    gpu_model: str | None = None
    gpu_memory_gib: Positive | None = None
    peak_tflops: dict[str, float] = field(default_factory=dict)
    refused_precisions: tuple[str, ...] = ()


@checked
class PartitionProfile:
    """One partition, or machines that stand for one. Not a request: it says what is possible, never what is wanted."""

    name: Name
    """Name of the profile: what follows `partition=`."""
    scheduler: Scheduler
    """Who starts the processes."""

    # --- what there is ---------------------------------------------------------------------------
    nodes: Count
    """Hosts that one job may use."""
    gpus_per_node: Count
    """GPUs of one node, and so the most ranks on it."""
    allowed_gpus: tuple[Count, ...] = ()
    """Total GPU counts that the site allows, `[1, 2, 4, 8]`; empty: any that fits."""
    device: Device = Device.CUDA
    """What a GPU is here: a CUDA device, or one CPU process."""
    gpu_model: str
    """As people write it: `Tesla T4`; part of a run's identity, runs on unlike models are never pooled."""
    gpu_vendor: GpuVendor = GpuVendor.NVIDIA
    """Whose GPUs they are: Apptainer hands them to a container by `--nv` (nvidia) or `--rocm` (amd)."""
    gpu_memory_gib: Positive | None = None
    """Usable memory of one GPU, GiB (15 of a T4's 16); without it no cell is checked for fitting."""
    peak_tflops: dict[str, float] = field(default_factory=dict)
    """Dense peak of one GPU by precision (fp32, tf32, bf16, fp16), 10^12 operations per second; without it no time
    is predicted before a run."""
    refused_precisions: tuple[str, ...] = ()
    """Precisions that the GPU cannot do, or only emulates: `[bf16]` on a T4."""
    cpus_per_gpu: Count = 1
    """CPU cores (and on a CPU device: threads) for each rank."""
    network: Network | None = None
    """Links `inside` a node and `between` nodes: `gb_per_s`, the bus bandwidth that nccl-tests print for an all-reduce
    (10^9 bytes/s), `latency_us` of a message, `ports` of a node that work at the same time (then of one port)."""
    scratch: str | None = None
    """Fast storage of a node, for staging data; may name variables of the job (`$SLURM_TMPDIR`)."""
    nvme: str | None = None
    """Folder of a node's fast disk for `engine.offload_*=nvme`; may name variables of the job."""
    offload: OffloadLinks = OffloadLinks()
    """Bandwidths for predicted times of `engine.offload_*`, 10^9 bytes/s: `gpu_gb_per_s` between a GPU and its node's
    memory (6), `memory_gb_per_s` of a node (100), `core_gb_per_s` of a core (10), `read_gb_per_s` (3) and
    `write_gb_per_s` (1.5) of the disk."""
    hosts: tuple[Host, ...] = ()
    """Hostfile profiles only, in the order in which a job takes them: `{name: node1, slots: 1}`, with `gpu_model`,
    `gpu_memory_gib`, `peak_tflops` and `refused_precisions` where a host differs."""
    mixed_hosts: bool = False
    """Whether one job may span hosts of unlike GPUs: an explicit choice, since its times measure the weakest host."""

    # --- how to ask Slurm ------------------------------------------------------------------------
    cluster: ClusterName | None = None
    """Slurm's name of the cluster (--clusters), where it is not the one that is asked by default; without it the
    user's `SLURM_CLUSTERS` or `SBATCH_CLUSTERS` holds."""
    partition: str | None = None
    """Slurm's name of the partition, where it is not the default one; of several, `a,b`, the first to start a job."""
    account: str | None = None
    """Slurm account that is charged (--account); without it the user's `SBATCH_ACCOUNT` holds. `account=NAME` of a
    command wins, and is no part of a cell."""
    qos: str | None = None
    """Slurm QOS (--qos); `SBATCH_QOS` and `qos=NAME` as for the account."""
    reservation: str | None = None
    """Slurm reservation (--reservation); `SBATCH_RESERVATION` and `reservation=NAME` likewise."""
    constraint: str | None = None
    """Node features that a job needs (--constraint)."""
    nodelist: str | None = None
    """Nodes that a job must get (--nodelist)."""
    exclude: str | None = None
    """Nodes that a job must not get (--exclude)."""
    exclusive: bool = False
    """Nothing else on the nodes of a job (Slurm's --exclusive), which then pays for all GPUs of its nodes; on this
    machine: one cell at a time."""
    mem_gib: Annotated[float, Ge(0)] | None = None
    """Host memory of a node, 0: all of it; at most one of the three memory keys, none where a site refuses them.
    A fraction is asked for in MiB: 182.617 is `--mem=187000M`."""
    mem_per_cpu_gib: Positive | None = None
    """Host memory for each CPU core, GiB (--mem-per-cpu)."""
    mem_per_gpu_gib: Positive | None = None
    """Host memory for each GPU, GiB (--mem-per-gpu)."""
    default_minutes: Count = 60
    """Time limit of a job whose time cannot be predicted."""
    max_minutes: Count = 1440
    """Longest time limit that the partition accepts."""
    gpu_type: str | None = None
    """Slurm's type name for `gres_typed`, `t4` where `sinfo -o %G` prints `gpu:t4:8`; one of digits alone in quotes:
    `"1080"`. A slice of a GPU (MIG) needs `allowed_gpus: [1]`."""
    gpu_dialect: GpuDialect = GpuDialect.GRES
    """How GPUs are asked for; sites accept one way and often refuse the others."""
    gres: tuple[str, ...] = ()
    """Generic resources that a job needs on each node beside its GPUs: `nvme:1`, `craynetwork:1`. Shares of a
    GPU (`shard`, `mps`) are refused: what others run beside is measured too."""
    max_array_size: Count = 1001
    """Tasks in one array (Slurm's MaxArraySize; its own default is 1001). 1: the site has no arrays, every cell is a
    job of its own."""
    max_submit: Count | None = None
    """Jobs that one user may have queued and running (a QOS's MaxSubmitJobsPerUser), counting array tasks."""
    requeue: bool = True
    """Whether Slurm may start a job again (--requeue): after a preemption, the failure of a node, or when it asks.
    Where the site forbids it, the client sends a new job instead."""
    sbatch: dict[str, str | int | bool] = field(default_factory=dict)
    """Further sbatch flags by their long name (`mail-user: me@site`); refused where they contradict ours (`time-min`).
    `comment` replaces ours; `export: NONE` is for sites that demand it."""

    # --- how ranks start -------------------------------------------------------------------------
    spawner: Spawner = Spawner.SRUN
    """Who starts the ranks inside an allocation."""
    srun_args: tuple[str, ...] = ()
    """Further arguments of srun; `--cpus-per-task` is always restated: Slurm 22.05 and newer do not hand it on."""
    mpirun_args: tuple[str, ...] = ()
    """Further arguments of mpirun."""
    remote_shell: str = "ssh"
    """Hostfile profiles: the command that mpirun reaches other hosts with (`ssh -p 2222`)."""
    python: str | None = None
    """Interpreter of the jobs; default: the one that submits."""
    setup: tuple[str, ...] = ()
    """Shell lines before the job: modules, conda, a virtual environment. One that fails, or ends the script
    (`exit`, `set -e`), ends the job, with its words in `status`; each must be a command by itself."""
    setup_may_fail: bool = False
    """Whether the job goes on after a setup line that failed; also for lines that are one command only together."""
    teardown: tuple[str, ...] = ()
    """Shell lines after the job."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables for every rank: NCCL_*, OMP_*, caches; numbers in quotes. `${oc.env:NAME}` stays so in files: the job
    takes it from whoever submits, the way to hand on a token."""
    container: Container | None = None
    """Image that every rank runs in: `runtime` (apptainer or pyxis), `image`, `mounts` (a list of `from:to`), `python`
    inside the image."""

    def __post_init__(self) -> None:
        """Refuse contradictions that no single key shows."""
        problems = self._contradictions()
        if problems:
            raise UserError(f"partition {self.name}: {'; '.join(problems)}")

    def most_gpus(self, cores: int | None = None) -> int:
        """GPUs of the largest job that this partition can run.

        `cores`: of a node, where they are known: a rank on a CPU has `cpus_per_gpu` of them to itself.
        """
        per_node = self.gpus_per_node
        if self.device is Device.CPU and cores is not None:
            per_node = min(per_node, max(1, cores // self.cpus_per_gpu))
        return min(self.nodes * per_node, max(self.allowed_gpus, default=self.nodes * per_node))

    def held_gpus(self, nodes: int, gpus: int) -> int:
        """GPUs that a job of so many nodes and GPUs holds and pays: on whole nodes of Slurm, all that these have."""
        whole_nodes = self.exclusive and self.scheduler is Scheduler.SLURM
        return nodes * self.gpus_per_node if whole_nodes else gpus

    @property
    def holds_secret(self) -> bool:
        """Whether a value that is for few eyes, by its variable's name, stands in this profile."""
        lines = (*self.setup, *self.teardown)
        return any(is_secret(*item) for item in self.environment.items()) or any(masked(line) != line for line in lines)

    def _contradictions(self) -> list[str]:
        problems = [*_not_of_one_line(self)]
        memory = [k for k in ("mem_gib", "mem_per_cpu_gib", "mem_per_gpu_gib") if getattr(self, k) is not None]
        if len(memory) > 1:
            problems.append(f"{' and '.join(memory)} contradict each other – keep one")
        if self.gpu_dialect is GpuDialect.GRES_TYPED and self.gpu_type is None:
            problems.append("gpu_dialect=gres_typed needs gpu_type, for example t4")
        if self.gpu_dialect is GpuDialect.NONE and not self.exclusive:
            problems.append("gpu_dialect=none needs exclusive: true, or jobs of others would share the GPUs")
        if self.gpu_type and MIG.search(self.gpu_type) and self.allowed_gpus != (1,):
            problems.append(
                f"gpu_type={self.gpu_type} is a slice of a GPU (MIG); slices cannot work together in one job – "
                "set allowed_gpus: [1]"
            )
        for resource in self.gres:
            if not _GRES.fullmatch(resource):
                problems.append(
                    f"gres={resource} – one resource beside the GPUs, as name:count or name:type:count; the GPUs are "
                    "asked for by gpu_dialect, and shares of one (shard, mps) measure nothing that can be compared"
                )
        if self.default_minutes > self.max_minutes:
            problems.append(f"default_minutes={self.default_minutes} is above max_minutes={self.max_minutes}")
        too_many = [g for g in self.allowed_gpus if g > self.nodes * self.gpus_per_node]
        if too_many:
            problems.append(
                f"allowed_gpus has {too_many[0]}, but {nodes_by_gpus(self.nodes, self.gpus_per_node)} = "
                f"{self.nodes * self.gpus_per_node}"
            )
        if self.hosts and self.scheduler is not Scheduler.HOSTFILE:
            problems.append(f"hosts belong to scheduler=hostfile, not {self.scheduler.value}")
        if self.scheduler is Scheduler.HOSTFILE:
            problems += self._hostfile_contradictions()
        supported = {"fp32", "tf32", "bf16", "fp16"}
        for key in ("refused_precisions", "peak_tflops"):
            unknown = sorted(set(getattr(self, key)) - supported)
            if unknown:
                problems.append(f"{key} has {unknown[0]} – known: bf16, fp16, fp32, tf32")
        return problems

    def _hostfile_contradictions(self) -> list[str]:
        if not self.hosts:
            return ["scheduler=hostfile needs hosts, a list of {name: ..., slots: ...}"]
        problems = []
        names = [host.name for host in self.hosts]
        if len(set(names)) < len(names):
            problems.append("hosts names a host twice")
        if self.nodes != len(names):
            problems.append(f"nodes={self.nodes}, but {len(names)} hosts are listed")
        if self.gpus_per_node != max(host.slots for host in self.hosts):
            problems.append(f"gpus_per_node={self.gpus_per_node} is not the most slots of a host")
        return problems


def masked_fields(profile: PartitionProfile, *, defaults: bool = True) -> dict[str, Any]:
    """A profile as plain data for people: without the values that are secret, perhaps without what is as by default."""
    data: dict[str, Any] = to_plain(profile, defaults=defaults)
    hidden = {name: MASK for name, value in profile.environment.items() if is_secret(name, value)}
    lines = {key: [masked(line) for line in data[key]] for key in ("setup", "teardown") if key in data}
    return data | lines | ({"environment": data["environment"] | hidden} if hidden else {})


_ODD = re.compile(f"[{CONTROLS}]").search


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in plain data, keys too, and where it is: `environment.NAME`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield path, str(key)
            yield from _texts(inner, f"{path}.{key}" if path else str(key))


def _not_of_one_line(profile: PartitionProfile) -> Iterator[str]:
    """What would end a line of a script or a hostfile and begin another, or go on into ours."""
    for path, text in _texts(to_plain(profile)):
        in_script = path.startswith(("setup.", "teardown."))
        if _ODD(re.sub(r"[\n\t]", "", text) if in_script else text):
            yield f"{path} has a line break or another control character: {text!r}"
        if in_script:
            try:
                shlex.split(text, comments=True)
            except ValueError as error:
                yield f"{path}: {text!r} goes on behind its end ({error}) – close it, or put all of it into one item"
    variables = sorted(references(profile.environment.values()))
    if variables and profile.sbatch.get("export") == "NONE":
        yield (
            f"environment takes {variables[0]} from whoever submits, and sbatch.export=NONE keeps it from the job – "
            "have a setup line read it from a file of mode 0600"
        )
    for name in profile.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield f"environment.{name} is no name of a variable – use letters, digits and _"
