"""Who a process is among the ranks of its job, read from what the launcher gave it. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from launchers.checked import checked
from launchers.errors import UserError
from launchers.invocation import called
from launchers.process.environment import ALLOCATED_GPUS, GOT_PARTITION, JOB_ID, LOCAL_JOB, NODES, RESTART, TASK_INDEX

FIRST_PORT, LAST_PORT = 20000, 32767
"""Where ranks meet: below 32768, from where Linux hands out ports to outgoing connections."""


@checked
class JobPlace:
    """Which task of which job a process belongs to: all that a closing module, which is no rank, knows of itself."""

    task_index: int
    """Index into the batch's tasks (Slurm: the array index)."""
    restart: int
    """How often this job was started again: by Slurm (SLURM_RESTART_COUNT) or by one of our queues."""
    job_id: str
    """The same id that `identify` gives to the job's ranks."""


@checked
class RankIdentity(JobPlace):
    """One rank's place. Not a request: it is what the launcher really started."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int
    nodes: int
    """Hosts of the job, as the launcher counts them."""
    node_name: str
    visible_gpus: int
    """GPUs that the launcher gave to this rank's node, counted from the variables it set."""
    allocated_gpus: int | None = None
    """GPUs of the allocation that this task shares with others of its batch; None: it has one of its own."""
    partition: str | None = None
    """Slurm's name of the partition that the job runs in, of several the one that it got; None without Slurm."""
    shares_job: bool = False
    """Whether other tasks of its batch run in the same job, before it or after it."""


def place_of(environ: Mapping[str, str]) -> JobPlace:
    """Read which task of which job this is; our own variables win over Slurm's. Raises `UserError` outside any job."""
    try:
        return _place(environ)
    except KeyError as missing:
        raise UserError(
            f"this process belongs to no job: {missing} is not set – a batch's closing module is started by its job, "
            f"never by hand; submit it with {called()}"
        ) from None


def identify(environ: Mapping[str, str], *, host: str) -> RankIdentity:
    """Read this rank's identity from the innermost launcher: local queue, Open MPI, torchrun, srun.

    Inside a Slurm job all of them also see `SLURM_*`, which then speak of the job or of mpirun's and
    torchrun's own tasks. `host` names the machine where the scheduler does not. Raises `UserError`
    outside any launcher.
    """
    try:
        allocated = environ.get(ALLOCATED_GPUS)
        rank = _identify(environ, host)
    except KeyError as missing:
        raise UserError(
            f"this process has no rank: {missing} is not set – a job's module is started by the local queue, "
            f"or by srun, torchrun or mpirun inside a job, never by hand; submit it with {called()}"
        ) from None
    of_slurm = rank.job_id[:1].isdigit()  # a queue of ours may itself run in an allocation
    return replace(
        rank,
        allocated_gpus=int(allocated) if allocated else None,
        partition=environ.get(GOT_PARTITION, environ.get("SLURM_JOB_PARTITION")) if of_slurm else None,
    )


def _identify(environ: Mapping[str, str], host: str) -> RankIdentity:
    node_name = environ.get("SLURMD_NODENAME", host)
    if "RANK" in environ and environ.get(JOB_ID, "").startswith(LOCAL_JOB):
        # An allocation around the queue speaks of GPUs of its own.
        environ = {name: value for name, value in environ.items() if name != "SLURM_GPUS_ON_NODE"}
        numbers, node_name = _of_local_queue(environ), host
    elif "OMPI_COMM_WORLD_RANK" in environ:
        numbers = _of_mpirun(environ)
    elif "TORCHELASTIC_RUN_ID" in environ:
        numbers = _of_torchrun(environ)
    else:
        numbers = _of_srun(environ)
    task = _place(environ)
    return RankIdentity(
        **numbers._asdict(),
        node_name=node_name,
        task_index=task.task_index,
        restart=task.restart,
        job_id=task.job_id,
        visible_gpus=_visible_gpus(environ),
    )


def _place(environ: Mapping[str, str]) -> JobPlace:
    """Only our queues set `JOB_ID`; an allocation around such a queue has a restart count of its own."""
    in_our_queue = JOB_ID in environ
    index = environ[TASK_INDEX if in_our_queue or TASK_INDEX in environ else "SLURM_ARRAY_TASK_ID"]
    restart = environ.get(RESTART) or ("0" if in_our_queue else environ.get("SLURM_RESTART_COUNT", "0"))
    job = environ[JOB_ID] if in_our_queue else f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return JobPlace(task_index=int(index), restart=int(restart), job_id=job)


class _Numbers(NamedTuple):
    """Where a rank is among the others; each launcher has its own variables for that."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int
    nodes: int


def _of_local_queue(environ: Mapping[str, str]) -> _Numbers:
    rank, world, local_rank, on_host = _read(environ, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return _Numbers(rank, world, local_rank, on_host, node_rank=0, nodes=1)


def _of_mpirun(environ: Mapping[str, str]) -> _Numbers:
    """Open MPI numbers ranks; the hosts are counted by the script that started it (`-x` with `NODES`)."""
    ompi = (f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"))
    rank, world, local_rank, on_host, nodes = _read(environ, *ompi, NODES)
    # `--map-by ppr` fills host after host.
    return _Numbers(rank, world, local_rank, on_host, node_rank=rank // on_host, nodes=nodes)


def _of_torchrun(environ: Mapping[str, str]) -> _Numbers:
    """An agent on each node numbers its ranks; which node is the first is the agents' own choice."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    rank, world, local_rank, on_host, node = _read(environ, *names)
    return _Numbers(rank, world, local_rank, on_host, node_rank=node, nodes=world // on_host)


def _of_srun(environ: Mapping[str, str]) -> _Numbers:
    """In a step on a part of its job's nodes, `SLURM_NNODES` is the step's, unlike `SLURM_JOB_NUM_NODES`."""
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NNODES", "SLURM_NODEID")
    rank, world, local_rank, nodes, node = _read(environ, *names)
    return _Numbers(rank, world, local_rank, world // nodes, node_rank=node, nodes=nodes)


def _read(environ: Mapping[str, str], *names: str) -> list[int]:
    return [int(environ[name]) for name in names]


def _visible_gpus(environ: Mapping[str, str]) -> int:
    """Count the GPUs of the node: Slurm's own number, else what CUDA may see."""
    if "SLURM_GPUS_ON_NODE" in environ:
        return int(environ["SLURM_GPUS_ON_NODE"])
    return len([gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
