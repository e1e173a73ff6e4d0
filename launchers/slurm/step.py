"""One task of a shared allocation as a command of srun, and the GPUs in a site's dialect. Pure."""

from collections.abc import Sequence

from launchers.batch import Batch, Shape
from launchers.process.script import container_flags, rank_command
from launchers.profile import GpuDialect, PartitionProfile, Spawner

_TRIAL_WAITS_S = 10
"""How long a step that does nothing waits for its cores: less than the queue waits for srun."""


def gpu_flags(profile: PartitionProfile, shape: Shape) -> dict[str, str]:
    """Return the flags of sbatch and of srun that ask for GPUs, in the site's dialect, and what is needed beside."""
    flags = _gpu_flag(profile, shape)
    resources = ",".join(filter(None, [flags.get("gres"), *profile.gres]))
    return flags | ({"gres": resources} if resources else {})


def _gpu_flag(profile: PartitionProfile, shape: Shape) -> dict[str, str]:
    typed = f"{profile.gpu_type}:" if profile.gpu_type else ""
    gpus_per_node = shape.gpus_per_node
    match profile.gpu_dialect:
        case GpuDialect.GRES:
            return {"gres": f"gpu:{gpus_per_node}"}
        case GpuDialect.GRES_TYPED:
            return {"gres": f"gpu:{typed}{gpus_per_node}"}
        case GpuDialect.GPUS_PER_NODE:
            return {"gpus-per-node": f"{typed}{gpus_per_node}"}
        case GpuDialect.GPUS_PER_TASK:
            return {"gpus-per-task": f"{typed}{gpus_per_node if profile.spawner is Spawner.TORCHRUN else 1}"}
        case GpuDialect.GPUS:
            flags = {"gpus": f"{typed}{shape.gpus}"}
            # Of several nodes Slurm would take what is free first, 3 and 1, say.
            return flags if shape.nodes == 1 else flags | {"gpus-per-node": f"{typed}{gpus_per_node}"}
        case GpuDialect.NONE:
            return {}


def step_command(
    batch: Batch, index: int, nodes: Sequence[str], *, name: str, job: str, overlap: bool = False
) -> list[str]:
    """Return the srun call of one task on the first of `nodes`, the allocation's own list in its own order.

    `name` finds the step again in squeue; `job` is the job's number, for the names of the logs; `overlap`: with cores,
    memory and GPUs that Slurm may count for another step.
    """
    logs = f"{batch.folder}/logs/{job}_{index}_%t_log"
    step_flags = {"job-name": name, "output": f"{logs}.out", "error": f"{logs}.err", "open-mode": "append"}
    ranks = [*container_flags(batch), *batch.profile.srun_args, *rank_command(batch)]
    return _step(batch, index, nodes, step_flags, ranks, overlap=overlap)


def trial_command(batch: Batch, index: int, nodes: Sequence[str], *, overlap: bool = False) -> list[str]:
    """Return the srun call of a step like that of this task, whose ranks do nothing: whether Slurm starts one now."""
    step_flags = {"job-name": "trial", "output": "none", "immediate": str(_TRIAL_WAITS_S)}
    return _step(batch, index, nodes, step_flags, [*batch.profile.srun_args, "true"], overlap=overlap)


def _step(
    batch: Batch, index: int, nodes: Sequence[str], step_flags: dict[str, str], ranks: list[str], *, overlap: bool
) -> list[str]:
    shape, profile = batch.shape_of(index), batch.profile
    flags = step_flags | {
        "nodes": str(shape.nodes),
        "ntasks": str(shape.gpus),
        "ntasks-per-node": str(shape.gpus_per_node),
        "nodelist": ",".join(nodes[: shape.nodes]),
        "cpus-per-task": str(profile.cpus_per_gpu),
        "kill-on-bad-exit": "1",
        **gpu_flags(profile, shape),
    }
    # As many cores and as much memory as the same cell has in a job of its own: there a node is its alone or is not.
    # Memory overlaps only where none is asked for; then a step has all of its job's.
    sharing = [*([] if profile.exclusive else ["--exact"]), *(["--overlap", "--mem=0"] if overlap else [])]
    options = [f"--{key}={value}" for key, value in flags.items()]
    return ["srun", "--unbuffered", *options, *sharing, *ranks]
