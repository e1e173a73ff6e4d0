"""A look at a scheduler's queue: its nodes, and the jobs that run or wait there. Pure.

What is not known is None, never guessed. Times are seconds since 1970 by the clock of the scheduler.
"""

from enum import StrEnum
from typing import Annotated

from launchers.checked import Ge, Le, Line, checked
from launchers.profile import Count

Room = Annotated[int, Ge(0), Le(10**9)]
"""GPUs or cores: a whole number, which may be none."""
Seconds = Annotated[float, Ge(0), Le(10**10)]
Moment = Annotated[float, Ge(0), Le(10**11)]
"""Seconds since 1970."""


@checked
class NodeRoom:
    """A node and what it has."""

    name: Line
    partitions: tuple[Line, ...]
    """Slurm's names of all partitions that it belongs to."""
    gpus: Room
    cpus: Room | None = None
    """Cores that jobs may have."""
    usable: bool = True
    """False: down, drained or on its way there, so no job starts on it now."""


class QueueState(StrEnum):
    """Whether a job has its nodes."""

    RUNNING = "running"
    """Or suspended, or ending: it holds its nodes."""
    PENDING = "pending"


@checked
class QueuedJob:
    """A job of anybody, or the tasks of an array that wait together."""

    handle: Line
    """As the scheduler names it: `17`, `17_3`, `17_[4-99]`."""
    state: QueueState
    partitions: tuple[Line, ...]
    """Where it runs, or may start: the first that can."""
    nodes: Count
    gpus_per_node: Room | None
    """None: not known, or not the same on each node."""
    cpus_per_node: Room | None = None
    whole_nodes: bool = False
    """Whether it gets all that its nodes have (Slurm's --exclusive)."""
    hosts: tuple[Line, ...] = ()
    """Of a running job: the names of its nodes. Of one that waits: nodes that it must get."""
    limit_s: Seconds | None
    """Its time limit; None: it has none, or it is not known."""
    started_s: Moment | None = None
    """Of a running job."""
    priority: Annotated[float, Ge(0)] | None = None
    """Higher ones are first."""
    held: Line | None = None
    """Why it would not start though there were room, in the scheduler's word: `JobHeldUser`, `Dependency`."""
    tasks: Count = 1
    """Of an array that waits: tasks of this shape that are still to start."""
    at_once: Count | None = None
    """Tasks of this array that may run at the same time (Slurm's %N); None: all of them."""


@checked
class Closure:
    """Nodes that no job of ours may hold for a time: a reservation of others, a maintenance."""

    hosts: tuple[Line, ...]
    from_s: Moment
    until_s: Moment


@checked
class OwnerLimit:
    """What an account, or a quality of service, lets its users have at once; no simulation here counts it."""

    account: Line = ""
    """Of this user's; empty: of a QOS."""
    qos: Line = ""
    default: bool = False
    """Whether jobs that name none are of this one."""
    partitions: tuple[Line, ...] = ()
    """Those that have this QOS, whoever's job it is; of an account: the only one where it holds, none: all."""
    allows: Line
    """In the scheduler's words: `MaxJobs=3 GrpTRES=gres/gpu=5`."""


@checked
class QueueSnapshot:
    """What a scheduler said at one moment."""

    at_s: Moment
    nodes: tuple[NodeRoom, ...]
    jobs: tuple[QueuedJob, ...]
    """Among jobs of equal priority, or without one, in the order in which the scheduler takes them."""
    closed: tuple[Closure, ...] = ()
    default_partition: Line | None = None
    """Of jobs that name none."""
    hidden: Line | None = None
    """Why jobs of other users are missing here (`PrivateData=jobs`); None: all are shown."""
    limits: tuple[OwnerLimit, ...] | None = None
    """Of this user's jobs; None: not known."""

    @property
    def default_partitions(self) -> tuple[str, ...]:
        """Where a job goes that names no partition: to the default one, or to the only one; none: not known."""
        if self.default_partition is not None:
            return (self.default_partition,)
        names = {name for room in self.nodes for name in room.partitions}
        return tuple(names) if len(names) == 1 else ()
