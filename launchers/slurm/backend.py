"""The Slurm backend: sbatch, one squeue for all, one sacct for what it forgot, scancel. An edge: it runs programs."""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic_core import from_json

from launchers.atomic import make_folder, read
from launchers.backend import (
    Ended,
    Rendered,
    Submission,
    SubmitError,
    SubmitProblem,
    TaskState,
    TaskStatus,
    Unconfirmed,
)
from launchers.batch import Batch
from launchers.checked import to_json
from launchers.errors import UserError
from launchers.queue.files import ask_to_cancel, asked_to_cancel, read_states
from launchers.slurm import sbatch
from launchers.slurm.programs import run
from launchers.slurm.refusals import problem_of
from launchers.slurm.states import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    WHOLE,
    TaskKey,
    forgotten_status,
    read_earlier_starts,
    read_sacct,
    read_squeue,
    shared_task_status,
)
from launchers.submitting import begun_at, under_way, wait_until_settled

_SETTLE_S = 90.0
"""How long another client's sbatch is waited for: longer than a living client would let it run."""
_AT_ONCE = 500
"""Jobs on one command line."""
_SKEW_S = 3600
"""How far the database's clock may be from ours."""

_NO_ACCOUNTING: set[str] = set()
"""Clusters, by SLURM_CONF, whose sacct said that there is none: they are not asked again."""


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
        """Send every script as it stands on disk, once: whether to try again is the client's to decide."""
        _need(
            "sbatch", "run this on a login node, choose partition=local, or add dry_run=true to write the scripts only"
        )
        for item in rendered:
            yield self._submit_one(item)

    def _submit_one(self, rendered: Rendered) -> Submission:
        folder = Path(rendered.batch.folder)
        script = folder / rendered.script
        make_folder(folder / "logs")
        with under_way(folder) as lock:
            answer = run(
                ["sbatch", "--parsable", str(script)],
                cwd=rendered.batch.study_dir,
                keep_open=lock,
                without=sbatch.stated(rendered.files[rendered.script]),
            )
        if answer.returncode != 0:
            reason = answer.stderr.strip() or answer.stdout.strip() or f"ended by signal {-answer.returncode}"
            # Ended by a signal, sbatch could not say whether Slurm had the job already.
            problem = problem_of(reason) if answer.returncode > 0 else SubmitProblem.BUSY
            raise SubmitError(f"sbatch refused {script}: {reason}", problem)
        # --parsable prints `id` or `id;cluster`; a site's wrapper may print before it.
        job_id = (answer.stdout.strip().splitlines() or [""])[-1].split(";")[0]
        if not job_id.isdigit():
            message = f"sbatch answered {answer.stdout!r} for {script}, which names no job"
            raise SubmitError(message, SubmitProblem.BUSY)
        return Submission(
            batch_name=rendered.batch.name, folder=str(folder), handle=job_id, tasks=len(rendered.batch.tasks)
        )

    def find(self, unconfirmed: Iterable[Unconfirmed]) -> dict[str, Submission | None]:
        """Look jobs up by their script, or by working directory and comment: in squeue, then in sacct.

        None means that no job of the batch waits or runs. Where there is no sacct, or it keeps no such fields, one that
        Slurm has forgotten (MinJobAge after its end) is None as well: then the claims of its tasks, which are files
        of the study, say that it ran.
        """
        settled = [batch for batch in unconfirmed if wait_until_settled(Path(batch.folder), _SETTLE_S)]
        never_begun = [batch for batch in settled if begun_at(Path(batch.folder)) is None]
        submissions: dict[str, Submission | None] = {batch.batch_name: None for batch in never_begun}
        sought = [batch for batch in settled if batch.batch_name not in submissions]
        if not sought:
            return submissions
        listed = run(["squeue", "--noheader", "--me", "--states=all", "--format=%F|%o|%Z|%k"])
        if listed.returncode != 0:
            return submissions
        for batch in sought:
            submissions[batch.batch_name] = _match(batch, listed.stdout)
        forgotten = [batch for batch in sought if submissions[batch.batch_name] is None]
        if forgotten:
            since = min(begun_at(Path(batch.folder)) or 0.0 for batch in forgotten) - _SKEW_S
            when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
            rows, _ = _sacct(["--format=JobID,SubmitLine,WorkDir,Comment", f"--starttime={when}"])
            submissions |= {batch.batch_name: _match(batch, rows) for batch in forgotten}
        return submissions

    def states(self, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskStatus]:
        """Ask squeue, and sacct for those that squeue no longer knows; without either answer a task's state is unknown.

        sacct learns of a job later than squeue does, and is never believed that a task still waits or runs.
        """
        submissions = list(submissions)
        states, unanswered = _ask_squeue(list(dict.fromkeys(s.handle for s in submissions)))
        # squeue's answer counts where a file system does not answer: what is no array is shared, or has one task.
        whole = {s.handle for s in submissions if (s.handle, WHOLE) in states or not _kind(s.folder).array}
        shared = {s.handle for s in submissions if s.handle in whole and (s.tasks > 1 or _kind(s.folder).shared)}
        keys = {(s.handle, i): s for s in submissions for i in ([WHOLE] if s.handle in whole else range(s.tasks))}
        missing = [key for key in keys if key not in states and key[0] not in unanswered]
        if missing:
            rows, sacct_error = _ask_sacct(list(dict.fromkeys(handle for handle, _ in missing)))
            known = {handle for handle, index in rows if index != WHOLE}
            states |= {
                key: forgotten_status(rows.get(key), sacct_error=sacct_error, siblings=key[0] in known)
                for key in missing
            }
        for key in keys:
            if key[0] in unanswered:
                states[key] = TaskStatus(state=TaskState.UNKNOWN, detail=unanswered[key[0]])
        answer: dict[tuple[str, int], TaskStatus] = {}
        for s in submissions:
            if s.handle in shared:
                answer |= _shared_states(s, states[s.handle, WHOLE])
            elif s.handle in whole:
                answer[s.batch_name, 0] = states[s.handle, WHOLE]
            else:
                answer |= {(s.batch_name, index): states[s.handle, index] for index in range(s.tasks)}
        return answer

    def earlier_starts(self, submission: Submission, index: int, /) -> tuple[Ended, ...]:
        """Ask sacct; the tasks of a shared job are started again by its queue too, of which Slurm knows nothing."""
        kind = _kind(submission.folder)
        if kind.shared:
            return ()
        text, _ = _sacct(["--duplicates", f"--format={SACCT_FORMAT}", f"--jobs={submission.handle}"])
        return read_earlier_starts(text, (submission.handle, index if kind.array else WHOLE))

    def cancel(self, targets: Iterable[tuple[Submission, Sequence[int] | None]]) -> None:
        """Cancel whole arrays or tasks of them; those that have ended are passed over. Raises `UserError`.

        Numbers come from a journal that others may have written: a job is ended only where Slurm says that it has
        our script. Some tasks of a shared job are ended by its own queue, within a second or as soon as the job starts.
        """
        wanted: list[tuple[Submission, str]] = []
        for submission, indices in targets:
            if indices is None:
                wanted.append((submission, submission.handle))
            elif _kind(submission.folder).array:
                wanted += [(submission, f"{submission.handle}_{index}") for index in indices]
            elif not _kind(submission.folder).shared or _unfinished(submission) <= set(indices):
                wanted.append((submission, submission.handle))  # nothing is left that it could run for
            else:
                ask_to_cancel(Path(submission.folder), indices)
        ours = _proven([submission for submission, _ in wanted])
        jobs = [job for submission, job in wanted if submission.handle in ours]
        if jobs:
            _need("scancel", "cancel on a login node")
        for some in _chunks(jobs):
            answer = run(["scancel", *some])
            lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
            wrong = [line for line in lines if not any(phrase in line for phrase in _ALREADY_ENDED)]
            if answer.returncode != 0 and (wrong or not lines):
                reasons = "; ".join(wrong[:3]) or f"exit code {answer.returncode}"
                raise UserError(f"scancel: {reasons} – not everything was cancelled; give the same command again")


