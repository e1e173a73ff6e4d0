"""Slurm's states of a task as ours: what squeue and sacct print, read into `TaskStatus`. Pure."""

import re
from dataclasses import replace

from launchers.backend import Ended, TaskState, TaskStatus

TaskKey = tuple[str, int]
"""Slurm's number of an array, and a task's index in it."""
WHOLE = -1
"""In place of an index: the whole of a job that is no array, or that sacct has not learnt to be one yet."""

_START, _JOB = "|starts|", "|its job|"
SQUEUE_FORMAT = f"%F|%K|%T|%N|%r{_START}%S{_JOB}%o|%Z|%k"
"""Array, index, state, nodes, then what may hold anything: the reason; start; script, working directory and comment."""
IN_SECONDS = {"SLURM_TIME_FORMAT": "%s"}
"""A variable that has Slurm's programs print times as seconds since 1970, whatever their zone."""
SACCT_FORMAT = "JobID,State,NodeList"

_QUEUED = (TaskState.QUEUED, None)
_RUNNING = (TaskState.RUNNING, None)
_SUSPENDED = (TaskState.SUSPENDED, None)
_UNKNOWN = (TaskState.UNKNOWN, None)

STATES: dict[str, tuple[TaskState, Ended | None]] = {
    # Base states, slurm 22.05 to 25.11.
    "PENDING": _QUEUED,
    "RUNNING": _RUNNING,
    "SUSPENDED": _SUSPENDED,
    "COMPLETED": (TaskState.ENDED, Ended.COMPLETED),
    "CANCELLED": (TaskState.ENDED, Ended.CANCELLED),
    "FAILED": (TaskState.ENDED, Ended.FAILED),
    "TIMEOUT": (TaskState.ENDED, Ended.TIME_LIMIT),
    "NODE_FAIL": (TaskState.ENDED, Ended.NODE_FAILURE),
    "PREEMPTED": (TaskState.ENDED, Ended.PREEMPTED),
    "BOOT_FAIL": (TaskState.ENDED, Ended.NODE_FAILURE),
    # It could not start before the --deadline of its own user: not to be started again unasked.
    "DEADLINE": (TaskState.ENDED, Ended.CANCELLED),
    "OUT_OF_MEMORY": (TaskState.ENDED, Ended.OUT_OF_MEMORY),
    # Flags, which are printed in place of the base state.
    "COMPLETING": _RUNNING,
    "CONFIGURING": _RUNNING,
    "POWER_UP_NODE": _RUNNING,
    "RESIZING": _RUNNING,
    "SIGNALING": _RUNNING,
    "STAGE_OUT": _RUNNING,
    "STOPPED": _SUSPENDED,
    "EXPEDITING": _QUEUED,
    "LAUNCH_FAILED": _QUEUED,
    "RECONFIG_FAIL": _QUEUED,
    "REQUEUED": _QUEUED,
    "REQUEUE_FED": _QUEUED,
    "REQUEUE_HOLD": _QUEUED,
    "RESV_DEL_HOLD": _QUEUED,
    "SPECIAL_EXIT": _QUEUED,
    # Its twin runs on another cluster of the federation, which this one cannot speak for.
    "REVOKED": _UNKNOWN,
    # Printed for tasks that wait and for tasks that run.
    "UPDATE_DB": _UNKNOWN,
}
"""Every state that Slurm prints of a job: our state for it, and how it ended. What is not here is unknown."""

