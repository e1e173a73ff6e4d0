"""An snapshot as the simulation sees it: indices of nodes, and one object for all that ask alike. Pure."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from launchers.queue_snapshot import QueuedJob, QueueSnapshot, QueueState
from vit_sweep.plan.waiting.nodes import Need, Nodes, Room
from vit_sweep.plan.waiting.simulation import Entry, Running

OVERDUE_S = 60.0
"""How much longer a job runs that has passed its limit: Slurm ends it within a minute or so."""


class Request(NamedTuple):
    """What a job asks for, by names."""

    partitions: tuple[str, ...]
    """None: the default one."""
    nodes: int
    gpus: int | None
    """On each node, as the cores; None: not known, so the whole node."""
    cpus: int
    whole_nodes: bool
    limit_s: float
    hosts: tuple[str, ...]
    """Nodes that it must get; none: any."""
    exclude: tuple[str, ...] = ()


class Reader:
    """Reads a snapshot for one simulation."""

    def __init__(self, snapshot: QueueSnapshot) -> None:
        """Separate the running jobs from the pending ones that could start."""
        self._now, self._order, self._default = snapshot.at_s, 0, snapshot.default_partitions
        self._index = {room.name: index for index, room in enumerate(snapshot.nodes)}
        self._rooms: dict[tuple[tuple[int, ...], int, int, bool], Room] = {}
        self._needs: dict[tuple[Room, int, float], Need] = {}
        self._usable: dict[str, list[int]] = {}
        for index, room in enumerate(snapshot.nodes):
            for partition in room.partitions if room.usable else ():
                self._usable.setdefault(partition, []).append(index)
        closed: dict[int, list[tuple[float, float]]] = {}
        for closure in snapshot.closed:
            for node in self._indices(closure.hosts):
                closed.setdefault(node, []).append((closure.from_s, closure.until_s))
        self.nodes = Nodes(snapshot.nodes, closed)
        self.running_jobs = [job for job in snapshot.jobs if job.state is QueueState.RUNNING]
        self.pending = [job for job in snapshot.jobs if job.state is QueueState.PENDING and job.held is None]

    def least_share(self, job: QueuedJob) -> float:
        """The share of its limit that a job has run for."""
        ran = 0.0 if job.started_s is None else self._now - job.started_s
        return max(0.0, min(1.0, ran / job.limit_s)) if job.limit_s else 1.0

    def running(self, job: QueuedJob, share: float) -> Running:
        """A job that runs, for so much of its limit in all."""
        nodes = tuple(self._indices(job.hosts))
        need = self._need(nodes, len(nodes), _request(job))
        if job.limit_s is None:
            return Running(need, nodes, inf, inf)
        began = self._now if job.started_s is None else job.started_s
        limit_end = max(began + job.limit_s, self._now + OVERDUE_S)
        return Running(need, nodes, limit_end, limit_end if share >= 1 else max(self._now, began + share * job.limit_s))

    def waiting(self, job: QueuedJob, shares: Sequence[float]) -> Entry:
        """A job that waits, each of its tasks for so much of its limit."""
        request = _request(job)
        runs = [share * request.limit_s for share in shares]
        return self.entry(request, runs, job.priority or 0.0, job.at_once, awaited=False)

    def entry(
        self, request: Request, runs_s: Sequence[float], priority: float, at_once: int | None, *, awaited: bool
    ) -> Entry:
        """A job in the queue, behind those of its priority that were read before it."""
        self._order += 1
        needs = tuple(
            self._need(candidates, request.nodes, request)
            for partition in request.partitions or self._default
            if len(candidates := self._candidates(partition, request)) >= request.nodes
        )
        return Entry(
            priority, self._order, needs, runs_s, submit_s=self._now, at_once=at_once, awaited=awaited and bool(needs)
        )

    def _candidates(self, partition: str, request: Request) -> tuple[int, ...]:
        """Nodes that could run it if nothing else ran."""
        required, excluded = set(self._indices(request.hosts)), set(self._indices(request.exclude))
        gpus, cpus = self.nodes.gpus, self.nodes.cpus
        return tuple(
            node
            for node in self._usable.get(partition, ())
            if node not in excluded
            and (not request.hosts or node in required)
            and gpus[node] >= (request.gpus or 0)
            and cpus[node] >= request.cpus
        )

    def _need(self, candidates: tuple[int, ...], nodes: int, request: Request) -> Need:
        shape = candidates, request.gpus or 0, request.cpus, request.whole_nodes or request.gpus is None
        room = self._rooms.setdefault(shape, Room(*shape))
        return self._needs.setdefault((room, nodes, request.limit_s), Need(room, nodes, request.limit_s))

    def _indices(self, hosts: Sequence[str]) -> list[int]:
        return [self._index[host] for host in hosts if host in self._index]


def _request(job: QueuedJob) -> Request:
    return Request(
        partitions=job.partitions,
        nodes=job.nodes,
        gpus=job.gpus_per_node,
        cpus=job.cpus_per_node or 0,
        whole_nodes=job.whole_nodes,
        limit_s=inf if job.limit_s is None else job.limit_s,
        hosts=job.hosts,
    )
