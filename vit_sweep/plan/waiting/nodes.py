"""The room on a cluster's nodes while jobs come and go. Pure."""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import NamedTuple

from launchers.queue_snapshot import NodeRoom

UNLIMITED = 10**9
"""Cores of a node where nobody said how many it has."""


@dataclass(eq=False, slots=True)
class Room:
    """What a job asks of one node; one object for all that ask alike."""

    candidates: tuple[int, ...]
    """Indices of the nodes that it may have, in the scheduler's order."""
    gpus: int
    cpus: int
    whole_nodes: bool
    """Whether it gets all that its nodes have."""
    free_from: list[float] = field(default_factory=list)
    """Of each candidate: from when on it is free by the limits of what runs there; 0: now, inf: never."""
    position: dict[int, int] = field(default_factory=dict)
    """A node's index in `free_from`."""
    applied: int = 0
    """Changes of nodes that `free_from` takes into account."""


@dataclass(eq=False, slots=True)
class Need:
    """What a job asks for; one object for all that ask alike."""

    room: Room
    nodes: int
    limit_s: float


class NodeAllocation(NamedTuple):
    """What a running job has allocated on one of its nodes."""

    until_s: float
    """By its limit."""
    job: int
    gpus: int
    cpus: int


class Nodes:
    """The nodes of a cluster, by their index."""

    def __init__(self, rooms: Sequence[NodeRoom], closed: Mapping[int, Sequence[tuple[float, float]]]) -> None:
        """`closed`: the times in which a node takes no job."""
        self.gpus = [room.gpus for room in rooms]
        self.cpus = [UNLIMITED if room.cpus is None else room.cpus for room in rooms]
        self.closed = {node: sorted(times) for node, times in closed.items()}
        self._free_gpus, self._free_cpus = list(self.gpus), list(self.cpus)
        self._allocations: list[list[NodeAllocation]] = [[] for _ in rooms]
        self._changed: list[int] = []

    def allocate(self, job: int, nodes: Sequence[int], room: Room, until_s: float) -> None:
        """Allocate a job's room on `nodes`, by its limit until `until_s`."""
        for node in nodes:
            gpus, cpus = (self._free_gpus[node], self._free_cpus[node]) if room.whole_nodes else (room.gpus, room.cpus)
            self._free_gpus[node] -= gpus
            self._free_cpus[node] -= cpus
            insort(self._allocations[node], NodeAllocation(until_s, job, gpus, cpus))
        self._changed += nodes

    def release(self, job: int, nodes: Sequence[int]) -> None:
        """Release a job's room on `nodes`."""
        for node in nodes:
            allocations = self._allocations[node]
            one = allocations.pop(next(index for index, allocation in enumerate(allocations) if allocation.job == job))
            self._free_gpus[node] += one.gpus
            self._free_cpus[node] += one.cpus
        self._changed += nodes

    def closed_after(self, node: int, now: float) -> list[tuple[float, float]]:
        """When a node takes no job from now on."""
        return [one for one in self.closed[node] if one[1] > now]

    def free_from(self, room: Room) -> list[float]:
        """The room's `free_from`, as of now."""
        if not room.position:
            room.position = {node: place for place, node in enumerate(room.candidates)}
            room.free_from = [self._free_from(node, room) for node in room.candidates]
        elif room.applied < len(self._changed):
            for node in set(self._changed[room.applied :]):
                if node in room.position:
                    room.free_from[room.position[node]] = self._free_from(node, room)
        room.applied = len(self._changed)
        return room.free_from

    def _free_from(self, node: int, room: Room) -> float:
        gpus, cpus, free_from_s = self._free_gpus[node], self._free_cpus[node], 0.0
        allocations = self._allocations[node]
        if room.whole_nodes:
            return allocations[-1].until_s if allocations else free_from_s
        ending = iter(allocations)
        while gpus < room.gpus or cpus < room.cpus:
            allocation = next(ending, None)
            if allocation is None:
                return inf
            gpus, cpus, free_from_s = gpus + allocation.gpus, cpus + allocation.cpus, allocation.until_s
        return free_from_s


def choose(fitting: Sequence[int], count: int) -> list[int]:
    """The nodes that a job gets of those that fit: of neighbours the smallest group that is large enough.

    Where none is, groups from the largest on. As Slurm's consumable resources choose without a topology.
    """
    groups = [[node for _, node in group] for _, group in groupby(enumerate(fitting), lambda pair: pair[1] - pair[0])]
    enough = [group for group in groups if len(group) >= count]
    if enough:
        return min(enough, key=len)[:count]
    nodes: list[int] = []
    for group in sorted(groups, key=len, reverse=True):
        nodes += group[: count - len(nodes)]
    return nodes
