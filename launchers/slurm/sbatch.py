"""From a batch to the text of its sbatch script. Pure: no Slurm, no clock, no environment.

What `dry_run=true` writes is what is submitted.
"""

import re
import shlex
from typing import Any

from launchers.batch import RUN_AGAIN, Batch, Task
from launchers.errors import UserError
from launchers.process.environment import ALLOCATED_GPUS, GOT_PARTITION, JOB_ENDS, NODES, TASK_INDEX
from launchers.process.script import (
    MEETING_POINT,
    background_lines,
    closing_command,
    container_flags,
    export_lines,
    mpirun_command,
    rank_command,
    refuse_pyxis,
    requeue_lines,
    setup_lines,
)
from launchers.profile import PartitionProfile, Spawner
from launchers.slurm.renderer import make_script
from launchers.slurm.step import gpu_flags
from launchers.text import nodes_by_gpus, plural

_JOB_OF_ARRAY = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"

QUEUE_MODULE = "launchers.slurm.shared_queue"
"""What the batch step of a shared batch runs."""

_SET_BY_OTHERS = {
    "ntasks": "ntasks-per-node",
    "ntasks-per-core": "ntasks-per-node",
    "ntasks-per-gpu": "ntasks-per-node",
    "ntasks-per-socket": "ntasks-per-node",
    "cpus-per-gpu": "cpus-per-task",
    "gres": "the GPUs",
    "gpus": "the GPUs",
    "gpus-per-node": "the GPUs",
    "gpus-per-socket": "the GPUs",
    "gpus-per-task": "the GPUs",
    "nodefile": "nodelist",
    "chdir": "output",
    "wrap": "the command",
    "parsable": "the answer of sbatch",
    "wait": "the answer of sbatch",
    "test-only": "the answer of sbatch",
    "export-file": "the environment",
    "array": "the tasks",
    "het-group": "the shape, which is equal on all nodes",
    "time-min": "time",
    "tres-per-job": "the GPUs",
    "tres-per-node": "the GPUs",
    "tres-per-socket": "the GPUs",
    "tres-per-task": "the GPUs",
}
"""Flags that would contradict what another flag of the script already sets."""

_OURS_TO_GIVE = ("comment",)
"""Flags that a site may have to itself: a job is found again by its script as well as by our comment."""

_AGENTS_WAIT_S = 600
"""How long agents of torchrun wait for each other. They import torch before they meet, from a slow file system perhaps,
and give no sign of life meanwhile."""

_EXPORT_ALL = "export SLURM_EXPORT_ENV=ALL"
"""Where a site or a user submits with --export=NONE, srun would keep what the script sets from the ranks."""

_PROFILE_KEYS = {
    "cluster": "cluster",
    "clusters": "cluster",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "reservation": "reservation",
    "constraint": "constraint",
    "nodelist": "nodelist",
    "exclude": "exclude",
    "exclusive": "exclusive",
    "mem": "mem_gib",
    "mem-per-cpu": "mem_per_cpu_gib",
    "mem-per-gpu": "mem_per_gpu_gib",
    "time": "default_minutes",
    "requeue": "requeue",
    "no-requeue": "requeue",
}
"""Flags that have a key of their own in a profile."""


def render(batch: Batch, *, python: str) -> str:
    """Render the sbatch script of `batch`; `python` is the interpreter that the ranks use.

    The same batch renders byte for byte the same. Raises `UserError` for what no script can hold.
    """
    if any(character in batch.study_dir for character in "%\\\n"):
        raise UserError(
            f"outputs={batch.study_dir!r}: Slurm would bend %, a backslash and a line break in a log's path – "
            "use a folder without them"
        )
    if batch.shared and batch.profile.spawner is not Spawner.SRUN:
        raise UserError(
            f"partition {batch.profile.name}: spawner={batch.profile.spawner.value} cannot start ranks on a part of an "
            "allocation; a shared one needs spawner: srun"
        )
    site = _site_flags(batch)
    further = _further_flags(batch.profile, rendered=_flag_names(_script(batch, python, site)))
    return _with_header(_script(batch, python, site | further), batch)


