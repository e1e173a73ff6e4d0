"""submitit's renderer of sbatch scripts, `_make_sbatch_string`: wrapped here, and submitit is known nowhere else. Pure.

It turns keywords into sorted, quoted `#SBATCH` lines, names the logs, and writes setup, srun line and teardown. The
function is private, so the releases that may be installed are bounded (pyproject.toml), its signature is compared with
the one that we wrote this for, and golden scripts show every byte of it (tests/unit/launchers/slurm/test_renderer.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from submitit.slurm.slurm import _make_sbatch_string

from launchers.batch import Batch

SIGNAL_BEFORE_END_S = 90
"""How long before the time limit Slurm sends USR2 to the ranks."""


def make_script(
    batch: Batch,
    command: str,
    *,
    tasks_per_node: int,
    cpus_per_task: int,
    setup: Sequence[str],
    teardown: Sequence[str],
    flags: Mapping[str, Any],
    srun_args: Sequence[str] | None,
) -> str:
    """Return the script of a batch: an array with a task for each of its tasks, or one job where there is no array.

    `flags` are further ones of sbatch by their long name. `srun_args`: None where `command` is run by the batch step
    itself instead of srun; then only the batch step is warned of the time limit.
    """
    shape = batch.shape
    signal = f"USR2@{SIGNAL_BEFORE_END_S}"
    script = _make_sbatch_string(
        command=command,
        folder=f"{batch.folder}/logs",
        job_name=f"vit_sweep-{batch.study}",
        comment=f"{batch.study}/{batch.name}",
        time=shape.minutes,
        nodes=shape.nodes,
        ntasks_per_node=tasks_per_node,
        cpus_per_task=cpus_per_task,
        setup=[*setup],
        teardown=[*teardown],
        map_count=len(batch.tasks) if batch.array else None,
        array_parallelism=batch.parallel or len(batch.tasks),
        wckey=None,  # type: ignore[arg-type]  # without it submitit marks every job as its own
        # submitit would take the signal's name from the caller's environment; only B: reaches the batch step.
        additional_parameters={**flags, "signal": f"B:{signal}" if srun_args is None else signal},
        use_srun=srun_args is not None,
        srun_args=srun_args,
    )
    return str(script)
