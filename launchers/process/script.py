"""Parts of a job's script: what a rank executes, with or without a container, and lines that scripts share. Pure."""

import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from launchers.batch import SETUP_FAILED, Batch, Shape
from launchers.errors import UserError
from launchers.process.environment import ALLOCATED_GPUS, JOB_ENDS
from launchers.process.identity import FIRST_PORT, LAST_PORT
from launchers.profile import ContainerRuntime, Device, GpuVendor, PartitionProfile
from launchers.references import masked, shell_word

MEETING_POINT = [
    "",
    "# where the nodes meet: the first one, on a port of this job's own that nobody listens on",
    'rdzv_head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    "rdzv_id=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_${SLURM_RESTART_COUNT:-0}",
    "rdzv_start=$((SLURM_ARRAY_JOB_ID * 131 + SLURM_ARRAY_TASK_ID * 17 + ${SLURM_RESTART_COUNT:-0}))",
    "for try in {0..63}; do",
    f"  rdzv_port=$(({FIRST_PORT} + (rdzv_start + try * 97) % {LAST_PORT - FIRST_PORT + 1}))",
    '  (: < "/dev/tcp/$rdzv_head/$rdzv_port") 2> /dev/null || break',
    "done",
]
"""The batch script runs on the first node, so that what it finds free is free where torchrun will listen."""


def rank_command(batch: Batch, *, python: str | None = None, before_module: tuple[str, ...] = ()) -> list[str]:
    """Return the command of one rank: interpreter, module, folder; inside Apptainer where the profile says so.

    `before_module` goes between the interpreter and `-m MODULE`, for a program that starts the module itself.
    """
    profile, container = batch.profile, batch.profile.container
    module = [*before_module, "-m", batch.module, batch.folder]
    if container is None:
        return [profile.python or python or sys.executable, *module]
    if container.runtime is ContainerRuntime.PYXIS:
        return [container.python, *module]
    mounts = [part for mount in (_bindable(batch), *container.mounts) for part in ("--bind", mount)]
    flag = {GpuVendor.NVIDIA: "--nv", GpuVendor.AMD: "--rocm"}[profile.gpu_vendor]
    gpus = [flag] if profile.device is Device.CUDA else []
    return ["apptainer", "exec", *gpus, *mounts, container.image, *_snapshot(batch), container.python, *module]


def closing_command(batch: Batch, closing: str, *, python: str | None = None) -> list[str]:
    """Return the command of a batch's closing module, which runs once, on a job's first node; add the exit code."""
    command = rank_command(replace(batch, module=closing), python=python)
    if container_flags(batch):
        # Pyxis is a plugin of srun; the ranks' own step has ended, but srun may not have noticed yet.
        return ["srun", "--nodes=1", "--ntasks=1", "--overlap", *container_flags(batch), *command]
    return command


def mpirun_command(
    batch: Batch,
    command: Iterable[str],
    *,
    export: Iterable[str],
    shape: Shape | None = None,
    host_options: Iterable[str] = (),
    transport_options: Iterable[str] = (),
) -> list[str]:
    """Return the command of an Open MPI call: a rank per GPU, host after host, with our variables and `export` set.

    `shape` where it is not the batch's. `host_options` name the hosts and `transport_options` the transport, where
    Slurm does not.
    """
    shape = shape or batch.shape
    layout = ["-np", str(shape.gpus), "--map-by", f"ppr:{shape.gpus_per_node}:node", "--bind-to", "none"]
    variables = [part for name in sorted({*batch.rank_environment, *export}) for part in ("-x", name)]
    return ["mpirun", *host_options, *layout, *transport_options, *variables, *batch.profile.mpirun_args, *command]


def container_flags(batch: Batch) -> list[str]:
    """Return the flags that Pyxis adds to srun; none for any other runtime.

    Our variables are named, since the image's own values would win over those of the job.
    """
    container = batch.profile.container
    if container is None or container.runtime is not ContainerRuntime.PYXIS:
        return []
    folder = _bindable(batch)
    return [
        f"--container-image={container.image}",
        f"--container-mounts={','.join([f'{folder}:{folder}', *container.mounts])}",
        f"--container-env={','.join(sorted(batch.rank_environment))}",
    ]