_ALREADY_ENDED = ("Invalid job id", "already completing or completed", "already finished")


class _Kind(NamedTuple):
    """How a batch was submitted."""

    array: bool
    shared: bool


def _kind(folder: str) -> _Kind:
    """How a batch was submitted, as its own file says; an array where that cannot be read."""
    try:
        return _read_kind(folder)
    except (OSError, ValueError, AttributeError, TypeError):
        return _Kind(array=True, shared=False)


@cache
def _read_kind(folder: str) -> _Kind:
    """Read once: what is submitted never changes. A failure to read is not kept."""
    batch = from_json(read(Path(folder) / "batch.json"))
    shared = bool(batch.get("shared"))
    return _Kind(array=not shared and batch.get("profile", {}).get("max_array_size") != 1, shared=shared)


def _shared_states(submission: Submission, job: TaskStatus) -> dict[tuple[str, int], TaskStatus]:
    """States of the tasks of a shared job. Slurm was asked before: a queue that was gone by then writes no more."""
    folder = Path(submission.folder)
    written, cancelled = read_states(folder), asked_to_cancel(folder)
    return {
        (submission.batch_name, index): shared_task_status(job, written.get(index), cancelled=index in cancelled)
        for index in range(submission.tasks)
    }


def _unfinished(submission: Submission) -> set[int]:
    """Tasks of a shared job that have not ended and that nobody has asked to end."""
    folder = Path(submission.folder)
    ended = {index for index, status in read_states(folder).items() if status.state is TaskState.ENDED}
    return set(range(submission.tasks)) - ended - asked_to_cancel(folder)