def _script(batch: Batch, python: str, flags: dict[str, Any]) -> str:
    if batch.shared:
        return _shared_script(batch, python, flags)
    profile, shape = batch.profile, batch.shape
    # torchrun: one Slurm task per node, which starts that node's ranks.
    tasks = 1 if profile.spawner is Spawner.TORCHRUN else shape.gpus_per_node
    cpus = profile.cpus_per_gpu * shape.gpus_per_node // tasks
    # A setup line that fails ends the job by way of its closing module.
    site = _setup_lines(profile, end=[*_closing(batch, python), 'exit "$ended"'])
    setup = [*_job_lines(batch), *export_lines(batch), *site, *_survive(batch)]
    # Slurm >= 22.05 no longer hands --cpus-per-task from sbatch to srun; one dead rank ends the step.
    srun_args = [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1", *container_flags(batch), *profile.srun_args]
    match profile.spawner:
        case Spawner.SRUN:
            command = shlex.join(rank_command(batch, python=python))
        case Spawner.TORCHRUN:
            command = _torchrun(batch, python)
            setup += MEETING_POINT
        case Spawner.MPIRUN:
            refuse_pyxis(batch, "mpirun")
            command = _mpirun(batch, python)
    in_batch_step = profile.spawner is Spawner.MPIRUN
    return make_script(
        batch,
        command if in_batch_step else f"{command} || ended=$?",
        tasks_per_node=tasks,
        cpus_per_task=cpus,
        setup=[*setup, "ended=0"],
        teardown=[*_teardown_lines(profile), *_closing(batch, python), 'exit "$ended"', ""],
        flags=flags,
        srun_args=None if in_batch_step else srun_args,
    )


def _shared_script(batch: Batch, python: str, flags: dict[str, Any]) -> str:
    """One job for all tasks. Its batch step runs our queue, which starts one after another as a step of srun."""
    profile = batch.profile
    queue = shlex.join([profile.python or python, "-m", QUEUE_MODULE, batch.folder])
    requeue = [f'if [ "$ended" = {RUN_AGAIN} ]; then', *(f"  {line}" for line in requeue_lines("$SLURM_JOB_ID")), "fi"]
    return make_script(
        batch,
        # Slurm ends the shell, not what it runs: the queue is told to end in its own time.
        "\n".join(background_lines("queue", queue, signals=("USR2", "TERM"))),
        tasks_per_node=batch.shape.gpus_per_node,
        cpus_per_task=profile.cpus_per_gpu,
        # What comes before the queue listens is not to end the shell either.
        setup=[
            _EXPORT_ALL,
            *export_lines(batch),
            *_setup_lines(profile, end=['exit "$ended"']),
            "trap : TERM USR2",
            "ended=0",
        ],
        teardown=[*_teardown_lines(profile), *(requeue if profile.requeue else []), 'exit "$ended"', ""],
        flags=flags,
        srun_args=None,
    )


def _setup_lines(profile: PartitionProfile, *, end: list[str]) -> list[str]:
    """The profile's setup. A job that Slurm ends meanwhile was not ended by a line of it."""
    lines = setup_lines(profile, end=end)
    if not lines or profile.setup_may_fail:
        return lines
    signals = 'for signal in TERM USR2; do trap "trap - EXIT $signal; kill -$signal \\$\\$" $signal; done'
    return [signals, *lines]


def _teardown_lines(profile: PartitionProfile) -> list[str]:
    """The profile's teardown in a shell of its own, which may `exit`: the job's end is still to be judged."""
    return ["(", *profile.teardown, ")"] if profile.teardown else []


def _torchrun(batch: Batch, python: str) -> str:
    """One agent per node. It must outlive USR2, which Slurm sends to it as well as to its ranks."""
    shape = batch.shape
    layout = (f"--nnodes={shape.nodes}", f"--nproc-per-node={shape.gpus_per_node}")
    # read_timeout bounds the call for the first node's agent; by default those who come first give up after a minute.
    waits = f"--rdzv-conf=join_timeout={_AGENTS_WAIT_S},read_timeout={_AGENTS_WAIT_S}"
    agent = ("-m", "torch.distributed.run", *layout, "--max-restarts=0", "--rdzv-backend=c10d", waits)
    command = [
        "bash",
        "-c",
        'trap "" USR2; exec "$@"',
        "torchrun",
        *rank_command(batch, python=python, before_module=agent),
    ]
    # Between the agent and `-m MODULE FOLDER`: what only the job itself can expand.
    meeting = '--rdzv-id="$rdzv_id" --rdzv-endpoint="$rdzv_head:$rdzv_port"'
    return f"{shlex.join(command[:-3])} {meeting} {shlex.join(command[-3:])}"


def _mpirun(batch: Batch, python: str) -> str:
    """Open MPI from the batch step; it runs in the background, so that the shell can hand USR2 on to every rank."""
    allocated = (ALLOCATED_GPUS,) if batch.held_gpus != batch.shape.gpus else ()
    got = (GOT_PARTITION,) if _names_several(batch) else ()
    export = (*allocated, *got, JOB_ENDS, NODES, TASK_INDEX)
    command = mpirun_command(batch, rank_command(batch, python=python), export=export)
    return "\n".join(
        [
            f"export {NODES}=$SLURM_JOB_NUM_NODES {TASK_INDEX}=$SLURM_ARRAY_TASK_ID",
            *background_lines("mpirun", shlex.join(command), signals=("USR2",)),
        ]
    )


def _job_lines(batch: Batch) -> list[str]:
    """Lines that let a job that is no array look like the only task of one, and let its ranks have its variables."""
    got = [f"export {GOT_PARTITION}=$SLURM_JOB_PARTITION"] if _names_several(batch) else []
    task_variables = [] if batch.array else ["export SLURM_ARRAY_JOB_ID=$SLURM_JOB_ID SLURM_ARRAY_TASK_ID=0"]
    return [_EXPORT_ALL, *got, *task_variables]


def _names_several(batch: Batch) -> bool:
    return "," in (batch.profile.partition or "")


def _survive(batch: Batch) -> list[str]:
    """Let the shell outlive SIGTERM, which Slurm sends to it too, so that the closing module has its turn.

    A trap, since what the shell starts would inherit an ignored signal. KillWait, 30 s by default, still ends all.
    """
    return [] if batch.closing is None else ["trap : TERM"]


def _closing(batch: Batch, python: str) -> list[str]:
    """Lines that run the closing module after a bad end, and have the job started again where it asks for that.

    A job that is being cancelled, preempted or ended by its time limit says COMPLETING: it is not brought back.
    """
    if batch.closing is None:
        return []
    closing = f'{shlex.join(closing_command(batch, batch.closing, python=python))} "$ended" || closed=$?'
    requeue = [
        f'if [ "$closed" = {RUN_AGAIN} ]; then',
        *(f"  {line}" for line in requeue_lines(_JOB_OF_ARRAY if batch.array else "$SLURM_JOB_ID")),
        "fi",
    ]
    return [
        'if [ "$ended" != 0 ]; then',
        "  closed=0",
        f"  {closing}",
        *(f"  {line}" for line in requeue if batch.profile.requeue),
        "fi",
    ]


def _site_flags(batch: Batch) -> dict[str, Any]:
    """Flags that come from the profile's own keys, and the GPUs in the dialect that the site accepts."""
    profile = batch.profile
    flags: dict[str, Any] = {
        "clusters": profile.cluster,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "reservation": profile.reservation,
        "constraint": profile.constraint,
        "nodelist": profile.nodelist,
        "exclude": ",".join(filter(None, [profile.exclude, *batch.exclude])) or None,
        "exclusive": profile.exclusive or None,
        "requeue" if profile.requeue else "no-requeue": True,
        "mem": _memory(profile.mem_gib),
        "mem-per-cpu": _memory(profile.mem_per_cpu_gib),
        "mem-per-gpu": _memory(profile.mem_per_gpu_gib),
    }
    flags |= gpu_flags(profile, batch.shape)
    return {key: value for key, value in flags.items() if value is not None}


def _further_flags(profile: PartitionProfile, *, rendered: set[str]) -> dict[str, Any]:
    """The profile's further flags; raises `UserError` for one that contradicts the flags in `ours`."""
    further: dict[str, Any] = {}
    for key, value in profile.sbatch.items():
        name, setting = key.replace("_", "-"), f"partition {profile.name}: sbatch.{key}={value}"
        if not re.fullmatch(r"[a-z][a-z-]*[a-z]", name):
            raise UserError(f"{setting} – not the long name of a flag; write it as in --mail-user, without the dashes")
        if name in _PROFILE_KEYS:
            raise UserError(f"{setting} – --{name} has a key of its own; use {_PROFILE_KEYS[name]} instead")
        if name == "export" and value not in ("NONE", "ALL"):
            raise UserError(f"{setting} – a job's variables are keys of `environment`; --export may be NONE or ALL")
        if (name in rendered and name not in _OURS_TO_GIVE) or name in _SET_BY_OTHERS:
            other_flag = f"--{name}" if name in rendered else _SET_BY_OTHERS[name]
            raise UserError(f"{setting} – contradicts {other_flag}, which every script sets from the cell; remove it")
        if value is not False:
            further[name] = value
    return further


def _flag_names(script: str) -> set[str]:
    return set(re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE))


