"""The Slurm backend: sbatch, one squeue for all, scancel. An edge: it runs programs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from launchers import sbatch
from launchers.backend import Rendered, Submission, SubmitError, TaskState, TaskStatus
from launchers.checked import to_json
from launchers.errors import UserError
from launchers.job import Batch

_LEAKS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_")
_KEPT = ("SLURM_CONF", "SLURM_JWT")
_RUNNING = {"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING", "SUSPENDED", "STOPPED"}
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "RESIZING"}


class SlurmLauncher:
    """Batches as job arrays. Not a watcher: it answers when asked."""

    def render(self, batch: Batch) -> Rendered:
        """Render the array's script and the list of its tasks."""
        return Rendered(
            batch=batch,
            files={"batch.json": to_json(batch), "job.sbatch": sbatch.render(batch, python=sys.executable)},
            script="job.sbatch",
        )

    def submit(self, rendered: Sequence[Rendered]) -> Iterator[Submission]:
        """Send every script as it stands on disk."""
        if shutil.which("sbatch") is None:
            raise UserError(
                "sbatch is not on PATH: this machine has no Slurm – run this on a login node, "
                "choose partition=local, or add dry_run=true to write the scripts only"
            )
        for item in rendered:
            yield self._submit_one(item)

    def _submit_one(self, rendered: Rendered) -> Submission:
        folder = Path(rendered.batch.folder)
        script = folder / rendered.script
        (folder / "logs").mkdir(exist_ok=True)
        answer = _run(["sbatch", "--parsable", str(script)], cwd=rendered.batch.study_dir)
        if answer.returncode != 0:
            raise SubmitError(f"sbatch refused {script}: {answer.stderr.strip() or answer.stdout.strip()}")
        # --parsable prints `id` or `id;cluster`; a site's wrapper may print before it.
        job_id = answer.stdout.strip().splitlines()[-1].split(";")[0]
        if not job_id.isdigit():
            raise SubmitError(f"sbatch answered {answer.stdout!r} for {script}, which names no job")
        return Submission(batch_name=rendered.batch.name, handle=job_id, tasks=len(rendered.batch.tasks))

    def states(self, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskStatus]:
        """Ask squeue once; what it no longer lists has ended."""
        asked = list(submissions)
        if not asked:
            return {}
        if shutil.which("squeue") is None:
            return _all(asked, TaskStatus(state=TaskState.UNKNOWN, detail="no squeue on this machine"))
        answer = _run(["squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r|%N",
                       f"--jobs={','.join(s.handle for s in asked)}"])  # fmt: skip
        if answer.returncode != 0 and "Invalid job id" not in answer.stderr:
            return _all(asked, TaskStatus(state=TaskState.UNKNOWN, detail=answer.stderr.strip()))
        return parse_squeue(answer.stdout, asked)

    def cancel(self, submissions: Iterable[Submission]) -> None:
        """Cancel every job that may still be there."""
        handles = [s.handle for s in submissions]
        if handles:
            _run(["scancel", *handles])


def parse_squeue(text: str, asked: Sequence[Submission]) -> dict[tuple[str, int], TaskStatus]:
    """Read `%F|%K|%T|%r|%N` lines; a task without a line has ended and left squeue's memory."""
    states = _all(asked, TaskStatus(state=TaskState.ENDED, detail="no longer known to squeue"))
    names = {s.handle: s.batch_name for s in asked}
    for line in text.splitlines():
        if line.count("|") < 4:
            continue  # a site's wrapper may print lines of its own
        job, index, state, reason, nodes = line.split("|", 4)
        key = (names.get(job, ""), int(index) if index.isdigit() else -1)
        if key not in states:
            continue
        if state in _RUNNING:
            states[key] = TaskStatus(state=TaskState.RUNNING, detail=nodes)
        elif state in _WAITING:
            states[key] = TaskStatus(state=TaskState.QUEUED, detail=reason)
        else:
            states[key] = TaskStatus(state=TaskState.ENDED, detail=f"Slurm says {state} on {nodes or '?'}")
    return states


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without an outer job's variables, which would otherwise bend every submission."""
    return {k: v for k, v in environ.items() if k in _KEPT or not k.startswith(_LEAKS)}


def _all(asked: Sequence[Submission], status: TaskStatus) -> dict[tuple[str, int], TaskStatus]:
    return {(s.batch_name, index): status for s in asked for index in range(s.tasks)}


def _run(command: list[str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env=clean_environment(os.environ),
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not answer within 120 s")
