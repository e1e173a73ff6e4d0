"""The GPU partitions of a live Slurm as keys of a profile. Pure, but for `ask`, which runs programs.

`parsed` makes of captured texts what `vit_sweep profiles discover` writes and `profiles drift` compares.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import field
from typing import Any

from launchers.checked import checked
from launchers.errors import UserError
from launchers.profile import MIG, GpuDialect, PartitionProfile
from launchers.slurm import programs
from launchers.slurm.handle import cluster_options
from launchers.slurm.scontrol import (
    UNUSABLE,
    Fields,
    beside_gpus,
    config,
    entries,
    gpus,
    minutes,
    qos_submit_limits,
    required,
    version,
    whole_number,
)
from launchers.text import grouped, plural

PARTITIONS = ("scontrol", "show", "partition", "--oneliner")
NODES = ("scontrol", "show", "node", "--oneliner")
CONFIG = ("scontrol", "show", "config")
QOS = ("sacctmgr", "-n", "-P", "show", "qos", "format=Name,MaxSubmitPU")

_UNLIMITED_MINUTES = 7 * 1440
_DEFAULT_MINUTES = 60
_MODELS = {
    "t4": "Tesla T4",
    "v100": "Tesla V100",
    "p100": "Tesla P100",
    "p4": "Tesla P4",
    "k80": "Tesla K80",
    "a10": "NVIDIA A10",
    "a16": "NVIDIA A16",
    "a30": "NVIDIA A30",
    "a40": "NVIDIA A40",
    "a100": "NVIDIA A100",
    "l4": "NVIDIA L4",
    "l40": "NVIDIA L40",
    "l40s": "NVIDIA L40S",
    "h100": "NVIDIA H100",
    "h200": "NVIDIA H200",
    "b200": "NVIDIA B200",
    "mi100": "AMD Instinct MI100",
    "mi210": "AMD Instinct MI210",
    "mi250": "AMD Instinct MI250",
    "mi250x": "AMD Instinct MI250X",
    "mi300a": "AMD Instinct MI300A",
    "mi300x": "AMD Instinct MI300X",
    "1080": "NVIDIA GeForce GTX 1080",
    "1080ti": "NVIDIA GeForce GTX 1080 Ti",
    "2080": "NVIDIA GeForce RTX 2080",
    "2080ti": "NVIDIA GeForce RTX 2080 Ti",
    "rtx3090": "NVIDIA GeForce RTX 3090",
    "rtx4090": "NVIDIA GeForce RTX 4090",
    "rtx6000": "NVIDIA RTX 6000",
}
_AMD = re.compile(r"(amd|mi\d{2,3}|gfx\d).*")
_NO_BF16 = re.compile(r"t4|v100|p100|p40?|k80|(10|20)\d0(ti)?|gtx.*|rtx20.*|rtx_?2080.*|tesla.*|titan.*")
"""Types before Ampere, which only emulate bf16."""


@checked
class Answers:
    """What the cluster's programs printed."""

    partitions: str
    nodes: str
    config: str
    qos: str = ""
    """Empty where there is no accounting database."""


@checked
class GpuPartition:
    """One partition, or one GPU type of it."""

    partition: str
    """Slurm's name of it."""
    gpu_type: str | None
    default: bool
    """Whether jobs that name no partition go here."""
    keys: dict[str, Any]
    """What a profile of it says; every key is known to `PartitionProfile`."""
    unlimited: bool = False
    """Whether the partition has no time limit (`max_minutes` is then ours)."""
    notes: tuple[str, ...] = ()
    """What an admin should know or add, one sentence each."""


