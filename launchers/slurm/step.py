"""One task of a shared allocation as a command of srun, and the GPUs in a site's dialect. Pure."""

from collections.abc import Sequence

from launchers.batch import Batch
from launchers.profile import GpuDialect, PartitionProfile, Spawner
from launchers.script import container_flags, rank_command


def gpu_flags(profile: PartitionProfile, gpus_per_node: int) -> dict[str, str]:
    """Return the flag of sbatch and of srun that asks for GPUs on every node, in the site's dialect."""
    typed = f"{profile.gpu_type}:" if profile.gpu_type else ""
    match profile.gpu_dialect:
        case GpuDialect.GRES:
            return {"gres": f"gpu:{gpus_per_node}"}
        case GpuDialect.GRES_TYPED:
            return {"gres": f"gpu:{typed}{gpus_per_node}"}
        case GpuDialect.GPUS_PER_NODE:
            return {"gpus-per-node": f"{typed}{gpus_per_node}"}
        case GpuDialect.GPUS_PER_TASK:
            return {"gpus-per-task": f"{typed}{gpus_per_node if profile.spawner is Spawner.TORCHRUN else 1}"}


def step_command(batch: Batch, index: int, nodes: Sequence[str], *, name: str, job: str) -> list[str]:
    """Return the srun call of one task on the first of `nodes`, the allocation's own list in its own order.

    `name` finds the step again in squeue; `job` is the job's number, for the names of the logs.
    """
    shape, profile = batch.shape_of(index), batch.profile
    logs = f"{batch.folder}/logs/{job}_{index}_%t_log"
    flags = {
        "job-name": name,
        "output": f"{logs}.out",
        "error": f"{logs}.err",
        "open-mode": "append",
        "nodes": str(shape.nodes),
        "ntasks": str(shape.gpus),
        "ntasks-per-node": str(shape.gpus_per_node),
        "nodelist": ",".join(nodes[: shape.nodes]),
        "cpus-per-task": str(profile.cpus_per_gpu),
        "kill-on-bad-exit": "1",
        **gpu_flags(profile, shape.gpus_per_node),
    }
    # As many cores and as much memory as the same cell has in a job of its own: there a node is its alone or is not.
    only = [] if profile.exclusive else ["--exact"]
    options = [f"--{key}={value}" for key, value in flags.items()]
    return ["srun", "--unbuffered", *options, *only, *container_flags(batch), *profile.srun_args, *rank_command(batch)]