def refuse_pyxis(batch: Batch, starter: str) -> None:
    """Raise `UserError` where `starter` starts ranks without srun, whose plugin Pyxis is."""
    container = batch.profile.container
    if container is not None and container.runtime is ContainerRuntime.PYXIS:
        raise UserError(
            f"partition {batch.profile.name}: container.runtime=pyxis is a plugin of srun, but {starter} starts the "
            "ranks – use runtime: apptainer, or spawner: srun on a Slurm partition"
        )


def export_lines(batch: Batch) -> list[str]:
    """Return lines that set the variables of the ranks, and the time at which the job ends."""
    variables = [f"export {k}={shell_word(v)}" for k, v in sorted(batch.rank_environment.items())]
    allocated = [] if batch.held_gpus == batch.shape.gpus else [f"export {ALLOCATED_GPUS}={batch.held_gpus}"]
    return [*variables, *allocated, f"export {JOB_ENDS}=$(($(date +%s) + {batch.shape.minutes} * 60))"]


def setup_lines(profile: PartitionProfile, *, end: Iterable[str]) -> list[str]:
    """Return a profile's setup, in which a line that fails is named on stderr and ends the job by the lines `end`.

    These find `SETUP_FAILED` in `$ended`. So does a line end that ends the script itself: `exit`, what fails under
    `set -e`, a here-document without an end, what is no Bash.
    """
    # Our own lines are written for a shell that goes on.
    strict_off = ["set +eu"] if profile.setup else []
    if not profile.setup or profile.setup_may_fail:
        return [*profile.setup, *strict_off]
    on_failure = [
        "setup_failed() {",
        '  echo "vit_sweep: setup line ended $1: $setup_line" >&2',
        *(f"  {line}" for line in ("setup_line=", *strict_off, f"ended={SETUP_FAILED}", *end)),
        "}",
        """trap 'code=$?; [ -z "$setup_line" ] || setup_failed "the script with code $code"' EXIT""",
    ]
    # On lines of their own, which a comment at the end of the line before does not swallow.
    lines = [
        [f"setup_line={shlex.quote(masked(line))}", line, 'code=$?; [ $code = 0 ] || setup_failed "with code $code"']
        for line in profile.setup
    ]
    return [*on_failure, *chain.from_iterable(lines), "setup_line=", *strict_off]


def background_lines(name: str, command: str, *, signals: tuple[str, ...]) -> list[str]:
    """Return lines that run a command in the background; the shell hands `signals` on to it and waits for its end."""
    pid = f"${name}_pid"
    return [
        f"{command} &",
        f"{name}_pid=$!",
        *(f"trap 'kill -{signal} {pid}' {signal}" for signal in signals),
        f"wait {pid} || ended=$?",
        f"# A trap ends the first wait before {name} has ended.",
        f"while kill -0 {pid} 2> /dev/null; do ended=0; wait {pid} || ended=$?; done",
    ]


def requeue_lines(job: str) -> list[str]:
    """Return lines that have Slurm start `job` again, unless somebody is ending it."""
    return [
        f"me={job}",
        "# A controller that is being started again says nothing for a while; a program that is not here never will.",
        "for pause in 0 5 15 30; do",
        "  type squeue scontrol > /dev/null || break",
        "  sleep $pause",
        '  state=$(squeue --noheader --jobs="$me" --format=%T) || continue',
        '  [ "$state" != RUNNING ] || scontrol requeue "$me" || continue',
        "  break",
        "done",
    ]


def _snapshot(batch: Batch) -> list[str]:
    """Set PYTHONPATH inside the image: Apptainer hands variables on, but the image's own value would win."""
    return [] if batch.code is None else ["env", f"PYTHONPATH={batch.rank_environment['PYTHONPATH']}"]


def _bindable(batch: Batch) -> str:
    """The study's folder, refused where the runtime would read its name as several mounts."""
    if ":" in batch.study_dir or "," in batch.study_dir:
        raise UserError(
            f"outputs={batch.study_dir!r}: a container's mount takes : and , for separators – use a folder without them"
        )
    return batch.study_dir