@checked
class Cluster:
    """All GPU partitions of a cluster, and what was left out."""

    name: str
    version: str
    gpu_partitions: tuple[GpuPartition, ...]
    all_partitions: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Reason by partition."""


def query(cluster: str | None = None) -> Answers:
    """Ask the live cluster, or another one by its name; raises `UserError` where there is none or no answer."""
    absent = [program for program in ("sinfo", "scontrol") if shutil.which(program) is None]
    if absent:
        raise UserError(
            f"{' and '.join(absent)} not on PATH: this machine has no Slurm – run this on a login node of the cluster"
        )
    run(["sinfo", "--version"])
    settings, partitions, nodes = (
        run([words[0], *cluster_options(cluster), *words[1:]]) for words in (CONFIG, PARTITIONS, NODES)
    )
    with_database = "slurmdbd" in config(settings).get("AccountingStorageType", "")
    qos = run(QOS, must=False) if with_database and shutil.which("sacctmgr") else ""
    return Answers(partitions=partitions, nodes=nodes, config=settings, qos=qos)


def run(command: Iterable[str], *, must: bool = True) -> str:
    """Return what a program of Slurm prints; raises `UserError` with its message if it `must` succeed and does not."""
    arguments = list(command)
    completed = programs.run(arguments)
    if completed.returncode != 0 and must:
        message = " ".join((completed.stderr or completed.stdout).split())
        raise UserError(
            f"`{' '.join(arguments)}` failed (exit {completed.returncode}): {message[:300] or 'it printed nothing'}"
        )
    # Profiles are UTF-8.
    return completed.stdout.encode(errors="replace").decode() if completed.returncode == 0 else ""


def parsed(answers: Answers) -> Cluster:
    """Make of the printed texts what a profile needs; raises `UserError` that names what was unexpected."""
    settings = config(answers.config)
    command = "`scontrol show config`"
    array = max(1, whole_number(settings, "MaxArraySize", command=command))
    slurm = required(settings, "SLURM_VERSION", command=command)
    common: dict[str, Any] = {"scheduler": "slurm", "max_array_size": array}
    if settings.get("SelectType") == "select/linear":
        common["exclusive"] = True
    arguments = srun_args(version(slurm))
    if arguments:
        common["srun_args"] = arguments
    limits = qos_submit_limits(answers.qos)
    nodes = entries(answers.nodes, first="NodeName", command="`scontrol show node`")
    gpu_partitions: list[GpuPartition] = []
    left_out: dict[str, str] = {}
    partitions = entries(answers.partitions, first="PartitionName", command="`scontrol show partition`")
    for partition in partitions:
        name = partition["PartitionName"]
        groups = by_type([node for node in nodes if name in node.get("Partitions", "").split(",")])
        if not groups:
            left_out[name] = (
                "its nodes have no GPUs (Gres=gpu...); if they have some that Slurm does not know of, write a profile "
                "with gpu_dialect: none"
            )
        for kind in sorted(groups, key=str):
            # The partition's own word on what is consumable wins over the cluster's.
            consumable = {"SelectTypeParameters": settings.get("SelectTypeParameters", "NONE")}
            consumable |= {k: v for k, v in partition.items() if k in consumable and v != "NONE"}
            gpu_partitions.append(_describe(partition | consumable, kind, groups, common, limits))
    if not partitions:
        raise UserError("`scontrol show partition` printed no partition; nothing was written")
    return Cluster(
        name=settings.get("ClusterName", "cluster"),
        version=slurm,
        gpu_partitions=tuple(gpu_partitions),
        all_partitions=tuple(partition["PartitionName"] for partition in partitions),
        left_out=left_out,
    )


def by_type(nodes: Iterable[Fields]) -> dict[str | None, list[tuple[Fields, int]]]:
    """Group nodes by GPU type, each with its count of that type; a node of two types is in both groups."""
    return grouped(
        (kind, (node, count))
        for node in nodes
        for kind, count in gpus(required(node, "Gres", command="`scontrol show node`")).items()
    )


def srun_args(slurm: tuple[int, int, int]) -> list[str]:
    """What this version's srun wants beyond what every script says (`--cpus-per-task` is always restated).

    20.11.0 to 20.11.2 give a step only what it asks for; `--whole` brings the job's GPUs and memory back.
    """
    return ["--whole"] if (20, 11, 0) <= slurm < (20, 11, 3) else []


def _describe(
    partition: Fields,
    kind: str | None,
    groups: dict[str | None, list[tuple[Fields, int]]],
    common: dict[str, Any],
    qos_limits: dict[str, int],
) -> GpuPartition:
    """One GPU type of one partition."""
    name, members, notes = partition["PartitionName"], groups[kind], []
    per_node = _best_count([count for _, count in members])
    usable = [node for node, count in members if count >= per_node]
    if len(usable) < len(members):
        notes.append(f"{plural(len(members) - len(usable), 'node')} with fewer than {per_node} GPUs not counted")
    keys = common | {
        "partition": name,
        "nodes": max(1, _at_most(len(usable), partition.get("MaxNodes", ""))),
        "gpus_per_node": per_node,
    }
    keys |= _gpu(kind, name, several_kinds=len(groups) > 1, notes=notes)
    keys |= _processor_and_memory(partition, usable)
    unlimited = _time(partition, keys, notes)
    if "EXCLUSIVE" in partition.get("OverSubscribe", partition.get("Shared", "")):
        keys["exclusive"] = True
    keys |= _who_may(partition, qos_limits, notes)
    bad = [node for node in usable if any(state in node.get("State", "") for state in UNUSABLE)]
    other_gres = sorted({name for node in usable for name in beside_gpus(node["Gres"])})
    if other_gres:
        notes.append(
            f"its nodes also have {', '.join(other_gres)}: where a job must ask for one, list it as gres: [name:1]"
        )
    if bad:
        notes.append(f"{len(bad)} of {len(usable)} nodes are down or drained now, for example {bad[0]['NodeName']}")
    if partition.get("State", "UP") != "UP":
        notes.append(f"the partition's state is {partition['State']}")
    return GpuPartition(
        partition=name,
        gpu_type=kind,
        default=partition.get("Default") == "YES",
        keys=keys,
        unlimited=unlimited,
        notes=tuple(notes),
    )


def _gpu(kind: str | None, partition: str, *, several_kinds: bool, notes: list[str]) -> dict[str, Any]:
    """What a profile says of a GPU that Slurm calls `kind`; `several_kinds`: the partition has more than one."""
    if kind is None:
        notes.append("Slurm names no GPU type here: set gpu_model (nvidia-smi -L on a node)")
        if several_kinds:
            notes.append("other nodes of the partition have typed GPUs; a constraint or nodelist must keep them out")
        return {"gpu_dialect": "gres", "gpu_model": f"GPU of {partition}"}
    notes.append("gpu_model is made of Slurm's type name; add gpu_memory_gib and peak_tflops for the predictions")
    keys: dict[str, Any] = {
        "gpu_type": kind,
        "gpu_dialect": "gres_typed",
        "gpu_model": _MODELS.get(kind.lower(), kind),
    }
    if _AMD.fullmatch(kind.lower()):
        keys["gpu_vendor"] = "amd"
    if _NO_BF16.fullmatch(kind.lower()):
        keys["refused_precisions"] = ["bf16"]
    if MIG.search(kind):
        keys["allowed_gpus"] = [1]
        notes.append("slices of a GPU (MIG) cannot work together in one job, hence allowed_gpus: [1]")
    return keys


def _time(partition: Fields, keys: dict[str, Any], notes: list[str]) -> bool:
    """Set the time limits; returns whether the partition itself has none."""
    longest = minutes(required(partition, "MaxTime", command="`scontrol show partition`"))
    default = minutes(partition.get("DefaultTime", "NONE")) or 0
    keys["max_minutes"] = longest or _UNLIMITED_MINUTES
    # A short DefaultTime nudges people to say a time, as every script does; it is no limit.
    keys["default_minutes"] = min(max(default, _DEFAULT_MINUTES), keys["max_minutes"])
    if longest is None:
        notes.append(f"the partition has no time limit; max_minutes={_UNLIMITED_MINUTES} is ours")
    return longest is None


def _best_count(counts: list[int]) -> int:
    """GPUs a node, where nodes differ: the count with which most GPUs can be used by jobs of equal nodes."""
    return max(sorted(set(counts)), key=lambda count: count * sum(1 for other in counts if other >= count))


def _processor_and_memory(partition: Fields, nodes: list[Fields]) -> dict[str, int]:
    """A GPU's even share of its node, on the node with the least; memory is left out where Slurm was told none."""
    cpus, gib = [], []
    command = "`scontrol show node`"
    for node in nodes:
        on_node = sum(gpus(node["Gres"]).values())
        # Cores kept for the system are in CPUTot, not in CPUEfctv, which Slurm before 22.05 does not print.
        cores = whole_number(node, "CPUEfctv" if "CPUEfctv" in node else "CPUTot", command=command)
        reserved_mib = whole_number(node, "MemSpecLimit", command=command) if "MemSpecLimit" in node else 0
        mib = whole_number(node, "RealMemory", command=command) - reserved_mib
        cpus.append(_at_most(cores, partition.get("MaxCPUsPerNode", "")) // on_node)
        gib.append(_at_most(mib, partition.get("MaxMemPerNode", "")) // 1024 // on_node)
    # Where memory is no consumable resource, a job gets what there is, and some sites refuse to be asked for it.
    managed = partition["SelectTypeParameters"] == "NONE" or "MEMORY" in partition["SelectTypeParameters"].upper()
    memory = {"mem_per_gpu_gib": min(gib)} if managed and min(gib) >= 1 else {}
    return {"cpus_per_gpu": max(1, min(cpus))} | memory


def _at_most(value: int, limit: str) -> int:
    return min(value, int(limit)) if limit.isdecimal() else value


def _who_may(partition: Fields, qos_limits: dict[str, int], notes: list[str]) -> dict[str, Any]:
    """Account and QOS where only one is allowed; a note where an admin has to choose."""
    keys: dict[str, Any] = {}
    for key, field_name in (("account", "AllowAccounts"), ("qos", "AllowQos")):
        allowed = partition.get(field_name, "ALL").split(",")
        if len(allowed) == 1 and allowed[0] not in ("ALL", "N/A", "(null)", ""):
            keys[key] = allowed[0]
        elif len(allowed) > 1:
            notes.append(f"{key} may be one of {', '.join(allowed)}")
    qos = keys.get("qos", partition.get("QoS", "N/A"))
    if qos in qos_limits:
        keys["max_submit"] = qos_limits[qos]
    return keys


def drift(profile: PartitionProfile, cluster: Cluster) -> list[str]:
    """Every difference between a profile and the live cluster, one sentence each.

    Where Slurm knows of no GPUs (`gpu_dialect: none`) only that the partitions are there is compared.
    """
    default = next((group.partition for group in cluster.gpu_partitions if group.default), None)
    if profile.partition is None and default is None:
        return ["partition: the profile names none, and the cluster's default partition has no GPUs"]
    # Slurm takes the one of several partitions that starts a job first.
    names = (profile.partition or default or "").split(",")
    differences = {name: _drift_of(profile, cluster, name) for name in names}
    if len(names) == 1:
        return differences[names[0]]
    return [f"{name}: {difference}" for name, some in differences.items() for difference in some]


def _drift_of(profile: PartitionProfile, cluster: Cluster, partition: str) -> list[str]:
    if partition not in cluster.all_partitions:
        return [
            f"partition: {partition} is not on cluster {cluster.name}, which has {', '.join(cluster.all_partitions)}"
        ]
    if profile.gpu_dialect is GpuDialect.NONE:
        return []
    groups = [group for group in cluster.gpu_partitions if group.partition == partition]
    if not groups:
        return [f"partition: {partition} has no GPUs any more"]
    types = [str(group.gpu_type or "GPUs without a type") for group in groups]
    if profile.gpu_type is None:
        if len(groups) > 1:
            return [f"gpu_type: the profile names none, and {partition} mixes {', '.join(types)}"]
        live = groups[0]
    else:
        matching = [group for group in groups if group.gpu_type == profile.gpu_type]
        if not matching:
            return [f"gpu_type: the profile says {profile.gpu_type}, {partition} has {', '.join(types)}"]
        live = matching[0]
    compared = ["nodes", "gpus_per_node", "max_array_size"] + ([] if live.unlimited else ["max_minutes"])
    return [
        f"{key}: the profile says {getattr(profile, key)}, the cluster {live.keys[key]}"
        for key in compared
        if getattr(profile, key) != live.keys[key]
    ]