def _match(batch: Unconfirmed, listing: str) -> Submission | None:
    """Find a batch in lines of job, script, working directory and comment, of which the last three may hold anything.

    A site may rewrite comments, so the script's path, which nobody else's job has, counts as well.
    """
    script, study = f"{batch.folder}/job.sbatch", Path(batch.folder).parent.parent
    # A copy of the study may lie in a folder whose name ends like ours: a path is compared from its start.
    marks = [f" {script}|", *(f"|{place}|{batch.comment}" for place in {str(study), os.path.realpath(study)})]
    jobs = []
    for line in listing.splitlines():
        job, _, rest = line.partition("|")
        number = job.partition("_")[0]
        if number.isdigit() and any(mark in f" {rest}" for mark in marks):
            jobs.append(int(number))
    if not jobs:
        return None
    return Submission(batch_name=batch.batch_name, folder=batch.folder, handle=str(min(jobs)), tasks=batch.tasks)


def _proven(submissions: Sequence[Submission]) -> set[str]:
    """The handles whose jobs wait or run and are these batches'; raises `UserError` for somebody else's job.

    By the script, or, where the study was moved since, by the comment and a script that is no more.
    """
    if not submissions:
        return set()
    _need("squeue", "cancel on a login node")
    proven: set[str] = set()
    for some in _chunks(list(dict.fromkeys(s.handle for s in submissions))):
        answer = run(["squeue", "--noheader", "--format=%F|%o|%Z|%k", f"--jobs={','.join(some)}"])
        if answer.returncode != 0 and "Invalid job id" not in answer.stderr:
            raise UserError(f"squeue: {answer.stderr.strip()} – nothing was cancelled; give the same command again")
        listed: dict[str, str] = {}
        for line in answer.stdout.splitlines():
            job, _, rest = line.partition("|")
            listed[job.strip()] = rest
        for submission in submissions:
            job_text = listed.get(submission.handle)
            if job_text is not None and not _is_ours(submission, job_text):
                raise UserError(
                    f"job {submission.handle} is not the one of {submission.folder}: its script is "
                    f"{job_text.split('|')[0]!r} – nothing was cancelled; if it is yours: scancel {submission.handle}"
                )
            if job_text is not None:
                proven.add(submission.handle)
    return proven


def _is_ours(submission: Submission, job: str) -> bool:
    """`job`: script, working directory and comment as squeue prints them."""
    script = job.split("|", 1)[0].strip()
    known = {f"{place}/job.sbatch" for place in (submission.folder, os.path.realpath(submission.folder))}
    batch = submission.batch_name
    moved = job.endswith(f"/{batch}") and script.endswith(f"/jobs/{batch}/job.sbatch") and not Path(script).exists()
    return script in known or moved


def _ask_squeue(handles: Sequence[str]) -> tuple[dict[TaskKey, TaskStatus], dict[str, str]]:
    """Ask for arrays; returns their tasks, and squeue's error for each array that it did not answer for."""
    states: dict[TaskKey, TaskStatus] = {}
    command = ["squeue", "--noheader", "--array", "--states=all", f"--format={SQUEUE_FORMAT}"]
    for some in _chunks(handles):
        answer = run([*command, f"--jobs={','.join(some)}"])
        if answer.returncode != 0 and "Invalid job id" not in answer.stderr:
            error = answer.stderr.strip() or f"squeue ended with code {answer.returncode}"
            # Not asked on: a controller that is away costs each question its whole patience.
            return states, dict.fromkeys(handles[handles.index(some[0]) :], error)
        states |= read_squeue(answer.stdout)
    return states, {}


def _ask_sacct(handles: Sequence[str]) -> tuple[dict[TaskKey, TaskStatus], str | None]:
    """Ask for the last run of every task of these arrays; see `_sacct` for what else is returned."""
    rows: dict[TaskKey, TaskStatus] = {}
    for some in _chunks(handles):
        text, error = _sacct([f"--format={SACCT_FORMAT}", f"--jobs={','.join(some)}"])
        rows |= read_sacct(text)
        if error is not None:
            return rows, error
    return rows, None


def _sacct(arguments: Sequence[str]) -> tuple[str, str | None]:
    """Ask sacct; returns its text and None, or nothing and why: "" where there is no accounting, else its words."""
    cluster = os.environ.get("SLURM_CONF", "")
    if cluster in _NO_ACCOUNTING or shutil.which("sacct") is None:
        return "", ""
    answer = run(["sacct", "--allocations", "--parsable2", "--noheader", *arguments])
    if answer.returncode == 0:
        return answer.stdout, None
    if "accounting storage is disabled" in answer.stderr:
        _NO_ACCOUNTING.add(cluster)
        return "", ""
    return "", (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]


def _need(program: str, instead: str) -> None:
    if shutil.which(program) is None:
        raise UserError(f"{program} is not on PATH: this machine has no Slurm – {instead}")


def _chunks(jobs: Sequence[str]) -> Iterator[Sequence[str]]:
    return (jobs[start : start + _AT_ONCE] for start in range(0, len(jobs), _AT_ONCE))
