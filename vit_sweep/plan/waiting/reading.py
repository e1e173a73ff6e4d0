"""An outlook as the simulation sees it: indices of nodes, and one object for all that ask alike. Pure."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from launchers.outlook import Outlook, QueuedJob, QueueState
from vit_sweep.plan.waiting.nodes import Need, Nodes, Room
from vit_sweep.plan.waiting.simulation import Entry, Running

OVERDUE_S = 60.0
"""How much longer a job runs that has passed its limit: Slurm ends it within a minute or so."""


class Ask(NamedTuple):
    """What a job asks for, by names."""

    partitions: tuple[str, ...]
    """None: the default one."""
    nodes: int
    gpus: int | None
    """On each node, as the cores; None: not known, so the whole node."""
    cpus: int
    whole: bool
    limit_s: float
    hosts: tuple[str, ...]
    """Nodes that it must get; none: any."""
    exclude: tuple[str, ...] = ()


class Reader:
    """Reads an outlook for one simulation."""

    def __init__(self, outlook: Outlook) -> None:
        """What runs, and what waits and could start, is told apart."""
        self._now, self._places, self._default = outlook.at_s, 0, outlook.default_partitions
        self._index = {room.name: index for index, room in enumerate(outlook.nodes)}
        self._rooms: dict[tuple[tuple[int, ...], int, int, bool], Room] = {}
        self._needs: dict[tuple[Room, int, float], Need] = {}
        self._usable: dict[str, list[int]] = {}
        for index, room in enumerate(outlook.nodes):
            for partition in room.partitions if room.usable else ():
                self._usable.setdefault(partition, []).append(index)
        closed: dict[int, list[tuple[float, float]]] = {}
        for closure in outlook.closed:
            for node in self._known(closure.hosts):
                closed.setdefault(node, []).append((closure.from_s, closure.until_s))
        self.nodes = Nodes(outlook.nodes, closed)
        self.holding = [job for job in outlook.jobs if job.state is QueueState.RUNNING]
        self.pending = [job for job in outlook.jobs if job.state is QueueState.PENDING and job.held is None]

    def least_share(self, job: QueuedJob) -> float:
        """The share of its limit that a job has run for."""
        ran = 0.0 if job.started_s is None else self._now - job.started_s
        return max(0.0, min(1.0, ran / job.limit_s)) if job.limit_s else 1.0

    def running(self, job: QueuedJob, share: float) -> Running:
        """A job that runs, for so much of its limit in all."""
        on = tuple(self._known(job.hosts))
        need = self._need(on, len(on), _asked(job))
        if job.limit_s is None:
            return Running(need, on, inf, inf)
        began = self._now if job.started_s is None else job.started_s
        until = max(began + job.limit_s, self._now + OVERDUE_S)
        return Running(need, on, until, until if share >= 1 else max(self._now, began + share * job.limit_s))

    def waiting(self, job: QueuedJob, shares: Sequence[float]) -> Entry:
        """A job that waits, each of its tasks for so much of its limit."""
        asked = _asked(job)
        runs = [share * asked.limit_s for share in shares]
        return self.entry(asked, runs, job.priority or 0.0, job.at_once, awaited=False)

    def entry(
        self, asked: Ask, runs_s: Sequence[float], priority: float, at_once: int | None, *, awaited: bool
    ) -> Entry:
        """A job in the queue, behind those of its priority that were read before it."""
        self._places += 1
        needs = tuple(
            self._need(candidates, asked.nodes, asked)
            for partition in asked.partitions or self._default
            if len(candidates := self._candidates(partition, asked)) >= asked.nodes
        )
        return Entry(
            priority, self._places, needs, runs_s, submit_s=self._now, at_once=at_once, awaited=awaited and bool(needs)
        )

    def _candidates(self, partition: str, asked: Ask) -> tuple[int, ...]:
        """Nodes that could run it if nothing else ran."""
        must, never = set(self._known(asked.hosts)), set(self._known(asked.exclude))
        gpus, cpus = self.nodes.gpus, self.nodes.cpus
        return tuple(
            node
            for node in self._usable.get(partition, ())
            if node not in never
            and (not asked.hosts or node in must)
            and gpus[node] >= (asked.gpus or 0)
            and cpus[node] >= asked.cpus
        )

    def _need(self, on: tuple[int, ...], nodes: int, asked: Ask) -> Need:
        alike = on, asked.gpus or 0, asked.cpus, asked.whole or asked.gpus is None
        room = self._rooms.setdefault(alike, Room(*alike))
        return self._needs.setdefault((room, nodes, asked.limit_s), Need(room, nodes, asked.limit_s))

    def _known(self, hosts: Sequence[str]) -> list[int]:
        return [self._index[host] for host in hosts if host in self._index]


def _asked(job: QueuedJob) -> Ask:
    return Ask(
        partitions=job.partitions,
        nodes=job.nodes,
        gpus=job.gpus_per_node,
        cpus=job.cpus_per_node or 0,
        whole=job.whole_nodes,
        limit_s=inf if job.limit_s is None else job.limit_s,
        hosts=job.hosts,
    )
