"""Who a process is among the ranks of its job, read from what the launcher gave it. Pure."""

from collections.abc import Mapping

from launchers.checked import checked
from launchers.errors import UserError


@checked
class RankIdentity:
    """One rank's place. Not a request: it is what the launcher really started."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int
    nodes: int
    """Hosts of the job, as the launcher counts them."""
    node_name: str
    task_index: int
    """Index into the batch's tasks (Slurm: the array index)."""
    restart: int
    """How often the scheduler started this job again (Slurm: SLURM_RESTART_COUNT)."""
    job_id: str
    visible_gpus: int
    """GPUs that the launcher gave to this rank's node, counted from the variables it set."""


def identify(environ: Mapping[str, str], *, host: str) -> RankIdentity:
    """Read this rank's identity: the local queue's variables first, else srun's.

    `host` names the machine where the scheduler does not. Raises `UserError` outside any launcher.
    """
    if "VIT_SWEEP_TASK_INDEX" in environ:
        return RankIdentity(
            rank=int(environ["RANK"]),
            world_size=int(environ["WORLD_SIZE"]),
            local_rank=int(environ["LOCAL_RANK"]),
            local_world_size=int(environ["LOCAL_WORLD_SIZE"]),
            node_rank=0,
            nodes=1,
            node_name=host,
            task_index=int(environ["VIT_SWEEP_TASK_INDEX"]),
            restart=0,
            job_id=environ.get("VIT_SWEEP_JOB_ID", "local"),
            visible_gpus=_visible_gpus({k: v for k, v in environ.items() if k != "SLURM_GPUS_ON_NODE"}),
        )
    try:
        nodes = int(environ["SLURM_NNODES"])
        return RankIdentity(
            rank=int(environ["SLURM_PROCID"]),
            world_size=int(environ["SLURM_NTASKS"]),
            local_rank=int(environ["SLURM_LOCALID"]),
            local_world_size=int(environ["SLURM_NTASKS"]) // nodes,
            node_rank=int(environ["SLURM_NODEID"]),
            nodes=nodes,
            node_name=environ.get("SLURMD_NODENAME", host),
            task_index=int(environ["SLURM_ARRAY_TASK_ID"]),
            restart=int(environ.get("SLURM_RESTART_COUNT", "0")),
            job_id=f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}",
            visible_gpus=_visible_gpus(environ),
        )
    except KeyError as missing:
        raise UserError(
            f"this process has no rank: {missing} is not set – a job's module is started by the local queue "
            "or by srun inside an sbatch array, never by hand; submit it with python -m vit_sweep"
        ) from None


def _visible_gpus(environ: Mapping[str, str]) -> int:
    """Count the GPUs of the node: Slurm's own number, else what CUDA may see."""
    if "SLURM_GPUS_ON_NODE" in environ:
        return int(environ["SLURM_GPUS_ON_NODE"])
    return len([gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