def _memory(gib: float | None) -> str | None:
    """Slurm's spelling of a memory: whole GiB, or MiB, or 0 for all that a node has."""
    if not gib:
        return None if gib is None else "0"
    return f"{gib:.0f}G" if gib.is_integer() else f"{round(gib * 1024)}M"


def _with_header(script: str, batch: Batch) -> str:
    """Put the names a person looks for under the first line."""
    shebang, body = script.split("\n", 1)
    by_task = "a job of its own" if not batch.array else "by array index"
    layout = "one by one on the first of these nodes" if batch.shared else by_task
    lines = [
        f"# vit_sweep study: {batch.study}, batch {batch.name}",
        f"# shape: {nodes_by_gpus(batch.shape.nodes, batch.shape.gpus_per_node)}, {batch.shape.minutes} min",
        f"# {plural(len(batch.tasks), 'cell')}, {layout}:",
        *(f"#   {index}: {task.name} attempt {task.attempt}{_part(task)}" for index, task in enumerate(batch.tasks)),
    ]
    return "\n".join([shebang, *lines, body])


def _part(task: Task) -> str:
    if task.shape is None:
        return ""
    return f", {nodes_by_gpus(task.shape.nodes, task.shape.gpus_per_node)}, {task.shape.minutes} min"


def stated(script: str) -> set[str]:
    """The variables of the options that a script states: in the environment of sbatch they would win over it."""
    return {f"SBATCH_{option.upper().replace('-', '_')}" for option in _flag_names(script)}
