"""The room on a cluster's nodes while jobs come and go. Pure."""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import NamedTuple

from launchers.outlook import NodeRoom

UNLIMITED = 10**9
"""Cores of a node where nobody said how many it has."""


@dataclass(eq=False, slots=True)
class Room:
    """What a job asks of one node; one object for all that ask alike."""

    candidates: tuple[int, ...]
    """Indices of the nodes that it may have, in the scheduler's order."""
    gpus: int
    cpus: int
    whole: bool
    """Whether it gets all that its nodes have."""
    since: list[float] = field(default_factory=list)
    """Of each candidate: from when on it is free by the limits of what runs there; 0: now, inf: never."""
    place: dict[int, int] = field(default_factory=dict)
    """Where in `since` a node stands."""
    known: int = 0
    """Changes of nodes that `since` heeds."""


@dataclass(eq=False, slots=True)
class Need:
    """What a job asks for; one object for all that ask alike."""

    room: Room
    nodes: int
    limit_s: float


class Held(NamedTuple):
    """What a running job has on one of its nodes."""

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
        self._held: list[list[Held]] = [[] for _ in rooms]
        self._changed: list[int] = []

    def take(self, job: int, chosen: Sequence[int], room: Room, until_s: float) -> None:
        """Give a job its room, by its limit until `until_s`."""
        for node in chosen:
            gpus, cpus = (self._free_gpus[node], self._free_cpus[node]) if room.whole else (room.gpus, room.cpus)
            self._free_gpus[node] -= gpus
            self._free_cpus[node] -= cpus
            insort(self._held[node], Held(until_s, job, gpus, cpus))
        self._changed += chosen

    def give_back(self, job: int, chosen: Sequence[int]) -> None:
        """Take a job's room back."""
        for node in chosen:
            held = self._held[node]
            one = held.pop(next(index for index, one in enumerate(held) if one.job == job))
            self._free_gpus[node] += one.gpus
            self._free_cpus[node] += one.cpus
        self._changed += chosen

    def closed_after(self, node: int, now: float) -> list[tuple[float, float]]:
        """When a node takes no job from now on."""
        return [one for one in self.closed[node] if one[1] > now]

    def since(self, room: Room) -> list[float]:
        """The room's `since`, as of now."""
        if not room.place:
            room.place = {node: place for place, node in enumerate(room.candidates)}
            room.since = [self._free_from(node, room) for node in room.candidates]
        elif room.known < len(self._changed):
            for node in set(self._changed[room.known :]):
                if node in room.place:
                    room.since[room.place[node]] = self._free_from(node, room)
        room.known = len(self._changed)
        return room.since

    def _free_from(self, node: int, room: Room) -> float:
        gpus, cpus, since = self._free_gpus[node], self._free_cpus[node], 0.0
        held = self._held[node]
        if room.whole:
            return held[-1].until_s if held else since
        left = iter(held)
        while gpus < room.gpus or cpus < room.cpus:
            one = next(left, None)
            if one is None:
                return inf
            gpus, cpus, since = gpus + one.gpus, cpus + one.cpus, one.until_s
        return since


def choose(fitting: Sequence[int], count: int) -> list[int]:
    """The nodes that a job gets of those that fit: of neighbours the smallest group that is large enough.

    Where none is, groups from the largest on. As Slurm's consumable resources choose without a topology.
    """
    groups = [[node for _, node in group] for _, group in groupby(enumerate(fitting), lambda pair: pair[1] - pair[0])]
    enough = [group for group in groups if len(group) >= count]
    if enough:
        return min(enough, key=len)[:count]
    chosen: list[int] = []
    for group in sorted(groups, key=len, reverse=True):
        chosen += group[: count - len(chosen)]
    return chosen