_GLOSSES = (
    ("Priority", "others are ahead in the queue"),
    ("Resources", "next in the queue, waits for free nodes"),
    ("None", "not looked at yet"),
    ("BeginTime", "may not start yet; Slurm lets a job that it started again wait a while"),
    ("JobArrayTaskLimit", "as many tasks of this array run as it may run at once"),
    ("DependencyNeverSatisfied", "will never start: what it depends on has failed"),
    ("Dependency", "waits for another job"),
    ("JobHeldUser", "held by its user: scontrol release"),
    ("JobHeldAdmin", "held by an administrator"),
    ("JobHoldMaxRequeue", "held: Slurm failed to start it too often; scontrol release"),
    ("job requeued in held state", "put back and held by somebody (scontrol requeuehold): scontrol release"),
    ("launch failed requeued held", "held: Slurm failed to start it; scontrol release"),
    ("ReqNodeNotAvail", "the nodes it needs are down, drained or reserved, often for maintenance"),
    ("Nodes required for job are DOWN", "the nodes it needs are down, drained or reserved"),
    ("ReservationDeleted", "held: its reservation was deleted"),
    ("Reservation", "waits for its reservation"),
    ("PartitionDown", "the partition is down"),
    ("PartitionInactive", "the partition starts no jobs now"),
    ("PartitionTimeLimit", "will never start: longer than the partition allows"),
    ("PartitionNodeLimit", "will never start: more nodes than the partition allows"),
    ("PartitionConfig", "the partition does not allow it as it is asked for"),
    ("BadConstraints", "will never start: no node is as it asks"),
    ("Licenses", "waits for a licence"),
    ("Prolog", "its nodes are being prepared"),
    ("Cleaning", "Slurm is still clearing up its last start"),
    ("InvalidAccount", "will never start: its account is not valid"),
    ("InvalidQOS", "will never start: its QOS is not valid"),
    ("AssociationJobLimit", "the account runs as many jobs as it may"),
)
_LIMITS = (
    (r"(QOS|Assoc)Max(Submit)?Jobs?", "you have as many jobs as you may"),
    (r"(QOS|Assoc)Grp(Submit)?Jobs", "your group has as many jobs as it may"),
    (r"(QOS|Assoc)Grp.*RunMinutes", "what your group runs would take more time than it may at once"),
    (r"(QOS|Assoc)Grp.*(Minutes|Wall)", "your group has used up its hours"),
    (r"(QOS|Assoc)Grp", "your group uses as much as it may"),
    (r"(QOS|Assoc)Max.*Per(Job|Node)|MaxMemPerLimit", "will never start: more than one job may have"),
    (r"(QOS|Assoc)Max", "you use as much as you may"),
    (r"Max(Submit)?Jobs?PerAccount", "your account has as many jobs as it may"),
    (r"Max.*PerAccount", "your account uses as much as it may"),
    (r"QOSMin", "will never start: less than a job must ask for"),
    (r"QOSUsageThreshold", "you have used more of this QOS than it allows"),
    (r"(QOS|Account)NotAllowed", "will never start: the partition does not allow its QOS or account"),
    (r"(QOS|Association)(Job|Resource|Time)Limit|AccountingPolicy", "a limit of your account or QOS is reached"),
)
"""Of an account or a QOS, of which no forecast knows: slurm 22.05 to 25.11 (job_state_reason.c)."""
COMPETES = re.compile(r"(|None|Priority|Resources|JobArrayTaskLimit|ReqNodeNotAvail.*|Prolog|Cleaning|Nodes_?req.*)")
"""Reasons to wait of a job that starts as soon as there is room."""


def explained(reason: str) -> str:
    """Slurm's reason why a task waits, with a gloss where we have one.

    >>> explained("Priority"), explained("QOSMaxJobsPerUserLimit"), explained("Strange")
    ('Priority (others are ahead in the queue)', 'QOSMaxJobsPerUserLimit (you have as many jobs as you may)', 'Strange')
    """
    for start, gloss in _GLOSSES:
        if re.match(rf"{start}\b", reason):
            return f"{reason} ({gloss})"
    for pattern, gloss in _LIMITS:
        if re.match(pattern, reason):
            return f"{reason} ({gloss})"
    return reason


def status_of(printed: str, *, hosts: str = "", reason: str = "") -> TaskStatus:
    """Turn a state as Slurm prints it (`CANCELLED by 0`) into ours; an unknown one is never an end."""
    name = printed.split(maxsplit=1)[0].rstrip("+") if printed.split() else ""
    state, how = STATES.get(name, _UNKNOWN)
    hosts = "" if hosts == "None assigned" else hosts
    match state:
        case TaskState.ENDED:
            detail = f"Slurm says {printed} on {hosts}" if hosts else f"Slurm says {printed}"
        case TaskState.RUNNING | TaskState.SUSPENDED:
            detail = hosts if name == "RUNNING" else f"{name} on {hosts or '?'}"
        case TaskState.QUEUED:
            words = [explained(reason)] if name == "PENDING" and reason else [name, explained(reason)]
            detail = ": ".join(filter(None, words))
        case _:
            detail = f"Slurm says {printed}" if name in STATES else f"Slurm says {printed!r}, which we do not know"
    waits_for_more = state is TaskState.QUEUED and not COMPETES.fullmatch(reason.replace(" ", "_"))
    return TaskStatus(
        state=state, detail=detail, ended=how, hosts=hosts, held=reason if waits_for_more and reason else None
    )


