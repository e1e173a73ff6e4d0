"""From a batch to the text of its sbatch script. Pure: no Slurm, no clock, no environment.

The flags and the srun line are submitit's (`_make_sbatch_string`, a private but pure function: wrapped
here and nowhere else, pinned by golden tests). What `dry_run=true` writes is what is submitted.
"""

import shlex
from typing import Any

from submitit.slurm.slurm import _make_sbatch_string

from launchers.errors import UserError
from launchers.job import Batch
from launchers.profile import GpuDialect, PartitionProfile

SIGNAL_BEFORE_END_S = 90
"""How long before the time limit Slurm sends USR2 to the ranks."""


def render(batch: Batch, *, python: str) -> str:
    """Render the sbatch script of `batch`; `python` is the interpreter that the ranks use.

    The same batch renders byte for byte the same.
    """
    profile, shape = batch.profile, batch.shape
    if "%" in batch.study_dir or "\n" in batch.study_dir:
        raise UserError(
            f"outputs={batch.study_dir!r}: Slurm would expand % and a line break in a log's path – "
            "use a folder without them"
        )
    environment = batch.rank_environment
    script = _make_sbatch_string(
        command=shlex.join([profile.python or python, "-m", batch.module, batch.folder]),
        folder=f"{batch.folder}/logs",
        job_name=f"vit_sweep-{batch.study}",
        time=shape.minutes,
        nodes=shape.nodes,
        ntasks_per_node=shape.gpus_per_node,
        cpus_per_task=profile.cpus_per_gpu,
        setup=[*(f"export {k}={shlex.quote(v)}" for k, v in sorted(environment.items())), *profile.setup],
        teardown=list(profile.teardown) or None,
        signal_delay_s=SIGNAL_BEFORE_END_S,
        comment=f"{batch.study}/{batch.name}",
        map_count=len(batch.tasks),
        array_parallelism=batch.parallel or len(batch.tasks),
        wckey=None,  # type: ignore[arg-type]  # without it submitit marks every job as its own
        additional_parameters=_site_flags(profile, shape.gpus_per_node),
        # Slurm >= 22.05 no longer hands --cpus-per-task from sbatch to srun; one dead rank ends the step.
        srun_args=[f"--cpus-per-task={profile.cpus_per_gpu}", "--kill-on-bad-exit=1", *profile.srun_args],
    )
    return _with_header(str(script), batch)


def _site_flags(profile: PartitionProfile, gpus: int) -> dict[str, Any]:
    """Flags that come from the profile alone, and the GPUs in the dialect that the site accepts."""
    flags: dict[str, Any] = {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "reservation": profile.reservation,
        "constraint": profile.constraint,
        "nodelist": profile.nodelist,
        "exclude": profile.exclude,
        "exclusive": profile.exclusive or None,
        "mem": _gib(profile.mem_gib),
        "mem-per-cpu": _gib(profile.mem_per_cpu_gib),
        "mem-per-gpu": _gib(profile.mem_per_gpu_gib),
    }
    match profile.gpu_dialect:
        case GpuDialect.GRES:
            flags["gres"] = f"gpu:{gpus}"
        case GpuDialect.GRES_TYPED:
            flags["gres"] = f"gpu:{profile.gpu_type}:{gpus}"
        case GpuDialect.GPUS_PER_NODE:
            flags["gpus-per-node"] = gpus
    return {key: value for key, value in flags.items() if value is not None}


def _gib(value: int | None) -> str | None:
    return None if value is None else f"{value}G"


def _with_header(script: str, batch: Batch) -> str:
    """Put the names a person looks for under the first line."""
    first, rest = script.split("\n", 1)
    lines = [
        f"# vit_sweep study: {batch.study}",
        f"# shape: {batch.shape.nodes} node(s) x {batch.shape.gpus_per_node} GPU(s), {batch.shape.minutes} min",
        f"# {len(batch.tasks)} cell(s), by array index:",
        *(f"#   {index}: {task.name} attempt {task.attempt}" for index, task in enumerate(batch.tasks)),
    ]
    return "\n".join([first, *lines, rest])
