"""What squeue and scontrol print of a whole cluster, read as what a `QueueSnapshot` holds. Pure."""

import re
from collections.abc import Iterator, Mapping
from itertools import product

from launchers.errors import UserError
from launchers.queue_snapshot import Closure, NodeRoom, OwnerLimit, QueuedJob, QueueState
from launchers.slurm.scontrol import UNUSABLE, Fields, gpus, minutes, pairs
from launchers.slurm.states import COMPETES, indices_of

_FIELDS = (
    "JobArrayID",
    "State",
    "Partition",
    "NumNodes",
    "NumCPUs",
    "NumTasks",
    "tres-per-node",
    "tres-per-job",
    "tres-per-task",
    "tres-per-socket",
    "tres-alloc",
    "TimeLimit",
    "StartTime",
    "PriorityLong",
    "OverSubscribe",
    "NodeList",
    "ReqNodes",
    "Reason",
)
QUEUE = (
    *("squeue", "--noheader", "--all", "--local", "--noconvert", "--sort=i"),
    "--states=PENDING,RUNNING,SUSPENDED,CONFIGURING,COMPLETING",
    f"--Format={','.join(f'{name}:|' for name in _FIELDS)}",
)
"""Of all users, those in partitions that a user may not see too: they are on the same nodes."""
RESERVATIONS = ("scontrol", "show", "reservation", "--oneliner")
WHOLE_LISTS = {"SLURM_BITSTR_LEN": "0"}
"""A variable that has squeue print which tasks of an array wait, however many there are."""

_HOLDS = ("RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT")
_IN_SECONDS = re.compile("[0-9]{1,10}")
_NOTHING = ("", "N/A", "(null)", "None assigned")
_MOST_HOSTS = 100_000


def read_jobs(text: str) -> tuple[tuple[QueuedJob, ...], str]:
    """The jobs that `QUEUE` printed, and the first line that is none; the headings of clusters are passed over.

    Raises nothing: what is not known of a job is None.
    """
    jobs, strange = list[QueuedJob](), ""
    for line in filter(str.strip, text.splitlines()):
        values = line.strip().split("|", len(_FIELDS) - 1)
        row = dict(zip(_FIELDS, (value.strip().removesuffix("|") for value in values), strict=False))
        try:
            jobs += _job(row)
        except (KeyError, ValueError):  # no row of ours, or numbers that no job has
            strange = strange or ("" if line.startswith("CLUSTER: ") else line)
    return tuple(jobs), strange


