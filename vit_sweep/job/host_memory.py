"""How much host memory a rank has, and how much it may have. An edge.

The kernel ends a process that asks for more without a word to it, so a rank notes in time that it comes near.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

_MIB = 2**20
_NO_LIMIT = 2**60
"""cgroup v1 says `no limit` by a number near 2**63."""


def resident_mib() -> float:
    """Memory of this process that only it can give back, MiB: pages of mapped files are the kernel's to drop."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024


def limit_mib(
    environ: Mapping[str, str],
    *,
    local_world_size: int,
    membership: str | None = None,
    cgroups: Path = Path("/sys/fs/cgroup"),
) -> float | None:
    """This rank's share of the memory of its job on this node, MiB; None where nobody says a limit.

    `membership` is the text of /proc/self/cgroup (read when not given). The smallest of the limits of the process's
    cgroups and of what was asked of Slurm, over the ranks of the node.
    """
    if membership is None:
        try:
            membership = Path("/proc/self/cgroup").read_text()
        except OSError:
            membership = ""
    limits = [*_of_cgroups(membership, cgroups), *_of_slurm(environ)]
    return min(limits) / local_world_size if limits else None


def _of_cgroups(membership: str, cgroups: Path) -> Iterator[float]:
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = base / path.lstrip("/")
        # A group is held by the limits of its parents too. In a container its own path may not be visible.
        for group in (folder, *folder.parents):
            if not group.is_relative_to(base):
                break
            try:
                text = (group / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit() and int(text) < _NO_LIMIT:
                yield int(text) / _MIB


def _of_slurm(environ: Mapping[str, str]) -> Iterator[float]:
    """What the job asked for; 0 asks for all of a node's memory and says no number."""
    per_node = environ.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit() and int(per_node):
        yield float(per_node)
    per_cpu, cpus = environ.get("SLURM_MEM_PER_CPU", ""), environ.get("SLURM_CPUS_ON_NODE", "")
    if per_cpu.isdigit() and cpus.isdigit() and int(per_cpu):
        yield float(int(per_cpu) * int(cpus))