def read_squeue(text: str) -> tuple[dict[TaskKey, TaskStatus], dict[str, str]]:
    """Read `SQUEUE_FORMAT` lines: statuses, and by job's number its script, working directory and comment.

    Lines of another form, such as a site's wrapper prints, are passed over.
    """
    statuses: dict[TaskKey, TaskStatus] = {}
    jobs: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split("|", 4)
        if len(fields) == 5 and fields[0].isdecimal() and (fields[1].isdecimal() or fields[1] == "N/A"):
            number, index, state, hosts, rest_of_line = fields
            words, _, jobs[number] = rest_of_line.partition(_JOB)
            reason, _, start = words.partition(_START)
            key = number, int(index) if index.isdecimal() else WHOLE
            statuses[key] = _starting(status_of(state, hosts=hosts, reason=reason), start)
    return statuses, jobs


def _starting(status: TaskStatus, start: str) -> TaskStatus:
    """The same with when Slurm expects to start it: seconds since 1970, as `IN_SECONDS` has them printed."""
    waits = status.state is TaskState.QUEUED
    return replace(status, expected_s=float(start)) if waits and re.fullmatch("[0-9]{1,10}", start) else status


def read_sacct(text: str) -> dict[TaskKey, TaskStatus]:
    """Read `SACCT_FORMAT` rows, in which `17_[0,2-5%2]` stands for tasks that never started.

    A row without an index is of the whole job: sacct prints such rows also before it has learnt that one is an array.
    """
    statuses: dict[TaskKey, TaskStatus] = {}
    for line in text.splitlines():
        fields = line.split("|", 2)
        job, _, indices = fields[0].partition("_")
        if len(fields) != 3 or not job.isdecimal():
            continue
        for index in indices_of(indices) or ([] if indices else [WHOLE]):
            statuses[job, index] = status_of(fields[1], hosts=fields[2])
    return statuses


def read_earlier_starts(text: str, key: TaskKey) -> tuple[Ended, ...]:
    """Read the `SACCT_FORMAT` rows of a task's starts, oldest first, and return how all but the last one ended."""
    rows = map(read_sacct, text.splitlines())
    starts = [row[key] for row in rows if key in row]
    return tuple(start.ended or Ended.REQUEUED for start in starts[:-1])


def indices_of(text: str) -> list[int]:
    """Read the index part of a task's name.

    >>> indices_of("7"), indices_of("[0,2-4%2]"), indices_of("[1-9:4]"), indices_of("")
    ([7], [0, 2, 3, 4], [1, 5, 9], [])
    """
    indices: list[int] = []
    for part in text.strip("[]").split("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match:
            first, last, step = match.groups()
            indices += range(int(first), int(last or first) + 1, int(step or 1))
    return indices


def shared_task_status(job: TaskStatus, reported: TaskStatus | None, *, cancelled: bool) -> TaskStatus:
    """Return the status of a task of a shared job, from Slurm's status of the job and its queue's status of the task.

    `cancelled`: its queue will be asked to end it as soon as there is one. An end that the queue has written stays; of
    what it left unfinished when the job ended, Slurm knows why.
    """
    if reported is not None and reported.state is TaskState.ENDED:
        return reported
    if job.state is TaskState.SUSPENDED and reported is not None and reported.state is TaskState.RUNNING:
        return replace(job, hosts=reported.hosts or job.hosts)
    if job.state in (TaskState.RUNNING, TaskState.SUSPENDED):
        return reported or TaskStatus(state=TaskState.QUEUED, detail="its job is starting")
    if job.state is TaskState.QUEUED and cancelled:
        return TaskStatus(state=TaskState.ENDED, ended=Ended.CANCELLED, detail="cancelled before its job started")
    if job.state is TaskState.ENDED and reported is not None:
        return replace(job, hosts=reported.hosts or job.hosts)
    return job


def forgotten_status(accounted: TaskStatus | None, *, sacct_error: str | None, siblings: bool = False) -> TaskStatus:
    """Return the status of a task that squeue no longer knows, from the status that sacct gives it.

    `sacct_error`: None where sacct was asked and answered, "" where there is none, else why it did not answer.
    `siblings`: whether sacct knows other tasks of the same array. It has a row of every task that ever started, and
    none of one that was taken out of its array before: that one was cancelled.
    """
    if accounted is not None and accounted.state is TaskState.ENDED:
        return accounted
    detail = "no longer known to squeue"
    if accounted is None and sacct_error is None and siblings:
        detail = "cancelled before it started: sacct knows its array, but not this task"
        return TaskStatus(state=TaskState.ENDED, ended=Ended.CANCELLED, detail=detail)
    if accounted is not None:
        detail += f", though sacct still says: {accounted.detail or accounted.state.value}"
    elif sacct_error is None:
        detail += ", and sacct has no row of it"
    elif sacct_error:
        detail += f", and sacct did not answer: {sacct_error}"
    return TaskStatus(
        state=TaskState.ENDED, ended=Ended.UNREPORTED, detail=detail, hosts=accounted.hosts if accounted else ""
    )