def _job(row: Mapping[str, str]) -> Iterator[QueuedJob]:
    """The job of a row; none where it has no nodes, or is neither here nor there."""
    runs, nodes, reason = row["State"] in _HOLDS, int(row["NumNodes"]), row["Reason"]
    if nodes == 0 or not (runs or row["State"] == "PENDING"):
        return
    tasks, at_once = _tasks(row["JobArrayID"])
    cpus, limit = row["NumCPUs"], _limit_s(row["TimeLimit"])
    yield QueuedJob(
        handle=row["JobArrayID"],
        state=QueueState.RUNNING if runs else QueueState.PENDING,
        partitions=tuple(filter(None, row["Partition"].split(","))),
        nodes=nodes,
        gpus_per_node=_gpus_per_node(row, nodes),
        cpus_per_node=-(-int(cpus) // nodes) if cpus.isdecimal() else None,
        whole_nodes=row["OverSubscribe"] == "NO",
        hosts=hosts_of(row["NodeList" if runs else "ReqNodes"]),
        limit_s=limit,
        started_s=float(row["StartTime"]) if runs and _IN_SECONDS.fullmatch(row["StartTime"]) else None,
        priority=float(row["PriorityLong"]) if row["PriorityLong"].isdecimal() else None,
        held=None if runs or COMPETES.fullmatch(reason) else reason,
        tasks=tasks,
        at_once=at_once,
    )


def _tasks(handle: str) -> tuple[int, int | None]:
    """How many tasks of an array wait together, and how many of them may run at once.

    >>> _tasks("5_[0-9%2]"), _tasks("5_3"), _tasks("17")
    ((10, 2), (1, None), (1, None))
    """
    _, _, listed = handle.partition("_[")
    at_once = re.search(r"%([1-9]\d*)", listed)
    return max(1, len(indices_of(listed))), int(at_once[1]) if at_once else None


def _limit_s(text: str) -> float | None:
    try:
        limit = minutes(text)
    except UserError:
        return None
    return None if limit is None else limit * 60.0


def _gpus_per_node(row: Mapping[str, str], nodes: int) -> int | None:
    """None where nobody can say, or nodes of this job differ."""
    if (per_node := _gpus(row["tres-per-node"])) is not None:
        return per_node
    granted = re.search(r"(?:^|,)gres/gpu=(\d+)", row["tres-alloc"])
    per_job, per_task = _gpus(row["tres-per-job"]), _gpus(row["tres-per-task"])
    if granted is not None:
        total = int(granted[1])
    elif per_job is not None:
        total = per_job
    elif per_task is not None and row["NumTasks"].isdecimal():
        total = per_task * int(row["NumTasks"])
    else:
        return 0 if all(row[name] in _NOTHING for name in _PER) else None
    return total // nodes if total % nodes == 0 else None


_PER = ("tres-per-node", "tres-per-job", "tres-per-task", "tres-per-socket")


def _gpus(tres: str) -> int | None:
    """GPUs in `gres:gpu:t4:8` or `gres/gpu:t4=8`; None where it names none."""
    if tres in _NOTHING or "gpu" not in tres:
        return None
    try:
        return sum(gpus(re.sub(r"(^|,)gres[:/]", r"\1", tres).replace("=", ":")).values())
    except UserError:
        return None


def read_nodes(text: str) -> tuple[NodeRoom, ...]:
    """The nodes that `discover.NODES` printed; one whose GPUs cannot be read takes no job."""
    return tuple(_node(pairs(line)) for line in text.splitlines() if line.startswith("NodeName="))


def _node(node: Fields) -> NodeRoom:
    cpus = node.get("CPUEfctv", node.get("CPUTot", ""))
    state, count = node.get("State", ""), 0
    try:
        count = sum(gpus(node.get("Gres", "(null)")).values())
    except UserError:
        state = "INVAL"
    return NodeRoom(
        name=node["NodeName"],
        partitions=tuple(filter(None, node.get("Partitions", "").split(","))),
        gpus=count,
        cpus=int(cpus) if cpus.isdecimal() else None,
        usable="*" not in state and not any(word in state for word in UNUSABLE),
    )


def read_reservations(text: str) -> tuple[Closure, ...]:
    """The whole nodes that `RESERVATIONS` printed, in the seconds of `states.IN_SECONDS`: no job gets them unasked."""
    rows = (pairs(line) for line in text.splitlines() if line.startswith("ReservationName="))
    closures = ((hosts_of(row.get("Nodes", "")), row.get("StartTime", ""), row.get("EndTime", "")) for row in rows)
    return tuple(
        Closure(hosts=hosts, from_s=float(begin), until_s=float(end))
        for hosts, begin, end in closures
        if hosts and _IN_SECONDS.fullmatch(begin) and _IN_SECONDS.fullmatch(end)
    )


ASSOCIATIONS = (
    *("sacctmgr", "--parsable2", "show", "associations", "where"),
    "user={user}",
    "format=Cluster,Account,Partition,DefaultQOS,GrpJobs,GrpSubmit,GrpTRES,GrpTRESMins,MaxJobs,MaxSubmit,MaxTRES,MaxWall",
)
QOS_LIMITS = (
    *("sacctmgr", "--parsable2", "show", "qos"),
    "format=Name,GrpJobs,GrpSubmit,GrpTRES,GrpTRESMins,GrpWall,MaxJobsPA,MaxJobsPU,MaxSubmitPU,MaxTRES,MaxTRESPU,MaxWall",
)
_NO_LIMITS = ("Cluster", "Account", "Partition", "Name", "DefaultQOS", "Def QOS")
"""Columns of who has limits."""
_USUAL_QOS = "normal"


def read_limits(associations: str, qos: str, partitions: str, *, cluster: str) -> tuple[OwnerLimit, ...]:
    """The limits that `ASSOCIATIONS`, `QOS_LIMITS` and `discover.PARTITIONS` printed, of accounts first.

    A user's jobs are of the default QOS of their associations where they name none; without one, of `normal`.
    """
    of_user = [row for row in _table(associations) if row.get("Cluster") == cluster]
    defaults = {row.get("Def QOS") or _USUAL_QOS for row in of_user} or {_USUAL_QOS}
    places: dict[str, list[str]] = {}
    for row in (pairs(line) for line in partitions.splitlines() if line.startswith("PartitionName=")):
        places.setdefault(row.get("QoS", ""), []).append(row["PartitionName"])
    accounts = [
        OwnerLimit(account=row["Account"], partitions=tuple(filter(None, [row.get("Partition", "")])), allows=allows)
        for row in of_user
        if (allows := _allows(row)) and row.get("Account")
    ]
    of_qos = [
        OwnerLimit(qos=name, default=name in defaults, partitions=tuple(places.get(name, ())), allows=allows)
        for row in _table(qos)
        if (allows := _allows(row)) and (name := row.get("Name"))
    ]
    return (*accounts, *of_qos)


def _table(text: str) -> Iterator[dict[str, str]]:
    """The rows that sacctmgr printed below its heading."""
    heading, *lines = text.splitlines() or [""]
    return (dict(zip(heading.split("|"), line.split("|"), strict=False)) for line in lines)


def _allows(row: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items() if value and name not in _NO_LIMITS)


def hosts_of(listed: str) -> tuple[str, ...]:
    """The hosts of a list as Slurm prints it; none where there are absurdly many.

    >>> hosts_of("vector[01-02,07],nebula1"), hosts_of("r[1-2]n[3-4]"), hosts_of("(null)")
    (('vector01', 'vector02', 'vector07', 'nebula1'), ('r1n3', 'r1n4', 'r2n3', 'r2n4'), ())
    """
    if listed in _NOTHING:
        return ()
    hosts: list[str] = []
    for item in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", listed):
        parts = [
            list(_numbers(part)) if part.startswith("[") else [part] for part in re.findall(r"\[[^\]]*\]|[^\[]+", item)
        ]
        for words in product(*parts):
            hosts.append("".join(words))
            if len(hosts) > _MOST_HOSTS:
                return ()
    return tuple(hosts)


def _numbers(bracket: str) -> Iterator[str]:
    """The numbers of `[01-03,7]`, as wide as they are written."""
    for part in bracket.strip("[]").split(","):
        first, dash, last = part.partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            numbers = range(int(first), min(int(last), int(first) + _MOST_HOSTS) + 1)
            yield from (str(number).zfill(len(first)) for number in numbers)
        else:
            yield part
