"""Which job is a batch's, and whose: proven by script, working directory and comment, never by a number. An edge."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from launchers.atomic import name_of, owner_of
from launchers.backend import Submission, TaskState, Unconfirmed
from launchers.errors import UserError
from launchers.slurm.handle import by_cluster, cluster_options, handle_of, parts_of
from launchers.slurm.programs import run
from launchers.slurm.queries import Listed, chunks, shows_all_jobs, siblings
from launchers.slurm.states import status_of
from launchers.submission_lock import marker


def match(batch: Unconfirmed, jobs: Iterable[Listed]) -> Submission | None:
    """Find a batch among jobs of any user; of two, the first counts.

    A site may rewrite comments, so the script's path, which nobody else's job has, counts as well.
    """
    script, study = f"{batch.folder}/job.sbatch", Path(batch.folder).parent.parent
    # A copy of the study may lie in a folder whose name ends like ours: a path is compared from its start.
    marks = [f" {script}|", *(f"|{place}|{batch.comment}" for place in {str(study), os.path.realpath(study)})]
    handles = [job.handle for job in jobs if any(mark in f" {job.text}" for mark in marks)]
    if not handles:
        return None
    oldest = min(handles, key=lambda handle: int(parts_of(handle)[0]))
    return Submission(batch_name=batch.batch_name, folder=batch.folder, handle=oldest, tasks=batch.tasks)


def is_anothers(submission: Submission, job: str) -> bool:
    """Whether Slurm has given a batch's number to another job, of which it prints `job`.

    A controller that lost its state begins again at small numbers. Script, working directory and comment must all
    differ: sites rewrite comments, wrappers send copies of scripts, and studies are moved. Without a script's path
    nothing is said.
    """
    batch, study = submission.batch_name, Path(submission.folder).parent.parent
    marks = [f"/jobs/{batch}/job.sbatch|", f"/{batch}|", *(f"|{place}|" for place in (study, os.path.realpath(study)))]
    return job.startswith("/") and not any(mark in f"{job}|" for mark in marks)


def hidden_owner(folder: str, clusters: str | None) -> str | None:
    """The user who submitted a batch, where that is another one and the site shows nobody the jobs of others.

    Then a job that is not listed may be there all the same.
    """
    begun = marker(Path(folder))
    try:
        if begun.stat().st_uid == os.geteuid() or shows_all_jobs(clusters):
            return None
        return owner_of(begun)
    except OSError:
        return None


def proven(submissions: Sequence[Submission]) -> dict[str, str | None]:
    """The handles whose jobs wait or run and are these batches', with the cluster that has each.

    By the script, or, where the study was moved since, by the comment and a script that is no more. Raises `UserError`
    for another job or another user's.
    """
    listed: dict[str, _Job] = {}
    for cluster, numbers in by_cluster(submission.handle for submission in submissions).items():
        for chunk in chunks(numbers):
            jobs = _alive(chunk, cluster)
            listed |= {handle_of(number, cluster): job for number, job in jobs.items()}
    for submission in submissions:
        _refuse(submission, listed.get(submission.handle))
    return {s.handle: listed[s.handle].cluster for s in submissions if s.handle in listed}


_OWNED = "--format=%F|%T|%U|%o|%Z|%k"


def _alive(numbers: Sequence[str], cluster: str | None) -> dict[str, "_Job"]:
    """The jobs that wait or run, where they do: a cluster may have given one up for its twin in the federation."""
    listed = _list(numbers, cluster_options(cluster))
    given_up = sorted({number for number, state, *_ in listed if state == _GIVEN_UP})
    places = [(cluster, listed)]
    if given_up and cluster is None:
        # Whoever names no cluster has scancel find the twin.
        places.append((None, _list(given_up, ["--federation"])))
    elif given_up and cluster is not None:
        places += [
            (other, _list([number], cluster_options(other))) for number, other in siblings(given_up, cluster).items()
        ]
    return {
        number: _Job(cluster_name, int(uid), text)
        for cluster_name, rows in places
        for number, state, uid, text in rows
        if state != _GIVEN_UP and status_of(state).state is not TaskState.ENDED
    }


_GIVEN_UP = "REVOKED"


def _list(numbers: Sequence[str], options: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Number, state, user and text of jobs; raises `UserError` where nobody can say."""
    completed = run(["squeue", *options, "--noheader", "--states=all", _OWNED, f"--jobs={','.join(numbers)}"])
    if completed.returncode != 0 and "Invalid job id" not in completed.stderr:
        raise UserError(f"squeue: {completed.stderr.strip()} – nothing was cancelled; give the same command again")
    return re.findall(r"^ *(\d+)\|([^|]*)\|(\d+)\|(.*)", completed.stdout, re.MULTILINE)


class _Job(NamedTuple):
    """A job as squeue prints it."""

    cluster: str | None
    """Which has it; None: the one that is asked by default."""
    uid: int
    text: str
    """Script, working directory and comment."""


def _refuse(submission: Submission, job: _Job | None) -> None:
    """Raise `UserError` where a job is another batch's or user's, or where nobody can say whether there is one."""
    number, cluster = parts_of(submission.handle)
    scancel = " ".join(["scancel", *cluster_options(cluster if job is None else job.cluster), number])
    if job is None and (owner := hidden_owner(submission.folder, cluster)):
        raise UserError(
            f"job {number} of {submission.folder} is {owner}'s, and this site shows nobody the jobs of others – "
            f"nothing was cancelled; {owner} can: {scancel}"
        )
    if job is not None and not _is_ours(submission, job.text):
        raise UserError(
            f"job {number} is not the one of {submission.folder}: its script is {job.text.split('|')[0]!r} – "
            f"nothing was cancelled; if it is yours: {scancel}"
        )
    if job is not None and os.geteuid() not in (0, job.uid):
        owner = name_of(job.uid)
        raise UserError(
            f"job {number} of {submission.folder} is {owner}'s – nothing was cancelled; --cells PATTERN ends cells "
            f"whose jobs are your own, and {owner} or an operator of Slurm ends this one: {scancel}"
        )


def _is_ours(submission: Submission, job: str) -> bool:
    """`job`: script, working directory and comment as squeue prints them."""
    script = job.split("|", 1)[0].strip()
    scripts = {f"{place}/job.sbatch" for place in (submission.folder, os.path.realpath(submission.folder))}
    batch = submission.batch_name
    moved = job.endswith(f"/{batch}") and script.endswith(f"/jobs/{batch}/job.sbatch") and not Path(script).exists()
    return script in scripts or moved
