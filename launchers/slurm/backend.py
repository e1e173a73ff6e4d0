"""The Slurm backend: sbatch, one squeue a cluster, one sacct for what it forgot, scancel. An edge: it runs programs."""

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
from launchers.slurm.handle import (
    CLUSTERS_VARIABLES,
    by_cluster,
    cluster_options,
    handle_of,
    of_answer,
    parts_of,
    users_clusters,
)
from launchers.slurm.ownership import hidden_owner, is_anothers, match, proven
from launchers.slurm.programs import run
from launchers.slurm.queries import (
    Queue,
    ask_earlier_starts,
    ask_sacct,
    ask_shared,
    ask_squeue,
    chunks,
    list_accounted,
    list_queue,
)
from launchers.slurm.refusals import problem_of, remedy_of
from launchers.slurm.states import WHOLE, forgotten_status, shared_task_status
from launchers.submission_lock import CLUSTERS, begun_at, clusters_of, under_way, wait_until_settled
from launchers.text import grouped

_SETTLE_S = 90.0
"""How long another client's sbatch is waited for: longer than a living client would let it run."""
_SKEW_S = 3600
"""How far the database's clock may be from ours."""


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
        clusters = _clusters(rendered.batch)
        with under_way(folder, clusters=clusters) as lock:
            completed = run(
                ["sbatch", "--parsable", *cluster_options(clusters), str(script)],
                cwd=rendered.batch.study_dir,
                keep_open=lock,
                without=sbatch.stated(rendered.files[rendered.script]),
            )
        if completed.returncode != 0:
            reason = completed.stderr.strip() or completed.stdout.strip() or f"ended by signal {-completed.returncode}"
            # Ended by a signal, sbatch could not say whether Slurm had the job already.
            problem = problem_of(reason) if completed.returncode > 0 else SubmitProblem.BUSY
            raise SubmitError(f"sbatch refused {script}: {reason}{remedy_of(reason)}", problem)
        handle = of_answer(completed.stdout)
        if handle is None:
            message = f"sbatch answered {completed.stdout!r} for {script}, which names no job"
            raise SubmitError(message, SubmitProblem.BUSY)
        return Submission(
            batch_name=rendered.batch.name, folder=str(folder), handle=handle, tasks=len(rendered.batch.tasks)
        )

    def find(self, unconfirmed: Iterable[Unconfirmed]) -> dict[str, Submission | None]:
        """Look jobs of any user up by their script, or by working directory and comment: in squeue, then in sacct.

        On the clusters that the submission named. None means that no job of the batch waits or runs. Where there is no
        sacct, or it keeps no such fields, one that Slurm has forgotten (MinJobAge after its end) is None as well: then
        the claims of its tasks, which are files of the study, say that it ran. What nobody can say is left out.
        """
        settled = [batch for batch in unconfirmed if wait_until_settled(Path(batch.folder), _SETTLE_S)]
        never_begun = [batch for batch in settled if begun_at(Path(batch.folder)) is None]
        submissions: dict[str, Submission | None] = {batch.batch_name: None for batch in never_begun}
        sought = grouped(
            (clusters_of(Path(batch.folder)), batch) for batch in settled if batch.batch_name not in submissions
        )
        for clusters, batches in sought.items():
            submissions |= _find_on(clusters, batches)
        return submissions

    def states(
        self, submissions: Iterable[Submission], *, max_age_s: float | None = None
    ) -> dict[tuple[str, int], TaskStatus]:
        """Ask squeue, and sacct for those that squeue no longer knows; without either answer a task's state is unknown.

        sacct learns of a job later than squeue does, and is never believed that a task still waits or runs. With
        `max_age_s` an answer serves that another client of this user on this machine got so long ago at most.
        """
        submissions = list(submissions)
        states, jobs, unanswered = _queue(submissions, max_age_s)
        statuses: dict[tuple[str, int], TaskStatus] = {}
        for s in [s for s in submissions if is_anothers(s, jobs.get(s.handle, ""))]:
            submissions.remove(s)
            statuses |= _replaced_states(s)
        # squeue's answer counts where a file system does not answer: what is no array is shared, or has one task.
        whole_jobs = {s.handle for s in submissions if (s.handle, WHOLE) in states or not _kind(s.folder).array}
        shared = {s.handle for s in submissions if s.handle in whole_jobs and (s.tasks > 1 or _kind(s.folder).shared)}
        keys = {(s.handle, i): s for s in submissions for i in ([WHOLE] if s.handle in whole_jobs else range(s.tasks))}
        missing = [key for key in keys if key not in states and key[0] not in unanswered]
        if missing:
            rows, sacct_error = ask_sacct(list(dict.fromkeys(handle for handle, _ in missing)))
            arrays_with_rows = {handle for handle, index in rows if index != WHOLE}
            for key in missing:
                owner = None if key in rows else hidden_owner(keys[key].folder, parts_of(key[0])[1])
                if owner is None:
                    states[key] = forgotten_status(
                        rows.get(key), sacct_error=sacct_error, siblings=key[0] in arrays_with_rows
                    )
                else:
                    detail = f"it is a job of {owner}, and this site shows nobody the jobs of others"
                    states[key] = TaskStatus(state=TaskState.UNKNOWN, detail=detail)
        for key in keys:
            if key[0] in unanswered:
                states[key] = TaskStatus(state=TaskState.UNKNOWN, detail=unanswered[key[0]])
        for s in submissions:
            if s.handle in shared:
                statuses |= _shared_states(s, states[s.handle, WHOLE])
            elif s.handle in whole_jobs:
                statuses[s.batch_name, 0] = states[s.handle, WHOLE]
            else:
                statuses |= {(s.batch_name, index): states[s.handle, index] for index in range(s.tasks)}
        return statuses

    def earlier_starts(self, submission: Submission, index: int, /) -> tuple[Ended, ...]:
        """Ask sacct; the tasks of a shared job are started again by its queue too, of which Slurm knows nothing."""
        kind = _kind(submission.folder)
        if kind.shared:
            return ()
        return ask_earlier_starts(submission.handle, index if kind.array else WHOLE)

    def require_ours(self, submissions: Sequence[Submission], /) -> None:
        """Raises `UserError` where a job that waits or runs is another batch's or another user's."""
        if submissions:
            _need("squeue", "cancel on a login node")
            proven(submissions)

    def cancel(self, targets: Iterable[tuple[Submission, Sequence[int] | None]]) -> None:
        """Cancel whole arrays or tasks of them; those that have ended are passed over. Raises `UserError`.

        Numbers come from a journal that others may have written: a job is ended only where Slurm says that it has
        our script. Some tasks of a shared job are ended by its own queue, within a second or as soon as the job starts.
        """
        to_cancel: list[tuple[Submission, str]] = []
        """Each with the number of the array, or of a task of it."""
        for submission, indices in targets:
            number, _ = parts_of(submission.handle)
            if indices is None:
                to_cancel.append((submission, number))
            elif _kind(submission.folder).array:
                to_cancel += [(submission, f"{number}_{index}") for index in indices]
            elif not _kind(submission.folder).shared or _unfinished(submission) <= set(indices):
                to_cancel.append((submission, number))  # nothing is left that it could run for
            else:
                ask_to_cancel(Path(submission.folder), indices)
        if not to_cancel:
            return
        _need("squeue", "cancel on a login node")
        ours = proven([submission for submission, _ in to_cancel])
        jobs = by_cluster(handle_of(job, ours[s.handle]) for s, job in to_cancel if s.handle in ours)
        if jobs:
            _need("scancel", "cancel on a login node")
        for command in (
            ["scancel", *cluster_options(cluster), *some] for cluster in jobs for some in chunks(jobs[cluster])
        ):
            completed = run(command)
            lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if not any(phrase in line for phrase in _ALREADY_ENDED)]
            if completed.returncode != 0 and (errors or not lines):
                reasons = "; ".join(errors[:3]) or f"exit code {completed.returncode}"
                raise UserError(f"scancel: {reasons} – not everything was cancelled; give the same command again")


