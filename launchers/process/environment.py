"""The variables of a job: each `VIT_SWEEP_*` name that a launcher sets for ranks and for closing modules. Pure.

| variable | set by | read by |
|---|---|---|
| `JOB_ID`, `RESTART` | our queues; `job.sh` of a hostfile partition, started by hand | `identity` |
| `TASK_INDEX` | our queues; scripts whose ranks mpirun starts | `identity`, `rank.sh` of a hostfile |
| `NODES` | scripts whose ranks mpirun starts | `identity` |
| `ALLOCATED_GPUS` | our queues, for a shared batch; scripts of jobs that hold whole nodes | `identity` |
| `GOT_PARTITION` | scripts for Slurm that name several partitions | `identity` |
| `JOB_ENDS` | our queues, and every script for Slurm | the shared allocation's queue, the job's own clock |

Our queues are the local one, the hostfile one and that of a shared allocation. What a user
sets (`VIT_SWEEP_CONF` and the like) is not here: it reaches no rank.
"""

import signal
from collections.abc import Mapping

JOB_ID = "VIT_SWEEP_JOB_ID"
"""The job's name for claims and logs, where Slurm's own number would not do; its presence says that a queue of this
package started the task, and that Slurm's variables speak of an allocation around that queue."""
RESTART = "VIT_SWEEP_RESTART"
"""How often this attempt was started again."""
TASK_INDEX = "VIT_SWEEP_TASK_INDEX"
"""Index into the batch's tasks."""
NODES = "VIT_SWEEP_NODES"
"""Hosts of the job: Open MPI numbers ranks, but does not say how many hosts they are on."""
ALLOCATED_GPUS = "VIT_SWEEP_ALLOCATED_GPUS"
"""GPUs of the allocation, where they are more than this task uses."""
GOT_PARTITION = "VIT_SWEEP_GOT_PARTITION"
"""Which of several partitions the job runs in: inside a step, Slurm's own variable lists all of them (22.05)."""
JOB_ENDS = "VIT_SWEEP_JOB_ENDS"
"""Unix time at which the time limit ends the job; absent where there is no limit."""

LOCAL_JOB = "local-"
"""How the job ids of the local queue begin: its ranks are numbered by the queue itself."""

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
"""What a launcher sends to ranks: a warning that the time limit or a preemption is near, then the end."""

_JOB_VARIABLES = {JOB_ID, RESTART, TASK_INDEX, NODES, ALLOCATED_GPUS, GOT_PARTITION, JOB_ENDS}
_SLURM_PREFIXES = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_")
_RANK_PREFIXES = ("OMPI_COMM_WORLD_", "PMIX_", "PMI_", "TORCHELASTIC_")
_RANK_VARIABLES = {
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
}
"""What mpirun, torchrun and the like tell their ranks: a job submitted by one would take its own ranks for those."""
_USERS_DEFAULTS = ("SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_RESERVATION", "SBATCH_WCKEY")
"""Who pays and from what: what users set for all their jobs, as sites tell them to. No job sets them for others."""
_CLUSTER_ACCESS = ("SLURM_CONF", "SLURM_JWT")
"""Where the cluster is and who may use it, which is the same inside a job and outside."""
_KEPT = (*_CLUSTER_ACCESS, *_USERS_DEFAULTS)
_DROPPED, _DROPPED_PREFIXES = _JOB_VARIABLES | _RANK_VARIABLES, (*_SLURM_PREFIXES, *_RANK_PREFIXES)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without an outer job's variables, which would otherwise bend every submission."""
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not (name.startswith(_DROPPED_PREFIXES) or name in _DROPPED)
    }
