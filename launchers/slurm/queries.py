"""What is asked of squeue, sacct and scontrol, cluster by cluster. An edge: it runs programs."""

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import CLUSTER
from launchers.slurm.handle import by_cluster, cluster_options, handle_of, parts_of
from launchers.slurm.programs import printed, run
from launchers.slurm.scontrol import config, hides_jobs
from launchers.slurm.squeue_cache import newest
from launchers.slurm.states import (
    IN_SECONDS,
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    WHOLE,
    TaskKey,
    read_earlier_starts,
    read_sacct,
    read_squeue,
)

_AT_ONCE = 500
"""Jobs on one command line."""
_TASKS = ["--noheader", "--array", "--states=all", f"--format={SQUEUE_FORMAT}"]
"""Has squeue print a line for each task."""
LISTED = "--format=%F|%o|%Z|%k"
"""Has squeue print a job's number and the text of a `Listed`."""
_NO_ACCOUNTING: set[str] = set()
"""Clusters, by SLURM_CONF, whose sacct said that there is none: they are not asked again."""


class Listed(NamedTuple):
    """A job as squeue or sacct lists it."""

    handle: str
    text: str
    """Script (or sbatch's command line), working directory and comment, with | between: each may hold anything."""


def chunks(jobs: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many jobs as a command line takes, again and again."""
    return (jobs[start : start + _AT_ONCE] for start in range(0, len(jobs), _AT_ONCE))


class Queue(NamedTuple):
    """What squeue says of jobs."""

    states: dict[TaskKey, TaskStatus]
    jobs: dict[str, str]
    """Script, working directory and comment by handle, with | between."""
    unanswered: dict[str, str]
    """squeue's error for each handle that it did not answer for."""


def ask_squeue(handles: Sequence[str]) -> Queue:
    """Ask for arrays."""
    queue = Queue({}, {}, {})
    for cluster, numbers in by_cluster(handles).items():
        for chunk in chunks(numbers):
            rows, jobs, error = _squeue(chunk, cluster_options(cluster))
            if error is not None:
                # Not asked on: a controller that is away costs each question its whole patience.
                unanswered = numbers[numbers.index(chunk[0]) :]
                queue.unanswered.update(dict.fromkeys((handle_of(number, cluster) for number in unanswered), error))
                break
            revoked = {key: status for key, status in rows.items() if status.state is TaskState.UNKNOWN}
            rows |= _twins(revoked, cluster) if revoked else {}
            queue.states.update({(handle_of(number, cluster), index): row for (number, index), row in rows.items()})
            queue.jobs.update({handle_of(number, cluster): job for number, job in jobs.items()})
    return queue


def ask_shared(tasks: Mapping[str, int | None], *, max_age_s: float) -> Queue:
    """Ask for arrays of this user, with an answer that all clients of this user on this machine share.

    `tasks`: by handle how many tasks it has; None: it is no array. An answer that is so old at most serves. It is
    believed in what it lists: of what it lacks, and so of every job that is younger than it, squeue is asked itself.
    """
    queue, unshared = Queue({}, {}, {}), list[str]()
    not_before = time.monotonic() - max_age_s
    for cluster, numbers in by_cluster(tasks).items():
        command = ["squeue", *cluster_options(cluster), *_TASKS, f"--user={os.getuid()}"]
        answer = newest(shlex.join(command), partial(printed, command, also=IN_SECONDS), not_before=not_before)
        if answer.error is not None:
            queue.unanswered.update(dict.fromkeys((handle_of(number, cluster) for number in numbers), answer.error))
            continue
        rows, jobs = read_squeue(answer.text)
        handles = set(numbers)
        states = {key: row for key, row in rows.items() if key[0] in handles}
        for number in numbers:
            count = tasks[handle_of(number, cluster)]
            keys = (
                [(number, WHOLE)] if count is None or (number, WHOLE) in states else [(number, i) for i in range(count)]
            )
            if any(key not in states or states[key].state is TaskState.UNKNOWN for key in keys):
                unshared.append(handle_of(number, cluster))
                continue
            queue.states.update({(handle_of(number, cluster), index): states[number, index] for _, index in keys})
            queue.jobs[handle_of(number, cluster)] = jobs[number]
    itself = ask_squeue(unshared)
    return Queue(queue.states | itself.states, queue.jobs | itself.jobs, queue.unanswered | itself.unanswered)


def _twins(revoked: Mapping[TaskKey, TaskStatus], cluster: str | None) -> dict[TaskKey, TaskStatus]:
    """What other clusters of a federation, which share their numbers, say of jobs that this one gave up for a twin.

    Of one that was given up on a named cluster, at least where it went.
    """
    numbers = sorted({number for number, _ in revoked})
    if cluster is None:
        twins, *_ = _squeue(numbers, ["--federation"])
        return {key: twin for key, twin in twins.items() if twin.state is not TaskState.UNKNOWN}
    states: dict[TaskKey, TaskStatus] = {}
    for number, sibling in siblings(numbers, cluster).items():
        reason = f"cluster {cluster} gave it up for its twin on {sibling}"
        silent = TaskStatus(
            state=TaskState.UNKNOWN, detail=f"{reason}, of which nothing is known here: squeue -M {sibling} -j {number}"
        )
        twins, *_ = _squeue([number], cluster_options(sibling))
        for key in (key for key in revoked if key[0] == number):
            twin = twins.get(key, silent)
            is_known = twin.state is not TaskState.UNKNOWN
            states[key] = replace(twin, detail=f"{twin.detail} ({reason})") if is_known else silent
    return states


def siblings(numbers: Sequence[str], cluster: str) -> dict[str, str]:
    """The other clusters, `a,b`, that have a twin of a job; jobs without one are left out."""
    options = ["--Format=ArrayJobID:30,SiblingsActive:300", f"--jobs={','.join(numbers)}"]
    completed = run(["squeue", *cluster_options(cluster), "--noheader", "--array", "--states=all", *options])
    rows = re.findall(rf"^ *(\d+) +({CLUSTER}(?:,{CLUSTER})*) *$", completed.stdout, re.MULTILINE)
    active_siblings = {
        number: [name for name in names.split(",") if name not in (cluster, "NA")] for number, names in rows
    }
    return {number: ",".join(names) for number, names in active_siblings.items() if names}


def _squeue(
    numbers: Sequence[str], options: Sequence[str]
) -> tuple[dict[TaskKey, TaskStatus], dict[str, str], str | None]:
    """Tasks by number and index, jobs by number, and squeue's words where it did not answer."""
    completed = run(["squeue", *options, *_TASKS, f"--jobs={','.join(numbers)}"], also=IN_SECONDS)
    if completed.returncode != 0 and "Invalid job id" not in completed.stderr:
        return {}, {}, completed.stderr.strip() or f"squeue ended with code {completed.returncode}"
    rows, jobs = read_squeue(completed.stdout)
    strange = [line for line in completed.stdout.splitlines() if set(re.findall(r"\d+", line)) & set(numbers)]
    if strange and not rows:
        return {}, {}, f"squeue printed {strange[0][:80]!r} where it was asked for {SQUEUE_FORMAT}: is it wrapped here?"
    return rows, jobs, None


def ask_sacct(handles: Sequence[str]) -> tuple[dict[TaskKey, TaskStatus], str | None]:
    """Ask for the last run of every task of these arrays; see `_sacct` for what else is returned."""
    rows: dict[TaskKey, TaskStatus] = {}
    for cluster, numbers in by_cluster(handles).items():
        for chunk in chunks(numbers):
            # sacct sees a federation's other clusters only if it is told to.
            options_of_clusters = cluster_options(cluster) or ["--federation"]
            text, error = _sacct([*options_of_clusters, f"--format={SACCT_FORMAT}", f"--jobs={','.join(chunk)}"])
            rows |= {(handle_of(number, cluster), index): row for (number, index), row in read_sacct(text).items()}
            if error is not None:
                return rows, error
    return rows, None


def ask_earlier_starts(handle: str, index: int) -> tuple[Ended, ...]:
    """How a task's starts before its last one ended; empty where sacct does not remember."""
    number, cluster = parts_of(handle)
    text, _ = _sacct([*cluster_options(cluster), "--duplicates", f"--format={SACCT_FORMAT}", f"--jobs={number}"])
    return read_earlier_starts(text, (number, index))


def _sacct(arguments: Sequence[str]) -> tuple[str, str | None]:
    """Ask sacct; returns its text and None, or nothing and why: "" where there is no accounting, else its words."""
    configuration = os.environ.get("SLURM_CONF", "")
    if configuration in _NO_ACCOUNTING or shutil.which("sacct") is None:
        return "", ""
    completed = run(["sacct", "--allocations", "--parsable2", "--noheader", *arguments])
    if completed.returncode == 0:
        return completed.stdout, None
    if "accounting storage is disabled" in completed.stderr:
        _NO_ACCOUNTING.add(configuration)
        return "", ""
    return "", (completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"])[-1]


def list_queue(clusters: str | None) -> list[Listed] | None:
    """Every job of every user that squeue knows on these clusters (None: the one that is asked by default).

    None where it did not answer.
    """
    completed = run(["squeue", *cluster_options(clusters), "--states=all", LISTED])
    if completed.returncode != 0:
        return None
    jobs, cluster = [], None
    for line in completed.stdout.splitlines():
        heading = re.fullmatch(r"CLUSTER: (\S+)", line)
        number, _, text = line.partition("|")
        if heading:
            cluster = heading[1]
        elif number.isdecimal():
            jobs.append(Listed(handle_of(number, cluster if clusters else None), text))
    return jobs


def list_accounted(clusters: str | None, *, since: str) -> list[Listed]:
    """Every job of every user that sacct knows on these clusters since a time; none where it keeps no such fields."""
    fields = "--format=JobID,Cluster,SubmitLine,WorkDir,Comment"
    text, _ = _sacct([*cluster_options(clusters), "--allusers", fields, f"--starttime={since}"])
    rows = (line.split("|", 2) for line in text.splitlines() if line.count("|") >= 2)
    numbers = ((job.partition("_")[0], cluster, rest) for job, cluster, rest in rows)
    return [
        Listed(handle_of(number, cluster if clusters else None), fields)
        for number, cluster, fields in numbers
        if number.isdecimal()
    ]


def shows_all_jobs(clusters: str | None) -> bool:
    """Whether users see the jobs of others, as far as is known (Slurm's PrivateData); root sees all."""
    try:
        return os.geteuid() == 0 or not hides_jobs(_private_data(clusters))
    except OSError:
        return False


@cache
def _private_data(clusters: str | None) -> str:
    """What a site hides from other users; no answer, which is an `OSError`, is not kept."""
    completed = run(["scontrol", *cluster_options(clusters), "show", "config"])
    private = config(completed.stdout).get("PrivateData")
    if completed.returncode != 0 or private is None:
        raise OSError("scontrol did not say what is private")
    return private