def _queue(submissions: Sequence[Submission], max_age_s: float | None) -> Queue:
    if max_age_s is None:
        return ask_squeue(list(dict.fromkeys(s.handle for s in submissions)))
    return ask_shared({s.handle: s.tasks if _kind(s.folder).array else None for s in submissions}, max_age_s=max_age_s)


_ALREADY_ENDED = ("Invalid job id", "already completing or completed", "already finished")


def _clusters(batch: Batch) -> str | None:
    """The clusters that sbatch is to choose from: the profile's, else those that the user's variables name.

    Raises `UserError` for what names none.
    """
    clusters = batch.profile.cluster or users_clusters(os.environ)
    if clusters is not None and not CLUSTERS.fullmatch(clusters):
        raise UserError(
            f"{' or '.join(CLUSTERS_VARIABLES)}={clusters!r} names no clusters; write it as in --clusters=a,b"
        )
    return clusters


def _find_on(clusters: str | None, batches: Sequence[Unconfirmed]) -> dict[str, Submission | None]:
    """Look batches up on the clusters that all of them were sent to; what nobody can say now is left out."""
    queued = list_queue(clusters)
    if queued is None:
        return {}
    submissions = {batch.batch_name: match(batch, queued) for batch in batches}
    forgotten = [batch for batch in batches if submissions[batch.batch_name] is None]
    if forgotten:
        begun = min(begun_at(Path(batch.folder)) or 0.0 for batch in forgotten) - _SKEW_S
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(begun))
        accounted = list_accounted(clusters, since=since)
        submissions |= {batch.batch_name: match(batch, accounted) for batch in forgotten}
    hidden = {b.batch_name for b in forgotten if hidden_owner(b.folder, clusters) and not submissions[b.batch_name]}
    return {name: submission for name, submission in submissions.items() if name not in hidden}


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


def _replaced_states(submission: Submission) -> dict[tuple[str, int], TaskStatus]:
    """States of the tasks of a job whose number Slurm has given to another one."""
    detail = f"Slurm has forgotten it, and its number, {parts_of(submission.handle)[0]}, is another job's"
    unreported = TaskStatus(state=TaskState.ENDED, ended=Ended.UNREPORTED, detail=detail)
    if _kind(submission.folder).shared:
        return _shared_states(submission, unreported)
    return {(submission.batch_name, index): unreported for index in range(submission.tasks)}


def _unfinished(submission: Submission) -> set[int]:
    """Tasks of a shared job that have not ended and that nobody has asked to end."""
    folder = Path(submission.folder)
    ended_tasks = {index for index, status in read_states(folder).items() if status.state is TaskState.ENDED}
    return set(range(submission.tasks)) - ended_tasks - asked_to_cancel(folder)


def _need(program: str, instead: str) -> None:
    if shutil.which(program) is None:
        raise UserError(f"{program} is not on PATH: this machine has no Slurm – {instead}")
