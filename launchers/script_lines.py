"""Lines of a job's script that several kinds of jobs have in common. Pure."""

import shlex

from launchers.batch import Batch
from launchers.environment import JOB_ENDS
from launchers.identity import FIRST_PORT, LAST_PORT

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


def exports(batch: Batch) -> list[str]:
    """Variables of the ranks, and when the job's time is over."""
    words = [f"export {k}={shlex.quote(v)}" for k, v in sorted(batch.rank_environment.items())]
    return [*words, f"export {JOB_ENDS}=$(($(date +%s) + {batch.shape.minutes} * 60))"]


def beside(name: str, command: str, *, signals: tuple[str, ...]) -> list[str]:
    """Lines that run a command beside the shell, which hands `signals` on to it and waits for its end."""
    pid = f"${name}_pid"
    return [
        f"{command} &",
        f"{name}_pid=$!",
        *(f"trap 'kill -{signal} {pid}' {signal}" for signal in signals),
        f"wait {pid} || ended=$?",
        f"# A trap ends the first wait before {name} has ended.",
        f"while kill -0 {pid} 2> /dev/null; do ended=0; wait {pid} || ended=$?; done",
    ]


def start_again(me: str) -> list[str]:
    """Lines that have the job `me` started again, unless somebody is ending it."""
    return [
        f"me={me}",
        "# A controller that is being started again says nothing for a while.",
        "for pause in 0 5 15 30; do",
        "  sleep $pause",
        '  state=$(squeue --noheader --jobs="$me" --format=%T) || continue',
        '  [ "$state" != RUNNING ] || scontrol requeue "$me" || continue',
        "  break",
        "done",
    ]
