"""Who a process is among the ranks of its job, read from what the launcher gave it. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from launchers.checked import checked
from launchers.environment import ALLOCATED_GPUS, JOB_ID, LOCAL_JOB, NODES, RESTART, TASK_INDEX
from launchers.errors import UserError

FIRST_PORT, LAST_PORT = 20000, 32767
"""Where ranks meet: below 32768, from where Linux hands out ports to outgoing connections."""


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
    allocated_gpus: int | None = None
    """GPUs of the allocation that this task shares with others of its batch; None: it has one of its own."""


@checked
class JobPlace:
    """Which task of which job a process belongs to. Not a rank: what a closing module knows of itself."""

    task_index: int
    """Index into the batch's tasks (Slurm: the array index)."""
    restart: int
    """How often this job was started again: by Slurm (SLURM_RESTART_COUNT) or by one of our queues."""
    job_id: str
    """The same id that `identify` gives to the job's ranks."""


def place_of(environ: Mapping[str, str]) -> JobPlace:
    """Read which task of which job this is; our own variables win over Slurm's. Raises `UserError` outside any job."""
    try:
        return _place(environ)
    except KeyError as missing:
        raise UserError(
            f"this process belongs to no job: {missing} is not set – a batch's closing module is started by its job, "
            "never by hand; submit it with python -m vit_sweep"
        ) from None


def identify(environ: Mapping[str, str], *, host: str) -> RankIdentity:
    """Read this rank's identity from the innermost launcher: local queue, Open MPI, torchrun, srun.

    Inside a Slurm job all of them also see `SLURM_*`, which then speak of the job or of mpirun's and
    torchrun's own tasks. `host` names the machine where the scheduler does not. Raises `UserError`
    outside any launcher.
    """
    try:
        allocated = environ.get(ALLOCATED_GPUS)
        return replace(_identify(environ, host), allocated_gpus=int(allocated) if allocated else None)
    except KeyError as missing:
        raise UserError(
            f"this process has no rank: {missing} is not set – a job's module is started by the local queue, "
            "or by srun, torchrun or mpirun inside a job, never by hand; submit it with python -m vit_sweep"
        ) from None


def _identify(environ: Mapping[str, str], host: str) -> RankIdentity:
    if "RANK" in environ and environ.get(JOB_ID, "").startswith(LOCAL_JOB):
        return _of_local_queue(environ, host)
    if "OMPI_COMM_WORLD_RANK" in environ:
        return _of_mpirun(environ, host)
    if "TORCHELASTIC_RUN_ID" in environ:
        return _of_torchrun(environ, host)
    return _of_srun(environ, host)


def _place(environ: Mapping[str, str]) -> JobPlace:
    """Only our queues set `JOB_ID`; an allocation around such a queue has a restart count of its own."""
    in_our_queue = JOB_ID in environ
    index = environ[TASK_INDEX if in_our_queue or TASK_INDEX in environ else "SLURM_ARRAY_TASK_ID"]
    restart = environ.get(RESTART) or ("0" if in_our_queue else environ.get("SLURM_RESTART_COUNT", "0"))
    job = environ[JOB_ID] if in_our_queue else f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return JobPlace(task_index=int(index), restart=int(restart), job_id=job)


def _of_local_queue(environ: Mapping[str, str], host: str) -> RankIdentity:
    place = _place(environ)
    return RankIdentity(
        rank=int(environ["RANK"]),
        world_size=int(environ["WORLD_SIZE"]),
        local_rank=int(environ["LOCAL_RANK"]),
        local_world_size=int(environ["LOCAL_WORLD_SIZE"]),
        node_rank=0,
        nodes=1,
        node_name=host,
        task_index=place.task_index,
        restart=place.restart,
        job_id=place.job_id,
        visible_gpus=_visible_gpus({k: v for k, v in environ.items() if k != "SLURM_GPUS_ON_NODE"}),
    )


def _of_mpirun(environ: Mapping[str, str], host: str) -> RankIdentity:
    """Open MPI numbers ranks; the hosts are counted by the script that started it (`-x` with `NODES`)."""
    rank, on_host = int(environ["OMPI_COMM_WORLD_RANK"]), int(environ["OMPI_COMM_WORLD_LOCAL_SIZE"])
    nodes, place = int(environ[NODES]), _place(environ)
    return RankIdentity(
        rank=rank,
        world_size=int(environ["OMPI_COMM_WORLD_SIZE"]),
        local_rank=int(environ["OMPI_COMM_WORLD_LOCAL_RANK"]),
        local_world_size=on_host,
        node_rank=rank // on_host,  # `--map-by ppr` fills host after host
        nodes=nodes,
        node_name=environ.get("SLURMD_NODENAME", host),
        task_index=place.task_index,
        restart=place.restart,
        job_id=place.job_id,
        visible_gpus=_visible_gpus(environ),
    )


def _of_torchrun(environ: Mapping[str, str], host: str) -> RankIdentity:
    """An agent on each node numbers its ranks; which node is the first is the agents' own choice."""
    place = _place(environ)
    on_host, world = int(environ["LOCAL_WORLD_SIZE"]), int(environ["WORLD_SIZE"])
    return RankIdentity(
        rank=int(environ["RANK"]),
        world_size=world,
        local_rank=int(environ["LOCAL_RANK"]),
        local_world_size=on_host,
        node_rank=int(environ["GROUP_RANK"]),
        nodes=world // on_host,
        node_name=environ.get("SLURMD_NODENAME", host),
        task_index=place.task_index,
        restart=place.restart,
        job_id=place.job_id,
        visible_gpus=_visible_gpus(environ),
    )


def _of_srun(environ: Mapping[str, str], host: str) -> RankIdentity:
    """In a step on a part of its job's nodes, `SLURM_NNODES` is the step's, unlike `SLURM_JOB_NUM_NODES`."""
    place, nodes = _place(environ), int(environ["SLURM_NNODES"])
    return RankIdentity(
        rank=int(environ["SLURM_PROCID"]),
        world_size=int(environ["SLURM_NTASKS"]),
        local_rank=int(environ["SLURM_LOCALID"]),
        local_world_size=int(environ["SLURM_NTASKS"]) // nodes,
        node_rank=int(environ["SLURM_NODEID"]),
        nodes=nodes,
        node_name=environ.get("SLURMD_NODENAME", host),
        task_index=place.task_index,
        restart=place.restart,
        job_id=place.job_id,
        visible_gpus=_visible_gpus(environ),
    )


def _visible_gpus(environ: Mapping[str, str]) -> int:
    """Count the GPUs of the node: Slurm's own number, else what CUDA may see."""
    if "SLURM_GPUS_ON_NODE" in environ:
        return int(environ["SLURM_GPUS_ON_NODE"])
    return len([gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
