"""The hostfile backend: machines without a scheduler, reached by mpirun over a remote shell. An edge.

The study's folder must lie on a file system that every host sees under the same path.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence

from launchers.backend import Rendered, Submission
from launchers.batch import Batch, Shape
from launchers.checked import to_json
from launchers.errors import UserError
from launchers.hosts import choose_hosts, model_of
from launchers.process.environment import (
    ALLOCATED_GPUS,
    JOB_ENDS,
    JOB_ID,
    NODES,
    RESTART,
    TASK_INDEX,
    clean_environment,
)
from launchers.process.script import mpirun_command, rank_command, refuse_pyxis, setup_lines
from launchers.profile import Host
from launchers.queue.client import QueueClient, start_queue
from launchers.references import shell_word
from launchers.text import plural

_KILL_AFTER_S = 10
"""How long ranks may go on writing after mpirun has told them to end."""


class HostfileLauncher(QueueClient):
    """One cell at a time on the hosts of the profile; the queue runs here, on the control host."""

    name = "the hostfile queue"

    def render(self, batch: Batch) -> Rendered:
        """Render hostfile, rank wrapper and the script of a task; raises `UserError` where no hosts suit the shape."""
        refuse_pyxis(batch, "mpirun")
        hosts = hosts_of(batch)
        files = {"batch.json": to_json(batch), "rank.sh": _rank_script(batch)}
        if not batch.shared:
            files |= {
                "hostfile": _hostfile(batch, hosts, batch.shape),
                "job.sh": _job_script(batch, hosts, batch.shape, "hostfile"),
            }
            return Rendered(batch=batch, files=files, script="job.sh")
        for index in range(len(batch.tasks)):
            shape = batch.shape_of(index)
            used, hostfile = hosts[: shape.nodes], f"hostfile-{index}"
            files |= {
                hostfile: _hostfile(batch, used, shape),
                f"job-{index}.sh": _job_script(batch, used, shape, hostfile),
            }
        return Rendered(batch=batch, files=files | {"job.sh": _one_of_many(batch, hosts)}, script="job.sh")

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Start one detached queue for all batches."""
        if not rendered:
            return
        if shutil.which("mpirun") is None:
            raise UserError(
                "mpirun is not on PATH: a hostfile partition starts its ranks with Open MPI – install it here and on "
                "the hosts (Debian: openmpi-bin), or add dry_run=true to write the scripts only"
            )
        # Inside another Slurm job mpirun would take that job's nodes instead of the profile's hosts.
        yield from start_queue(
            rendered,
            [sys.executable, "-m", "launchers.hostfile.queue"],
            name=self.name,
            environment=clean_environment(os.environ),
        )


def hosts_of(batch: Batch) -> tuple[Host, ...]:
    """Return the hosts of a batch; raises `UserError` with the reason where none suit its shape."""
    hosts = choose_hosts(batch.profile, batch.shape.nodes, batch.shape.gpus_per_node, without=batch.exclude)
    if isinstance(hosts, str):
        raise UserError(hosts)
    bad_names = [host.name for host in hosts if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", host.name)]
    if bad_names:
        raise UserError(f"partition {batch.profile.name}: host {bad_names[0]!r} is no name that a hostfile can hold")
    return hosts


def _hostfile(batch: Batch, hosts: tuple[Host, ...], shape: Shape) -> str:
    lines = [f"{h.name} slots={shape.gpus_per_node}  # {model_of(batch.profile, h)}" for h in hosts]
    return "\n".join(lines) + "\n"


def _rank_script(batch: Batch) -> str:
    """One rank on one host. It notes a bad end, so that the queue can name the rank that died first."""
    codes_folder = shlex.quote(f"{batch.folder}/ended")
    note = f'echo "$code" > {codes_folder}/"${TASK_INDEX}-$OMPI_COMM_WORLD_RANK"'
    lines = [
        "#!/bin/bash",
        "# One rank of this batch; mpirun starts it on the hosts (see job.sh).",
        "# mpirun signals the whole group: this shell must outlive the rank, or mpirun takes the rank for ended.",
        "trap : TERM USR2",
        *setup_lines(batch.profile, end=[f"code=$ended; mkdir -p {codes_folder}; {note}", 'exit "$ended"']),
        shlex.join(rank_command(batch)),
        "code=$?",
        f'[ "$code" = 0 ] || {{ mkdir -p {codes_folder}; {note}; }}',
        *batch.profile.teardown,
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"


def _one_of_many(batch: Batch, hosts: tuple[Host, ...]) -> str:
    """A shared batch: every task has a script of its own, for its part of the same hosts."""
    lines = [
        "#!/bin/bash",
        f"# vit_sweep study: {batch.study}",
        f"# one by one on the first of these hosts: {' '.join(host.name for host in hosts)}",
        "# bash job.sh INDEX runs one of:",
        *(f"#   {index}: {task.name} attempt {task.attempt}" for index, task in enumerate(batch.tasks)),
        f'exec bash {shlex.quote(batch.folder)}/job-"$1".sh "$1"',
    ]
    return "\n".join(lines) + "\n"


def _job_script(batch: Batch, hosts: tuple[Host, ...], shape: Shape, hostfile: str) -> str:
    """One task: what the queue runs, and what a person may run by hand."""
    environment = batch.rank_environment
    tasks = [(index, task) for index, task in enumerate(batch.tasks) if batch.shape_of(index) == shape]
    options = [
        ("plm", "rsh"),
        ("plm_rsh_agent", _agent(batch.profile.remote_shell)),
        ("odls_base_sigkill_timeout", str(_KILL_AFTER_S)),
    ]
    command = mpirun_command(
        batch,
        ["bash", f"{batch.folder}/rank.sh"],
        shape=shape,
        export=(JOB_ID, NODES, RESTART, TASK_INDEX),
        host_options=["--hostfile", f"{batch.folder}/{hostfile}"],
        transport_options=[part for option in options for part in ("--mca", *option)],
    )
    allocated = f"${{{ALLOCATED_GPUS}:+-x {ALLOCATED_GPUS}}} " if batch.shared else ""
    lines = [
        "#!/bin/bash",
        f"# vit_sweep study: {batch.study}",
        f"# {plural(shape.nodes, 'host')} x {plural(shape.gpus_per_node, 'rank')}: "
        + " ".join(host.name for host in hosts),
        "# bash job.sh INDEX runs one of:",
        *(f"#   {index}: {task.name} attempt {task.attempt}" for index, task in tasks),
        "set -eu",
        *(f"export {key}={shell_word(value)}" for key, value in sorted(environment.items())),
        f"export {NODES}={shape.nodes} {TASK_INDEX}=$1",
        f"export {JOB_ID}=${{{JOB_ID}:-hostfile-$$-$1}} {RESTART}=${{{RESTART}:-0}}",
        # A task that a person starts by hand has no time limit.
        f"exec mpirun ${{{JOB_ENDS}:+-x {JOB_ENDS}}} {allocated}{shlex.join(command[1:])}",
    ]
    return "\n".join(lines) + "\n"


def _agent(remote_shell: str) -> str:
    """Open MPI 4.1 drops a last word of one letter (`ssh -l u`), unless a space follows it."""
    return f"{remote_shell} " if len(remote_shell.rsplit(" ", maxsplit=1)[-1]) == 1 else remote_shell
